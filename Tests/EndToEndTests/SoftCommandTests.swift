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
        // The word that ends thinking is scored with a head of its own, too, which is kept packed.
        try Command.succeed(
            [
                "init-model", "--output", "untied", "--tokenizer", "model", "--no-tied", "--hidden-size", "32",
                "--layers", "2", "--heads", "2", "--context-length", "64",
            ], in: place.folder)
        let ended = try Command.succeed(
            [
                "generate", "--json", "--model", "untied", "--prompts", "prompts.jsonl", "--limit", "1",
                "--max-completion-length", "5", "--soft-thinking", "none", "--think-end", "e",
                "--cold-stop-entropy", "50", "--cold-stop-steps", "1",
            ], in: place.folder
        ).output
        #expect(ended.contains(#/"soft_tokens":/#), "\(ended)")
        let refused = try Command.run(
            ["generate"] + common + ["--soft-thinking", "gumbel", "--think-end", ""], in: place.folder)
        #expect(refused.status == 65 && refused.progress.contains("think_end"), "\(refused.status) \(refused.progress)")
    }
}
