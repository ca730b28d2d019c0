package import Foundation
import JSON
import Records
import RewardInterface
import Runs
import Synchronization

/// Scores by what was judged: SHA-256 of the reward's source, the prompt with its columns, and the completion.
///
/// Bounded: when the younger half is full, the older half is forgotten. With a file, every score kept is also a line of
/// it, and the file is read at the start.
package final class ScoreCache: Sendable {
    /// What is kept of one completion.
    struct Entry: Codable, Sendable, Equatable {
        /// One per name of the source: a number, or null where it abstained.
        let scores: [Double?]
        let notes: [String?]
        /// The completion's values in the source's extra columns.
        let columns: [String: JSONValue]?
    }

    private struct Line: Codable {
        let key: String
        let entry: Entry
    }

    private struct Kept {
        let entry: Entry
        /// Of the file, for one that was read there.
        let line: Int?
    }

    private struct Halves {
        var young: [String: Kept] = [:]
        var old: [String: Kept] = [:]
    }

    private let halves = Mutex(Halves())
    private let source: String
    private let entryLimit: Int
    private let file: JSONLinesWriter?

    /// - Parameters:
    ///   - source: Tells this reward, its code and its settings from others.
    ///   - entryLimit: How many completions both halves hold.
    ///   - file: A file of JSON Lines to keep the scores in, made when missing.
    /// - Throws: ``RunError`` when the file cannot be read or written, or has a line that is none of ours.
    package init(source: String, entryLimit: Int = 1 << 20, file: URL? = nil) throws {
        self.source = source
        self.entryLimit = entryLimit
        self.file = try file.map { try JSONLinesWriter(appendingTo: $0) }
        guard let file else { return }
        let reader = try LineReader(file)
        while let line = try reader.next() {
            let read: Line
            do {
                read = try JSONDecoder().decode(Line.self, from: Data(line.bytes))
            } catch {
                throw Self.refusal("this is no line of a score cache", of: file, line: line.number)
            }
            if let wrong = read.entry.row.first(where: \.isFailure) {
                throw Self.refusal(wrong.note ?? "", of: file, line: line.number)
            }
            remember(Kept(entry: read.entry, line: line.number), for: read.key)
        }
    }

    private static func refusal(_ message: String, of file: URL, line: Int) -> RunError {
        .line(path: file.path, line: line, message: "\(message); remove the file to begin anew")
    }

    /// The key of a completion; of the prompt as the model reads it where that is given.
    func key(of completion: Completion, for tokenized: TokenizedPrompt) -> String {
        let prompt = tokenized.prompt
        var line = JSONLine()
        var members: PythonRequests.Members = [
            ("source", { $0.string(self.source) }), ("prompt", { $0.prompt(prompt.content) }),
            ("data_source", { $0.string(prompt.source) }), ("columns", { $0.value(.object(sorting: prompt.columns)) }),
            ("text", { $0.string(completion.text) }), ("raw", { $0.string(completion.textWithSpecials) }),
            ("ids", { $0.array(completion.tokenIDs) { $0.integer($1) } }),
        ]
        if let rendered = tokenized.rendered { members.append(("rendered", { $0.string(rendered) })) }
        line.object(members)
        var hash = SHA256()
        hash.update(line.bytes)
        return hash.hexDigest()
    }

    /// - Parameter count: How many scores the source gives a completion. The file may be other sources' as well, so
    ///   that this shows only here.
    /// - Throws: ``RunError`` naming the line of the file that has another number of them.
    func entry(for key: String, scores count: Int) throws(RunError) -> Entry? {
        guard let kept = halves.withLock({ $0.young[key] ?? $0.old[key] }) else { return nil }
        let (scores, notes) = (kept.entry.scores.count, kept.entry.notes.count)
        if let file, let line = kept.line, scores != count || notes != count {
            throw Self.refusal(
                "has \(scores) scores and \(notes) notes; the reward gives \(count) of each", of: file.url, line: line)
        }
        return kept.entry
    }

    /// - Throws: ``RunError`` when the file cannot be written.
    func keep(_ entry: Entry, for key: String) throws {
        guard remember(Kept(entry: entry, line: nil), for: key) else { return }
        try file?.append(encoding: Line(key: key, entry: entry))
    }

    /// Whether the entry is new.
    @discardableResult
    private func remember(_ kept: Kept, for key: String) -> Bool {
        halves.withLock { halves in
            guard halves.young[key] == nil, halves.old[key] == nil else { return false }
            if halves.young.count >= entryLimit / 2 { (halves.old, halves.young) = (halves.young, [:]) }
            halves.young[key] = kept
            return true
        }
    }
}

extension ScoreCache.Entry {
    /// - Returns: `nil` for a row in which a reward failed: that is asked again.
    init?(_ row: [RewardScore], columns: [String: JSONValue]) {
        guard !row.contains(where: \.isFailure) else { return nil }
        scores = row.map(\.score)
        notes = row.map(\.note)
        self.columns = columns.isEmpty ? nil : columns
    }

    /// The scores as they were; a number that none can be counts as a failure.
    var row: [RewardScore] {
        zip(scores, notes).map { score, note in
            score.map { .value($0, note: note) } ?? .abstained(reason: note ?? "")
        }
    }
}
