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

    /// The same prompt reads alike in train, eval, generate and data check, and the resolved job says how.
    @Test func plainPromptsOfAChatModelAreWarnedAboutOrWrapped() throws {
        let place = try Workplace()
        try place.write(
            "model/chat_template.jinja",
            "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}[a]{% endif %}"
        )
        let job = try place.job("grpo", "num_generations: 4\nmax_steps: 1")
        let plain = try place.train(job)
        #expect(plain.status == 0 && plain.progress.contains(#"as the model reads it: "0+0=""#), "\(plain.progress)")
        let silent = try place.train(job, "apply_chat_template=false", "overwrite_output_dir=true")
        #expect(silent.status == 0 && !silent.progress.contains("chat template"), "\(silent.progress)")
        let wrapped = try place.train(job, "apply_chat_template=true", "overwrite_output_dir=true")
        #expect(wrapped.status == 0 && !wrapped.progress.contains("as the model reads it"), "\(wrapped.progress)")
        #expect(
            try String(decoding: place.bytes("run/config.yaml"), as: UTF8.self).contains("apply_chat_template: true\n"))
        let commands = [
            ["eval", "--model", "run", "--prompts", "prompts.jsonl", "--rewards", "accuracy_reward"],
            ["generate", "--model", "run", "--prompt", "0+0="],
        ]
        for command in commands {
            let length = ["--max-completion-length", "2"]
            let warned = try Command.succeed(command + length, in: place.folder)
            #expect(warned.progress.contains(#"as the model reads it: "0+0=""#), "\(warned.progress)")
            let quiet = try Command.succeed(command + length + ["--apply-chat-template"], in: place.folder)
            #expect(!quiet.progress.contains("as the model reads it"), "\(quiet.progress)")
        }
        let check = try Command.succeed(
            ["data", "check", "prompts.jsonl", "--model", "run", "--rows", "1", "--apply-chat-template"],
            in: place.folder)
        #expect(check.output.contains("    │ [user]0+0=[a]\n"), "\(check.output)")
    }

    @Test func rowsThatSpellASpecialTokenAreNamed() throws {
        let place = try Workplace()
        try place.write("spelled.jsonl", #"{"prompt": "a"}"# + "\n" + #"{"prompt": "b<|endoftext|>"}"# + "\n")
        let check = ["data", "check", "spelled.jsonl", "--model", "model", "--rows", "2"]
        let found = try Command.succeed(check, in: place.folder).output
        #expect(
            found.contains("note: 1 row spells out a special token, such as <|endoftext|>: line 2; the model reads"))
        #expect(found.contains("as the model reads it, 2 tokens"))
        let split = try Command.succeed(check + ["--split-special-tokens"], in: place.folder).output
        #expect(split.contains("as the model reads it, 14 tokens"), "\(split)")
        #expect(split.contains("it is read as the text it is"))
    }

    /// Each form is named as it was detected, and sft learns from it.
    @Test(arguments: [
        ("alpaca", #"{"instruction": "Add", "input": "1 2", "output": "3"}"#, "Alpaca form"),
        ("text", #"{"text": "one two three"}"#, "plain text form"),
    ])
    func formsOfDemonstrationsAreLearnedFrom(_ name: String, _ row: String, _ form: String) throws {
        let place = try Workplace()
        try place.write("\(name).jsonl", String(repeating: row + "\n", count: 20))
        let job = try place.job(
            "sft", "dataset_name: \(name).jsonl\nlearning_rate: 0.01\nmax_steps: 30\nlogging_steps: 1")
        let outcome = try place.train(job)
        #expect(outcome.status == 0 && outcome.progress.contains(form), "\(outcome.progress)")
        let losses = try place.metrics("run").compactMap { $0["loss"] }
        #expect(losses.count == 30 && losses[29] < losses[0] / 2, "\(losses)")
        let long = try place.train(job, "max_length=8", "output_dir=long")
        #expect(long.status == 65 && long.progress.contains("and 8 are allowed"), "\(long.progress)")
        let grpo = try place.job("grpo", "num_generations: 4\ndataset_name: text.jsonl")
        if name == "text" {
            let refused = try place.train(grpo, "output_dir=refused")
            #expect(
                refused.status == 65 && refused.progress.contains("column_map: {prompt: text}"), "\(refused.progress)")
        }
    }

    /// As `hf download` leaves it: files that are links into a store, in a folder for each revision.
    @Test func aNameOfTheHubIsFoundInTheCacheOrItsDownloadIsNamed() throws {
        let place = try Workplace()
        let variables = ["HF_HUB_CACHE": place.folder.appending(path: "hub").path]
        let check = ["data", "check", "openai/gsm8k", "--rows", "1"]
        let missing = try Command.run(check, in: place.folder, environment: variables)
        #expect(missing.status == 65, "\(missing)")
        #expect(
            missing.progress.contains("hf download openai/gsm8k --repo-type dataset"), "\(missing.progress)")
        let entry = "hub/datasets--openai--gsm8k"
        try place.write("\(entry)/refs/main", "0123abc")
        try place.write("\(entry)/blobs/x", #"{"question": "1+1?", "answer": "2"}"# + "\n")
        try place.write("\(entry)/snapshots/0123abc/README.md", "")
        let folder = try Command.run(check, in: place.folder, environment: variables)
        #expect(
            folder.status == 65 && folder.progress.contains("the folder holds no prompt file"), "\(folder.progress)")
        try place.write("\(entry)/snapshots/0123abc/main/README.md", "")
        try FileManager.default.createSymbolicLink(
            atPath: place.folder.appending(path: "\(entry)/snapshots/0123abc/main/train.jsonl").path,
            withDestinationPath: "../../../blobs/x")
        let configured = try Command.run(check, in: place.folder, environment: variables)
        #expect(configured.status == 65 && configured.progress.contains("/main"), "\(configured.progress)")
        let found = try Command.run(
            ["data", "check", "openai/gsm8k/main", "--rows", "1"], in: place.folder, environment: variables)
        #expect(found.status == 0 && found.output.contains("question and answer form"), "\(found)")
        let job = try place.job("grpo", "num_generations: 4\ndataset_name: trl-lib/tldr")
        let run = try Command.run(["train", job], in: place.folder, environment: variables)
        #expect(
            run.status == 65 && run.progress.contains("hf download trl-lib/tldr --repo-type dataset"), "\(run.progress)"
        )
    }

    @Test func evalMapsTheColumnsOfEachSet() throws {
        let place = try Workplace()
        try place.write("a.jsonl", #"{"frage": "1+1=", "answer": "2"}"# + "\n")
        try place.write("b.jsonl", #"{"body": "1+2=", "answer": "3"}"# + "\n")
        let outcome = try Command.succeed(
            [
                "eval", "--model", "model", "--prompts", "{path: a.jsonl, column_map: {prompt: frage}}", "b.jsonl",
                "--column-map", "prompt=body", "--rewards", "accuracy_reward", "--limit", "1",
                "--max-completion-length", "2",
            ], in: place.folder)
        #expect(outcome.output.contains("a.jsonl") && outcome.output.contains("b.jsonl"), "\(outcome.output)")
        let wrong = try Command.run(
            [
                "eval", "--model", "model", "--prompts", "{path: a.jsonl, fraction: 0.5}", "--rewards",
                "accuracy_reward",
            ], in: place.folder)
        #expect(
            wrong.status == 65 && wrong.progress.contains("fraction is the share of a mixture"), "\(wrong.progress)")
    }

    @Test func aSystemColumnIsNotedWherePromptsAreRead() throws {
        let place = try Workplace()
        let row = #"{"prompt": "1+1=", "answer": "2", "system": "Be short."}"# + "\n"
        try place.write("s.jsonl", String(repeating: row, count: 4))
        let note = "note: s.jsonl: the model does not read the column `system`"
        let check = try Command.succeed(["data", "check", "s.jsonl", "--rows", "1"], in: place.folder)
        #expect(check.output.contains(note), "\(check.output)")
        let generated = try Command.succeed(
            [
                "generate", "--model", "model", "--prompts", "s.jsonl", "--limit", "1", "--max-completion-length", "2",
            ], in: place.folder)
        #expect(generated.progress.contains(note), "\(generated.progress)")
        let trained = try place.train(
            try place.job("grpo", "num_generations: 4\ndataset_name: s.jsonl\nmax_steps: 1"))
        #expect(trained.status == 0 && trained.progress.contains(note), "\(trained.progress)")
    }

    @Test func generateMapsColumnsAndMarksWhereTheCompletionBegins() throws {
        let place = try Workplace()
        try place.write("a.jsonl", #"{"frage": "1+1=", "answer": "2"}"# + "\n")
        let generate = [
            "generate", "--model", "model", "--prompts", "a.jsonl", "--samples", "2", "--max-completion-length", "2",
        ]
        let unnamed = try Command.run(generate, in: place.folder)
        #expect(
            unnamed.status == 65 && unnamed.progress.contains("column_map: {prompt: NAME}"), "\(unnamed.progress)")
        let named = try Command.succeed(generate + ["--column-map", "prompt=frage"], in: place.folder)
        #expect(named.output.components(separatedBy: "1+1= → ").count == 3, "\(named.output)")
    }

    /// What counts is the texts of the rows, however a file holds them.
    @Test func aTokenizerIsTrainedOnTheRowsOfAnyPromptFile() throws {
        let place = try Workplace()
        let rows = [#"{"prompt": "one, two", "answer": "two two"}"#, #"{"prompt": "two ones", "answer": "12"}"#]
        try place.write("a.jsonl", rows.joined(separator: "\n"))
        try place.write("a.json", "[\(rows.joined(separator: ",\n"))]")
        try place.write("a.csv", "prompt,answer\n\"one, two\",two two\ntwo ones,12\n")
        func trained(on input: String, as name: String) throws -> Data {
            try Command.succeed(
                ["tokenizer", "train", "--input", input, "--output", name, "--vocabulary-size", "270"],
                in: place.folder)
            return try place.bytes("\(name)/tokenizer.json")
        }
        let lines = try trained(on: "a.jsonl", as: "lines")
        #expect(try trained(on: "a.json", as: "array") == lines)
        #expect(try trained(on: "a.csv", as: "table") == lines)
        // Two files of the same rows.
        let folder = Command.root.appending(path: "Tests/PromptSetsTests/parquet")
        let (packed, parquet) = (folder.appending(path: "verl.jsonl.gz"), folder.appending(path: "verl-none.parquet"))
        #expect(try trained(on: packed.path, as: "packed") == trained(on: parquet.path, as: "parquet"))
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
