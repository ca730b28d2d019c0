internal import Records
internal import Tensors

/// The plain numbers of one forward pass: each prompt once, its completions behind it.
struct PackedMicroBatch {
    private let batch: UpdateBatch
    private let pieces: [MicroBatchPlan.Piece]
    /// Every token read, in packed order.
    let tokens: [Int]
    let layout: SequenceLayout
    /// The generated tokens, completion by completion: the layout's completion tokens.
    let targets: [Int]
    /// Tokens of each completion, in the same order.
    let completionCounts: [Int]

    init(_ pieces: [MicroBatchPlan.Piece], of batch: UpdateBatch) throws {
        self.batch = batch
        self.pieces = pieces
        let packed = pieces.map { piece in
            let group = batch.groups[piece.group]
            return (prompt: group.promptTokenIDs, completions: piece.completions.map { group.completions[$0].tokenIDs })
        }
        tokens = packed.flatMap { $0.prompt + $0.completions.flatMap(\.self) }
        targets = packed.flatMap { $0.completions.flatMap(\.self) }
        completionCounts = packed.flatMap { $0.completions.map(\.count) }
        layout = try SequenceLayout(groups: packed.map { ($0.prompt.count, $0.completions.map(\.count)) })
    }

    /// One of the batch's arrays, end to end in the order of ``targets``; `nil` when the completions have none.
    func values<Value>(_ field: KeyPath<UpdateCompletion, [Value]>) -> [Value]? {
        let all = pieces.flatMap { piece in
            piece.completions.flatMap { batch.groups[piece.group].completions[$0][keyPath: field] }
        }
        return all.count == targets.count ? all : nil
    }

    /// Puts one number per generated token back to its completion: `(group, completion, values)`.
    func scattered(_ values: [Float]) -> [(group: Int, completion: Int, values: [Float])] {
        let owners = pieces.flatMap { piece in piece.completions.map { (piece.group, $0) } }
        var start = 0
        return zip(owners, completionCounts).map { owner, count in
            defer { start += count }
            return (owner.0, owner.1, Array(values[start..<start + count]))
        }
    }
}
