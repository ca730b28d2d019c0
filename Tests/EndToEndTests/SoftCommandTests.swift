import Foundation
import Testing

@Suite("Soft thinking by the command")
struct SoftCommandTests {
    @Test func oneWordWithoutNoiseGeneratesWhatGreedyDoesAndEvalCountsPasses() throws {
        let place = try Workplace()
        let common = ["--model", "model", "--prompts", "prompts.jsonl", "--limit", "6", "--max-completion-length", "5"]
        func texts(_ flags: [String]) throws -> [String] {
            try Command.succeed(["generate", "--json"] + common + flags, in: place.folder).output
                .split(separator: "\n").map {
                    let row = try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any]
                    let completions = row?["completions"] as? [[String: Any]] ?? []
                    #expect((completions[0]["soft_tokens"] != nil) == flags.contains("--soft-thinking"))
                    return "\(completions[0]["token_ids"] ?? "")"
                }
        }
        let silent = ["--soft-thinking", "none", "--soft-top-k", "1", "--think-end", "e", "--temperature", "0"]
        let greedy = try texts(["--temperature", "0"])
        #expect(try texts(silent) == greedy && greedy.count == 6)
        let noisy = ["--soft-thinking", "gumbel", "--think-end", "e", "--soft-top-p", "1"]
        #expect(try texts(noisy + ["--seed", "1"]) == texts(noisy + ["--seed", "1"]))
        #expect(try texts(noisy + ["--seed", "1"]) != texts(noisy + ["--seed", "2"]))
        let report = try Command.succeed(
            ["eval", "--rewards", "exact_number", "--samples", "4", "-k", "1,4", "--json"] + common + noisy,
            in: place.folder
        ).output
        #expect(report.contains(#/"pass@k": \{"1": [0-9.e-]+, "4": /#), "\(report)")
        let refused = try Command.run(
            ["generate"] + common + ["--soft-thinking", "gumbel", "--think-end", ""], in: place.folder)
        #expect(refused.status == 65 && refused.progress.contains("think_end"), "\(refused.status) \(refused.progress)")
    }
}
