internal import Foundation
internal import JSON
internal import PolicyUpdater
internal import Runs

/// The rows that are written and how far they go; held exclusively while the value lives.
final class PairMakingLog {
    /// One line of the progress file.
    private struct Progress: Codable {
        /// Digest of everything that decides the rows.
        var settings: String
        var prompts: Int
        var bytes: Int
        var counts: [String: PairMaking.Counts]

        /// What no start can have written: going on from there would leave prompts out, begin before the first one, or
        /// overflow.
        func problem(of total: Int) -> String? {
            var numbers = [("prompts", prompts), ("bytes", bytes)]
            for (form, own) in counts { numbers += own.all.map { ("a count of \(form)", $0) } }
            if let (name, number) = numbers.first(where: { !OptimizerCounters.plausible.contains($0.1) }) {
                return "\(name) is \(number); this is no saved progress"
            }
            return prompts > total ? "prompts is \(prompts), of \(total) in all; this is no saved progress" : nil
        }
    }

    private let output: URL
    private let partial: URL
    private let progress: URL
    private let lockFile: URL
    private let lock: RunLock
    private let settings: String
    private var bytes = 0
    private(set) var prompts = 0
    private(set) var counts: [String: PairMaking.Counts] = [:]

    /// - Parameter total: The prompts there are.
    /// - Throws: ``JobError`` or `RunError` for an output that is there already, that another start is writing, or that
    ///   was begun and cannot be gone on with.
    init(output: URL, settings: String, total: Int) throws {
        self.output = output
        self.settings = settings
        let (folder, name) = (output.deletingLastPathComponent(), output.lastPathComponent)
        partial = folder.appending(path: "\(name).partial")
        progress = folder.appending(path: "\(name).progress.jsonl")
        lockFile = folder.appending(path: ".\(name).lock")
        try FileOperations.system.createFolder(folder)
        lock = try RunLock(lockFile, of: output)
        guard try FolderEntry(output) == nil else {
            throw JobError(place: output.relativePath, message: "the file exists; name another one, or remove it")
        }
        guard let noted = try FolderEntry(progress) else {
            guard try FolderEntry(partial) == nil else {
                throw JobError(
                    place: partial.relativePath,
                    message:
                        "the file exists, and no \(progress.lastPathComponent) says that it was begun here; remove it, "
                        + "or name another output")
            }
            return
        }
        if let last = try Self.last(in: noted, rows: partial) {
            guard last.settings == settings else {
                throw JobError(
                    place: partial.relativePath,
                    message:
                        "the file was begun with another model, other prompts or other settings; remove it and "
                        + "\(progress.lastPathComponent) to start anew"
                )
            }
            try Self.check(last, of: total, noted: progress, rows: partial)
            (prompts, bytes, counts) = (last.prompts, last.bytes, last.counts)
        }
        // Rows behind the last note belong to prompts that come again.
        try PosixFile.appending(partial).truncate(to: bytes)
    }

    deinit {
        // While it is locked, so that the file is not another start's.
        do { try FileOperations.system.remove(lockFile) } catch { /* the next start takes a lock that nobody holds */  }
    }

    /// - Throws: ``JobError`` for a note that no start can have written, or that is about rows which are not there.
    private static func check(_ last: Progress, of total: Int, noted progress: URL, rows partial: URL) throws {
        if let problem = last.problem(of: total) {
            throw JobError(
                place: progress.relativePath,
                message: "\(problem); remove the file and \(partial.lastPathComponent) to start anew")
        }
        guard let rows = try FolderEntry(partial) else {
            throw JobError(
                place: partial.relativePath,
                message:
                    "is missing, and \(progress.lastPathComponent) notes \(last.bytes) bytes of it; remove that file to "
                    + "start anew")
        }
        guard rows.byteCount >= last.bytes else {
            throw JobError(
                place: partial.relativePath,
                message:
                    "has \(rows.byteCount) bytes, and \(progress.lastPathComponent) notes \(last.bytes): rows are lost; "
                    + "remove both files to start anew")
        }
    }

    /// The last note; a last line that was torn counts as none.
    private static func last(in progress: FolderEntry, rows partial: URL) throws -> Progress? {
        let lines = try LineReader(progress.url)
        var last: Progress?
        while let line = try lines.next() {
            do {
                last = try JSONDecoder().decode(Progress.self, from: Data(line.bytes))
            } catch {
                let isTorn = line.byteOffset + line.bytes.count == progress.byteCount
                // Without a note before it, it may be any file.
                guard isTorn, last != nil else {
                    throw RunError.line(
                        path: progress.url.path, line: line.number,
                        message: "this is no saved progress; remove the file and \(partial.lastPathComponent) to start "
                            + "anew")
                }
            }
        }
        return last
    }

    func append(_ rows: [JSONValue], prompts: Int, _ counts: [String: PairMaking.Counts]) throws {
        let lines = rows.flatMap { $0.serializedBytes + [UInt8(ascii: "\n")] }
        // Made before the rows: only beside a progress file are they ours.
        let notes = try JSONLinesWriter(appendingTo: progress)
        let file = try PosixFile.appending(partial)
        try file.write(lines)
        try file.synchronize()
        bytes += lines.count
        try notes.append(encoding: Progress(settings: settings, prompts: prompts, bytes: bytes, counts: counts))
    }

    func finish() throws {
        _ = try PosixFile.appending(partial)  // without prompts nothing has made it
        try FileOperations.system.rename(partial, output)
        try FileOperations.system.remove(progress)
    }
}

extension PairMaking.Counts {
    fileprivate var all: [Int] { [prompts, pairs, completions, truncated, unclosed, marked] + without.values }
}
