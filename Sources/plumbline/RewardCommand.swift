import ArgumentParser
import Evaluation
import Job
import Records

struct RewardCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reward", abstract: "List the shipped rewards, or try one on a file of completions.",
        subcommands: [List.self, Check.self])

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "The rewards a job can name, with range and settings.")

        @Flag(help: "Print one JSON array.") var json = false

        func run() throws {
            let rows = try RewardListing.rows()
            guard !json else {
                try Terminal.exact(
                    JSONText.array(
                        rows.map { row in
                            JSONText.object([
                                ("name", JSONText.string(row.name)), ("range", JSONText.string(row.range)),
                                ("settings", JSONText.array(row.settings.map(JSONText.string))),
                            ])
                        }))
                return
            }
            let table = rows.map { row in
                let settings = row.settings.map { row.required.contains($0) ? "\($0)*" : $0 }
                return [row.name, row.range, settings.joined(separator: ", ")]
            }
            try Terminal.result(Table(["name", "range", "settings (* required)"], table, textColumns: 3).text)
        }
    }

    struct Check: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Score a file of completions with a reward: distribution, failures, timing.")

        @Option(
            help:
                "As in reward_funcs: a name, path/file.py:function, 'command: …', 'url: …', 'model: folder', or '{name: …, setting: …}'."
        ) var reward: String
        @Option(
            help:
                "Rows with prompt (text or messages), completion and columns (expected: the right score). JSON Lines (- for standard input), a JSON array, CSV, TSV or Parquet."
        ) var file: String
        @Option(help: "Settings of the reward, key=value, dotted for nested keys.") var setting: [String] = []
        @Option(
            help:
                "A tokenizer.json, the folder it is in, or a GGUF file: encodes completions without completion_ids, for rewards that read token ids."
        ) var tokenizer: String?
        @Flag(help: "Print one JSON object per completion instead of the summary.") var json = false
        @Flag(help: "Exit code 65 if a score failed, timed out, or is not as expected.") var strict = false

        func run() async throws {
            let check = try RewardCheck(reward: reward, file: file, settings: setting, tokenizer: tokenizer)
            let line = ProgressLine()
            let report = try await check.run { line.note("reward check: completions", $0, $1) }
            line.end()
            if json {
                for line in report.lines { try Terminal.exact(line) }
            } else {
                try Terminal.result(report.summary)
            }
            if strict, let verdict = report.verdict {
                throw JobError([SettingsProblem(place: "reward check", message: verdict)])
            }
        }
    }
}
