/// What calls take, on a cluster it knows.
package protocol CostModel: Sendable {
    /// Nanoseconds of one call, from the moment its devices are free.
    func nanoseconds(_ call: CallSpec, _ assignment: Assignment, _ shape: ModelShape) throws(PlanError) -> Int
    /// Whether it can say what such an assignment takes; a search leaves others out.
    func knows(_ call: CallSpec, _ assignment: Assignment, _ shape: ModelShape) -> Bool
    /// Nanoseconds of making a layout of weights that lie on the device in another one.
    ///
    /// - Parameter weightBytes: Of what is made.
    func conversionNanoseconds(
        to layout: WeightLayout, weightBytes: Int, _ shape: ModelShape, _ cluster: Cluster
    ) -> Int
    /// Whether the plan's calls are those of a run of this build. What it trains in shards it brings to other shards, or
    /// together once, as float32, and makes every other layout of that; of what it trains whole it reads shards where
    /// they lie. Moments that are offloaded never come back as a whole: their step has them parameter by parameter, and
    /// ``nanoseconds(_:_:_:)`` of the call says what that takes.
    var isOfThisBuild: Bool { get }
}

extension CostModel {
    package var isOfThisBuild: Bool { false }

    package func knows(_ call: CallSpec, _ assignment: Assignment, _ shape: ModelShape) -> Bool { true }

    package func conversionNanoseconds(
        to layout: WeightLayout, weightBytes: Int, _ shape: ModelShape, _ cluster: Cluster
    ) -> Int { Self.copying(weightBytes, cluster) }

    /// Reading one layout and writing the other at the rate of the device's memory.
    static func copying(_ weightBytes: Int, _ cluster: Cluster) -> Int {
        Nanoseconds.rounded(Double(2 * weightBytes) / (cluster.hbmGBps * 1e9) * 1e9)
    }
}

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

/// Counts the bytes of a call from its layout, to the element; activations from what a block keeps of a token and from
/// the logits of tokens that are scored.
package struct MemoryModel: Sendable {
    /// Share of a device's memory that a plan may take.
    package static let share = 0.95

    private let shape: ModelShape
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
    ///
    /// - Parameter isOfThisBuild: See ``CostModel/isOfThisBuild``. A run samples its pieces one after the other, so that
    ///   keys and values of one are there at a time. Beside int8 weights it computes in float32, packs the head in float32
    ///   and reads everything else where it is trained. Each of its ranks has all masters, and all of a model of which it
    ///   trains less, as adapters. Of moments that are offloaded a step has one parameter's.
    package mutating func demand(
        _ call: CallSpec, _ assignment: Assignment, isOfThisBuild: Bool = false
    ) -> MemoryDemand? {
        let (stages, shards) = (assignment.strategy.pipeline, assignment.strategy.tensor)
        guard let part = size(Strategy(stages, shards, 1)), let whole = size(Strategy(stages, 1, 1)) else { return nil }
        var needed = demand(call, assignment, part, isOfThisBuild)
        if isOfThisBuild, call.leavesSomeUntrained(of: shape) {
            needed.weights +=
                Self.weightBytes(whole, assignment.layout) - Self.weightBytes(part, assignment.layout)
        }
        return needed
    }

    /// The largest stage; `nil` for more stages than layers.
    private mutating func size(_ strategy: Strategy) -> StageSize? {
        if sizes[strategy] == nil { sizes[strategy] = Self.largestStage(shape, strategy) }
        return sizes[strategy]
    }

    private func demand(
        _ call: CallSpec, _ assignment: Assignment, _ stage: StageSize, _ isOfThisBuild: Bool
    ) -> MemoryDemand {
        let (work, strategy) = (call.work, assignment.strategy)
        var demand = MemoryDemand()
        demand.weights = Self.weightBytes(stage, assignment.layout)
        if isOfThisBuild, assignment.layout == .int8 {
            demand.weights = stage.packed + 4 * stage.packedRows + 4 * shape.scoredWords * shape.hiddenSize
        }
        if call.kind == .train {
            func bytes(_ each: Double) -> Int { Int((Double(stage.elements) * each).rounded(.up)) }
            let trained = bytes(4 * work.trainedShare(of: shape))
            demand.gradients = trained
            let masters = assignment.layout == .fp32Master ? 0 : trained
            let state = bytes(work.stateShare(of: shape))
            if isOfThisBuild { demand.weights += masters }
            demand.optimizer = Self.share(isOfThisBuild ? state : masters + state, strategy.data)
        }
        let width = isOfThisBuild && assignment.layout == .int8 ? 4 : assignment.layout.activationBytes
        let sequences = Self.share(work.sequences, strategy.data)
        let miniBatch = call.kind == .train ? Self.share(sequences, work.miniBatches) : sequences
        let piece = Self.share(miniBatch, max(1, assignment.microBatches))
        if call.kind == .generate {
            let heads = shape.keyValueHeads
            let kept = heads.isMultiple(of: strategy.tensor) ? heads / strategy.tensor : heads
            let held = work.tokens(of: isOfThisBuild ? piece : sequences)
            demand.cache = 2 * stage.layers * kept * shape.headSize * width * held
        }
        let prompts = Self.share(piece, work.completionsPerPrompt) * max(1, work.promptTokens)
        let tokens = call.kind == .generate ? prompts : work.tokens(of: piece)
        // What a block keeps of a token until its backward pass: see ModelConfiguration.activationBytesPerToken.
        let normed = shape.normalizesQueriesAndKeys ? shape.queryWidth + shape.keyValueWidth : 0
        let inside = 4 * shape.queryWidth + 2 * shape.keyValueWidth + 2 * shape.intermediateSize + normed
        let block = 4 * shape.hiddenSize + Self.share(inside, strategy.tensor)
        let (scored, words) = (piece * work.newTokens, Self.share(shape.scoredWords, strategy.tensor))
        switch call.kind {
        case .train:
            let flying = min(strategy.pipeline, max(1, assignment.microBatches))
            let kept =
                work.recomputes
                ? flying * stage.layers * shape.hiddenSize + 2 * block : (flying * stage.layers + 1) * block
            demand.activations = tokens * width * kept + ScoredLogits.trainedBytes(rows: scored, words: words)
            if isOfThisBuild, assignment.after.contains(.offloadOptimizer) {
                demand.activations = max(demand.activations, largestState(work, strategy.tensor))
            }
        case .infer: demand.activations = tokens * width * block + ScoredLogits.bytes(rows: scored, words: words)
        case .generate, .host: demand.activations = tokens * width * block
        }
        return demand
    }

    /// Bytes that an optimizer keeps of the largest tensor that it may step, on one of so many ranks that share it.
    private func largestState(_ work: CallSpec.Work, _ degree: Int) -> Int {
        let trained = work.optimizer?.parameters ?? shape.parameterCount
        guard trained > 0 else { return 0 }
        let each = work.stateShare(of: shape) / work.trainedShare(of: shape)
        let largest = [0, 1].flatMap { shape.tensors(ofLayer: $0) }.map(\.count).max() ?? 0
        return Int(each * Double(Self.share(min(largest, trained), degree)))
    }

    /// The larger of the parts that something is cut into.
    private static func share(_ whole: Int, _ parts: Int) -> Int { (whole + parts - 1) / max(1, parts) }

    private static func weightBytes(_ stage: StageSize, _ layout: WeightLayout) -> Int {
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
