import ArgumentParser
import Job
import Methods
import Records

struct PairsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pairs", abstract: "Make preference pairs.", subcommands: [Make.self])

    struct Make: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Sample completions, score them, and pair the best with the worst of each prompt.",
            discussion: """
                Writes a file for algorithm: dpo and bvpo, and for TRL. Started again after a stop, it continues.

                    plumbline pairs make --model DIR --prompts math.jsonl --rewards accuracy_reward --output pairs.jsonl
                """)

        @Option(help: ModelArgument.help) var model: String
        @Option(help: "A prompt file or folder.") var prompts: String
        @Option(parsing: .upToNextOption, help: "Rewards as in a job: a name, file.py:function, or '{name: …, …}'.")
        var rewards: [String]
        @Option(help: "The file to write, JSON Lines.") var output: String
        @Option(help: "Completions per prompt, in each form.") var samples = 4
        @Option(help: "Which file of the folder to read.") var split = "train"
        @Option(parsing: .upToNextOption, help: "Column names, as in column_map: prompt=question.")
        var columnMap: [String] = []
        @Option(
            help:
                "Share of a reward's last 1000 scores (counted as at least 200, but not at the end) that may fail."
        ) var rewardErrorBudget = 0.05
        @Option(help: "Use only the first rows.") var limit: Int?
        @Flag(help: "Ask every prompt twice, with thinking and after an empty block of it, as bvpo needs.")
        var thinking = false
        @Option(help: "The text that opens a thinking block.") var thinkStart = ThinkingSettings().start
        @Option(help: "The text that closes it.") var thinkEnd = ThinkingSettings().end
        @Option(help: "What follows the prompt of an answer without thinking.")
        var emptyBlock = ThinkingSettings().emptyBlock
        @Option(help: "Chat template variables for answers without thinking: '{enable_thinking: false}'.")
        var emptyVariables = "{}"
        @OptionGroup var sampling: SamplingOptions
        @Flag(help: "Say what would be done and the memory it takes; sample nothing.") var dryRun = false
        @Flag(help: "Print one JSON object.") var json = false

        func validate() throws {
            guard (2...4096).contains(samples) else {
                throw ValidationError("--samples \(samples): between 2 and 4096")
            }
            guard !thinkStart.isEmpty, !thinkEnd.isEmpty else {
                throw ValidationError("--think-start and --think-end: a text each")
            }
            guard (0...1).contains(rewardErrorBudget) else {
                throw ValidationError("--reward-error-budget \(rewardErrorBudget): between 0 and 1")
            }
        }

        func run() async throws {
            var making = PairMaking(prompts: prompts, output: output, sampling: try sampling.request)
            making.rewards = try rewards.map { try JobReward(argument: $0) }
            (making.samples, making.limit, making.split) = (samples, limit, split)
            (making.columns, making.rewardErrorBudget) = (columnMap, rewardErrorBudget)
            if thinking {
                making.thinking = ThinkingSettings(
                    start: thinkStart, end: thinkEnd, emptyBlock: emptyBlock,
                    emptyVariables: try PairMaking.templateVariables(argument: emptyVariables))
            }
            guard !dryRun else {
                try Terminal.result(making.plan(model: model))
                return
            }
            Interruption.shared.hold()  // rows that are made stay
            let report = try await making.run(model: model, stop: Interruption.shared.stop) { Terminal.progress($0) }
            try Terminal.result(json ? report.json : report.text)
            try report.checkScores()
        }
    }
}
