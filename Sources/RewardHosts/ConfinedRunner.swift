import Foundation
import RewardInterface

/// Runs the programs of one reward, each shut in, so many side by side.
final class ConfinedRunner: ProgramRunner {
    private let reward: String
    private let settings: ProgramSettings
    private let places: [String: ProgramPlace]
    private let isInSandbox: Bool
    private let slots: Slots
    private let queue: DispatchQueue

    /// - Throws: ``RewardError/unusable(reward:problem:)`` when a program is not there, or the sandbox is required and is not.
    init(reward: String, settings: ProgramSettings, programs: [String]) throws(RewardError) {
        self.reward = reward
        self.settings = settings
        var places: [String: ProgramPlace] = [:]
        for program in programs { places[program] = try ProgramPlace(program, reward: reward) }
        self.places = places
        isInSandbox = try Sandbox.isUsed(
            settings.sandbox, reward: reward,
            otherwise:
                "this reward runs code that the model wrote. Setting sandbox: off accepts that without one: limits on "
                + "time, memory and processes and an empty environment remain, files and network are open to it")
        slots = Slots(settings.workers)
        queue = DispatchQueue(label: "programs of \(reward)", attributes: .concurrent)
    }

    func run(_ call: ProgramCall) async throws(RewardError) -> ProgramOutcome {
        try await onThread { () throws(RewardError) in try self.outcome(of: call) }
    }

    func run(_ judge: ProgramCall, beside subject: [String]) async throws(RewardError) -> ProgramOutcome {
        try await onThread { () throws(RewardError) in try self.outcome(of: judge, beside: subject) }
    }

    /// A program ends with the thread that started it, so one thread starts it and waits for it.
    private func onThread(
        _ work: @escaping @Sendable () throws(RewardError) -> ProgramOutcome
    ) async throws(RewardError) -> ProgramOutcome {
        await slots.take()
        let result: Result<ProgramOutcome, RewardError> = await withCheckedContinuation { continuation in
            queue.async {
                // A program that is gone must not end us when we write to it.
                var signals = sigset_t()
                sigemptyset(&signals)
                sigaddset(&signals, SIGPIPE)
                pthread_sigmask(SIG_BLOCK, &signals, nil)
                continuation.resume(returning: Result { () throws(RewardError) in try work() })
            }
        }
        slots.giveBack()
        return try result.get()
    }

    private func start(_ arguments: [String], _ descriptors: [Int32]) throws(RewardError) -> SpawnedProcess {
        guard let program = arguments.first, let place = places[program] else {
            throw .unusable(reward: reward, problem: "'\(arguments.first ?? "")' is none of its programs")
        }
        return try SpawnedProcess(
            reward: reward,
            arguments: settings.confined(
                [place.path] + arguments.dropFirst(), folders: place.folders, isInSandbox: isInSandbox),
            environment: ProgramSettings.environment, descriptors: descriptors, endsWhole: isInSandbox)
    }

    private func outcome(of call: ProgramCall) throws(RewardError) -> ProgramOutcome {
        let exchange = try SpawnedProcess.alone { () throws(RewardError) in
            let pipes = try SpawnedProcess.pipes(3, reward: reward)
            let theirs = [pipes[0].read, pipes[1].write, pipes[2].write]
            defer { theirs.forEach { _ = Glibc.close($0) } }
            return ProgramExchange(
                try start(call.arguments, theirs, closing: [pipes[0].write, pipes[1].read, pipes[2].read]),
                input: call.input, streams: (pipes[0].write, pipes[1].read, pipes[2].read))
        }
        return exchange.outcome(seconds: settings.timeoutSeconds, outputLimit: settings.outputBytes)
    }

    private func outcome(of judge: ProgramCall, beside subject: [String]) throws(RewardError) -> ProgramOutcome {
        let (exchange, beside) = try SpawnedProcess.alone { () throws(RewardError) in
            // Three of the judge's own, one each way between the two.
            let pipes = try SpawnedProcess.pipes(5, reward: reward)
            let nothing = open("/dev/null", O_RDWR | O_CLOEXEC)
            let ours = [pipes[0].write, pipes[1].read, pipes[2].read]
            let judges = [pipes[0].read, pipes[1].write, pipes[2].write, pipes[4].read, pipes[3].write]
            let subjects = [pipes[3].read, pipes[4].write, nothing]
            defer { (judges + subjects).forEach { _ = Glibc.close($0) } }
            let beside = try start(subject, subjects, closing: ours)
            let process = try start(judge.arguments, judges, closing: ours)
            return (
                ProgramExchange(process, input: judge.input, streams: (ours[0], ours[1], ours[2])), beside
            )
        }
        defer { beside.end() }
        return exchange.outcome(seconds: settings.timeoutSeconds, outputLimit: settings.outputBytes)
    }

    /// Starts a program, or closes what is then of no use.
    private func start(
        _ arguments: [String], _ descriptors: [Int32], closing ours: [Int32]
    ) throws(RewardError) -> SpawnedProcess {
        do {
            return try start(arguments, descriptors)
        } catch {
            ours.forEach { _ = Glibc.close($0) }
            throw error
        }
    }
}
