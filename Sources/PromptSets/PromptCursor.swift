package import Foundation
import JSON
package import Records
import Runs

/// A position in the order in which prompts are handed out.
package struct PromptPosition: Sendable, Equatable {
    /// Epochs ended, from 0.
    package var epoch: Int
    /// Rows of the running epoch handed out.
    package var taken: Int

    package init(epoch: Int = 0, taken: Int = 0) {
        self.epoch = epoch
        self.taken = taken
    }
}

/// Hands out the rows of a prompt set, step by step, epoch by epoch.
///
/// Each epoch goes through the rows in an order of its own, which depends on seed and epoch only. As TRL's sampler
/// does, an epoch ends when fewer rows are left than a step asks for: the rest is left out of that epoch, never mixed
/// with the next one, so that no prompt comes twice in a step. The order of another epoch brings other rows to the end.
package actor PromptCursor: Checkpointable {
    package nonisolated let stateName: String
    package nonisolated let rows: any PromptRows
    private nonisolated let seed: UInt64
    private nonisolated let shuffles: Bool
    /// Where the next row comes from.
    package private(set) var position = PromptPosition()
    private var marked = PromptPosition()

    /// - Parameters:
    ///   - shuffles: `false` hands rows out in the order of the file, in every epoch.
    ///   - stateName: Its own in a run of several cursors.
    package init(
        _ rows: any PromptRows, seed: UInt64, shuffles: Bool = true, stateName: String = "prompt_cursor"
    ) {
        self.stateName = stateName
        self.rows = rows
        self.seed = seed
        self.shuffles = shuffles
    }

    /// Epochs handed out so far, with the fraction of the running one.
    package var epoch: Double { Double(position.epoch) + Double(position.taken) / Double(rows.count) }

    /// The next `count` prompts; each row at most once.
    ///
    /// - Throws: ``PromptSetError/use(set:message:)`` when the set has fewer rows, and what a bad row throws; the
    ///   position then stays.
    package func next(_ count: Int) throws -> [Prompt] {
        let (chosen, after) = try choose(count)
        let prompts = try chosen.map { try rows.prompt(at: $0) }
        position = after
        return prompts
    }

    /// The next `count` demonstrations; as ``next(_:)``.
    package func nextDemonstrations(_ count: Int) throws -> [Demonstration] {
        let (chosen, after) = try choose(count)
        let demonstrations = try chosen.map { try rows.demonstration(at: $0) }
        position = after
        return demonstrations
    }

    /// The indices of the next `count` rows; as ``next(_:)``.
    package func nextIndices(_ count: Int) throws -> [Int] {
        let (chosen, after) = try choose(count)
        position = after
        return chosen
    }

    /// Remembers the present position, for ``rewind()``.
    package func mark() { marked = position }

    /// Goes back to the last mark: an abandoned step hands out the same prompts again.
    package func rewind() { position = marked }

    /// Goes to a position that ``position`` gave.
    package func move(to position: PromptPosition) {
        self.position = position
        marked = position
    }

    private func choose(_ count: Int) throws(PromptSetError) -> ([Int], PromptPosition) {
        guard count >= 1, count <= rows.count else {
            throw .use(
                set: rows.name,
                message: "a step asks for \(count) prompts, the set has \(rows.count); lower the prompts per step "
                    + "(per_device_train_batch_size × gradient_accumulation_steps / num_generations)")
        }
        var start = position
        if rows.count - start.taken < count { start = PromptPosition(epoch: start.epoch + 1) }
        let order = KeyedPermutation(count: rows.count, seed: seed, stream: .epoch, index: UInt64(start.epoch))
        let chosen = (start.taken..<start.taken + count).map { shuffles ? order[$0] : $0 }
        return (chosen, PromptPosition(epoch: start.epoch, taken: start.taken + count))
    }

    // MARK: - Checkpointable

    private static let fileName = "position.json"

    package func save(to folder: URL) throws {
        let json = JSONValue.object([
            "epoch": .number(position.epoch), "taken": .number(position.taken), "seed": .string(String(seed)),
            "shuffles": .bool(shuffles), "rows": .string(rows.identity),
        ])
        try FileOperations.system.writeFile(Array(json.indented.utf8), folder.appending(path: Self.fileName))
    }

    /// - Throws: ``PromptSetError/file(path:message:)`` when the position was saved for other rows, another seed or
    ///   another order: going on from it would hand out prompts twice.
    package func restore(from folder: URL) throws {
        let url = folder.appending(path: Self.fileName)
        let file = try PosixFile.regular(url)
        let json: JSONValue
        do {
            json = try JSONValue(parsing: file.bytes(at: 0, count: file.byteCount()))
        } catch let error as JSONError {
            throw RunError.json(path: url.path, error)
        }
        try require(json["rows"]?.string, rows.identity, "prompt set", url)
        try require(json["seed"]?.string, String(seed), "seed", url)
        try require(json["shuffles"]?.serialized, String(shuffles), "shuffles", url)
        guard let epoch = json["epoch"]?.int, epoch >= 0, let taken = json["taken"]?.int,
            (0...rows.count).contains(taken)
        else { throw PromptSetError.file(path: url.path, message: "no position in \(rows.count) rows") }
        move(to: PromptPosition(epoch: epoch, taken: taken))
    }

    private func require(_ saved: String?, _ present: String, _ what: String, _ url: URL) throws(PromptSetError) {
        guard saved != present else { return }
        throw .file(
            path: url.path,
            message: "saved for \(what) \(saved ?? "unknown"), the job now has \(present); resume with the same one, "
                + "or start anew")
    }
}
