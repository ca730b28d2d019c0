import Foundation
import Testing

@Suite("Prompt sets through the command")
struct DataTests {
    @Test func theCheckShowsPromptsThroughTheTemplate() throws {
        let place = try Workplace()
        try place.write(
            "model/chat_template.jinja",
            "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}[a]{% endif %}"
        )
        try place.write(
            "chats.jsonl", #"{"prompt": [{"role": "user", "content": "Hé?"}], "answer": "2"}"# + "\n")
        let outcome = try Command.succeed(
            ["data", "check", "chats.jsonl", "--model", "model", "--rewards", "accuracy_reward"], in: place.folder)
        // One token a byte: "[user]Hé?[a]" has 6 + 4 + 3 of them.
        #expect(
            outcome.output.contains("  as the model reads it, 13 tokens:\n    │ [user]Hé?[a]\n"), "\(outcome.output)")
        let bad = try Command.run(
            ["data", "check", "chats.jsonl", "--model", "model", "--max-prompt-length", "12"], in: place.folder)
        #expect(bad.status == 65 && bad.progress.contains("chats.jsonl: 1 prompts are over the limit of 12 tokens"))
    }

    @Test func theSetsOfAJobAreCheckedWithItsRewardsAndColumns() throws {
        let place = try Workplace()
        try place.write("other.csv", "question,answer\n1+1=,2\n")
        let job = try place.job(
            "grpo",
            "num_generations: 4\ndatasets: [prompts.jsonl, {path: other.csv, columns: [question], column_map: {prompt: question}}]"
        )
        let outcome = try Command.succeed(["data", "check", job, "--rows", "1"], in: place.folder)
        #expect(outcome.output.components(separatedBy: "regular_expression: every row can be scored").count == 3)
        #expect(outcome.output.contains("other.csv: 1 rows") && outcome.output.contains("  rewards see no column"))
        let bad = try Command.run(["data", "check", job, "--rewards", "exact_number"], in: place.folder)
        #expect(bad.status == 65 && bad.progress.contains("other.csv: exact_number cannot score every row"), "\(bad)")
        #expect(!bad.progress.contains("prompts.jsonl: exact_number"))
    }

    @Test func aMixtureIsShownByDryRunAndLongPromptsByAHistogram() throws {
        let place = try Workplace()
        let job = try place.job(
            "grpo",
            "num_generations: 4\ndatasets: [{path: prompts.jsonl, fraction: 3}, {path: prompts.jsonl, fraction: 1}]")
        let plan = try Command.succeed(["train", job, "--dry-run"], in: place.folder)
        #expect(plan.output.contains("# prompts: 53 rows of 2 sets\n"), "\(plan.output)")
        #expect(plan.output.contains("#   datasets[0]: 40 rows (75.5 %) of prompts.jsonl: 40 rows"), "\(plan.output)")
        #expect(plan.output.contains("#   datasets[1]: 13 rows (24.5 %) of prompts.jsonl: 40 rows"))
        let long = try Command.run(["train", job, "--dry-run", "max_prompt_length=3"], in: place.folder)
        #expect(long.status == 65, "\(long.progress)")
        #expect(long.progress.contains("Lengths: min 4, median 4, p90 4, p99 4, max 4\n"), "\(long.progress)")
        #expect(long.progress.contains(String(repeating: "█", count: 30) + "  53  over the limit"), "\(long.progress)")
    }

    /// 40 rows of each set are taken; the bad one is the 51st.
    @Test func aBadRowThatAMixtureLeavesOutIsAnErrorAllTheSame() throws {
        let place = try Workplace()
        let rows = (1...60).map { $0 == 51 ? #"{"prompt": 5}"# : #"{"prompt": "\#($0)+1="}"# }
        try place.write("long.jsonl", rows.joined(separator: "\n"))
        let job = try place.job(
            "grpo",
            "num_generations: 4\ndatasets: [{path: prompts.jsonl, fraction: 0.5}, {path: long.jsonl, fraction: 0.5}]")
        let outcome = try place.train(job)
        #expect(outcome.status == 65 && !place.exists("run"))
        #expect(outcome.progress.contains("long.jsonl, line 51, column prompt: a number"), "\(outcome.progress)")
    }
}
