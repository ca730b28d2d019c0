import ArgumentParser
import Coordinator
import Foundation
import Job
import Records

struct Train: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run an alignment job.",
        usage: "plumbline train <job> [<key>=<value> ...] [--dry-run]",
        discussion: """
            The job is a YAML file with TRL's names. key=value after the file overrides it; the last one wins:

                plumbline train job.yaml learning_rate=2e-6 max_steps=100

            TRL's --config job.yaml --learning_rate 2e-6 --max_steps 100 is the same.
            """)

    @Argument(
        parsing: .allUnrecognized,
        help: ArgumentHelp("The job file, and overrides: key=value, --key value or --key=value.", valueName: "job"))
    var words: [String]
    @Flag(help: "Print the resolved job, its batch arithmetic, and what it takes of memory and disk; run nothing.")
    var dryRun = false

    func validate() throws {
        guard JobWords(words, takesJob: true).job != nil else {
            throw ValidationError("Missing expected argument '<job>'")
        }
    }

    func run() async throws {
        let given = JobWords(words, takesJob: true)
        guard let job = given.job else { return }  // checked in validate
        let overrides = given.overrides
        let file = try JobFile(url: URL(filePath: job), overrides: overrides)
        let resolved = try ResolvedJob(file)
        let meeting = try RankMeeting(ProcessInfo.processInfo.environment)
        let (rank, ranks) = (meeting?.rank ?? 0, meeting?.size ?? 1)
        if rank == 0 { for notice in resolved.notices { Terminal.progress("note: \(notice)") } }
        let progress = ProgressLine()
        try resolved.require(ranks: ranks)
        try resolved.requireKept(URL(filePath: job))
        guard !dryRun else {
            guard rank == 0 else { return }
            try meeting?.require(generationRanks: resolved.staleness.generationRanks)
            let plan = try JobPlan(resolved, folder: file.folder, ranks: ranks, progress: progress.note)
            return try Terminal.result(resolved.yaml + plan.comments)
        }
        if let meeting {
            return try await OneOfSeveral(meeting, job: job, overrides: overrides, resolved).run(file, progress)
        }
        let stop = Interruption.shared.stop
        let run: TrainingRun
        do {
            run = try await TrainingRun(
                resolved, folder: file.folder, stop: stop, progress: progress.note,
                note: { Terminal.progress("note: \($0)") })
        } catch {
            throw stop.isRequested ? StopRequested() : error  // what is cut off while it starts breaks for that reason
        }
        progress.end()
        try await Self.finish(run, resolved)
    }

    /// Trains to the end and says how it ended.
    static func finish(_ run: TrainingRun, _ resolved: ResolvedJob) async throws {
        Interruption.shared.hold()
        for line in run.opening { Terminal.progress(line) }
        let display = LiveDisplay(settings: resolved.run, maxSteps: run.maxSteps, step: run.firstStep)
        let outcome: RunOutcome
        do {
            outcome = try await run.run(display: display)
        } catch {
            let newest = run.newestCheckpoint.map { "the newest checkpoint is \($0)" } ?? "there is no checkpoint"
            Terminal.progress("note: the run ends early; \(newest)")
            throw error
        }
        let table = await display.finish()
        if !table.isEmpty { Terminal.progress(table) }
        switch outcome {
        case .finished, .ended:
            if case .ended(let progress, let reason) = outcome {
                Terminal.progress("ended at step \(progress.step) of \(run.maxSteps): \(reason)")
            }
            if let weighing = try RunReport.weighing(of: run.outputFolder) { Terminal.progress(weighing) }
            Terminal.progress("final model: \(run.outputFolder.relativePath)")
            if let best = run.bestCheckpoint {
                Terminal.progress("best: \(best.path), \(best.metric) \(String(format: "%.4g", best.value))")
            } else if let metric = resolved.run.bestMetric {
                Terminal.progress("best: none, no checkpoint has a value of \(metric); the final model is the newest")
            }
            try await run.checkScores()
        case .stopped(let progress):
            throw StoppedRun(kept: "checkpoint-\(progress.step) is saved, resume with resume_from_checkpoint=true")
        }
    }
}
