/// Bytes of one call on each of its devices.
package struct MemoryDemand: Sendable, Hashable {
    /// The weights as the products read them; of a run's call that trains, masters that are apart from them too.
    package var weights = 0
    package var gradients = 0
    /// Moments, and but for a run's masters that are apart from the weights; each replica has its share.
    package var optimizer = 0
    package var cache = 0
    package var activations = 0

    package var total: Int { weights + gradients + optimizer + cache + activations }
}

extension Cluster {
    /// Bytes of each device that a plan may take.
    var usableBytes: Int { Int(Double(memoryBytes) * MemoryModel.share) }
}

/// Counts the bytes of a call from its layout, to the element; activations from what a block keeps of a token and from
/// the logits of tokens that are scored. Calls are ReaL's (arXiv:2406.14088); what those of a run of this build hold
/// otherwise says ``demandOfRun(_:_:)``.
package struct MemoryModel: Sendable {
    /// Share of a device's memory that a plan may take.
    package static let share = 0.95

    let shape: ModelShape
    /// Elements, elements of matrices inside blocks, and their rows, by (pipeline, tensor): those of the largest stage.
    private var sizes: [Strategy: StageSize] = [:]

    /// The largest stage of a model.
    struct StageSize: Sendable {
        var elements: Int
        /// Elements of matrices that int8 stores as bytes.
        var packed: Int
        var packedRows: Int
        /// Blocks of the stage that has most.
        var layers: Int

        /// So many bytes of each element.
        func bytes(_ each: Double) -> Int { Int((Double(elements) * each).rounded(.up)) }
    }

    package init(_ shape: ModelShape) { self.shape = shape }

    /// Why the bytes of a call may be more than a whole number counts; `nil` where they are not.
    ///
    /// At most it keeps what a block makes of a token, with its keys and values, for every token in every block.
    static func problem(of call: CallSpec, _ shape: ModelShape) -> PlanProblem? {
        let tokens = Double(call.work.sequences + shape.layerCount) * Double(call.work.length)
        let (queries, keys) = (Double(shape.queryWidth), Double(shape.keyValueWidth))
        let block = 4 * Double(shape.hiddenSize) + 5 * queries + 5 * keys + 3 * Double(shape.intermediateSize)
        guard 4 * tokens * Double(shape.layerCount) * block > 0x1p60 else { return nil }
        return PlanProblem(
            .memory, call.name,
            "\(call.work.sequences) sequences of \(call.work.length) tokens are more than can be counted of a model with "
                + "\(shape.layers) layers of \(shape.hiddenSize); expected fewer sequences, promptTokens or newTokens")
    }

    /// `nil` for more stages than layers.
    package mutating func demand(_ call: CallSpec, _ assignment: Assignment) -> MemoryDemand? {
        guard let stage = size(assignment.strategy.pipeline, assignment.strategy.tensor) else { return nil }
        return demand(call, assignment, stage)
    }

    /// The largest of so many stages, cut into so many shards; `nil` for more stages than layers.
    mutating func size(_ stages: Int, _ shards: Int) -> StageSize? {
        let strategy = Strategy(stages, shards, 1)
        if sizes[strategy] == nil { sizes[strategy] = Self.largestStage(shape, strategy) }
        return sizes[strategy]
    }

    func demand(_ call: CallSpec, _ assignment: Assignment, _ stage: StageSize) -> MemoryDemand {
        let (work, strategy, layout) = (call.work, assignment.strategy, assignment.layout)
        let (sequences, piece) = Self.sequences(of: call, assignment)
        var demand = MemoryDemand()
        demand.weights = Self.weightBytes(stage, layout)
        // What a block keeps of a token until its backward pass: see ModelConfiguration.activationBytesPerToken.
        let normed = shape.normalizesQueriesAndKeys ? shape.queryWidth + shape.keyValueWidth : 0
        // Without gradients the activation that gate and up make lies beside them.
        let inner = (call.kind == .train ? 2 : 3) * shape.intermediateSize
        let inside = 4 * shape.queryWidth + 2 * shape.keyValueWidth + inner + normed
        let ofBlock = layout.activationBytes * (4 * shape.hiddenSize + Self.share(inside, strategy.tensor))
        let (scored, words) = (piece * work.newTokens, Self.share(shape.scoredWords, strategy.tensor))
        switch call.kind {
        case .train:
            demand.gradients = stage.bytes(4 * work.trainedShare(of: shape))
            let masters = layout == .fp32Master ? 0 : demand.gradients
            demand.optimizer = Self.share(masters + stage.bytes(work.stateShare(of: shape)), strategy.data)
            // Of the pieces that are on their way through the stages.
            let blocks = min(strategy.pipeline, max(1, assignment.microBatches)) * stage.layers
            let inputs = layout.activationBytes * blocks * shape.hiddenSize
            let kept = work.recomputes ? inputs + 2 * ofBlock : (blocks + 1) * ofBlock
            demand.activations = work.tokens(of: piece) * kept + ScoredLogits.trainedBytes(rows: scored, words: words)
        case .infer:
            demand.activations = work.tokens(of: piece) * ofBlock + ScoredLogits.bytes(rows: scored, words: words)
        case .generate:
            demand.cache = keyValueBytes(ofToken: stage, assignment) * work.tokens(of: sequences)
            let prompts = Self.share(piece, work.completionsPerPrompt)
            demand.activations = prompts * max(1, work.promptTokens) * ofBlock
        case .host: break
        }
        return demand
    }

    /// Sequences that a replica has of a call, and those of a piece of these or, where it trains, of a mini-batch's.
    static func sequences(of call: CallSpec, _ assignment: Assignment) -> (replica: Int, piece: Int) {
        let replica = share(call.work.sequences, assignment.strategy.data)
        let miniBatch = call.kind == .train ? share(replica, call.work.miniBatches) : replica
        return (replica, share(miniBatch, max(1, assignment.microBatches)))
    }

    /// Keys and values of one token in a stage. Heads that the shards do not divide are whole on each.
    func keyValueBytes(ofToken stage: StageSize, _ assignment: Assignment) -> Int {
        let (heads, shards) = (shape.keyValueHeads, assignment.strategy.tensor)
        let kept = heads.isMultiple(of: shards) ? heads / shards : heads
        return 2 * stage.layers * kept * shape.headSize * assignment.layout.activationBytes
    }

    /// The larger of the parts that something is cut into.
    static func share(_ whole: Int, _ parts: Int) -> Int { (whole + parts - 1) / max(1, parts) }

    static func weightBytes(_ stage: StageSize, _ layout: WeightLayout) -> Int {
        switch layout {
        case .fp32Master, .fp32Packed: 4 * stage.elements
        case .bf16, .bf16WithMaster: 2 * stage.elements
        case .int8: 2 * (stage.elements - stage.packed) + stage.packed + 4 * stage.packedRows
        }
    }

    /// The stage with most elements, with as many blocks as any has.
    static func largestStage(_ shape: ModelShape, _ strategy: Strategy) -> StageSize? {
        guard let model = ShardedModel(shape, strategy, ranks: Array(0..<strategy.size)) else { return nil }
        let kinds = [0, 1, shape.layers, shape.layers + 1].map { layer -> StageSize in
            let blocks = shape.tensors(ofLayer: layer).flatMap { tensor in
                // The last one's parts are as large as any: of rows that are not divided evenly it has one more.
                tensor.sections.map { tensor.block(of: $0, shard: strategy.tensor - 1, of: strategy.tensor) }
            }
            let isBlock = (1...shape.layers).contains(layer)
            let matrices = isBlock ? blocks.filter { $0.columns.count > 1 } : []
            return StageSize(
                elements: blocks.reduce(0) { $0 + $1.count }, packed: matrices.reduce(0) { $0 + $1.count },
                packedRows: matrices.reduce(0) { $0 + $1.rows.count }, layers: isBlock ? 1 : 0)
        }
        let stages = (0..<strategy.pipeline).map { stage -> StageSize in
            var sum = StageSize(elements: 0, packed: 0, packedRows: 0, layers: 0)
            for layer in model.layers(ofStage: stage) {
                let kind = kinds[layer == 0 ? 0 : layer == shape.layers ? 2 : layer > shape.layers ? 3 : 1]
                sum.elements += kind.elements
                sum.packed += kind.packed
                sum.packedRows += kind.packedRows
                sum.layers += kind.layers
            }
            return sum
        }
        // Another one may have more blocks, whose caches and activations count.
        guard var largest = stages.max(by: { $0.elements < $1.elements }) else { return nil }
        largest.layers = stages.map(\.layers).max() ?? 0
        return largest
    }
}
