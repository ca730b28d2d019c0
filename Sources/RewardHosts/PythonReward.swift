import Foundation
package import JSON
package import Records
package import RewardInterface

/// Whose signature a Python reward has.
package enum PythonRewardStyle: String, Sendable, CaseIterable {
    /// `f(prompts, completions, completion_ids, trainer_state, log_extra, log_metric, **columns)`: a list of floats or
    /// None.
    case trl
    /// `compute_score(data_source, solution_str, ground_truth, extra_info)`: a float, or a dict with `score`. Older
    /// functions name the completion `model_output`, `predict_str` or `completion`, and the reference `test_cases`.
    case verl
    /// `compute_score(data_sources, solution_strs, ground_truths, extra_infos)`: a list of what the one above returns.
    case verlBatch = "verl_batch"
    /// `reward_func(queries, prompts, labels)`: a dict with `rewards`, or a list.
    case openrlhf
    /// `f(prompt, completion, answer, state, task, info)`, or some of these: a float. Prompt and completion are
    /// messages.
    case verifiers

    /// Whether it is called once a completion.
    var isSingle: Bool { self == .verl || self == .verifiers }
}

/// A reward function in Python, as written for TRL, verl, OpenRLHF or verifiers.
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
    private var file: String? {
        target.lastIndex(of: ":").map { String(target[..<$0]) }
    }

    /// Asks the interpreter where it lies.
    fileprivate func installation(reward: String) async throws -> PythonInstallation {
        let (settings, environment) = (self, process.environment(isInSandbox: false))
        let outcome = try await ProgramThread(name: reward).run { stop in
            try ChildProcess(
                reward: reward, arguments: [settings.python, "-B", "-c", PythonInstallation.question],
                environment: environment
            ).outcome(of: [], seconds: settings.process.startSeconds, outputLimit: 1 << 20, stop)
        }
        do {
            return try JSONDecoder().decode(PythonInstallation.self, from: Data(outcome.output.utf8))
        } catch {
            throw RewardError.unusable(
                reward: reward, problem: "'\(settings.python)' does not say where its files are: \(outcome.lastErrors)")
        }
    }

    /// What the function needs to see: the interpreter, its packages, and the function's own package or folder.
    fileprivate func files(_ python: PythonInstallation) -> SandboxFiles {
        var files = SandboxFiles()
        files.showWhole(python.whole)
        for path in python.others { files.show(path) }
        if let file {
            files.showScript(file, from: process.workingFolder)
        } else {
            files.showModule(target, in: process.workingFolder)
        }
        return files
    }
}

/// A Python function as a ``RewardSource``: its own processes, whole groups in, every completion in one of the four
/// states.
///
/// TRL's and OpenRLHF's functions and verl's batch functions get all completions of a prompt in one call, verl's others
/// and verifiers' one completion a call, spread over the workers. A call past its time limit is `.timedOut`: its process
/// group is killed and replaced, and the run goes on.
package final class PythonReward: RewardSource {
    package let names: [String]
    package let readsTokenIDs: Bool
    package var readsRenderedPrompts: Bool { style == .openrlhf }
    /// The style in use.
    package let style: PythonRewardStyle
    /// SHA-256 of the function's file and settings, in hexadecimal.
    package let sourceHash: String
    /// Columns without which a function in TRL's form cannot be called.
    private let requiredColumns: [String]
    private let workers: Slots<HostWorker>
    private let requests: PythonRequests
    private let workerCount: Int

    private init(
        names: [String], readsTokenIDs: Bool, style: PythonRewardStyle, sourceHash: String,
        requiredColumns: [String], workers: Slots<HostWorker>, requests: PythonRequests, workerCount: Int
    ) {
        self.names = names
        self.readsTokenIDs = readsTokenIDs
        self.style = style
        self.sourceHash = sourceHash
        self.requiredColumns = requiredColumns
        self.workers = workers
        self.requests = requests
        self.workerCount = workerCount
    }

    /// Starts the interpreter and loads the function.
    ///
    /// - Parameter note: Is told of environment variables that the function's file reads and that are withheld.
    /// - Throws: ``RewardError/unusable(reward:problem:)`` with Python's own words when the file, the module or the
    ///   function is missing, does not load, or has an unknown signature.
    package static func start(
        _ settings: PythonRewardSettings, note: @Sendable (String) -> Void = { _ in }
    ) async throws -> PythonReward {
        let reward = settings.name ?? settings.target
        try settings.process.check(reward: reward)
        var configuration = JSONLine()
        configuration.value(
            .object([
                "target": .string(settings.target), "settings": .object(sorting: settings.settings),
                "style": settings.style.map { .string($0.rawValue) } ?? .null,
            ]))
        let process = settings.process
        let installation =
            try process.isInSandbox(reward: reward) ? try await settings.installation(reward: reward) : nil
        let command = [
            installation?.executable ?? settings.python, "-B", "-c",
            String(decoding: PackageResources.host_py, as: UTF8.self),
            String(decoding: configuration.bytes, as: UTF8.self),
        ]
        let program = HostWorker.Program(
            reward: reward, arguments: process.confined(command, showing: installation.map(settings.files)),
            environment: process.environment(isInSandbox: installation != nil),
            timeoutSeconds: process.timeoutSeconds, startSeconds: process.startSeconds, greets: true, log: process.log)
        let (workers, greeting) = try await HostWorker.start(program, workers: settings.process.workers)
        guard let greeting, let style = greeting.style.flatMap(PythonRewardStyle.init) else {
            await workers.end()
            throw RewardError.unusable(reward: reward, problem: "its greeting names no known style")
        }
        if let withheld = program.withheld(of: greeting.variables ?? []) { note("reward \(reward): \(withheld)") }
        return PythonReward(
            names: [settings.name ?? greeting.name ?? settings.target],
            readsTokenIDs: greeting.readsTokenIDs ?? false, style: style, sourceHash: greeting.source ?? "",
            requiredColumns: style == .trl ? greeting.columns ?? [] : [], workers: workers,
            requests: PythonRequests(style: style, referenceColumn: settings.referenceColumn),
            workerCount: settings.process.workers)
    }

    package func check(_ prompt: Prompt) throws(RewardError) {
        _ = try requests.call(
            [Completion(text: "")], for: TokenizedPrompt(prompt: prompt, tokenIDs: []), at: TrainingProgress())
        for column in requiredColumns where prompt.columns[column] == nil {
            throw .missingColumn(column, in: prompt)
        }
    }

    package func arguments(for prompt: TokenizedPrompt) throws(RewardError) -> [(name: String, value: JSONValue)]? {
        switch style {
        case .trl: nil
        case .verl, .verlBatch:
            PythonRequests.verlArguments(
                prompt.prompt, try PythonRequests.reference(of: prompt.prompt, column: requests.referenceColumn))
        case .openrlhf:
            PythonRequests.openRLHFArguments(
                prompt, try PythonRequests.labels(of: prompt.prompt, column: requests.referenceColumn))
        case .verifiers:
            PythonRequests.verifiersArguments(
                prompt.prompt, try PythonRequests.labels(of: prompt.prompt, column: requests.referenceColumn))
        }
    }

    package func score(_ group: RolloutGroup, at progress: TrainingProgress) async throws -> GroupScores {
        let completions = group.rollouts.map(\.completion)
        let sampled = try parts(of: completions, for: group.prompt, progress)
        let greedy = try parts(of: group.greedy.map { [$0.completion] } ?? [], for: group.prompt, progress)
        let answers = try await withThrowingTaskGroup(of: (Int, HostAnswer).self) { tasks in
            for (index, part) in (sampled + greedy).enumerated() {
                tasks.addTask { (index, try await self.workers.run(part)) }
            }
            return try await tasks.reduce(into: [Int: HostAnswer]()) { $0[$1.0] = $1.1 }
        }
        // What the function logs of the greedy completion would stand in for what it logs of the sampled ones.
        var whole = HostAnswer([])
        for index in sampled.indices {
            guard let answer = answers[index] else { continue }
            whole.append(answer, at: whole.scores.count, of: completions.count)
        }
        return GroupScores(
            scores: whole.scores.map { [$0] }, greedyScores: answers[sampled.count]?.scores,
            extraColumns: whole.extraColumns, metrics: whole.metrics)
    }

    package func close() async { await workers.end() }

    /// A batch function gets all completions at once; a function of one completion gets them in runs, one a worker.
    private func parts(
        of completions: [Completion], for prompt: TokenizedPrompt, _ progress: TrainingProgress
    ) throws(RewardError) -> [HostCall] {
        guard !completions.isEmpty else { return [] }
        guard style.isSingle else {
            return [try requests.call(completions, for: prompt, at: progress)]
        }
        let size = (completions.count + workerCount - 1) / workerCount
        var calls: [HostCall] = []
        for start in stride(from: 0, to: completions.count, by: size) {
            let run = Array(completions[start..<min(start + size, completions.count)])
            calls.append(try requests.call(run, for: prompt, at: progress))
        }
        return calls
    }
}
