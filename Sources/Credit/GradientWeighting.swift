internal import Foundation
package import Records

/// Weighs the rewards whose gradients go the way of all: gradient-based weighting (arXiv:2509.11452, §3.2),
/// exponentiated gradient.
///
///     I_k = ⟨g_k, Σ_j g_j⟩        g_k: the gradient of reward k's own advantages, a KL term of
///                                 the loss in it, clipped to norm 1
///     w_k ← w_k·exp(s·I_k) / Σ_j w_j·exp(s·I_j)        s = η/τ, or the step size times η over its peak
///
/// The step that the gradients are of is then taken with the new weights. A weight never falls below a floor: 0 would
/// be for good. Departs from the paper: gradients are of every trained parameter and not of middle layers; rewards keep
/// streams of their own, so that the update is the weighted sum of the very gradients that were compared, where the
/// published code scalarizes rewards anew; the clip of the ratio stays, which is 1 in the first optimizer step of a
/// rollout.
package struct GradientWeighting: Sendable, Equatable {
    package let rewards: [String]
    /// s at the peak of the learning rate.
    package let stepSize: Double
    /// τ; `nil` takes the step size.
    package let temperature: Double?
    package let floor: Double
    package var state: State

    /// By the rewards' names.
    package struct State: Sendable, Equatable, Codable {
        package internal(set) var weights: [String: Double]
        var announced: [String: Double]
    }

    /// - Parameters:
    ///   - initial: One weight a reward, brought to the sum 1; equal ones unless given.
    ///   - floor: Below 1/K.
    package init(
        _ rewards: [String], initial: [Double]? = nil, stepSize: Double = 0.1, temperature: Double? = nil,
        floor: Double = 1e-4
    ) {
        self.rewards = rewards
        self.stepSize = stepSize
        self.temperature = temperature
        self.floor = floor
        let start = initial ?? rewards.map { _ in 1 }
        let total = start.reduce(0, +)
        let weights = Self.floored(start.map { $0 / total }, floor)
        let named = Dictionary(uniqueKeysWithValues: zip(rewards, weights))
        state = State(weights: named, announced: named)
    }

    /// w on the simplex with no weight below the floor.
    private static func floored(_ weights: [Double], _ floor: Double) -> [Double] {
        let raised = weights.map { max($0, floor) }
        let total = raised.reduce(0, +)
        return raised.map { $0 / total }
    }

    /// One step of exponentiated gradient.
    ///
    /// - Parameter alignments: s·I of each reward; of any size.
    package static func moved(_ weights: [Double], by alignments: [Double]) -> [Double] {
        let logits = zip(weights, alignments).map { log($0) + $1 }
        let largest = logits.max() ?? 0
        let masses = logits.map { exp($0 - largest) }
        let total = masses.reduce(0, +)
        return masses.map { $0 / total }
    }

    /// Row sums of the Gram matrix of gradients clipped to norm 1.
    package static func alignments(_ gram: [[Double]]) -> [Double] {
        let scales = gram.indices.map { min(1, 1 / (gram[$0][$0].squareRoot() + 1e-6)) }
        return gram.indices.map { row in
            scales[row] * gram.indices.reduce(0) { $0 + scales[$1] * gram[row][$1] }
        }
    }
}

extension GradientWeighting: RewardController {
    package var name: String { "gradient_weights" }

    package func weights(at step: Int) -> StreamWeights { StreamWeights(state.weights) }

    package func check(_ saved: State) throws {
        let (mine, found) = (rewards.sorted(), saved.weights.keys.sorted())
        guard mine == found else {
            throw ControllerStateError(
                "the checkpoint weighs \(found.joined(separator: ", ")); the job has \(mine.joined(separator: ", "))")
        }
    }

    package var readsGradients: Bool { true }

    package mutating func observe(_ step: ObservedStep) -> ControllerUpdate? { ControllerUpdate() }

    /// Metrics: `dynamic_weights/alignment/NAME`, I of each reward; `dynamic_weights/mixed_norm`, ‖Σ w_k g_k‖ with the
    /// new weights, which is the norm of the first optimizer step's gradient where nothing clips a ratio and neither a
    /// teacher, a bonus of entropy nor a critic on the policy's trunk stands beside the rewards;
    /// `dynamic_weights/backward_passes`.
    package mutating func weigh(_ products: StreamProducts, of streams: [String]) -> ControllerUpdate? {
        let indices = rewards.compactMap { streams.firstIndex(of: $0) }
        precondition(indices.count == rewards.count, "every reward has a stream")
        let gram = indices.map { row in indices.map { products.gram[row][$0] } }
        let alignments = Self.alignments(gram)
        let size =
            temperature.map { products.learningRate / $0 }
            ?? stepSize * products.learningRate / max(products.peakLearningRate, .leastNormalMagnitude)
        guard alignments.allSatisfy(\.isFinite), size.isFinite else { return nil }
        let moved = Self.floored(
            Self.moved(rewards.map { state.weights[$0] ?? floor }, by: alignments.map { size * $0 }), floor)
        state.weights = Dictionary(uniqueKeysWithValues: zip(rewards, moved))
        var update = ControllerUpdate()
        for (name, alignment) in zip(rewards, alignments) {
            update.metrics["dynamic_weights/alignment/\(name)"] = alignment
        }
        let square = gram.indices.reduce(0) { sum, row in
            sum + gram.indices.reduce(0) { $0 + moved[row] * moved[$1] * gram[row][$1] }
        }
        update.metrics["dynamic_weights/mixed_norm"] = max(square, 0).squareRoot()
        update.metrics["dynamic_weights/backward_passes", .sum] = Double(streams.count)
        update.note = announcement(Dictionary(uniqueKeysWithValues: zip(rewards, alignments)))
        return update
    }

    private mutating func announcement(_ alignments: [String: Double]) -> String? {
        let notable = rewards.filter { name in
            let (now, before) = (state.weights[name] ?? 0, state.announced[name] ?? 0)
            return abs(now - before) >= max(0.05, before / 2)
        }
        guard !notable.isEmpty else { return nil }
        let lines = notable.map { name in
            "the weight of \(name) went from \((state.announced[name] ?? 0).shown) to "
                + "\((state.weights[name] ?? 0).shown): the product of its "
                + "gradient with the sum of all is \((alignments[name] ?? 0).shown), the average "
                + "\((alignments.values.reduce(0, +) / Double(alignments.count)).shown)"
        }
        state.announced = state.weights
        return lines.joined(separator: "; ")
    }
}
