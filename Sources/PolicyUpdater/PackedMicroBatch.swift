internal import Models
internal import Records
internal import Tensors

/// The plain numbers of one forward pass: each prompt once, its completions behind it.
struct PackedMicroBatch {
    private let pieces: [MicroBatchPlan.Piece]
    /// Every token, in packed order.
    let tokens: [Int]
    let layout: SequenceLayout
    /// The actions, completion by completion: the completions' tokens that the policy chose. The others are
    /// read where an action behind them depends on them.
    let targets: [Int]
    /// The packed index of every action.
    let actionIndices: [Int]
    /// For every action the packed index whose state predicts it.
    let predictionIndices: [Int]
    /// Actions of each completion, in the same order.
    let completionCounts: [Int]
    /// In packed order.
    let completions: [UpdateCompletion]
    /// What the pieces' groups say of pairs: by how much the chosen side is to be better, and which head scores them.
    let pairs: [(margin: Double, head: Int)]
    /// What each stream of advantages counts.
    let streamWeights: [Double]
    /// What the loss's KL term is multiplied by.
    let klWeight: Double
    /// Whether the whole batch has the sampler's log-probs for those of the old policy.
    let oldAreSamplers: Bool
    /// Whether the whole batch has completions of earlier steps.
    let standsBesideReplayed: Bool
    /// What the pass drops of the adapters' inputs; `nil` for one that trains nothing.
    private(set) var dropout: AdapterDropout?
    /// What sampling has computed of the states that predict the actions; `nil` for nothing.
    private(set) var kept: KeptRows?

    init(_ pieces: [MicroBatchPlan.Piece], of batch: UpdateBatch) throws {
        self.pieces = pieces
        pairs = pieces.map { (batch.groups[$0.group].margin, batch.groups[$0.group].head) }
        streamWeights = batch.parts.first?.streamWeights ?? [1]
        klWeight = batch.parts.first?.klWeight ?? 1
        oldAreSamplers = batch.groups.allSatisfy { group in
            group.completions.allSatisfy { $0.oldLogProbabilities == $0.rolloutLogProbabilities }
        }
        standsBesideReplayed = batch.hasReplayed
        let packed = pieces.map { piece in
            let group = batch.groups[piece.group]
            return (prompt: group.promptTokenIDs, completions: piece.completions.map { group.completions[$0].tokenIDs })
        }
        tokens = packed.flatMap { $0.prompt + $0.completions.flatMap(\.self) }
        completions = pieces.flatMap { piece in piece.completions.map { batch.groups[piece.group].completions[$0] } }
        completionCounts = completions.map(\.actionCount)
        layout = try SequenceLayout(groups: packed.map { ($0.prompt.count, $0.completions.map(\.count)) })
        let hasOthers = completions.contains { $0.isAction != nil }
        let isAction = hasOthers ? completions.flatMap { $0.isAction ?? $0.tokenIDs.map { _ in true } } : []
        func chosen(_ values: [Int]) -> [Int] { hasOthers ? zip(values, isAction).filter(\.1).map(\.0) : values }
        targets = chosen(completions.flatMap(\.tokenIDs))
        actionIndices = chosen(layout.completionTokenIndices)
        predictionIndices = chosen(layout.predictionIndices)
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

    /// The group of each completion and its index in it, in packed order.
    var owners: [(group: Int, completion: Int)] {
        pieces.flatMap { piece in piece.completions.map { (piece.group, $0) } }
    }

    /// Cuts one number per action into each completion's own; what follows them is left out.
    func scattered(_ values: [Float]) -> [[Float]] {
        var start = 0
        return completionCounts.map { count in
            defer { start += count }
            return Array(values[start..<start + count])
        }
    }
}

// MARK: What training drops

/// Dropout of a step on adapters.
struct StepDropout {
    /// p.
    let share: Double
    let seed: UInt64
    /// Counts steps, those that were skipped as well.
    let step: Int

    /// What the passes of an optimizer's next step drop; `nil` where that is nothing.
    @TensorActor
    init?(_ adapters: LoRAConfiguration?, seed: UInt64, of optimizer: Optimizer) {
        guard let share = adapters?.dropout, share > 0 else { return nil }
        (self.share, self.seed, step) = (share, seed, optimizer.counters.schedulePosition)
    }
}

extension PackedMicroBatch {
    /// The same pass as one of training.
    ///
    /// Every token has the same mask however the batch is cut: its address is the step, its group in the part, its
    /// completion (the prompt is 0) and its place there.
    func dropping(_ dropout: StepDropout?) throws -> PackedMicroBatch {
        guard let dropout else { return self }
        let addresses = zip(pieces, layout.groups).flatMap { piece, group in
            let texts = [(0, group.prompt)] + zip(piece.completions.map { $0 + 1 }, group.completions)
            return texts.flatMap { sample, tokens in
                tokens.indices.map { index in
                    RandomAddress(
                        step: dropout.step, row: piece.group, sample: sample, token: index - tokens.lowerBound)
                }
            }
        }
        var dropping = self
        dropping.dropout = try AdapterDropout(dropout.share, seed: dropout.seed, of: addresses)
        return dropping
    }

    /// The same pass for a model that is not trained.
    var undropped: PackedMicroBatch {
        var undropped = self
        (undropped.dropout, undropped.kept) = (nil, nil)
        return undropped
    }

    /// The same pass with what sampling has computed of it with these weights, where that is all of it.
    func taking(from cache: ForwardCache?, at version: PolicyVersion) -> PackedMicroBatch {
        guard let cache, dropout == nil else { return self }
        var taking = self
        taking.kept = cache.taken(
            layout.groups.map { group in (Array(tokens[group.prompt]), group.completions.map { Array(tokens[$0]) }) },
            at: version.number)
        return taking
    }
}
