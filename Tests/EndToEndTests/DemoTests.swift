import Foundation
import Testing

@Suite("The demo")
struct DemoTests {
    /// The smoke size of `make demo`: every command of it, seconds instead of minutes.
    @Test func theSmokeDemoRunsToItsTableAndItsPicture() throws {
        let script = Command.root.appending(path: "prompts/arithmetic/demo.sh")
        let running = try Command.Running(script, [Command.executable.path, "smoke"], in: Command.root)
        let outcome = try running.wait()
        try #require(outcome.status == 0, "\(outcome.progress)")
        for policy in ["sft", "sft-greedy", "grpo", "grpo-greedy", "remax", "remax-greedy"] {
            #expect(
                outcome.output.split(separator: "\n").contains { $0.contains(" \(policy) ") }, "no row of \(policy)")
        }
        let picture = try #require(outcome.output.firstMatch(of: /learning curve: (.+)/)).output.1
        #expect(try String(contentsOfFile: String(picture), encoding: .utf8).contains("<polyline"))
        let folder = URL(filePath: String(picture)).deletingLastPathComponent()
        for run in ["grpo", "remax"] {
            let rows = try String(contentsOf: folder.appending(path: "\(run)/metrics.jsonl"), encoding: .utf8)
            for row in rows.split(separator: "\n") {
                let metrics = try JSONSerialization.jsonObject(with: Data(row.utf8)) as? [String: Any]
                let gap = try #require(metrics?["sampling/sampling_logp_difference/max"] as? Double)
                #expect(gap <= 1e-4, "sampled and re-scored log-probs differ by \(gap)")
            }
        }
        try FileManager.default.removeItem(at: folder.deletingLastPathComponent())
    }
}
