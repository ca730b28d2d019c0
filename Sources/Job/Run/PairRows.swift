internal import Foundation
package import Methods
package import PromptSets
package import Records
internal import Runs

/// The pairs of a set that can be learned from, read and measured once; their tokens are worked out again when they are
/// asked for.
///
/// A slot is a prompt of a step: a pair, or for a method that learns from several forms (``PairForms``) at most one of
/// each.
package final class PairRows: PromptRows {
    /// A pair that is kept.
    struct Kept: Sendable {
        /// Its row in the set.
        let row: Int
        /// Which form it is of.
        let form: Int
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
    let forms: PairForms?
    /// Of the reward model that learns from the pairs; `nil` for a policy.
    private let heads: [String]?
    let kept: [Kept]
    /// The kept pairs of each slot, one a form; `nil` where its prompt has none.
    let slots: [[Int?]]
    /// Says what the kept pairs' tokens are: SHA-256 over all of them.
    let tokenDigest: String
    /// What was left out or cut, a line each.
    package let lines: [String]

    /// What becomes of a row.
    private enum Outcome {
        case pair(EncodedPair, isCut: Bool)
        case none(Reason)
    }

    private enum Reason: CaseIterable {
        case equalSides, noRoom, tooLong, unclosed
    }

    /// Reads every row once.
    ///
    /// - Parameters:
    ///   - maxLength: Most tokens of a prompt with one side.
    ///   - forms: Those that rows name in a column `variant`; `nil` takes every row alike.
    ///   - heads: Those of a reward model, for which a row may have columns `margin` and `head`.
    /// - Throws: What reading a row throws, and ``JobError`` when no pair is left.
    package init(
        _ set: any PromptRows, encoder: PromptEncoder, maxLength: Int, truncation: PairPlan.Truncation,
        forms: PairForms? = nil, heads: [String]? = nil
    ) throws {
        (self.set, self.encoder, self.maxLength, self.truncation) = (set, encoder, maxLength, truncation)
        self.forms = forms
        self.heads = heads
        name = set.name
        var kept: [Kept] = []
        var counts: [Reason: Int] = [:]
        var (cut, marked) = (0, 0)
        var digest = SHA256()
        var joined = JoinedPairs(forms: forms?.names.count ?? 1)
        for row in 0..<set.count {
            let preference = try set.preference(at: row)
            if let heads { _ = try RewardLabel(preference, heads) }
            let form = try forms?.form(of: preference.prompt) ?? 0
            switch try Self.outcome(of: preference, encoder, maxLength, truncation, forms, form) {
            case .none(let reason): counts[reason, default: 0] += 1
            case .pair(let pair, let isCut):
                cut += isCut ? 1 : 0
                marked += forms?.markedSides(of: preference, form) ?? 0
                joined.add(kept.count, of: form, prompt: forms == nil ? nil : preference.prompt.content)
                kept.append(
                    Kept(
                        row: row, form: form, promptCount: pair.prompt.count, chosenCount: pair.chosen.count,
                        rejectedCount: pair.rejected.count,
                        offset: kept.last.map { $0.offset + $0.completionCount } ?? 0))
                for ids in [pair.prompt, pair.chosen, pair.rejected] { digest.update(ids) }
            }
        }
        self.kept = kept
        slots = joined.slots
        tokenDigest = digest.hexDigest()
        let words: [(Reason, String)] = [
            (.equalSides, "whose sides are the same"), (.unclosed, "whose thinking is never closed"),
            (.noRoom, "whose prompt fills max_length, \(maxLength) tokens"),
            (.tooLong, "longer than max_length, \(maxLength) tokens"),
        ]
        let left = words.compactMap { reason, text in
            counts[reason].map { "left out: \($0) of \(set.count) pairs, \(text)" }
        }
        lines =
            left + (cut > 0 ? ["cut to max_length, \(maxLength) tokens: \(cut) pairs"] : [])
            + (forms?.lines(joined.slots, kept.map(\.form), marked: marked) ?? [])
        guard !kept.isEmpty else {
            throw JobError(
                place: "prompt set \(name)", message: "no pair to learn from; " + left.joined(separator: "; "))
        }
        try forms?.requireEach(kept.map(\.form), set: name)
    }

    private static func outcome(
        of preference: Preference, _ encoder: PromptEncoder, _ maxLength: Int, _ truncation: PairPlan.Truncation,
        _ forms: PairForms?, _ form: Int
    ) throws -> Outcome {
        guard !preference.hasEqualSides else { return .none(.equalSides) }
        if let forms, !forms.isClosed(preference, form) { return .none(.unclosed) }
        var pair = try encoder.encode(preference)
        let room = maxLength - pair.prompt.count
        guard room > 0 else { return .none(.noRoom) }
        let isTooLong = max(pair.chosen.count, pair.rejected.count) > room
        if isTooLong {
            guard truncation == .keepStart else { return .none(.tooLong) }
            pair.chosen = Array(pair.chosen.prefix(room))
            pair.rejected = Array(pair.rejected.prefix(room))
        }
        return pair.chosen == pair.rejected ? .none(.equalSides) : .pair(pair, isCut: isTooLong)
    }

    package var count: Int { slots.count }
    package var identity: String { "\(set.identity), \(kept.count) pairs" }
    package func prompt(at slot: Int) throws -> Prompt { try set.prompt(at: first(at: slot).row) }
    package func demonstration(at slot: Int) throws -> Demonstration {
        try set.demonstration(at: first(at: slot).row)
    }
    package func preference(at slot: Int) throws -> Preference { try set.preference(at: first(at: slot).row) }

    private func first(at slot: Int) -> Kept { kept[slots[slot].lazy.compactMap(\.self).first!] }

    /// Completion tokens of all pairs.
    var completionTokenCount: Int { kept.last.map { $0.offset + $0.completionCount } ?? 0 }
    /// The longest prompt and the longest pair, in tokens.
    var longest: (prompt: Int, pair: Int) {
        (
            kept.map(\.promptCount).max() ?? 0,
            kept.map { $0.promptCount + $0.completionCount }.max() ?? 0
        )
    }

    /// A kept pair, as tokens.
    func group(ofPair pair: Int) throws -> UpdateGroup {
        let own = kept[pair]
        let preference = try set.preference(at: own.row)
        guard
            case .pair(let found, _) = try Self.outcome(
                of: preference, encoder, maxLength, truncation, forms, own.form)
        else { preconditionFailure("a kept pair is one; the file is watched for changes") }
        var group = found.group
        if let heads {
            let label = try RewardLabel(preference, heads)
            (group.margin, group.head) = (label.margin, label.head)
        }
        return group
    }
}

/// Puts pairs of the same prompt, one of each form, in one slot.
private struct JoinedPairs {
    let forms: Int
    private(set) var slots: [[Int?]] = []
    /// Slots of a prompt that still lack a form.
    private var open: [PromptContent: [Int]] = [:]

    init(forms: Int) { self.forms = forms }

    /// - Parameter prompt: `nil` where every pair has a slot of its own.
    mutating func add(_ pair: Int, of form: Int, prompt: PromptContent?) {
        if let prompt {
            if let slot = open[prompt]?.first(where: { slots[$0][form] == nil }) {
                slots[slot][form] = pair
                return
            }
            open[prompt, default: []].append(slots.count)
        }
        var slot = [Int?](repeating: nil, count: forms)
        slot[form] = pair
        slots.append(slot)
    }
}

/// What a row of preferences says to a reward model beside its sides: columns `margin` and `head`.
private struct RewardLabel {
    let margin: Double
    let head: Int

    /// - Throws: ``JobError`` for an empty side, a margin that is no number, and with several heads a row that names
    ///   none of them.
    init(_ preference: Preference, _ heads: [String]) throws(JobError) {
        let columns = preference.prompt.columns
        func refusal(_ message: String) -> JobError { JobError(place: preference.prompt.id, message: message) }
        for (side, text) in [("chosen", preference.chosen), ("rejected", preference.rejected)] where text.isEmpty {
            throw refusal("the \(side) side is empty; a reward model needs a text on both sides")
        }
        switch columns["margin"] {
        case nil, .null: margin = 0
        case .number(let value)? where value.double.isFinite: margin = value.double
        case let other?: throw refusal("column margin is \(other.yaml); expected a finite number")
        }
        guard heads.count > 1 else {
            head = 0
            return
        }
        guard let name = columns["head"]?.text, let slot = heads.firstIndex(of: name) else {
            throw refusal(
                "column head is \(columns["head"]?.yaml ?? "missing"); expected one of reward_heads, "
                    + heads.joined(separator: ", "))
        }
        head = slot
    }
}

extension SHA256 {
    /// Adds a list of ids: how many, and each in 8 bytes.
    fileprivate mutating func update(_ ids: [Int]) {
        ([ids.count] + ids).withUnsafeBytes { update($0) }
    }
}
