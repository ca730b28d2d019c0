internal import Records
internal import Tensors

/// The plain numbers of one forward pass: each prompt once, its completions behind it.
struct PackedMicroBatch {
    private let pieces: [MicroBatchPlan.Piece]
    /// Every token read, in packed order.
    let tokens: [Int]
    let layout: SequenceLayout
    /// The generated tokens, completion by completion: the layout's completion tokens.
    let targets: [Int]
    /// Tokens of each completion, in the same order.
    let completionCounts: [Int]
    /// The soft ones among the generated tokens; `nil` without any.
    let softTokens: PackedSoftTokens?
    /// In packed order.
    let completions: [UpdateCompletion]
    /// What each stream of advantages counts.
    let streamWeights: [Double]

    init(_ pieces: [MicroBatchPlan.Piece], of batch: UpdateBatch) throws {
        self.pieces = pieces
        streamWeights = batch.parts.first?.streamWeights ?? [1]
        let packed = pieces.map { piece in
            let group = batch.groups[piece.group]
            return (prompt: group.promptTokenIDs, completions: piece.completions.map { group.completions[$0].tokenIDs })
        }
        tokens = packed.flatMap { $0.prompt + $0.completions.flatMap(\.self) }
        targets = packed.flatMap { $0.completions.flatMap(\.self) }
        completions = pieces.flatMap { piece in piece.completions.map { batch.groups[piece.group].completions[$0] } }
        softTokens = PackedSoftTokens(completions)
        completionCounts = packed.flatMap { $0.completions.map(\.count) }
        layout = try SequenceLayout(groups: packed.map { ($0.prompt.count, $0.completions.map(\.count)) })
    }

    /// One of the batch's arrays, end to end in the order of ``targets``; `nil` when the completions have none.
    func values<Value>(_ field: KeyPath<UpdateCompletion, [Value]>) -> [Value]? {
        let all = completions.flatMap { $0[keyPath: field] }
        return all.count == targets.count ? all : nil
    }

    /// The packed index of each completion's last token; of its prompt's where it has none.
    var endIndices: [Int] {
        layout.groups.flatMap { group in
            group.completions.map { $0.isEmpty ? group.prompt.upperBound - 1 : $0.upperBound - 1 }
        }
    }

    /// The group of each completion and its place there, in packed order.
    var owners: [(group: Int, completion: Int)] {
        pieces.flatMap { piece in piece.completions.map { (piece.group, $0) } }
    }

    /// Cuts one number per generated token into each completion's own; what follows them is left out.
    func scattered(_ values: [Float]) -> [[Float]] {
        var start = 0
        return completionCounts.map { count in
            defer { start += count }
            return Array(values[start..<start + count])
        }
    }
}
