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

    /// The pairs at some places.
    func parts(at places: [Int]) throws -> [UpdatePart] {
        let groups = try places.map { place in
            var group = try rows.group(at: place)
            try reference?.fill(&group, at: place)
            return group
        }
        return [UpdatePart(.pairs, groups)]
    }
}
