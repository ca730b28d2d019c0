internal import Algorithms
internal import Coordinator
internal import Credit
internal import Foundation
internal import Methods
internal import Placement
internal import PolicyUpdater
internal import Records
internal import RolloutEngine
internal import Tensors
internal import Tokenization

/// Estimates what decides α of BVPO: fresh traces before the given answers of some pairs, and the gradients that they
/// bring.
///
/// Of each prompt 2R + R_μ traces are drawn. The first R stand before the chosen answer, the next R before the rejected
/// one, the last R_μ before both, for the marginal gradient: those are never the ones whose spread is measured. Half as
/// many more are drawn, so that some may stay open.
struct ThinkingBalanceCalibrator: Sendable {
    private let plan: ThinkingBalanceCalibration
    private let beta: Double
    private let pairs: PairFeed
    private let generator: EngineGenerator
    private let updater: PolicyUpdater
    private let tokenizer: Tokenizer
    private let thinkEnd: String
    private let seed: UInt64
    /// Slots with both pairs, spread over the set.
    private let slots: [Int]
    private let sketch: GradientSketch

    /// - Parameter limits: How many traces are decoded at once.
    /// - Throws: ``JobError`` for a set in which fewer than two prompts have both pairs.
    @TensorActor
    init(
        _ balance: ThinkingBalancePlan, _ calibration: ThinkingBalanceCalibration, _ thinking: ThinkingSettings,
        _ pairs: PairFeed, _ model: ModelSource, policy: ReallocatingActor, updater: PolicyUpdater, seed: Int,
        limits: BatchLimits
    ) throws {
        plan = calibration
        beta = balance.beta
        self.pairs = pairs
        self.updater = updater
        tokenizer = model.tokenizer
        thinkEnd = thinking.end
        self.seed = UInt64(seed)
        // Draws of their own: calibrating or not changes none of training's.
        generator = try EngineGenerator(
            policy: policy, model: model,
            sampling: SamplingSettings(
                maxCompletionLength: calibration.traceLength, stopStrings: [thinking.end]), softThinking: nil,
            seed: ~seed, limits: limits)
        let whole = pairs.rows.slots.indices.filter { !pairs.rows.slots[$0].contains(nil) }
        guard whole.count >= 2 else {
            throw JobError(
                place: "bvpo.alpha_mode", message: "\(whole.count) prompts have both pairs; an estimate needs two")
        }
        let count = min(calibration.prompts, whole.count)
        slots = (0..<count).map { whole[$0 * whole.count / count] }
        let last = "model.layers.\(model.configuration.layers - 1)."
        let counts = policy.trainedCounts.filter { calibration.weights == .all || $0.key.hasPrefix(last) }
        guard !counts.isEmpty else {
            throw JobError(
                place: "bvpo.calibration_weights",
                message: "nothing of the last block is trained, whose gradients are compared; expected all")
        }
        sketch = try GradientSketch(of: counts, size: calibration.sketchSize, seed: UInt64(seed))
    }

    /// `bvpo/calibration_prompts`, those that could be used, `bvpo/calibration_unclosed`, the share of traces without
    /// an end, `bvpo/calibration_unweighted`, the share of sides whose traces could not be drawn again by weight, and
    /// what ``Credit/Swift/Array/gradientMetrics(alpha:)`` tells of the gradients.
    ///
    /// - Parameters:
    ///   - alpha: The present one; it decides what is told of the gradients and nothing else.
    ///   - step: Addresses the draws.
    /// - Returns: No estimate where fewer than two prompts could be used.
    func estimate(
        alpha: Double, step: Int, stop: StopSignal
    ) async throws -> (estimate: ThinkingBalanceEstimate?, metrics: Metrics) {
        let asked = plan.neededTraces
        let drawn = try await traces(plan.drawnTraces, step: step, stop: stop)
        var metrics = Metrics()
        let closed = drawn.map { $0.filter { $0.isClosed(by: thinkEnd) } }
        let all = drawn.reduce(0) { $0 + $1.count }
        metrics["bvpo/calibration_unclosed"] = Double(all - closed.reduce(0) { $0 + $1.count }) / Double(max(all, 1))
        var samples: [ThinkingBalanceSample] = []
        var unweighted = 0
        for (slot, rollouts) in zip(slots, closed) where rollouts.count >= asked {
            try stop.check()
            let found = try await sample(slot, Array(rollouts.prefix(asked)), step: step)
            samples.append(found.sample)
            unweighted += found.unweighted
        }
        metrics["bvpo/calibration_prompts"] = Double(samples.count)
        metrics["bvpo/calibration_unweighted"] = Double(unweighted) / Double(max(2 * samples.count, 1))
        guard samples.count >= 2 else { return (nil, metrics) }
        metrics.merge(samples.gradientMetrics(alpha: alpha))
        return (ThinkingBalanceEstimate(samples), metrics)
    }

    /// Draws a number of traces of every prompt; each ends where thinking does, or is left open.
    private func traces(_ count: Int, step: Int, stop: StopSignal) async throws -> [[Rollout]] {
        let requests = try slots.map { slot in
            let group = try pairs.rows.group(ofPair: pairs.rows.slots[slot][0]!)
            var prompt = try pairs.rows.prompt(at: slot)
            prompt.row = slot
            return RolloutRequest(
                prompt: TokenizedPrompt(prompt: prompt, tokenIDs: group.promptTokenIDs), samples: count)
        }
        var found: [Int: [Rollout]] = [:]
        for try await group in generator.generate(requests, step: step, stop: stop) {
            found[group.prompt.prompt.row] = group.rollouts
        }
        try stop.check()
        return slots.map { found[$0] ?? [] }
    }

    /// What one prompt tells.
    private func sample(
        _ slot: Int, _ rollouts: [Rollout], step: Int
    ) async throws -> (sample: ThinkingBalanceSample, unweighted: Int) {
        let both = pairs.rows.slots[slot].map { $0! }
        let thinking = try pairs.rows.group(ofPair: both[0])
        let empty = try pairs.group(ofPair: both[1])
        let answers = try thinking.completions.map { try answer(in: $0.tokenIDs) }
        let traces = plan.traces
        let marginal = rollouts[(2 * traces)...]
        let chosen = try await sequences(rollouts[..<traces], before: answers[0], thinking.promptTokenIDs)
        let rejected = try await sequences(rollouts[traces..<2 * traces], before: answers[1], thinking.promptTokenIDs)
        let better = try await sequences(marginal, before: answers[0], thinking.promptTokenIDs)
        let worse = try await sequences(marginal, before: answers[1], thinking.promptTokenIDs)
        let sides = try await sequences(of: empty)

        func uniforms(_ side: Int) -> [Double] {
            (0..<traces).map {
                RandomAddress(step: step, row: slot, sample: side, token: $0).uniform(seed: ~seed, stream: .shuffle)
            }
        }
        let first = TraceGradients.resampled(chosen, uniforms: uniforms(0))
        let second = TraceGradients.resampled(rejected, uniforms: uniforms(1))
        func traceHalf(_ range: Range<Int>) -> [Double] {
            TraceGradients.mean(
                beta: beta, chosen: Array(chosen[range]), rejected: Array(rejected[range]),
                isWeighted: (first.isWeighted, second.isWeighted))
        }
        let half = plan.marginalTraces / 2
        func marginalGradient(_ range: Range<Int>) -> [Double] {
            TraceGradients.marginal(beta: beta, chosen: Array(better[range]), rejected: Array(worse[range]))
        }
        return (
            ThinkingBalanceSample(
                traceGradients: zip(first.indices, second.indices).map {
                    TraceGradients.single(beta: beta, chosen: chosen[$0], rejected: rejected[$1])
                },
                traceHalves: (traceHalf(0..<traces / 2), traceHalf(traces / 2..<traces)),
                emptyGradient: TraceGradients.single(beta: beta, chosen: sides[0], rejected: sides[1]),
                marginalHalves: (marginalGradient(0..<half), marginalGradient(half..<2 * half))),
            [first, second].count { !$0.isWeighted }
        )
    }

    /// The tokens behind the first end of thinking.
    private func answer(in tokens: [Int]) throws -> [Int] {
        var (low, high) = (1, tokens.count)  // the end is within the first `high` tokens: the pair is closed
        while low < high {
            let middle = (low + high) / 2
            if try tokenizer.decode(Array(tokens[..<middle])).contains(thinkEnd) {
                high = middle
            } else {
                low = middle + 1
            }
        }
        return Array(tokens[high...])
    }

    /// Traces with an answer behind each.
    private func sequences(
        _ rollouts: ArraySlice<Rollout>, before answer: [Int], _ prompt: [Int]
    ) async throws -> [TraceGradients.Sequence] {
        let group = UpdateGroup(
            promptTokenIDs: prompt,
            completions: rollouts.map { UpdateCompletion(tokenIDs: $0.completion.tokenIDs + answer) })
        var found = try await sequences(of: group)
        for (index, rollout) in rollouts.enumerated() {
            found[index].drawn = rollout.samplingLogProbabilities.reduce(0) { $0 + Double($1) }
        }
        return found
    }

    /// Each completion's log-probs under policy and reference, and the sketch of its own gradient.
    private func sequences(of group: UpdateGroup) async throws -> [TraceGradients.Sequence] {
        let batch = UpdateBatch(.demonstrations, groups: [group])
        func sums(_ role: InferenceRole) async throws -> [Double] {
            try await updater.logProbabilities(batch, under: role).tokens[0].map { $0.reduce(0) { $0 + Double($1) } }
        }
        let (own, reference) = (try await sums(.oldPolicy), try await sums(.reference))
        let gradients = try await sketches(of: group)
        return own.indices.map {
            TraceGradients.Sequence(
                logProbability: own[$0], reference: reference[$0], drawn: 0, gradient: gradients[$0])
        }
    }

    /// ∇ log π of each completion, as sketches.
    @TensorActor
    private func sketches(of group: UpdateGroup) async throws -> [[Double]] {
        // The loss of a demonstration is −log π over its tokens' number.
        let likelihood = PartPlan(SupervisedFineTuning(), on: .demonstrations)
        return try await updater.lend { point in
            .skipped(
                try group.completions.map { completion in
                    let part = UpdatePart(
                        .demonstrations,
                        [UpdateGroup(promptTokenIDs: group.promptTokenIDs, completions: [completion])])
                    let found = try updater.gradients(of: part, by: likelihood, at: point.undropped)
                    return try sketch(found.gradients.gradients).map { -Double(completion.tokenIDs.count) * $0 }
                })
        }.value
    }
}

extension Rollout {
    /// Whether a trace came to its end: by the text that stops it, or by the token that is this text.
    fileprivate func isClosed(by thinkEnd: String) -> Bool {
        completion.finishReason == .stopString(thinkEnd)
            || completion.finishReason == .stopToken && completion.textWithSpecials.hasSuffix(thinkEnd)
    }
}
