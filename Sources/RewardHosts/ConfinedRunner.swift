import Foundation
import Records
import RewardInterface

/// Runs the programs of one reward, each shut in, so many side by side.
final class ConfinedRunner: ProgramRunner {
    private let reward: String
    private let settings: ProgramSettings
    private let files: [String: ProgramFile]
    private let isInSandbox: Bool
    private let threads: Slots<ProgramThread>

    /// - Throws: ``RewardError/unusable(reward:problem:)`` when a program is not there, or the sandbox is required and
    ///   is not.
    init(reward: String, settings: ProgramSettings, programs: [String]) throws(RewardError) {
        self.reward = reward
        self.settings = settings
        var files: [String: ProgramFile] = [:]
        for program in programs { files[program] = try ProgramFile(program, reward: reward) }
        self.files = files
        isInSandbox = try Sandbox.isUsed(
            settings.sandbox, reward: reward,
            otherwise:
                "this reward runs code that the model wrote. sandbox: off runs it without one: limits on time, memory "
                + "and processes and an empty environment remain, but files and network are open to it")
        threads = Slots((0..<settings.workers).map { _ in ProgramThread(name: "programs of \(reward)") })
    }

    func run(_ call: ProgramCall) async throws -> ProgramOutcome {
        try await threads.lend { thread in
            try await thread.run { stop in try self.started(call.arguments).outcome(of: call.input, self.settings, stop)
            }
        }
    }

    func run(_ judge: ProgramCall, beside subject: [String]) async throws -> ProgramOutcome {
        try await threads.lend { thread in
            try await thread.run { stop in try self.outcome(of: judge, beside: subject, stop) }
        }
    }

    private func outcome(
        of judge: ProgramCall, beside subject: [String], _ stop: StopSignal
    ) throws -> ProgramOutcome {
        // One pipe each way between the two.
        let pipes = try SpawnedProcess.pipes(2, reward: reward)
        let (beside, process): (SpawnedProcess, ChildProcess)
        do {
            let nothing = open("/dev/null", O_RDWR | O_CLOEXEC)
            defer { (pipes.flatMap { [$0.read, $0.write] } + [nothing]).forEach { _ = Glibc.close($0) } }
            beside = try SpawnedProcess(
                reward: reward, arguments: try confined(subject), environment: ProgramSettings.environment,
                descriptors: [pipes[0].read, pipes[1].write, nothing], endsWhole: isInSandbox)
            process = try started(judge.arguments, [pipes[1].read, pipes[0].write])
        }
        defer { beside.end() }
        return try process.outcome(of: judge.input, settings, stop)
    }

    /// Starts a program that has `descriptors` from 3 on.
    private func started(_ arguments: [String], _ descriptors: [Int32] = []) throws -> ChildProcess {
        try ChildProcess(
            reward: reward, arguments: try confined(arguments), environment: ProgramSettings.environment,
            descriptors: descriptors, endsWhole: isInSandbox)
    }

    private func confined(_ arguments: [String]) throws(RewardError) -> [String] {
        guard let program = arguments.first, let file = files[program] else {
            throw .unusable(reward: reward, problem: "'\(arguments.first ?? "")' is none of its programs")
        }
        return settings.confined(
            [file.path] + arguments.dropFirst(), folders: file.folders, isInSandbox: isInSandbox)
    }
}

extension ChildProcess {
    fileprivate func outcome(
        of input: [UInt8], _ settings: ProgramSettings, _ stop: StopSignal
    ) throws(CancellationError) -> ProgramOutcome {
        try outcome(of: input, seconds: settings.timeoutSeconds, outputLimit: settings.outputBytes, stop)
    }
}
