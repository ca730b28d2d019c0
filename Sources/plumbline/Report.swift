import ArgumentParser
import Job

struct Report: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Put runs and evaluations side by side: a table, and their learning curves as a picture.")

    @Argument(help: "Run folders.") var runs: [String]
    @Option(help: "The metric to plot; reward unless given, or loss if no run has rewards.")
    var metric: String?
    @Option(help: "Write the curves as SVG to this file.") var svg: String?
    @Option(
        help:
            "Write one page to this file: the curves, the timelines of runs that have one, how each run weighed its rewards, and its notes."
    ) var html: String?
    @Option(
        help:
            "An evaluated reward for the real goal: shows the proxy points beyond which more of the others does not raise it."
    ) var gold: String?
    @Option(parsing: .upToNextOption, help: "Results of plumbline eval --output, as name=file.") var evaluations:
        [String] = []

    func run() throws {
        try CommandOutputs.check(
            [("--svg", svg), ("--html", html)], reading: RunReport.files(of: runs, evaluations: evaluations))
        let report = try RunReport(runs: runs, metric: metric, evaluations: evaluations)
        for path in report.leftOut { Terminal.progress("note: \(path) has no metrics.jsonl and is left out") }
        if let svg { try report.writeCurves(to: svg) }
        if let html { try report.writePage(to: html) }
        try Terminal.result(report.table)
        if let gold { try Terminal.result("\n" + report.proxyPoints(gold: gold)) }
    }
}
