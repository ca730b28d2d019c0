package import Foundation
internal import Models
internal import RewardModels
internal import Runs

extension ResolvedJob {
    /// Refuses an `output_dir` that is the folder of a model which the run reads: the trained model would be written over
    /// it, and a run that goes on from a checkpoint would take that for the reference.
    ///
    /// - Parameter base: The job file's folder; reward models are found relative to it.
    func requireOwnOutput(_ model: ModelSource, base: URL) throws(JobError) {
        let output = URL(filePath: run.outputDirectory).resolvedPath
        for (key, folder) in modelFolders(model, base: base) where folder.resolvedPath == output {
            throw JobError(
                place: "output_dir",
                message: "\(run.outputDirectory) is the model that \(key) reads; name another folder")
        }
    }

    /// What the resolved job in a run folder begins with.
    static let resolvedHeading = "# Relative paths count from "

    /// Refuses a job file that stands where the run puts its resolved job, unless it is one that a run has put there.
    package func requireKept(_ jobFile: URL) throws(JobError) {
        let configuration = URL(filePath: run.outputDirectory).appending(path: RunFolder.configurationName)
        guard jobFile.resolvedPath == configuration.resolvedPath else { return }
        let text = (try? PosixFile.contents(of: jobFile, atMost: 1 << 22)) ?? []  // it was read before
        guard !text.starts(with: Self.resolvedHeading.utf8) else { return }
        throw JobError(
            place: "output_dir",
            message: "its \(RunFolder.configurationName) is this job file, which the run would replace; name another "
                + "folder, or give the file another name")
    }

    /// The folders of the models that the run reads, of adapters with that of their base, and the key that names them.
    /// What cannot be found is left out: opening it says why.
    private func modelFolders(_ model: ModelSource, base: URL) -> [(key: String, folder: URL)] {
        var named: [(key: String, folder: URL?)] = [("model_name_or_path", model.folder)]
        if let teacher = plan.reference?.model {
            named.append(("teacher_model_name_or_path", try? HuggingFaceCache.folder(of: teacher)))
        }
        if case .separate(let critic?, _) = plan.critic?.form {
            named.append(("critic_model_name_or_path", try? HuggingFaceCache.folder(of: critic)))
        }
        let entries = (rewards?.entries ?? []) + run.guards.flatMap(\.rewards)
        for reward in entries.compactMap(\.modelReference) {
            named.append(("reward_funcs", try? RewardModelSettings.folder(of: reward, base: base)))
        }
        var folders: [(key: String, folder: URL)] = []
        for (key, folder) in named {
            guard let folder else { continue }
            folders.append((key, folder))
            if let whole = try? ModelFolder.baseFolder(of: folder) { folders.append((key, whole)) }
        }
        return folders
    }
}
