/// Costs looked up in what was measured on this machine.
///
///     x          = tokens of a piece: its completions, and their prompts once      (rows when decoding)
///     infer      = f(x)·(pp + m − 1)/pp
///     generate   = (g₀(x)·(pp + m − 1)/pp + (new − 1)·g₁(rows)·max(m, pp)/pp)/tp + sums + logits
///     train      = mini·((f(x) + b(x) [+ f(x)])/tp·(pp + m − 1)/pp + sums + o/(pp·tp·dp) + shared/B_dp + state/B_disk)
///     shared     = 2(dp − 1)/dp·4P/(pp·tp) of the gradients, and (dp − 1)/dp·4P/(pp·tp) of what each rank has stepped
///                  (P trained)
///     sums       = (4L + 2 [+ 2L])·(pp + m − 1)/pp²·r(4xh)·2(tp − 1)/tp of a training pass; of sampling 2L + 1 for the
///                  prompts' tokens, and as many for the rows of every further token
///     logits     = new·max(m, pp)/pp·4·rows·V·(tp − 1)/tp/B_dp, of the words of the other ranks
///     state      = 2·bytes/(pp·tp·dp) of what the optimizer keeps, where that is offloaded on the profile's own machine
///
/// m pieces of a replica's sequences, of a mini-batch's when training; the bracket where blocks are computed anew. The
/// stages of a pipeline are taken to be equal, as in ReaL's estimator (arXiv:2406.14088), and so are the shards of a
/// layer, whose ranks add up hidden states: behind both halves of each of L blocks forward and in front of them
/// backward, behind the embedding, and in front of the head. r is a measured sum of two ranks, which moves a half of its
/// bytes twice, and takes no less for fewer bytes than were measured; without one the rate between two devices counts.
/// Scoring with layers that are cut was not measured: ``knows(_:_:_:)``.
///
/// Processes of one machine share its processors: as many times as their threads together exceed the processors,
/// everything takes so many times as long.
package struct ProfiledCosts: CostModel {
    package let profile: CostProfile
    private let cluster: Cluster
    private let curves: [Key: CostProfile.Curve]

    private struct Key: Hashable {
        var operation: CostProfile.Operation
        var layout: WeightLayout
        var optimizer: String?
    }

    package init(_ profile: CostProfile, _ cluster: Cluster) {
        self.profile = profile
        self.cluster = cluster
        var curves: [Key: CostProfile.Curve] = [:]
        for point in profile.points {
            let key = Key(operation: point.operation, layout: point.layout, optimizer: point.optimizer)
            if curves[key] == nil {
                curves[key] = profile.curve(point.operation, point.layout, optimizer: point.optimizer)
            }
        }
        self.curves = curves
    }

    private func curve(
        _ operation: CostProfile.Operation, _ layout: WeightLayout, optimizer: String? = nil
    ) -> CostProfile.Curve? {
        curves[Key(operation: operation, layout: layout, optimizer: optimizer)]
    }

    package func knows(_ call: CallSpec, _ assignment: Assignment, _ shape: ModelShape) -> Bool {
        missing(call, assignment, shape) == nil
    }

    /// What of a call was not measured; `nil` where all was.
    private func missing(_ call: CallSpec, _ assignment: Assignment, _ shape: ModelShape) -> String? {
        if call.kind == .host { return nil }
        // A critic or reward model of the same trunk takes what the policy takes.
        var measured = profile.model
        measured.output = shape.output
        guard shape == measured else { return "a model of another shape than the profile's" }
        guard assignment.strategy.tensor == 1 || call.kind != .infer else { return "tp \(assignment.strategy.tensor)" }
        let layout = assignment.layout
        let needed: [(CostProfile.Operation, String?)] =
            switch call.kind {
            case .generate: [(.prefill, nil), (.decode, nil)]
            case .infer: [(.forward, nil)]
            case .train: [(.forward, nil), (.backward, nil), (.optimizer, call.work.optimizer?.name ?? Self.usual)]
            case .host: []
            }
        let lacking = needed.first { curve($0.0, Self.computed(layout, $0.0), optimizer: $0.1) == nil }
        return lacking.map { "\($0.0.rawValue)\($0.1.map { " by \($0)" } ?? "") with the layout \(layout.rawValue)" }
    }

    /// The optimizer of a call that names none.
    private static let usual = "adamw_torch"

    /// The layout that was measured in: masters beside bfloat16 weights are read through these, and stepped as any.
    private static func computed(_ layout: WeightLayout, _ operation: CostProfile.Operation) -> WeightLayout {
        guard layout == .bf16WithMaster else { return layout }
        return switch operation {
        case .forward: .bf16
        case .optimizer: .fp32Master
        case .prefill, .decode, .backward, .conversion, .allReduce: layout
        }
    }

    package func nanoseconds(
        _ call: CallSpec, _ assignment: Assignment, _ shape: ModelShape
    ) throws(PlanError) -> Int {
        if call.kind == .host { return call.work.hostMilliseconds * 1_000_000 }
        if let missing = missing(call, assignment, shape) {
            throw PlanError([.init(.complete, call.name, "the profile has no times of \(missing)")])
        }
        let (work, strategy, layout) = (call.work, assignment.strategy, assignment.layout)
        let stages = Double(strategy.pipeline)
        let pieces = Double(max(1, assignment.microBatches))
        let filling = (stages + pieces - 1) / stages
        let sequences = Double(work.sequences) / Double(call.kind == .train ? work.miniBatches : 1)
        let piece = sequences / Double(strategy.data) / pieces
        func time(_ operation: CostProfile.Operation, _ amount: Double, optimizer: String? = nil) -> Double {
            curve(operation, Self.computed(layout, operation), optimizer: optimizer)?.nanoseconds(of: amount) ?? 0
        }
        let shards = Double(strategy.tensor)
        switch call.kind {
        case .generate:
            let prompts = piece / Double(work.completionsPerPrompt) * Double(work.promptTokens)
            let steps = Double(max(0, work.newTokens - 1))
            let decoded = max(pieces, stages) / stages
            let passes = (time(.prefill, prompts) * filling + steps * time(.decode, piece) * decoded) / shards
            let count = (2 * Double(shape.layers) + 1) / stages
            let sums =
                count
                * (sum(of: prompts, strategy, shape) * filling + steps * sum(of: piece, strategy, shape) * decoded)
            let words = 4 * piece * Double(shape.vocabularySize) * (shards - 1) / shards / cluster.intraGBps
            // The ranks of a run that have most prompts are waited for.
            let load = isOfThisBuild ? work.largestLoad(strategy) : 1
            return Nanoseconds.rounded((passes * slowdown + sums + Double(work.newTokens) * decoded * words) * load)
        case .infer: return Nanoseconds.rounded(time(.forward, work.tokens(of: piece)) * filling * slowdown)
        case .train:
            let tokens = work.tokens(of: piece)
            let forward = time(.forward, tokens)
            let passes = (forward + time(.backward, tokens) + (work.recomputes ? forward : 0)) / shards * filling
            let count = (work.recomputes ? 6 : 4) * Double(shape.layers) / stages + 2 / stages
            let sums = count * sum(of: tokens, strategy, shape) * filling
            let parameters = work.trainedShare(of: shape) * Double(shape.parameterCount) / (stages * shards)
            let replicas = Double(strategy.data)
            let own = time(.optimizer, parameters / replicas, optimizer: work.optimizer?.name ?? Self.usual)
            // Replicas of a shard are tp ranks apart.
            let isInside = strategy.tensor * strategy.data <= cluster.devicesPerNode
            let rate = isInside ? cluster.intraGBps : cluster.interGBps
            let exchanged = 3 * (replicas - 1) / replicas * 4 * parameters / rate
            let state = work.stateShare(of: shape) * Double(shape.parameterCount) / Double(strategy.size)
            let moved = isOfThisBuild && assignment.after.contains(.offloadOptimizer) ? 2 * state / cluster.hostGBps : 0
            // What is exchanged is no work of the processors that the ranks share.
            let miniBatch = (passes + own) * slowdown + sums + exchanged + moved
            return Nanoseconds.rounded(Double(work.miniBatches) * miniBatch)
        case .host: return 0
        }
    }

    package func conversionNanoseconds(
        to layout: WeightLayout, weightBytes: Int, _ shape: ModelShape, _ cluster: Cluster
    ) -> Int {
        let numbers: Double =
            switch layout {
            case .fp32Master, .fp32Packed: Double(weightBytes) / 4
            case .bf16, .bf16WithMaster: Double(weightBytes) / 2
            case .int8: Double(shape.parameterCount)  // no part is packed in eight bits
            }
        let measured = curve(.conversion, layout)?.nanoseconds(of: numbers)
        return measured.map { Nanoseconds.rounded($0 * slowdown) } ?? Self.copying(weightBytes, cluster)
    }

    /// Nanoseconds in which the shards of a layer add up the hidden states of so many tokens.
    private func sum(of tokens: Double, _ strategy: Strategy, _ shape: ModelShape) -> Double {
        guard strategy.tensor > 1 else { return 0 }
        let bytes = 4 * tokens * Double(shape.hiddenSize)
        let ofTwo = curve(.allReduce, .fp32Master)?.nanoseconds(ofMessage: bytes) ?? bytes / cluster.intraGBps
        let shards = Double(strategy.tensor)
        return ofTwo * 2 * (shards - 1) / shards
    }

    /// Ranks of the machine that was measured run what ``LocalPlans`` says.
    package var isOfThisBuild: Bool { cluster == profile.cluster(ranks: cluster.devices) }

    /// How many times as long everything takes beside the other processes of the machine.
    private var slowdown: Double {
        max(1, Double(cluster.devicesPerNode * profile.threads) / Double(profile.cores))
    }
}

extension CallSpec.Work {
    /// What the ranks that sample together sample where they have most, by an even share. Of n ranks of a run each has every
    /// n-th prompt with all of its completions.
    fileprivate func largestLoad(_ strategy: Strategy) -> Double {
        let prompts = (sequences + completionsPerPrompt - 1) / completionsPerPrompt
        let (ranks, together) = (strategy.size, strategy.tensor)
        let most = prompts / ranks * together + min(prompts % ranks, together)
        return Double(most * ranks) / Double(prompts * together)
    }
}
