internal import Foundation
internal import Job

/// Trains one policy by every method for a short time and keeps what came of it, a row a run.
///
/// Each run is a process of its own: `train` with the same job and another `algorithm`, then `eval` on held-out prompts. Rows
/// are appended to a file of JSON lines; a run that is there already is not made again, so a table may come from several
/// sittings.
package struct LearningTable: Sendable {
    /// What every run shares.
    package struct Setting: Sendable {
        package var model: String
        package var job: String
        package var prompts: String
        package var reward: String
        /// Completions an optimizer step learns from, and how many of them share a prompt where the method compares.
        package var steps: Int
        /// The accuracy whose price in completions and seconds is noted.
        package var target: Double
        package var overrides: [String]

        package init(
            model: String, job: String, prompts: String, reward: String, steps: Int, target: Double, overrides: [String]
        ) {
            self.model = model
            self.job = job
            self.prompts = prompts
            self.reward = reward
            self.steps = steps
            self.target = target
            self.overrides = overrides
        }
    }

    /// One method and seed.
    package struct Row: Codable, Equatable, Sendable {
        package var commit: String
        package var date: String
        package var prompts: String
        package var method: String
        package var seed: Int
        package var steps: Int
        package var trainSeconds: Double
        package var before: Double
        package var after: Double
        package var low: Double
        package var high: Double
        /// Sampled completions, and seconds, until a tenth of the run averages the target; absent when it never did.
        package var completionsToTarget: Double?
        package var secondsToTarget: Double?
        /// Nats a token at the end.
        package var entropy: Double?

        package init(
            commit: String, date: String, prompts: String, method: String, seed: Int, steps: Int, trainSeconds: Double,
            before: Double, after: Double, low: Double, high: Double, completionsToTarget: Double?,
            secondsToTarget: Double?, entropy: Double?
        ) {
            self.commit = commit
            self.date = date
            self.prompts = prompts
            self.method = method
            self.seed = seed
            self.steps = steps
            self.trainSeconds = trainSeconds
            self.before = before
            self.after = after
            self.low = low
            self.high = high
            self.completionsToTarget = completionsToTarget
            self.secondsToTarget = secondsToTarget
            self.entropy = entropy
        }
    }

    private let setting: Setting
    private let output: URL

    package init(_ setting: Setting, output: String) {
        self.setting = setting
        self.output = URL(filePath: output)
    }

    /// As `algorithm:` names them; `sft` learns from the set's right answers, the others from the reward.
    package static let methods = [
        "grpo", "dr_grpo", "dapo", "gspo", "cispo", "rloo", "reinforce", "reinforce_pp", "remax", "ppo", "best_of_k",
        "sft",
    ]

    /// Makes the runs that are missing.
    ///
    /// - Parameter note: Hears what runs next.
    /// - Returns: A table whose first row is the heading.
    /// - Throws: What a run that fails says.
    package func run(methods: [String], seeds: [Int], note: (String) -> Void) throws -> [[String]] {
        var rows = try read()
        var before: Double?
        for method in methods {
            for seed in seeds {
                guard !rows.contains(where: { isSame($0, method, seed) }) else { continue }
                note("\(method), seed \(seed)")
                let start = try before ?? evaluate(setting.model, seed: 1).mean
                before = start
                let row = try train(method, seed, before: start)
                rows.append(row)
                try append(row)
            }
        }
        return Self.table(rows.filter { $0.prompts == setting.prompts && $0.steps == setting.steps })
    }

    private func isSame(_ row: Row, _ method: String, _ seed: Int) -> Bool {
        row.method == method && row.seed == seed && row.prompts == setting.prompts && row.steps == setting.steps
    }

    private func train(_ method: String, _ seed: Int, before: Double) throws -> Row {
        let folder = FileManager.default.temporaryDirectory.appending(path: "plumbline-learning-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: folder) }  // a leftover in /tmp spoils no row
        let clock = ContinuousClock()
        let start = clock.now
        _ = try own(
            ["train", setting.job] + setting.overrides + [
                "algorithm=\(method)", "seed=\(seed)", "max_steps=\(setting.steps)",
                "model_name_or_path=\(setting.model)", "output_dir=\(folder.path)",
                "save_steps=\(setting.steps)", "log_completions=false",
            ] + Self.shape(of: method))
        let seconds = (clock.now - start) / .seconds(1)
        let score = try evaluate(folder.path, seed: 1)
        let job = try ResolvedJob(JobFile(url: folder.appending(path: "config.yaml")))
        let curve = try LearningCurve(
            folder.appending(path: "metrics.jsonl"), completionsPerStep: job.batches.completionsPerRolloutStep)
        let reached = curve.reaching(setting.target, window: max(1, setting.steps / 10))
        return Row(
            commit: Self.commit, date: Date().formatted(.iso8601.year().month().day()), prompts: setting.prompts,
            method: method, seed: seed, steps: setting.steps, trainSeconds: seconds, before: before, after: score.mean,
            low: score.low, high: score.high, completionsToTarget: reached?.completions,
            secondsToTarget: reached?.seconds, entropy: curve.lastEntropy)
    }

    /// Methods that need no group see as many prompts as the others see completions.
    private static func shape(of method: String) -> [String] {
        ["reinforce", "reinforce_pp", "remax", "ppo"].contains(method) ? ["num_generations=1"] : []
    }

    private func evaluate(_ model: String, seed: Int) throws -> (mean: Double, low: Double, high: Double) {
        let text = try own([
            "eval", "--model", model, "--prompts", setting.prompts, "--rewards", setting.reward, "--seed", "\(seed)",
            "--max-completion-length", "24", "--json",
        ])
        let last = text.split(separator: "\n").last.map { Data($0.utf8) } ?? Data()
        guard let object = try JSONSerialization.jsonObject(with: last) as? [String: Any],
            let found = Self.firstScore(in: object)
        else { throw JobError(place: "plumbline eval", message: "its last line has no mean with an interval") }
        return found
    }

    /// The first object with a mean and an interval, at any depth.
    private static func firstScore(in value: Any) -> (mean: Double, low: Double, high: Double)? {
        if let object = value as? [String: Any] {
            if let mean = object["mean"] as? Double, let interval = object["interval"] as? [Double], interval.count == 2
            {
                return (mean, interval[0], interval[1])
            }
            return object.sorted { $0.key < $1.key }.lazy.compactMap { firstScore(in: $0.value) }.first
        }
        return (value as? [Any])?.lazy.compactMap { firstScore(in: $0) }.first
    }

    private func own(_ arguments: [String]) throws -> String {
        try ProcessOutput.of(URL(filePath: "/proc/self/exe").resolvingSymlinksInPath(), arguments, quiet: true)
    }

    // MARK: The file and the table

    private func read() throws -> [Row] {
        guard FileManager.default.fileExists(atPath: output.path) else { return [] }
        return try String(contentsOf: output, encoding: .utf8).split(separator: "\n").map {
            try JSONDecoder().decode(Row.self, from: Data($0.utf8))
        }
    }

    private func append(_ row: Row) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        if !FileManager.default.fileExists(atPath: output.path) { try Data().write(to: output) }
        let handle = try FileHandle(forWritingTo: output)
        defer { try? handle.close() }  // what was written is flushed below
        try handle.seekToEnd()
        try handle.write(contentsOf: try encoder.encode(row) + Data("\n".utf8))
        try handle.synchronize()
    }

    /// Rows of one method become one line: the mean over seeds and the range.
    package static func table(_ rows: [Row]) -> [[String]] {
        var lines = [
            [
                "method", "seeds", "before", "after", "range", "entropy", "seconds", "completions to target",
                "seconds to target",
            ]
        ]
        var seen: [String] = []
        for row in rows where !seen.contains(row.method) { seen.append(row.method) }
        func mean(_ values: [Double]) -> Double { values.reduce(0, +) / Double(max(values.count, 1)) }
        func text(_ value: Double) -> String { BenchmarkReport.rounded(value) }
        for method in seen {
            let own = rows.filter { $0.method == method }
            let after = own.map(\.after)
            let reached = own.compactMap(\.completionsToTarget)
            lines.append([
                method, "\(own.count)", text(mean(own.map(\.before))), text(mean(after)),
                "\(text(after.min() ?? 0))–\(text(after.max() ?? 0))", text(mean(own.compactMap(\.entropy))),
                text(mean(own.map(\.trainSeconds))),
                reached.count == own.count ? text(mean(reached)) : "reached by \(reached.count) of \(own.count)",
                reached.count == own.count ? text(mean(own.compactMap(\.secondsToTarget))) : "–",
            ])
        }
        return lines
    }

    private static var commit: String {
        let found = try? ProcessOutput.of(
            URL(filePath: "/usr/bin/env"), ["git", "rev-parse", "--short", "HEAD"], quiet: true)
        return found?.trimmingCharacters(in: .whitespacesAndNewlines) ?? "unknown"
    }
}
