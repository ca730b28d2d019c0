import Foundation
import Testing

@Suite("bench suite: what it refuses before it measures anything")
struct BenchSuiteTests {
    @Test(arguments: [
        (
            ["--only", "grpo,sampling,speed"],
            "'speed'; expected some of grpo,adapters,dpo,sampling,growth,prefill,startup"
        ),
        (["--only", ""], "''; expected some of"),
        (["--steps", "0"], "--steps 0: at least 1"),
    ])
    func whatIsNoPartIsNamed(_ flags: [String], _ words: String) throws {
        let outcome = try Command.run(["bench", "suite"] + flags)
        #expect(outcome.status == 64 && outcome.progress.contains(words), "\(outcome.progress)")
        #expect(outcome.output.isEmpty)
    }

    /// Nothing is measured for a file that nobody could read afterwards: no model is made, which is the first thing said.
    @Test func aFileThatCannotBeWrittenIsBadInput() throws {
        let missing = "/nonexistent-\(UUID().uuidString)/suite.json"
        let outcome = try Command.run(["bench", "suite", "--json", missing])
        #expect(outcome.status == 65)
        #expect(!outcome.progress.contains("parameters"), "\(outcome.progress)")
    }
}
