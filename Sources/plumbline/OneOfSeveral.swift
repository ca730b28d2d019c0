import Coordinator
import Foundation
import Job
import Records

/// A run of several processes, in one of them. The first shows and writes what a run leaves; of the others only
/// errors and notes on rewards are heard.
struct OneOfSeveral {
    private let meeting: RankMeeting
    private let job: String
    private let overrides: [String]
    private let resolved: ResolvedJob

    init(_ meeting: RankMeeting, job: String, overrides: [String], _ resolved: ResolvedJob) {
        self.meeting = meeting
        self.job = job
        self.overrides = overrides
        self.resolved = resolved
    }

    /// - Parameter file: The job, for the first rank.
    func run(_ file: JobFile, _ progress: ProgressLine) async throws {
        Interruption.shared.onlyAsks()
        Interruption.shared.ends(saying: RankMessages.areRead ? nil : "\(Self.stoppedEarly)")
        let stop = StopSignal()
        guard meeting.rank == 0 else { return try await follow(stop) }
        let run = try await beginning {
            let team = try await team()
            let run = try await TrainingRun(
                resolved, folder: file.folder, stop: stop, team: team, progress: progress.note,
                note: { Terminal.progress("note: \($0)") })
            _ = try await team.ranks.exchange(run.checkpoint)
            try await run.requireOneModel()
            return run
        }
        progress.end()
        try await Train.finish(run, resolved)
    }

    private func team() async throws -> RankTeam {
        try await meeting.team(
            asked: Interruption.shared.stop, timeout: .seconds(resolved.run.rankTimeout),
            generationRanks: resolved.staleness.generationRanks,
            tensorParallel: resolved.tensorParallelism.size,
            decoding: resolved.tensorParallelism.generationSize, planHash: resolved.placement?.planHash,
            settings: resolved.shared)
    }

    /// Trains beside the first rank, from where that one begins.
    private func follow(_ stop: StopSignal) async throws {
        let scratch = FileManager.default.temporaryDirectory.appending(path: "plumbline-rank-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: scratch) }  // what stays is in the system's temporary folder
        let run = try await beginning {
            let team = try await team()
            let checkpoint: String? = try await team.ranks.exchange(nil)[0]
            let own = try JobFile(
                url: URL(filePath: job),
                overrides: overrides + RankMeeting.overrides(scratch: scratch.path)
                    + ["resume_from_checkpoint=\(checkpoint?.yaml ?? "false")"] + moments)
            let rank = meeting.rank
            let run = try await TrainingRun(
                try ResolvedJob(own), folder: own.folder, stop: stop, team: team,
                note: { Terminal.progress("note: rank \(rank): \($0)") })
            try await run.requireOneModel()
            return run
        }
        Interruption.shared.hold()
        if case .stopped(let progress) = try await run.run(display: NoDisplay()) {
            throw StoppedRun(kept: "rank \(meeting.rank) leaves at step \(progress.step) with the others")
        }
        try await run.checkScores()
    }

    /// Where this rank's optimizer has its file: beside the first rank's, which has made its folder by now, and where this
    /// machine has no such folder in the scratch one.
    private var moments: [String] {
        guard let folder = resolved.optimizerOffload.folder, FileManager.default.fileExists(atPath: folder.path) else {
            return []
        }
        return ["offload_optimizer_path=\(folder.path.yaml)"]
    }

    private static let stoppedEarly = StoppedRun(kept: "the processes had not all begun, and nothing is saved")

    /// What breaks while a stop is asked for breaks for that reason: another rank that has left is not met any more.
    private func beginning<R>(_ body: () async throws -> R) async throws -> R {
        do { return try await body() } catch { throw Interruption.shared.stop.isRequested ? Self.stoppedEarly : error }
    }
}

/// Shows nothing.
private struct NoDisplay: RunDisplay {
    func began(_ phase: StepPhase, step: Int) {}
    func completed(_ report: StepReport) {}
    func notice(_ text: String) {}
}
