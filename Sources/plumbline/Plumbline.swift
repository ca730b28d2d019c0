import ArgumentParser
import Foundation
import Job
import Methods
import Records

/// The command. Parsing is separate from running: each subcommand turns its options into settings and calls `Job`.
@main
struct Plumbline: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plumbline",
        abstract: "Reinforcement-learning alignment of language models.",
        discussion: "Results go to standard output, progress to standard error.",
        version: PlumblineVersion.text,
        subcommands: [
            Train.self, Eval.self, Generate.self, LogProbs.self, InitModel.self, Convert.self, TokenizerCommand.self,
            Launch.self, RewardCommand.self, DataCommand.self, PairsCommand.self, Report.self, Explain.self, Env.self,
            Bench.self, Profile.self, PlanCommand.self, Simulate.self, Reshard.self,
        ])

    static func main() async {
        do {
            Interruption.shared.listen()
            let work = Task {
                try refuseMethods(CommandLine.arguments.dropFirst())
                let command = try parseAsRoot()
                // A run goes on without anybody reading its standard output: it prints nothing there.
                if !(command is Train) { Interruption.shared.watchOutput() }
                try await run(command)
            }
            Interruption.shared.cancels(work)
            try await work.value
        } catch {
            finish(with: error)
        }
    }

    /// TRL's command has a subcommand for each method; here that is a key of the job.
    private static func refuseMethods(_ words: ArraySlice<String>) throws {
        guard let name = words.first, MethodCatalogue().method(named: name) != nil else { return }
        let rest = words.count > 1 ? words.dropFirst().joined(separator: " ") : "job.yaml"
        throw ValidationError(
            "'\(name)' is a method, not a subcommand; expected: plumbline train --algorithm=\(name) \(rest)")
    }

    private static func run(_ command: any ParsableCommand) async throws {
        var command = command
        if var command = command as? any AsyncParsableCommand {
            try await command.run()
        } else {
            try command.run()
        }
    }

    /// Ends the process with the code that the error's kind has.
    private static func finish(with error: any Error) -> Never {
        if error is StoppedRun || error is StopRequested || error is CancellationError {
            if !RankMessages.areRead { Terminal.progress(error is StoppedRun ? "\(error)" : "stopped on request") }
            Interruption.end(ExitStatus.stopped.rawValue)
        }
        // The parser's own errors (usage, help, a validation) know how to print themselves.
        let code = Self.exitCode(for: error)
        if code == .success || code == .validationFailure || error is ExitCode || error is ValidationError {
            exit(withError: error)
        }
        let message = describe(error)
        if !RankMessages.leave(message, of: error) { Terminal.progress("plumbline: \(message)") }
        Interruption.end(ExitStatus.of(error).rawValue)
    }

    private static func describe(_ error: any Error) -> String {
        (error as? any LocalizedError)?.errorDescription ?? "\(error)"
    }
}

/// The exit codes, as in BSD's sysexits.
enum ExitStatus: Int32 {
    case badInput = 65
    case ourFault = 70
    case stopped = 75

    /// What a run's error is: the user's input, unless it is one of our own broken promises.
    static func of(_ error: any Error) -> ExitStatus { JobFailure.isInput(error) ? .badInput : .ourFault }
}

/// A command that was stopped on request and has kept what was done.
struct StoppedRun: Error, CustomStringConvertible {
    /// What is kept, and what can be done with it.
    var kept: String

    var description: String { "stopped on request; \(kept)" }
}
