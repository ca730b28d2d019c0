package import Foundation

extension RunFolder {
    /// Saves `checkpoint-<step>`: the files of `contents` (the model folder, `trainer_state.json`) and every owner's
    /// state.
    ///
    /// - Parameter planHash: Of the plan that the run carries out.
    /// - Throws: what an owner or `contents` throws, or ``RunError``; earlier checkpoints are then untouched.
    package func saveCheckpoint(
        step: Int, planHash: String? = nil, states: [any Checkpointable],
        contents: (URL) async throws -> Void = { _ in }
    ) async throws -> CheckpointFolder {
        try Self.checkNames(states)
        return try await CheckpointFolder.write(step: step, planHash: planHash, in: url, operations: operations) {
            folder in
            try await contents(folder)
            for state in states {
                let own = folder.appending(path: "plumbline_state").appending(path: state.stateName)
                try operations.createFolder(own)
                try await state.save(to: own)
            }
        }
    }

    /// Copies a checkpoint of another folder into this one, whole or not at all; one of the same step is replaced.
    ///
    /// - Parameter checkpoint: A whole one.
    /// - Throws: ``RunError``, or what keeps a file from being copied.
    package func adopt(_ checkpoint: CheckpointFolder) async throws {
        guard let manifest = try CheckpointManifest(readingFrom: checkpoint.url) else {
            throw RunError.folder(path: checkpoint.url.path, message: "no manifest.json: not a whole checkpoint")
        }
        _ = try await CheckpointFolder.write(
            step: checkpoint.step, planHash: manifest.planHash, in: url, operations: operations
        ) { folder in
            for file in manifest.files {
                let destination = folder.appending(path: file.path)
                try operations.createFolder(destination.deletingLastPathComponent())
                try FileManager.default.copyItem(at: checkpoint.url.appending(path: file.path), to: destination)
            }
        }
    }

    /// Gives every owner its state back.
    ///
    /// - Throws: ``RunError/folder(path:message:)`` when the checkpoint is incomplete or has no state of that name,
    ///   before any owner is asked; then what an owner throws.
    package func restore(_ states: [any Checkpointable], from checkpoint: CheckpointFolder) async throws {
        try Self.checkNames(states)
        try checkpoint.verify()
        for state in states where try FolderEntry(checkpoint.stateFolder(state.stateName))?.kind != .folder {
            throw RunError.folder(
                path: checkpoint.url.path,
                message: "no saved state \"\(state.stateName)\"; it was saved by a job with other parts")
        }
        for state in states { try await state.restore(from: checkpoint.stateFolder(state.stateName)) }
    }

    private static func checkNames(_ states: [any Checkpointable]) throws(RunError) {
        var names: Set<String> = []
        for state in states {
            let name = state.stateName
            let isPlain =
                !name.isEmpty
                && name.utf8.allSatisfy { byte in
                    switch byte {
                    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
                        UInt8(ascii: "_"),
                        UInt8(ascii: "-"):
                        true
                    default: false
                    }
                }
            guard isPlain else {
                throw .folder(path: "plumbline_state/\(name)", message: "a state's name is of a-z, 0-9, _ and -")
            }
            guard names.insert(name).inserted else {
                throw .folder(path: "plumbline_state/\(name)", message: "two owners of state have this name")
            }
        }
    }

    /// Removes the oldest complete checkpoints until `limit` are left (`save_total_limit`).
    ///
    /// The newest complete one and `best` are never removed, so that more than `limit` may stay; neither are incomplete
    /// ones, which do not count.
    /// - Parameter best: The step of the best checkpoint, when one is tracked.
    /// - Returns: The steps removed, oldest first.
    @discardableResult
    package func prune(keeping limit: Int, best: Int? = nil) throws(RunError) -> [Int] {
        var complete: [CheckpointFolder] = []  // newest first
        for checkpoint in try CheckpointFolder.all(in: url) where try checkpoint.problems(.sizes).isEmpty {
            complete.append(checkpoint)
        }
        var removed: [Int] = []
        for checkpoint in complete.dropFirst().reversed() where checkpoint.step != best {
            guard complete.count - removed.count > max(1, limit) else { break }
            try AtomicFolder.remove(checkpoint.url, operations)
            removed.append(checkpoint.step)
        }
        return removed
    }

    /// Puts the final model's files at the top of the folder.
    ///
    /// They are written beside first. Then files of an earlier final model that the new one lacks go, and its manifest,
    /// each file takes its place by a rename, and the new manifest comes last: a folder with a manifest and all the files
    /// that it names is complete.
    package func placeFinalModel(
        step: Int, planHash: String? = nil, contents: (URL) async throws -> Void
    ) async throws {
        let partial = AtomicFolder.sibling(of: url.appending(path: "final-model"), "partial")
        do {
            try operations.remove(partial)
            try operations.createFolder(partial)
            try await contents(partial)
            let manifest = try CheckpointManifest.sealing(partial, step: step, planHash: planHash, operations)
            try moveToTop(manifest, from: partial)
            try operations.remove(partial)
        } catch {
            do { try operations.remove(partial) } catch { /* removed at the next start; the first failure counts */  }
            throw error
        }
    }

    /// Removes the final model that an earlier run has placed: the files that its manifest names, and no others.
    package func removeFinalModel() throws(RunError) {
        guard let files = try finalModelFiles() else { return }
        try remove(files)
        try operations.remove(url.appending(path: CheckpointManifest.fileName))
    }

    /// What the manifest at the top names; `nil` where there is none of ours.
    private func finalModelFiles() throws(RunError) -> [String]? {
        do {
            return try CheckpointManifest(readingFrom: url)?.files.map(\.path)
        } catch {
            if case .system = error { throw error }
            return nil  // a manifest that is none names no files of ours
        }
    }

    /// Removes files of a final model. Their manifest goes after them, for it alone names them: a process that is killed in
    /// between leaves the rest to the next one.
    private func remove(_ files: [String]) throws(RunError) {
        for path in files {
            let file = url.appending(path: path)
            guard try FolderEntry(file)?.kind != .folder else { continue }
            try operations.remove(file)
        }
    }

    private func moveToTop(_ manifest: CheckpointManifest, from partial: URL) throws(RunError) {
        let manifestFile = url.appending(path: CheckpointManifest.fileName)
        let paths = Set(manifest.files.map(\.path))
        try remove((finalModelFiles() ?? []).filter { !paths.contains($0) })
        try operations.remove(manifestFile)
        for file in manifest.files {
            let destination = url.appending(path: file.path)
            try operations.createFolder(destination.deletingLastPathComponent())
            try operations.rename(partial.appending(path: file.path), destination)
        }
        try operations.synchronize(url)
        try operations.replaceFile(manifestFile, with: Array(manifest.json.indented.utf8))
    }
}
