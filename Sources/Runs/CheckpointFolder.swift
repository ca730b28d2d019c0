package import Foundation

/// A folder `checkpoint-<step>` with a manifest: a Hugging Face model folder plus `plumbline_state/`.
package struct CheckpointFolder: Sendable, Equatable {
    package let url: URL
    /// Optimizer steps behind the state, from the folder's name.
    package let step: Int

    /// A folder named `checkpoint-<step>`; `nil` for any other name. Nothing is read.
    package init?(_ url: URL) {
        let name = url.lastPathComponent
        guard name.hasPrefix("checkpoint-"), let step = Int(name.dropFirst("checkpoint-".count)), step >= 0,
            name == CheckpointFolder.name(step: step)
        else { return nil }
        self.url = url
        self.step = step
    }

    package static func name(step: Int) -> String { "checkpoint-\(step)" }

    /// Where the state named `name` has its files.
    package func stateFolder(_ name: String) -> URL { url.appending(path: "plumbline_state").appending(path: name) }

    /// Writes `checkpoint-<step>` in `run`, whole or not at all; an older one of the same step is replaced.
    ///
    /// Every file is flushed to the disk, then the manifest, then the folder takes its name.
    /// - Parameter planHash: Of the plan that the run carries out.
    /// - Throws: what `contents` throws, or ``RunError``; earlier checkpoints are then untouched.
    package static func write(
        step: Int, planHash: String? = nil, in run: URL, operations: FileOperations = .system,
        contents: (URL) async throws -> Void
    ) async throws -> CheckpointFolder {
        let destination = run.appending(path: name(step: step))
        try await AtomicFolder.write(destination, operations) { partial in
            try await contents(partial)
            let manifest = try CheckpointManifest.sealing(partial, step: step, planHash: planHash, operations)
            try operations.writeFile(
                Array(manifest.json.indented.utf8), partial.appending(path: CheckpointManifest.fileName))
        }
        return CheckpointFolder(url: destination, step: step)
    }

    private init(url: URL, step: Int) {
        self.url = url
        self.step = step
    }

    // MARK: - Checking

    /// How far a check goes.
    package enum Check: Sendable {
        /// Every file is there and has its size.
        case sizes
        /// And every byte is what was written.
        case digests
    }

    /// Something a checkpoint lacks.
    package enum Problem: Sendable, Equatable, CustomStringConvertible {
        case noManifest
        case badManifest(String)
        case missing(file: String)
        case wrongSize(file: String, expected: Int, found: Int)
        case altered(file: String)

        package var description: String {
            switch self {
            case .noManifest: "no manifest.json: the save did not end, or the folder is not one of ours"
            case .badManifest(let message): message
            case .missing(let file): "\(file) is missing"
            case .wrongSize(let file, let expected, let found): "\(file) has \(found) bytes, \(expected) were written"
            case .altered(let file): "\(file) is not what was written: its digest differs"
            }
        }
    }

    /// What is wrong with the checkpoint's files; empty when it is complete. Files beside those listed are no problem.
    ///
    /// - Throws: ``RunError/system(action:path:code:)`` when a file cannot be read at all.
    package func problems(_ check: Check = .digests) throws(RunError) -> [Problem] {
        let manifest: CheckpointManifest
        do {
            guard let read = try CheckpointManifest(readingFrom: url) else { return [.noManifest] }
            manifest = read
        } catch {
            if case .system = error { throw error }
            return [.badManifest(error.description)]
        }
        guard manifest.step == step else {
            return [.badManifest("the manifest is that of step \(manifest.step), the folder's name says \(step)")]
        }
        var problems: [Problem] = []
        for file in manifest.files {
            if let problem = try problem(with: file, check) { problems.append(problem) }
        }
        return problems
    }

    private func problem(with file: CheckpointManifest.File, _ check: Check) throws(RunError) -> Problem? {
        let path = url.appending(path: file.path)
        guard let entry = try FolderEntry(path), entry.kind == .file else { return .missing(file: file.path) }
        guard entry.byteCount == file.byteCount else {
            return .wrongSize(file: file.path, expected: file.byteCount, found: entry.byteCount)
        }
        guard check == .digests else { return nil }
        return try SHA256.file(path).hex == file.digest ? nil : .altered(file: file.path)
    }

    /// Throws unless the checkpoint is complete to the byte; the error names every file at fault.
    package func verify() throws(RunError) {
        let problems = try problems()
        guard problems.isEmpty else {
            throw .folder(
                path: url.path, message: "incomplete checkpoint: " + problems.map(\.description).joined(separator: "; ")
            )
        }
    }

    // MARK: - Finding

    /// Every folder of a run named as a checkpoint, newest first, complete or not.
    package static func all(in run: URL) throws(RunError) -> [CheckpointFolder] {
        try FolderEntry.list(run).filter { $0.kind == .folder }.compactMap { CheckpointFolder($0.url) }
            .sorted { $0.step > $1.step }
    }

    /// The newest complete checkpoint of a run folder, with the newer, incomplete ones passed over on the way.
    package static func latest(in run: URL, check: Check = .digests) throws(RunError) -> CheckpointSearch {
        var passedOver: [CheckpointSearch.Incomplete] = []
        for checkpoint in try all(in: run) {
            let problems = try checkpoint.problems(check)
            if problems.isEmpty { return CheckpointSearch(newest: checkpoint, passedOver: passedOver) }
            passedOver.append(.init(checkpoint: checkpoint, problems: problems))
        }
        return CheckpointSearch(newest: nil, passedOver: passedOver)
    }
}

/// What a look for the newest checkpoint found.
package struct CheckpointSearch: Sendable, Equatable {
    /// A checkpoint that is not complete, and why.
    package struct Incomplete: Sendable, Equatable, CustomStringConvertible {
        package let checkpoint: CheckpointFolder
        package let problems: [CheckpointFolder.Problem]

        package var description: String {
            "\(checkpoint.url.lastPathComponent) is incomplete: "
                + problems.map(\.description).joined(separator: "; ")
        }
    }

    package let newest: CheckpointFolder?
    /// Newest first; worth a warning each.
    package let passedOver: [Incomplete]
}
