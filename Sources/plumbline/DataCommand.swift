import ArgumentParser
import Foundation
import JSON
import Job
import Records

struct DataCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "data", abstract: "Look at a prompt set before a run does.", subcommands: [Check.self])

    struct Check: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "The detected form, the first rows as the model and the rewards see them, counts and lengths.",
            discussion: "Exit code 65 if a run would stop at a row.")

        @Argument(
            help:
                "A prompt file (JSON Lines, a JSON array, CSV, TSV, also .gz; Parquet) or folder; or a job file, whose sets are checked with its model, rewards and columns."
        ) var prompts: String
        @Option(help: "Which file of the folder.") var split = "train"
        @Option(help: "A model or tokenizer folder: shows prompts through its chat template and counts tokens.")
        var model: String?
        @Option(parsing: .upToNextOption, help: "Rewards, as in reward_funcs: can they score every row?")
        var rewards: [String] = []
        @Option(parsing: .upToNextOption, help: "Column names, as in column_map: prompt=question.")
        var columnMap: [String] = []
        @Option(parsing: .upToNextOption, help: "Other prompt files to search for these prompts.")
        var against: [String] = []
        @OptionGroup var reading: PromptOptions
        @Option(help: "Marks prompts longer than this.") var maxPromptLength: Int?
        @Option(help: "Rows to show.") var rows = 3
        @Flag(help: "Read rows as demonstrations (prompt and completion).") var demonstrations = false
        @Flag(help: "Print one JSON object.") var json = false

        func validate() throws {
            guard rows >= 0 else { throw ValidationError("--rows \(rows): at least 0") }
            if let maxPromptLength, maxPromptLength < 1 {
                throw ValidationError("--max-prompt-length \(maxPromptLength): at least 1")
            }
        }

        func run() async throws {
            var verdicts: [String] = []
            let progress = ProgressLine()
            for check in try checks() {
                let report = try await check.run(progress: progress.note)
                progress.end()
                try json ? Terminal.exact(report.json) : Terminal.result(report.text)
                if let verdict = report.verdict { verdicts.append("\(check.path): \(verdict)") }
            }
            if !verdicts.isEmpty { throw JobError(verdicts.map { SettingsProblem(place: "data check", message: $0) }) }
        }

        private func checks() throws -> [PromptSetCheck] {
            var checks: [PromptSetCheck]
            if prompts.hasSuffix(".yaml") || prompts.hasSuffix(".yml") {
                checks = try PromptSetCheck.ofJob(URL(filePath: prompts))
            } else {
                var check = PromptSetCheck(path: prompts)
                check.split = split
                try check.mapColumns(columnMap)
                check.asDemonstrations = demonstrations
                checks = [check]
            }
            for index in checks.indices {
                checks[index].model = model ?? checks[index].model
                checks[index].rewards += try rewards.map { try JobReward(argument: $0) }
                checks[index].against = against
                if let applies = reading.applyChatTemplate { checks[index].reading.appliesChatTemplate = applies }
                if reading.splitSpecialTokens { checks[index].reading.splitsSpecialTokens = true }
                checks[index].maxPromptLength = maxPromptLength ?? checks[index].maxPromptLength
                checks[index].shownRows = rows
            }
            return checks
        }
    }
}
