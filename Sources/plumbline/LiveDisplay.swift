import Coordinator
import Evaluation
import Foundation
import Job
import Records

/// Shows a run on standard error: on a terminal a status line that is rewritten under the logged rows, otherwise plain
/// lines.
actor LiveDisplay: RunDisplay {
    private let maxSteps: Int
    private let loggingSteps: Int
    private let completionsToPrint: Int
    private let isInteractive: Bool
    private let started = ContinuousClock.now
    private var firstStep: Int
    private var lastLogged: Int
    private var window = MetricWindow()
    private var summary: [(step: Int, metrics: Metrics)] = []
    /// The status line's numbers; they stay until there are newer ones.
    private var brief = ""

    /// - Parameter step: Where the run begins: 0, or the step of the checkpoint.
    init(settings: RunSettings, maxSteps: Int, step: Int) {
        self.maxSteps = maxSteps
        loggingSteps = settings.loggingSteps
        completionsToPrint = settings.completionsToPrint
        isInteractive = Terminal.isInteractive
        firstStep = step
        lastLogged = step
    }

    func began(_ phase: StepPhase, step: Int) {
        guard isInteractive else { return }
        let bar = Self.bar(Double(step) / Double(max(maxSteps, 1)))
        let line = "\(bar) \(step)/\(maxSteps) \(phase.rawValue) … \(brief) \(remaining(after: step))"
        Terminal.status(line)
    }

    func completed(_ report: StepReport) {
        window.add(report.metrics)
        brief = window.brief
        summary.append((report.step, report.metrics))
        guard report.step / loggingSteps > lastLogged / loggingSteps || report.step >= maxSteps else { return }
        lastLogged = report.step
        Terminal.progress("step \(report.step)/\(maxSteps)  \(window.text)  \(remaining(after: report.step))")
        for sample in report.groups.prefix(completionsToPrint) { show(sample) }
        window = MetricWindow()
    }

    func notice(_ text: String) { Terminal.progress("note: \(text)") }

    /// The table at the end of a run: its first and last tenth side by side.
    func finish() -> String {
        if isInteractive { Terminal.status("") }
        guard let last = summary.last else { return "" }
        let share = max(1, summary.count / 10)
        let first = MetricWindow(summary.prefix(share).map(\.metrics))
        let final = MetricWindow(summary.suffix(share).map(\.metrics))
        var rows: [[String]] = []
        for (name, label) in Self.columns {
            guard let end = final.mean(name) else { continue }
            rows.append([label, first.mean(name).map(NumberText.compact) ?? "", NumberText.compact(end)])
        }
        let seconds = (ContinuousClock.now - started) / .seconds(1)
        return "\(last.step) steps in \(NumberText.duration(seconds))\n"
            + Table(["", "first \(share) steps", "last \(share) steps"], rows).text
    }

    private static let columns = [
        ("reward", "reward"), ("loss", "loss"), ("rewards/accuracies", "preference accuracy"),
        ("rewards/margins", "margin of rewards"), ("kl", "KL to reference"), ("entropy", "entropy"),
        ("completions/mean_length", "mean length"), ("completions/clipped_ratio", "truncated share"),
        ("sampling/sampling_logp_difference/max", "sampler-trainer gap, max"), ("step_time", "seconds a step"),
        ("perf/throughput", "tokens/s"),
    ]

    private func show(_ scored: ScoredGroup) {
        guard let rollout = scored.group.rollouts.first else { return }
        let score =
            scored.scores.first?.map { $0.score.map(NumberText.compact) ?? $0.state }.joined(separator: ", ") ?? ""
        Terminal.progress(
            "  \(Self.oneLine(scored.group.prompt.prompt.text)) → \(Self.oneLine(rollout.completion.text))  [\(score)]")
    }

    private static func oneLine(_ text: String) -> String {
        String(text.prefix(160)).replacingOccurrences(of: "\n", with: "⏎")
    }

    private func remaining(after step: Int) -> String {
        let done = step - firstStep
        guard done > 0, step < maxSteps else { return "" }
        let seconds = (ContinuousClock.now - started) / .seconds(1)
        return "ETA " + NumberText.duration(seconds / Double(done) * Double(maxSteps - step))
    }

    private static func bar(_ share: Double) -> String {
        let filled = Int((share * 16).rounded(.down))
        return "[" + String(repeating: "█", count: filled) + String(repeating: "·", count: 16 - filled) + "]"
    }
}

/// Means over the steps since the last row.
struct MetricWindow {
    private var sums: [String: (total: Double, count: Int)] = [:]

    init(_ rows: [Metrics] = []) { for row in rows { add(row) } }

    mutating func add(_ metrics: Metrics) {
        for (name, value) in metrics.entries where value.isFinite {
            let (total, count) = sums[name] ?? (0, 0)
            sums[name] = (total + value, count + 1)
        }
    }

    func mean(_ name: String) -> Double? { sums[name].map { $0.total / Double($0.count) } }

    /// The numbers of a logged row.
    var text: String {
        [
            ("reward", "reward"), ("loss", "loss"), ("rewards/accuracies", "accuracy"), ("kl", "kl"),
            ("entropy", "entropy"), ("grad_norm", "grad"),
            ("completions/mean_length", "length"), ("learning_rate", "lr"), ("perf/throughput", "tok/s"),
        ].compactMap { name, label in mean(name).map { "\(label) \(NumberText.compact($0))" } }.joined(separator: "  ")
    }

    /// The numbers of the status line, shorter.
    var brief: String {
        [
            ("reward", "reward"), ("loss", "loss"), ("kl", "kl"), ("entropy", "entropy"),
            ("completions/mean_length", "length"), ("perf/throughput", "tok/s"),
        ].compactMap { name, label in mean(name).map { "\(label) \(NumberText.compact($0))" } }.joined(separator: " ")
    }
}
