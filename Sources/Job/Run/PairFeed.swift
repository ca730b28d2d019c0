internal import Foundation
internal import PolicyUpdater
internal import Records
internal import Tensors

/// The pairs of a method as the parts of its batches.
struct PairFeed: Sendable {
    let rows: PairRows
    /// `nil` where no reference is read, or where it is read in every step.
    let reference: ReferenceLogProbabilities?

    init(_ rows: PairRows, precomputesReference: Bool) {
        self.rows = rows
        reference = precomputesReference ? ReferenceLogProbabilities(of: rows) : nil
    }

    /// The pairs at some slots, a part for each form.
    func parts(at indices: [Int]) throws -> [UpdatePart] {
        let prompts = try indices.map { try rows.slots[$0].map { try $0.map(group) } }
        return (0..<(rows.forms?.names.count ?? 1)).map { form in
            UpdatePart(
                .pairs,
                prompts.map { groups in
                    let any = groups.lazy.compactMap(\.self).first!
                    return groups[form] ?? .withoutPair(promptTokenIDs: any.promptTokenIDs)
                })
        }
    }

    /// A kept pair with what the reference says of it.
    func group(ofPair pair: Int) throws -> UpdateGroup {
        var group = try rows.group(ofPair: pair)
        try reference?.fill(&group, pair: pair)
        return group
    }
}
