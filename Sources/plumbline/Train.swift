import ArgumentParser
import Foundation
import Job
import Records

struct Train: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run an alignment job.",
        discussion: """
            The job is a YAML file with TRL's names. key=value after the file overrides it, last one wins:

                plumbline train job.yaml learning_rate=2e-6 max_steps=100
            """)

    @Argument(help: "The job file.") var job: String
    @Argument(help: "Overrides, key=value.") var overrides: [String] = []
    @Flag(help: "Print the resolved job, its batch arithmetic and its memory estimate; run nothing.") var dryRun = false

    func run() async throws {
        let file = try JobFile(url: URL(filePath: job), overrides: overrides)
        let resolved = try ResolvedJob(file)
        for notice in resolved.notices { Terminal.progress("note: \(notice)") }
        guard !dryRun else {
            Terminal.result(resolved.yaml + (try JobPlan(resolved, folder: file.folder).comments))
            return
        }
        let stop = StopSignal()
        let signals = StopOnSignal(stop)
        let run = try await TrainingRun(resolved, folder: file.folder, stop: stop)
        for line in run.opening { Terminal.progress(line) }
        let display = LiveDisplay(settings: resolved.run, maxSteps: run.maxSteps, step: run.firstStep)
        let outcome = try await run.run(display: display)
        signals.end()
        let table = await display.finish()
        if !table.isEmpty { Terminal.progress(table) }
        switch outcome {
        case .finished:
            Terminal.progress("final model: \(run.outputFolder.relativePath)")
            if let best = run.bestCheckpoint {
                Terminal.progress("best: \(best.path), \(best.metric) \(String(format: "%.4g", best.value))")
            }
        case .stopped(let progress): throw StoppedRun(checkpoint: "checkpoint-\(progress.step)")
        }
    }
}

/// Turns SIGTERM, SIGINT and SIGUSR1 into a request to stop; a second SIGINT ends the process at once.
final class StopOnSignal {
    private let sources: [any DispatchSourceSignal]

    init(_ stop: StopSignal) {
        sources = [SIGTERM, SIGINT, SIGUSR1].map { number in
            signal(number, SIG_IGN)
            var set = sigset_t()  // a parent may have left the signal blocked
            sigemptyset(&set)
            sigaddset(&set, number)
            pthread_sigmask(SIG_UNBLOCK, &set, nil)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler {
                if stop.isRequested, number == SIGINT { Foundation.exit(130) }
                stop.request()
                Terminal.progress("\nstopping: the step is left or finished, then a checkpoint is written")
            }
            source.resume()
            return source
        }
    }

    /// Stops listening.
    func end() { for source in sources { source.cancel() } }
}
