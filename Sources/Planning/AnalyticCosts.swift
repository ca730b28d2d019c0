internal import Foundation

/// Costs from sizes and rates alone, for clusters that nobody has measured.
///
///     F(n, s)  = 2L(4nsh² + 2ns²h + 3nshi) + 4nsvh
///     infer    = (F / (devices·peak·η) + AR(2L/pp))·(2pp − 1)/pp + c₀
///     train    = (4F / (devices·peak·η) + AR(6L/pp))·(pp + m − 1)/m
///                + mini·(2(dp − 1)/dp·bytes/B_dp + (12 + 2·state)P/(tp·pp·dp)/HBM) + c₀
///     generate = prefill as infer + new·L·t_dec + c₀
///     t_dec    = max(t₀, w/(tp·HBM) + kv, flops + kv) + t_l·log₂ tp
///     AR(k)    = k·tokens of a replica·h·2·2(tp − 1)/tp / B_tp
///
/// A parameter's step reads and writes what the optimizer keeps of it: 8 bytes of AdamW, 28 with the rest. Where
/// completions share a prompt, F counts it once.
///
/// F is ReaL's accounting: it ignores that key and value heads may be fewer, and charges embedding and head alike. The
/// defaults are fitted to ReaL's published runs of its heuristic plan on A100s.
package struct AnalyticCosts: CostModel {
    package let cluster: Cluster
    package var coefficients: Coefficients

    package struct Coefficients: Sendable, Hashable {
        /// η: of the peak that products reach.
        package var efficiency = 0.55
        /// B_tp over the rate between two devices of a node.
        package var collectiveFactor = 220.0 / 170
        /// t₀: the least that a block's decode step takes, in seconds.
        package var decodeFloor = 0.0005
        /// t_l: what each doubling of tp adds to it.
        package var decodeCollective = 0.0003
        /// c₀: of every call.
        package var callOverhead = 0.8

        package init() {}
    }

    package init(_ cluster: Cluster, coefficients: Coefficients = Coefficients()) {
        self.cluster = cluster
        self.coefficients = coefficients
    }

    package func nanoseconds(_ call: CallSpec, _ assignment: Assignment, _ shape: ModelShape) -> Int {
        let seconds =
            switch call.kind {
            case .generate: generating(call.work, assignment, shape)
            case .infer:
                call.work.readShare * forward(call.work.sequences, call.work.length, assignment, shape)
                    + coefficients.callOverhead
            case .train: training(call.work, assignment, shape)
            case .host: Double(call.work.hostMilliseconds) / 1000
            }
        return Nanoseconds.rounded(seconds * 1e9)
    }

    /// F: operations of a forward pass over `sequences` of `length` tokens.
    package static func forwardOperations(_ sequences: Int, _ length: Int, _ shape: ModelShape) -> Double {
        let (n, s) = (Double(sequences), Double(length))
        let (h, i, v) = (Double(shape.hiddenSize), Double(shape.intermediateSize), Double(shape.vocabularySize))
        let block = 4 * n * s * h * h + 2 * n * s * s * h + 3 * n * s * h * i
        return 2 * Double(shape.layers) * block + 4 * n * s * v * h
    }

    // MARK: Parts

    /// Operations a second of so many devices.
    private func rate(_ devices: Int) -> Double {
        Double(devices) * cluster.peakTFLOPs * 1e12 * coefficients.efficiency
    }

    /// Seconds of `count` all-reduces of a replica's activations.
    private func allReduce(_ count: Double, tokens: Double, _ strategy: Strategy, _ shape: ModelShape) -> Double {
        let tp = Double(strategy.tensor)
        let bytes = tokens / Double(strategy.data) * Double(shape.hiddenSize) * 2
        return count * bytes * 2 * (tp - 1) / tp / (cluster.intraGBps * coefficients.collectiveFactor * 1e9)
    }

    private func forward(_ sequences: Int, _ length: Int, _ assignment: Assignment, _ shape: ModelShape) -> Double {
        let strategy = assignment.strategy
        let stages = Double(strategy.pipeline)
        let products = Self.forwardOperations(sequences, length, shape) / rate(strategy.size)
        let reduces = allReduce(
            2 * Double(shape.layers) / stages, tokens: Double(sequences * length), strategy, shape)
        return (products + reduces) * (2 * stages - 1) / stages
    }

    private func training(_ work: CallSpec.Work, _ assignment: Assignment, _ shape: ModelShape) -> Double {
        let strategy = assignment.strategy
        let (stages, tp, dp) = (Double(strategy.pipeline), Double(strategy.tensor), Double(strategy.data))
        let products =
            4 * work.readShare * Self.forwardOperations(work.sequences, work.length, shape) / rate(strategy.size)
        let tokens = work.readShare * Double(work.tokens)
        let reduces = allReduce(6 * Double(shape.layers) / stages, tokens: tokens, strategy, shape)
        let pieces = Double(assignment.microBatches)
        let parameters = Double(shape.parameterCount)
        let isInside = strategy.tensor * strategy.data <= cluster.devicesPerNode
        let link = (isInside ? cluster.intraGBps : cluster.interGBps) * 1e9
        let trained = work.trainedShare(of: shape) * parameters
        let gradients = 2 * (dp - 1) / dp * 2 * trained / (tp * stages) / link
        let stepped = 12 * trained + 2 * work.stateShare(of: shape) * parameters
        let optimizer = stepped / (tp * stages * dp) / (cluster.hbmGBps * 1e9)
        return (products + reduces) * (stages + pieces - 1) / pieces
            + Double(work.miniBatches) * (gradients + optimizer) + coefficients.callOverhead
    }

    private func generating(_ work: CallSpec.Work, _ assignment: Assignment, _ shape: ModelShape) -> Double {
        let strategy = assignment.strategy
        let tp = Double(strategy.tensor)
        let (h, i) = (Double(shape.hiddenSize), Double(shape.intermediateSize))
        let batch = Double(work.sequences) / Double(strategy.pipeline * strategy.data)
        let context = Double(work.promptTokens) + Double(work.newTokens) / 2
        let memory = cluster.hbmGBps * 1e9
        let bytes = assignment.layout.decodeBytes
        let keyValueBytes = Double(assignment.layout.activationBytes)
        let weights = bytes * Double(shape.parameterCount(ofLayer: 1)) / (tp * memory)
        // Heads that the shards do not divide are whole on each.
        let sharers = shape.keyValueHeads.isMultiple(of: strategy.tensor) ? tp : 1
        let cache = 2 * Double(shape.keyValueWidth) * keyValueBytes * batch * context / (sharers * memory)
        let operations = 2 * (4 * batch * h * h + 2 * batch * context * h + 3 * batch * h * i)
        let products = operations / (tp * rate(1))
        let step =
            max(coefficients.decodeFloor, weights + cache, products + cache) + coefficients.decodeCollective * log2(tp)
        let prompts = (work.sequences + work.completionsPerPrompt - 1) / work.completionsPerPrompt
        return forward(prompts, work.promptTokens, assignment, shape)
            + Double(work.newTokens * shape.layers) * step + coefficients.callOverhead
    }
}

extension CallSpec.Work {
    /// Of the tokens of all sequences, those that are read: prompts once.
    fileprivate var readShare: Double {
        completionsPerPrompt == 1 || tokens == 0 ? 1 : Double(tokens(of: sequences)) / Double(tokens)
    }
}

extension WeightLayout {
    /// Bytes that a decode step reads of each weight.
    fileprivate var decodeBytes: Double {
        switch self {
        case .fp32Master, .fp32Packed: 4
        case .bf16, .bf16WithMaster: 2
        case .int8: 1
        }
    }
}
