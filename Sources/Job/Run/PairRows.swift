internal import Foundation
package import Methods
package import PromptSets
package import Records
internal import Runs

/// The pairs of a set that can be learned from, read and measured once; their tokens are worked out again when they are asked for.
package final class PairRows: PromptRows {
    /// A pair that is kept.
    struct Kept: Sendable {
        /// Its row in the set.
        let row: Int
        let promptCount: Int
        let chosenCount: Int
        let rejectedCount: Int
        /// Completion tokens of the pairs before it.
        let offset: Int

        var completionCount: Int { chosenCount + rejectedCount }
    }

    package let name: String
    private let set: any PromptRows
    private let encoder: PromptEncoder
    private let maxLength: Int
    private let truncation: PairPlan.Truncation
    let kept: [Kept]
    /// Says what the kept pairs' tokens are: SHA-256 over all of them.
    let tokenDigest: String
    /// What was left out or cut, a line each.
    package let lines: [String]

    /// What becomes of a row.
    private enum Outcome {
        case pair(EncodedPair, isCut: Bool)
        case equalSides, noRoom, tooLong
    }

    /// Reads every row once.
    ///
    /// - Parameter maxLength: Most tokens of a prompt with one side.
    /// - Throws: What reading a row throws, and ``JobError`` when no pair is left.
    package init(
        _ set: any PromptRows, encoder: PromptEncoder, maxLength: Int, truncation: PairPlan.Truncation
    ) throws {
        (self.set, self.encoder, self.maxLength, self.truncation) = (set, encoder, maxLength, truncation)
        name = set.name
        var kept: [Kept] = []
        var counts: (equal: Int, noRoom: Int, tooLong: Int, cut: Int) = (0, 0, 0, 0)
        var digest = SHA256()
        for row in 0..<set.count {
            switch try Self.outcome(of: set.preference(at: row), encoder, maxLength, truncation) {
            case .equalSides: counts.equal += 1
            case .noRoom: counts.noRoom += 1
            case .tooLong: counts.tooLong += 1
            case .pair(let pair, let isCut):
                counts.cut += isCut ? 1 : 0
                kept.append(
                    Kept(
                        row: row, promptCount: pair.prompt.count, chosenCount: pair.chosen.count,
                        rejectedCount: pair.rejected.count,
                        offset: kept.last.map { $0.offset + $0.completionCount } ?? 0))
                for ids in [pair.prompt, pair.chosen, pair.rejected] { digest.update(ids) }
            }
        }
        self.kept = kept
        tokenDigest = digest.hexDigest()
        let left = [
            (counts.equal, "whose sides are the same"),
            (counts.noRoom, "whose prompt fills max_length, \(maxLength) tokens"),
            (counts.tooLong, "longer than max_length, \(maxLength) tokens"),
        ].filter { $0.0 > 0 }.map { "left out: \($0) of \(set.count) pairs, \($1)" }
        lines = left + (counts.cut > 0 ? ["cut to max_length, \(maxLength) tokens: \(counts.cut) pairs"] : [])
        guard !kept.isEmpty else {
            throw JobError(
                place: "prompt set \(name)", message: "no pair to learn from; " + left.joined(separator: "; "))
        }
    }

    private static func outcome(
        of preference: Preference, _ encoder: PromptEncoder, _ maxLength: Int, _ truncation: PairPlan.Truncation
    ) throws -> Outcome {
        guard !preference.hasEqualSides else { return .equalSides }
        var pair = try encoder.encode(preference)
        let room = maxLength - pair.prompt.count
        guard room > 0 else { return .noRoom }
        let isTooLong = max(pair.chosen.count, pair.rejected.count) > room
        if isTooLong {
            guard truncation == .keepStart else { return .tooLong }
            pair.chosen = Array(pair.chosen.prefix(room))
            pair.rejected = Array(pair.rejected.prefix(room))
        }
        return pair.chosen == pair.rejected ? .equalSides : .pair(pair, isCut: isTooLong)
    }

    package var count: Int { kept.count }
    package var identity: String { "\(set.identity), \(count) pairs" }
    package func prompt(at place: Int) throws -> Prompt { try set.prompt(at: kept[place].row) }
    package func demonstration(at place: Int) throws -> Demonstration { try set.demonstration(at: kept[place].row) }
    package func preference(at place: Int) throws -> Preference { try set.preference(at: kept[place].row) }

    /// Completion tokens of all pairs.
    var completionTokenCount: Int { kept.last.map { $0.offset + $0.completionCount } ?? 0 }
    /// The longest prompt and the longest pair, in tokens.
    var longest: (prompt: Int, pair: Int) {
        (
            kept.map(\.promptCount).max() ?? 0,
            kept.map { $0.promptCount + $0.completionCount }.max() ?? 0
        )
    }

    /// The pair at a place, as tokens.
    func group(at place: Int) throws -> UpdateGroup {
        guard case .pair(let pair, _) = try Self.outcome(of: preference(at: place), encoder, maxLength, truncation)
        else { preconditionFailure("a kept pair is one; the file is watched for changes") }
        return pair.group
    }
}

extension SHA256 {
    /// Adds a list of ids: how many, and each in 8 bytes.
    fileprivate mutating func update(_ ids: [Int]) {
        ([ids.count] + ids).withUnsafeBytes { update($0) }
    }
}
