import Foundation
package import Records
package import RewardInterface

/// A reward that is any program speaking JSON Lines.
package struct CommandRewardSettings: Sendable {
    package var name: String
    /// The program and its arguments.
    package var command: [String]
    package var process = ProcessSettings()

    package init(name: String, command: [String]) {
        self.name = name
        self.command = command
    }

    /// A line for the shell, as a job file gives it.
    package init(name: String, shellLine: String) {
        self.init(name: name, command: ["/bin/sh", "-c", shellLine])
    }

    /// What the command line names: scripts with what lies beside them, folders, and programs outside the system's
    /// folders.
    var files: SandboxFiles {
        var files = SandboxFiles()
        for word in command.flatMap({ SourceIdentity.words(of: $0) }) {
            let path = (word as NSString).expandingTildeInPath
            let file = path.hasPrefix("/") ? path : "\(process.workingFolder)/\(path)"
            if SandboxFiles.isFolder(file) {
                files.show(file)
            } else if FileManager.default.fileExists(atPath: file) {
                files.showScript(file, from: "/")
            } else if !word.contains("/"), let program = try? ProgramFile(word, reward: name) {  // else no program
                files.showWhole(program.folders)
            }
        }
        return files
    }
}

/// A program as a ``RewardSource``: one line in per group, one line out.
///
///     in   {"id":7,"op":"score","prompts":[…],"completions":[…],"completion_ids":[…],"columns":{…},
///          "trainer_state":{…}}
///     out  {"id":7,"scores":[1,0.5,null]}
///
/// Texts for a text prompt, lists of messages for a chat. A score of null is "not scored"; `states`, `errors`, `extra`
/// and `metrics` may stand beside `scores`. The time limit holds for each line; a program that breaks it, ends, or
/// writes anything else is killed with all it started and begun anew.
package final class CommandReward: RewardSource {
    package let names: [String]
    private let workers: Slots<HostWorker>
    private let requests = PythonRequests(style: .trl, referenceColumn: nil)

    private init(name: String, workers: Slots<HostWorker>) {
        names = [name]
        self.workers = workers
    }

    /// Starts the program.
    ///
    /// - Throws: ``RewardError/unusable(reward:problem:)`` when there is no such program.
    package static func start(_ settings: CommandRewardSettings) async throws -> CommandReward {
        try settings.process.check(reward: settings.name)
        guard let first = settings.command.first, first.contains("/") || ProcessSettings.program(first) != nil else {
            let problem = "there is no program '\(settings.command.first ?? "")' in PATH"
            throw RewardError.unusable(reward: settings.name, problem: problem)
        }
        let process = settings.process
        let isInSandbox = try process.isInSandbox(reward: settings.name)
        let program = HostWorker.Program(
            reward: settings.name,
            arguments: process.confined(settings.command, showing: isInSandbox ? settings.files : nil),
            environment: process.environment(isInSandbox: isInSandbox),
            timeoutSeconds: process.timeoutSeconds, startSeconds: process.startSeconds, greets: false, log: process.log)
        let (workers, _) = try await HostWorker.start(program, workers: settings.process.workers)
        return CommandReward(name: settings.name, workers: workers)
    }

    package func score(_ group: RolloutGroup, at progress: TrainingProgress) async throws -> GroupScores {
        let prompt = group.prompt
        let answer = try await answer(requests.call(group.rollouts.map(\.completion), for: prompt, at: progress))
        var greedy: [RewardScore]?
        if let rollout = group.greedy {
            greedy = try await self.answer(requests.call([rollout.completion], for: prompt, at: progress)).scores
        }
        return GroupScores(
            scores: answer.scores.map { [$0] }, greedyScores: greedy, extraColumns: answer.extraColumns,
            metrics: answer.metrics)
    }

    package func close() async { await workers.end() }

    private func answer(_ call: HostCall) async throws -> HostAnswer {
        guard call.count > 0 else { return HostAnswer([]) }
        return try await workers.run(call)
    }
}
