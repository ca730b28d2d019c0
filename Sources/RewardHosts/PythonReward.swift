import Foundation
package import Records
package import RewardInterface

/// Whose signature a Python reward has.
package enum PythonRewardStyle: String, Sendable, CaseIterable {
    /// `f(prompts, completions, completion_ids, trainer_state, log_extra, log_metric, **columns)`: a list of floats or None.
    case trl
    /// `compute_score(data_source, solution_str, ground_truth, extra_info)`: a float, or a dict with `score`.
    case verl
    /// `reward_func(queries, prompts, labels)`: a dict with `rewards`, or a list.
    case openrlhf
}

/// A reward function in Python, as written for TRL, verl or OpenRLHF.
package struct PythonRewardSettings: Sendable {
    /// `path/file.py:function` or `package.module.function`; the working folder is on the import path.
    package var target: String
    /// The name in metrics; the function's own by default.
    package var name: String?
    /// Read from the names of the parameters by default.
    package var style: PythonRewardStyle?
    /// Handed to every call as keyword arguments, or once to a function that makes the reward (`get_…`).
    package var settings: [String: JSONValue] = [:]
    /// The interpreter.
    package var python = "python3"
    package var process = ProcessSettings()
    /// The column with the reference for verl's `ground_truth` and OpenRLHF's `labels`; the usual ones by default.
    package var referenceColumn: String?

    package init(target: String) { self.target = target }

    /// The file of a target in one.
    var file: String { target.lastIndex(of: ":").map { String(target[..<$0]) } ?? target }
}

/// A Python function as a ``RewardSource``: its own processes, whole groups in, every completion in one of the four states.
///
/// TRL's and OpenRLHF's functions get all completions of a prompt in one call, verl's one completion a call, spread over the
/// workers. A call past its time limit is `.timedOut`: its process group is killed and replaced, and the run goes on.
package final class PythonReward: RewardSource {
    package let names: [String]
    /// The style in use.
    package let style: PythonRewardStyle
    /// SHA-256 of the function's file and settings, in hexadecimal.
    package let sourceHash: String
    /// Columns without which a function in TRL's form cannot be called.
    private let requiredColumns: [String]
    private let pool: WorkerPool
    private let requests: PythonRequests
    private let workers: Int

    private init(
        names: [String], style: PythonRewardStyle, sourceHash: String, requiredColumns: [String], pool: WorkerPool,
        requests: PythonRequests, workers: Int
    ) {
        self.names = names
        self.style = style
        self.sourceHash = sourceHash
        self.requiredColumns = requiredColumns
        self.pool = pool
        self.requests = requests
        self.workers = workers
    }

    /// Starts the interpreter and loads the function.
    ///
    /// - Throws: ``RewardError/unusable(reward:problem:)`` with Python's own words when the file, the module or the function
    ///   is missing, does not load, or has an unknown signature.
    package static func start(_ settings: PythonRewardSettings) async throws -> PythonReward {
        let reward = settings.name ?? settings.target
        try settings.process.check(reward: reward)
        var configuration = JSONLine()
        configuration.value(
            .object([
                "target": .string(settings.target), "settings": .object(settings.settings),
                "style": settings.style.map { .string($0.rawValue) } ?? .null,
            ]))
        let command = [
            settings.python, "-B", "-c", PythonHostProgram.source, String(decoding: configuration.bytes, as: UTF8.self),
        ]
        let program = HostWorker.Program(
            reward: reward,
            arguments: try settings.process.confined(
                command, reward: reward, files: settings.target.contains(".py:") ? [settings.file] : []),
            environment: settings.process.environment(),
            timeoutSeconds: settings.process.timeoutSeconds, startSeconds: settings.process.startSeconds, greets: true,
            log: settings.process.log)
        let (pool, greeting) = try await WorkerPool.start(program, workers: settings.process.workers)
        guard let greeting, let style = greeting.style.flatMap(PythonRewardStyle.init) else {
            await pool.close()
            throw RewardError.unusable(reward: reward, problem: "its greeting names no known style")
        }
        return PythonReward(
            names: [settings.name ?? greeting.name ?? settings.target], style: style,
            sourceHash: greeting.source ?? "", requiredColumns: style == .trl ? greeting.columns ?? [] : [], pool: pool,
            requests: PythonRequests(style: style, referenceColumn: settings.referenceColumn),
            workers: settings.process.workers)
    }

    package func check(_ prompt: Prompt) throws(RewardError) {
        _ = try requests.call([Completion(text: "")], for: prompt, at: TrainingProgress())
        for column in requiredColumns where prompt.columns[column] == nil {
            throw .missingColumn(column, in: prompt)
        }
    }

    package func arguments(for prompt: Prompt) throws(RewardError) -> [(name: String, value: JSONValue)]? {
        switch style {
        case .trl: nil
        case .verl:
            PythonRequests.verlArguments(
                prompt, try PythonRequests.reference(of: prompt, column: requests.referenceColumn))
        case .openrlhf:
            PythonRequests.openRLHFArguments(
                prompt, try PythonRequests.labels(of: prompt, column: requests.referenceColumn))
        }
    }

    package func score(_ group: RolloutGroup, at progress: TrainingProgress) async throws -> GroupScores {
        let completions = group.rollouts.map(\.completion)
        let greedy = group.greedy.map { [$0.completion] } ?? []
        let prompt = group.prompt.prompt
        let parts = try parts(of: completions, for: prompt, progress) + parts(of: greedy, for: prompt, progress)
        let answers = await withTaskGroup(of: (Int, HostAnswer).self) { tasks in
            for (index, part) in parts.enumerated() { tasks.addTask { (index, await self.pool.run(part)) } }
            return await tasks.reduce(into: [Int: HostAnswer]()) { $0[$1.0] = $1.1 }
        }
        var whole = HostAnswer([])
        for index in parts.indices {
            guard let answer = answers[index] else { continue }
            whole.append(answer, at: whole.scores.count, of: completions.count)
        }
        let scores = whole.scores.map { [$0] }
        return GroupScores(
            scores: Array(scores.prefix(completions.count)), greedyScores: group.greedy == nil ? nil : scores.last,
            extraColumns: whole.extraColumns, metrics: whole.metrics)
    }

    package func close() async { await pool.close() }

    /// A batch function gets all completions at once; a function of one completion gets them in runs, one a worker.
    private func parts(
        of completions: [Completion], for prompt: Prompt, _ progress: TrainingProgress
    ) throws(RewardError) -> [HostCall] {
        guard !completions.isEmpty else { return [] }
        guard style == .verl else {
            return [try requests.call(completions, for: prompt, at: progress)]
        }
        let size = (completions.count + workers - 1) / workers
        var calls: [HostCall] = []
        for start in stride(from: 0, to: completions.count, by: size) {
            let run = Array(completions[start..<min(start + size, completions.count)])
            calls.append(try requests.call(run, for: prompt, at: progress))
        }
        return calls
    }
}
