internal import Foundation
internal import Job
internal import Records

/// Trains one policy by every method for a short time and keeps what came of it, a row a run.
///
/// Each run is a process of its own: `train` with the same job and another `algorithm`, then `eval` on held-out
/// prompts, compared with the start prompt by prompt. `soft_grpo` and its start are evaluated with the job's soft
/// thinking, the others token by token. Rows are appended to a file of JSON lines; a run that is there already is not
/// made again, so a table may come from several sittings.
package struct LearningTable: Sendable {
    /// What every run shares.
    package struct Setting: Codable, Equatable, Sendable {
        package var model: String
        package var job: String
        package var prompts: String
        package var reward: String
        /// Optimizer steps of a run.
        package var steps: Int
        /// Completions of each held-out prompt.
        package var samples: Int
        /// The accuracy whose price in completions and seconds is noted.
        package var target: Double
        package var overrides: [String]

        package init(
            model: String, job: String, prompts: String, reward: String, steps: Int, samples: Int, target: Double,
            overrides: [String]
        ) {
            self.model = model
            self.job = job
            self.prompts = prompts
            self.reward = reward
            self.steps = steps
            self.samples = samples
            self.target = target
            self.overrides = overrides
        }
    }

    private let setting: Setting
    private let output: URL
    /// Runs and evaluations of this sitting.
    private let workspace = FileManager.default.temporaryDirectory.appending(
        path: "plumbline-learning-\(UUID().uuidString)")

    package init(_ setting: Setting, output: String) {
        self.setting = setting
        self.output = URL(filePath: output)
    }

    /// As `algorithm:` names them; `sft` learns from the set's right answers, the others from the reward.
    package static let methods = [
        "grpo", "dr_grpo", "dapo", "gspo", "cispo", "rloo", "reinforce", "reinforce_pp", "remax", "ppo", "best_of_k",
        "soft_grpo", "sft",
    ]

    /// Makes the runs that are missing.
    ///
    /// - Parameter note: Hears what runs next.
    /// - Returns: A table whose first row is the heading.
    /// - Throws: What a run that fails says.
    package func run(methods: [String], seeds: [Int], note: (String) -> Void) throws -> [[String]] {
        var rows = try read()
        try FileManager.default.createDirectory(at: workspace, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: workspace) }  // a leftover in /tmp spoils no row
        for method in methods {
            for seed in seeds where !rows.contains(where: { isSame($0, method, seed) }) {
                note("\(method), seed \(seed)")
                let row = try train(method, seed)
                rows.append(row)
                try append(row)
            }
        }
        return LearningRow.table(rows.filter { $0.setting == setting })
    }

    private func isSame(_ row: LearningRow, _ method: String, _ seed: Int) -> Bool {
        row.setting == setting && row.method == method && row.seed == seed
    }

    private func train(_ method: String, _ seed: Int) throws -> LearningRow {
        let folder = workspace.appending(path: "run")
        try? FileManager.default.removeItem(at: folder)  // the run before, if any
        let clock = ContinuousClock()
        let start = clock.now
        _ = try own(
            ["train", setting.job] + setting.overrides + [
                "algorithm=\(method)", "seed=\(seed)", "max_steps=\(setting.steps)",
                "model_name_or_path=\(setting.model.yaml)", "output_dir=\(folder.path.yaml)",
                "save_steps=\(setting.steps)", "log_completions=false",
            ] + Self.shape(of: method))
        let seconds = (clock.now - start) / .seconds(1)
        let job = try ResolvedJob(JobFile(url: folder.appending(path: "config.yaml")))
        let scores = try evaluate(folder.path, sampledAs: job)
        let greedy = job.method == "remax" ? job.batches.promptsPerStep : 0
        let curve = try LearningCurve(
            folder.appending(path: "metrics.jsonl"),
            completionsPerStep: job.batches.completionsPerRolloutStep + greedy)
        return LearningRow(
            commit: SourceCommit.short ?? "unknown", date: Date().formatted(.iso8601.year().month().day()),
            setting: setting,
            method: method, seed: seed, klCoefficient: job["beta"].flatMap(Double.init),
            reduction: job.plan.parts[0].objective.aggregation.rawValue, trainSeconds: seconds, scores: scores,
            target: curve.reaching(setting.target, window: max(1, setting.steps / 10)),
            entropy: curve.lastEntropy)
    }

    /// Methods that need no group see as many prompts as the others see completions.
    private static func shape(of method: String) -> [String] {
        ["reinforce", "reinforce_pp", "remax", "ppo"].contains(method) ? ["num_generations=1"] : []
    }

    /// The policy beside the start, which is evaluated once for each way of sampling.
    private func evaluate(_ model: String, sampledAs job: ResolvedJob) throws -> LearningScores {
        let flags = ["--max-completion-length", "\(job.sampling.maxCompletionLength)"] + Self.softThinking(of: job)
        let start = workspace.appending(path: flags.contains("--soft-thinking") ? "soft.json" : "tokens.json")
        if !FileManager.default.fileExists(atPath: start.path) {
            _ = try evaluation(of: setting.model, flags + ["--output", start.path])
        }
        return try LearningScores(
            evaluation: try evaluation(of: model, flags + ["--compare", start.path]),
            ofStart: try Data(contentsOf: start))
    }

    private func evaluation(of model: String, _ flags: [String]) throws -> Data {
        let text = try own(
            [
                "eval", "--model", model, "--prompts", setting.prompts, "--rewards", setting.reward, "--seed", "1",
                "--samples", "\(setting.samples)", "--json",
            ] + flags)
        return text.split(separator: "\n").last.map { Data($0.utf8) } ?? Data()
    }

    /// The flags of `eval` that think as the job's training does.
    private static func softThinking(of job: ResolvedJob) -> [String] {
        guard job.plan.softThinking != nil else { return [] }
        let flags = [
            "noise": "--soft-thinking", "think_end": "--think-end", "top_k": "--soft-top-k", "top_p": "--soft-top-p",
            "min_p": "--soft-min-p", "gumbel_temperature": "--gumbel-temperature", "noise_factor": "--noise-factor",
            "dirichlet_alpha": "--dirichlet-alpha", "gaussian_sigma": "--gaussian-sigma",
            "cold_stop_entropy": "--cold-stop-entropy", "cold_stop_steps": "--cold-stop-steps",
        ]
        let temperature = job.plan.softThinking?.temperature ?? job.sampling.distribution.temperature
        return ["--soft-temperature", "\(temperature)"]
            + flags.sorted { $0.key < $1.key }.flatMap { key, flag in
                [flag, key == "think_end" ? job.plan.softThinking?.thinkEnd ?? "" : job["soft_thinking.\(key)"] ?? ""]
            }
    }

    private func own(_ arguments: [String]) throws -> String {
        try ProcessOutput.of(ChildProcess.own, arguments, quiet: true)
    }

    // MARK: The file

    private func read() throws -> [LearningRow] {
        guard FileManager.default.fileExists(atPath: output.path) else { return [] }
        return try String(contentsOf: output, encoding: .utf8).split(separator: "\n").enumerated().map { line, text in
            do {
                return try JSONDecoder().decode(LearningRow.self, from: Data(text.utf8))
            } catch {
                throw JobError(
                    place: "\(output.relativePath):\(line + 1)",
                    message: "no row of this version of bench learning; name another --output")
            }
        }
    }

    private func append(_ row: LearningRow) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        if !FileManager.default.fileExists(atPath: output.path) { try Data().write(to: output) }
        let handle = try FileHandle(forWritingTo: output)
        defer { try? handle.close() }  // what was written is flushed below
        try handle.seekToEnd()
        try handle.write(contentsOf: try encoder.encode(row) + Data("\n".utf8))
        try handle.synchronize()
    }
}
