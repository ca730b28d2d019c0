extension RunReport {
    /// The files that a report of these runs and evaluations reads.
    package static func files(of runs: [String], evaluations: [String]) -> [String] {
        let names = ["metrics.jsonl", "notes.jsonl", "timeline.json", "config.yaml"]
        return runs.flatMap { run in names.map { "\(run)/\($0)" } }
            + evaluations.map { String($0.drop { $0 != "=" }.dropFirst()) }
    }
}
