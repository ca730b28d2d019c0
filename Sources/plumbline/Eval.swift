import ArgumentParser
import Evaluation
import Job
import Records

struct Eval: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Score a policy on a prompt set; change nothing.")

    @Option(help: ModelArgument.help) var model: String
    @Option(
        parsing: .upToNextOption,
        help:
            "Prompt files or folders (their eval.jsonl); '{path: math.parquet, column_map: {prompt: question}}' sets column names."
    ) var prompts: [String]
    @Option(
        parsing: .upToNextOption,
        help: "Column names, as in column_map: prompt=question; for sets without their own.")
    var columnMap: [String] = []
    @Option(
        parsing: .upToNextOption,
        help: "Rewards, as in reward_funcs; '{name: length_reward, target_length: 50}' gives one its settings.")
    var rewards: [String]
    @Option(
        help:
            "Share of a reward's last 1000 scores (counted as at least 200, but not at the end) that may fail or time out before the evaluation stops."
    )
    var rewardErrorBudget = 0.05
    @Option(help: "Completions per prompt; the largest k unless given.") var samples: Int?
    @Option(name: .short, help: "The k of pass@k and maj@k, comma-separated; at most --samples.") var k = "1"
    @Option(
        name: .customLong("pass-at-k"),
        help:
            "How pass@k is estimated: unbiased from all completions (arXiv:2107.03374), first from the first k, chunks from each k in turn."
    )
    var estimator = PassAtK.Estimator.unbiased.rawValue
    @Option(help: "Use only the first rows of each set.") var limit: Int?
    @Option(help: "Write every completion with its scores to this file.") var completions: String?
    @Option(help: "Write the result to this file as JSON.") var output: String?
    @Option(help: "Write the tables to this file as markdown.") var markdown: String?
    @Option(help: "Write tables, plots and every completion to this file as one HTML page.") var html: String?
    @Option(help: "Another model, or a result written by --output, to compare with prompt by prompt.") var compare:
        String?
    @OptionGroup var sampling: SamplingOptions
    @Flag(help: "Print one JSON object.") var json = false

    private var ks: [Int?] { k.split(separator: ",").map { Int($0.trimmingCharacters(in: .whitespaces)) } }
    private var samplesPerPrompt: Int { samples ?? ks.compactMap(\.self).max() ?? 1 }

    func validate() throws {
        guard (1...4096).contains(samplesPerPrompt) else {
            throw ValidationError("--samples \(samplesPerPrompt): between 1 and 4096")
        }
        guard ks.allSatisfy({ $0.map { (1...samplesPerPrompt).contains($0) } ?? false }) else {
            throw ValidationError("-k \(k): whole numbers from 1 to --samples (\(samplesPerPrompt)), comma-separated")
        }
        guard PassAtK.Estimator(rawValue: estimator) != nil else {
            let known = PassAtK.Estimator.allCases.map(\.rawValue).joined(separator: ", ")
            throw ValidationError("--pass-at-k \(estimator): one of \(known)")
        }
        guard (0...1).contains(rewardErrorBudget) else {
            throw ValidationError("--reward-error-budget \(rewardErrorBudget): between 0 and 1")
        }
    }

    func run() async throws {
        let progress = ProgressLine()
        let evaluation = try PolicyEvaluation(
            prompts: prompts, rewards: rewards, rewardErrorBudget: rewardErrorBudget, columnMap: columnMap,
            samples: samplesPerPrompt, ks: ks.compactMap(\.self),
            passAtK: PassAtK.Estimator(rawValue: estimator) ?? .unbiased,  // validated
            limit: limit, sampling: try sampling.request, keepsCompletions: completions != nil,
            note: { Terminal.progress("note: \($0)") })
        try evaluation.check(
            outputs: [
                ("--output", output), ("--completions", completions), ("--markdown", markdown), ("--html", html),
            ], model: model, compareWith: compare)
        let report = try await evaluation.run(model: model, compareWith: compare, stop: Interruption.shared.stop) {
            if $1 > 0 { Interruption.shared.hold() }  // there is something to lose
            progress.note($0, $1, $2)
        }
        progress.end()
        // A file that cannot be written does not take the table with it.
        var failure: (any Error)?
        do { try write(report) } catch { failure = error }
        try json ? Terminal.exact(report.json) : Terminal.result(report.text)
        if let failure { throw failure }
        if report.isPartial { throw StoppedRun(kept: "the results are those of the prompts that were done") }
        try report.checkScores()
    }

    private func write(_ report: EvaluationReport) throws {
        if let completions { try report.writeCompletions(to: completions) }
        if let output { try report.write(to: output) }
        if let markdown { try report.writeMarkdown(to: markdown) }
        if let html { try report.writeHTML(to: html) }
    }
}
