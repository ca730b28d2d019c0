internal import Foundation
internal import Records
internal import Runs

/// Where a start of a run begins.
struct ResumePoint {
    let checkpoint: CheckpointFolder?
    let notices: [String]

    /// - Throws: ``JobError`` when the folder holds an earlier run that nobody asked to resume or replace, also where the
    ///   named checkpoint is another run's, or when that is none.
    init(_ settings: RunSettings, _ folder: RunFolder) throws {
        guard let asked = settings.resumes else {
            let isTaken = try folder.holdsEarlierRun()
            guard !isTaken || settings.overwrites else {
                throw JobError(
                    place: folder.url.relativePath,
                    message: "output_dir holds an earlier run; resume_from_checkpoint=true goes on with it, "
                        + "overwrite_output_dir=true starts anew, or name another folder")
            }
            checkpoint = nil
            notices = []
            return
        }
        if asked == "true" {
            let search = try CheckpointFolder.latest(in: folder.url)
            checkpoint = search.newest
            let none =
                search.newest == nil
                ? ["no checkpoint in \(folder.url.relativePath) yet: the run starts from the beginning"] : []
            notices = search.passedOver.map { "passed over: \($0)" } + none
        } else {
            guard let named = CheckpointFolder(URL(filePath: asked)) else {
                throw JobError(
                    place: "resume_from_checkpoint",
                    message: "'\(asked)' is no checkpoint folder; expected …/checkpoint-<step> or true")
            }
            guard FileManager.default.fileExists(atPath: named.url.path) else {
                throw JobError(
                    place: "resume_from_checkpoint",
                    message: "there is no folder '\(asked)'; true goes on from output_dir's newest checkpoint")
            }
            // A start that ended before its first save has left a record alone, which begins anew.
            let isTaken = try !folder.holds(named) && folder.holdsWeights()
            guard !isTaken || settings.overwrites else {
                throw JobError(
                    place: folder.url.relativePath,
                    message: "output_dir holds an earlier run, and '\(asked)' is another one's checkpoint; "
                        + "resume_from_checkpoint=true goes on with the run here, overwrite_output_dir=true replaces it, "
                        + "or name another folder")
            }
            try named.verify()
            checkpoint = named
            notices = []
        }
    }

    /// Sees to it that the best checkpoint so far is in the run's folder: a run that goes on in another one takes a copy
    /// along, and one of the checkpoint that it begins with. A checkpoint of the same step there, another run's, makes room.
    ///
    /// - Returns: What a person should read where it is not to be had; the best is then chosen anew.
    func bringBest(of progress: ProgressState, into folder: RunFolder) async throws -> String? {
        guard let checkpoint, let best = progress.best else { return nil }
        let name = CheckpointFolder.name(step: best.step)
        let beside = CheckpointFolder(checkpoint.url.deletingLastPathComponent().appending(path: name))
        if let beside, try beside.problems(folder.holds(beside) ? .sizes : .digests).isEmpty {
            if !folder.holds(beside) {
                // First what is resumed: it stays the newest here until the run saves.
                if beside.step != checkpoint.step, !folder.holds(checkpoint) { try await folder.adopt(checkpoint) }
                try await folder.adopt(beside)
            }
            return nil
        }
        progress.forgetBest()
        return "note: \(name), the best so far, is missing beside the resumed checkpoint, or incomplete: the best "
            + "is chosen anew from here on"
    }

    /// What a start under another method than the last one of the checkpoint's run says of it.
    static func notices(resuming checkpoint: CheckpointFolder, _ job: ResolvedJob) -> [String] {
        let (run, key) = (checkpoint.url.deletingLastPathComponent(), "algorithm: ")
        // A checkpoint that lies alone says nothing of its job.
        guard let resolved = try? String(contentsOf: run.appending(path: "config.yaml"), encoding: .utf8),
            let line = resolved.split(separator: "\n").first(where: { $0.hasPrefix(key) }),
            let algorithm = job["algorithm"], line.dropFirst(key.count) != algorithm
        else { return [] }
        return [
            "note: the checkpoint's run has \(line), this start \(key)\(algorithm); its steps, its optimizer's state and "
                + "its place in the prompts go on (model_name_or_path: \(checkpoint.url.relativePath) starts anew from "
                + "its weights)"
        ]
    }
}
