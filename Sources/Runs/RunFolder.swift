package import Foundation
package import JSON
import Synchronization

/// The folder of a run (`output_dir`), held exclusively while the value lives.
///
///     config.yaml                          the resolved job
///     metrics.jsonl                        one row a logged step
///     notes.jsonl                          what moved and why, what looks wrong, where there is something to say
///     completions/completions_00010.jsonl  what was sampled in step 10, with scores
///     checkpoint-10/                       see ``CheckpointFolder``
///     config.json, model.safetensors ...   the final model, with its manifest
package final class RunFolder: Sendable {
    package let url: URL
    /// What an earlier process, killed while saving, had left and this one tidied; worth a notice each.
    package let tidiedLeftovers: [String]
    let operations: FileOperations
    private let lock: RunLock
    /// Folders that were missing and made, the outermost first.
    private let madeFolders: [URL]
    private let madeLock: Bool
    /// Opened at the first row.
    private let metrics = Mutex<JSONLinesWriter?>(nil)
    private let notes = Mutex<JSONLinesWriter?>(nil)

    /// Makes the folder when it is missing, locks it, and tidies what a killed save left.
    ///
    /// - Throws: ``RunError/locked(path:process:)`` when another run holds it, ``RunError/system(action:path:code:)``
    ///   when it cannot be made or written.
    package init(_ url: URL, operations: FileOperations = .system) throws(RunError) {
        self.url = url
        self.operations = operations
        madeFolders = try Self.missingFolders(to: url)
        madeLock = try FolderEntry(url.appending(path: RunLock.fileName)) == nil
        try operations.createFolder(url)
        lock = try RunLock(url.appending(path: RunLock.fileName), of: url)
        tidiedLeftovers = try AtomicFolder.removeLeftovers(in: url, operations)
    }

    /// Takes back what making this value left on the disk, for a start that failed before it wrote anything: its lock
    /// file and the folders it made, as far as they are empty.
    package func withdraw() {
        do {
            if madeLock { try operations.remove(url.appending(path: RunLock.fileName)) }
            for made in madeFolders.reversed() where try FolderEntry.list(made).isEmpty { try operations.remove(made) }
        } catch { /* what stays is an empty folder or a lock that nobody holds: the next start takes both */  }
    }

    private static func missingFolders(to url: URL) throws(RunError) -> [URL] {
        var missing: [URL] = []
        var folder = url.standardizedFileURL
        while folder.pathComponents.count > 1, try FolderEntry(folder) == nil {
            missing.insert(folder, at: 0)
            folder.deleteLastPathComponent()
        }
        return missing
    }

    package static let configurationName = "config.yaml"
    private static let metricsName = "metrics.jsonl"
    private static let notesName = "notes.jsonl"
    /// What a run writes at the top of its folder while it goes on.
    package static let ownFiles = [configurationName, metricsName, notesName]

    package var configurationFile: URL { url.appending(path: Self.configurationName) }
    package var metricsFile: URL { url.appending(path: Self.metricsName) }
    var notesFile: URL { url.appending(path: Self.notesName) }
    var completionsFolder: URL { url.appending(path: "completions") }

    /// Where the completions of `step` are: five digits at least, so that names sort.
    package func completionsFile(step: Int) -> URL {
        let digits = String(step)
        let padded = String(repeating: "0", count: max(0, 5 - digits.count)) + digits
        return completionsFolder.appending(path: "completions_\(padded).jsonl")
    }

    /// Whether the folder has a checkpoint of this optimizer step.
    package func holdsCheckpoint(of step: Int) -> Bool {
        FileManager.default.fileExists(atPath: url.appending(path: CheckpointFolder.name(step: step)).path)
    }

    /// Whether a checkpoint is one of this folder's, whatever links lead to either.
    package func holds(_ checkpoint: CheckpointFolder) -> Bool {
        let own = url.standardizedFileURL.resolvingSymlinksInPath()
        return checkpoint.url.standardizedFileURL.resolvingSymlinksInPath().path
            == own.appending(path: checkpoint.url.lastPathComponent).path
    }

    /// Whether a run has written here before: it has rows of metrics or checkpoints.
    package func holdsEarlierRun() throws(RunError) -> Bool {
        if let metrics = try FolderEntry(metricsFile), metrics.byteCount > 0 { return true }
        return try !CheckpointFolder.all(in: url).isEmpty
    }

    /// Whether a run that began in this folder has saved anything: a checkpoint, or its final model.
    package func holdsWeights() throws(RunError) -> Bool {
        if try FolderEntry(url.appending(path: CheckpointManifest.fileName)) != nil { return true }
        return try !CheckpointFolder.all(in: url).isEmpty
    }

    /// Writes the resolved job, replacing that of an earlier start.
    package func writeConfiguration(_ yaml: String) throws(RunError) {
        try operations.replaceFile(configurationFile, with: Array(yaml.utf8))
    }

    /// Adds a row to `metrics.jsonl`: `step`, `time` (seconds since 1970), then `values` in their order.
    ///
    /// The row is in the file when this returns. A value that is not finite is written as null.
    package func appendMetrics(
        step: Int, time: Date = Date(), _ values: [(name: String, value: Double)]
    ) throws(RunError) {
        let milliseconds = (time.timeIntervalSince1970 * 1000).rounded()
        var members = [JSONValue.Member("step", .number(step)), JSONValue.Member("time", .number(milliseconds / 1000))]
        members += values.map { JSONValue.Member($0.name, .number($0.value)) }
        try metrics.withLock { writer throws(RunError) in
            if writer == nil { writer = try JSONLinesWriter(appendingTo: metricsFile) }
            try writer?.append(.object(members))
        }
    }

    /// Adds a row to `notes.jsonl`: `step` and `note`, a line for a person on what moved and why, or what looks wrong.
    ///
    /// - Parameter warning: The name of what looks wrong, which the row then has as `warning`; `nil` for another note.
    package func appendNote(step: Int, _ text: String, warning: String? = nil) throws(RunError) {
        var members = [JSONValue.Member("step", .number(step)), JSONValue.Member("note", .string(text))]
        if let warning { members.append(JSONValue.Member("warning", .string(warning))) }
        try notes.withLock { writer throws(RunError) in
            if writer == nil { writer = try JSONLinesWriter(appendingTo: notesFile) }
            try writer?.append(.object(members))
        }
    }

    /// The names of the warnings that `notes.jsonl` has.
    package func notedWarnings() throws(RunError) -> Set<String> {
        guard try FolderEntry(notesFile) != nil else { return [] }
        let lines = try LineReader(notesFile)
        var names: Set<String> = []
        while let line = try lines.next() {
            guard let row = try? JSONValue(parsing: line.bytes), let name = row["warning"]?.string else { continue }
            names.insert(name)
        }
        return names
    }

    /// Writes the completions of a step, one row each, whole or not at all; rows of an earlier try are replaced.
    package func writeCompletions(step: Int, _ rows: [JSONValue]) throws(RunError) {
        try operations.createFolder(completionsFolder)
        var bytes: [UInt8] = []
        for row in rows { bytes += row.serializedBytes + [0x0a] }
        try operations.replaceFile(completionsFile(step: step), with: bytes)
    }

    // MARK: - Rewinding

    /// What ``rewind(to:from:)`` took away.
    package struct Rewound: Sendable, Equatable {
        /// Rows of `metrics.jsonl` dropped: those beyond the step, and a torn last line.
        package var metricsRows = 0
        /// Files of completions removed, by step.
        package var completionSteps: [Int] = []
        /// New names of the checkpoints that were set aside.
        package var supersededCheckpoints: [String] = []
    }

    /// Takes the folder back to the end of `step`, so that a resumed run writes no step twice.
    ///
    /// 0 keeps what was measured before the first step; -1 is the very beginning, for a run that begins anew.
    ///
    /// Rows of metrics and files of completions beyond `step` are removed. Checkpoints beyond it belong to a run that
    /// did not happen; they are renamed `checkpoint-<step>.superseded`, where ``CheckpointFolder/latest(in:check:)``
    /// does not look, and stay until the run that takes their place has saved a checkpoint of its own
    /// (``removeSuperseded()``).
    /// - Parameter origin: The checkpoint that the run goes on from. Where that is in another folder, this one's
    ///   checkpoint of the same step is another run's, and set aside as well.
    @discardableResult
    package func rewind(to step: Int, from origin: CheckpointFolder? = nil) throws(RunError) -> Rewound {
        let lastOwn = origin.map(holds) == false ? step - 1 : step
        var rewound = Rewound()
        rewound.metricsRows = try metrics.withLock { writer throws(RunError) in
            writer = nil  // the file it holds is about to be replaced
            return try dropRows(of: metricsFile, beyond: step)
        }
        try notes.withLock { writer throws(RunError) in
            writer = nil
            _ = try dropRows(of: notesFile, beyond: step)
        }
        if try FolderEntry(completionsFolder) != nil {
            for entry in try FolderEntry.list(completionsFolder) {
                guard let itsStep = completionStep(entry.url), itsStep > step else { continue }
                try operations.remove(entry.url)
                rewound.completionSteps.append(itsStep)
            }
        }
        for checkpoint in try CheckpointFolder.all(in: url).reversed() where checkpoint.step > lastOwn {
            let aside = url.appending(path: checkpoint.url.lastPathComponent + Self.supersededEnding)
            try operations.remove(aside)
            try operations.rename(checkpoint.url, aside)
            rewound.supersededCheckpoints.append(aside.lastPathComponent)
        }
        return rewound
    }

    private static let supersededEnding = ".superseded"

    /// Removes the checkpoints that ``rewind(to:from:)`` set aside.
    package func removeSuperseded() throws(RunError) {
        for entry in try FolderEntry.list(url) where entry.url.lastPathComponent.hasSuffix(Self.supersededEnding) {
            guard entry.kind == .folder, CheckpointFolder(entry.url.deletingPathExtension()) != nil else { continue }
            try AtomicFolder.remove(entry.url, operations)
        }
    }

    private func completionStep(_ file: URL) -> Int? {
        let name = file.lastPathComponent
        guard name.hasPrefix("completions_"), name.hasSuffix(".jsonl") else { return nil }
        return Int(name.dropFirst("completions_".count).dropLast(".jsonl".count))
    }

    private func dropRows(of file: URL, beyond step: Int) throws(RunError) -> Int {
        guard try FolderEntry(file) != nil else { return 0 }
        let lines = try LineReader(file)
        var kept: [UInt8] = []
        var dropped = 0
        while let line = try lines.next() {
            if keeps(line, upTo: step) { kept += line.bytes + [0x0a] } else { dropped += 1 }
        }
        if dropped > 0 { try operations.replaceFile(file, with: kept) }
        return dropped
    }

    /// A row is kept when it can be read and its step is not beyond `step`; a row without a step is kept.
    private func keeps(_ line: LineReader.Line, upTo step: Int) -> Bool {
        do {
            let row = try JSONValue(parsing: line.bytes)
            return row["step"]?.double.map { $0 <= Double(step) } ?? true
        } catch {
            return false  // the torn last line of a killed process; it is counted as dropped
        }
    }
}
