package import Records
package import Tensors

/// Corrects for samples drawn from a policy slightly different from the one the trainer computes: other kernels, another
/// precision, filters. Truncated (TIS) and masked (MIS) importance sampling, as in TRL.
///
///     w_t = π_old(y_t) / π_rollout(y_t)              token
///     w   = Π_t π_old(y_t) / π_rollout(y_t)          sequence, the same for all its tokens
///     truncate: w ← clamp(w, C_min, C_max)           mask: w ← 0 outside C_min...C_max
///
/// w is constant and multiplies the policy term only, not a KL term; denominators stay as they are. Unbounded sequence
/// weights are unbiased; token weights are not, and have far less variance. Where the two policies agree, w is exactly 1.
package struct MismatchCorrection: Sendable, Equatable {
    package enum Granularity: String, Sendable, Equatable, CaseIterable { case token, sequence }
    package enum Constraint: String, Sendable, Equatable, CaseIterable { case truncate, mask }

    package let granularity: Granularity
    package let constraint: Constraint
    /// C_min; `nil` for none.
    package let minimum: Double?
    /// C_max; `nil` for none.
    package let maximum: Double?

    /// Starts from TRL's defaults.
    ///
    /// - Throws: `SettingsError` for bounds below 0 or in the wrong order.
    package init(
        granularity: Granularity = .sequence, constraint: Constraint = .mask, minimum: Double? = nil,
        maximum: Double? = 3
    ) throws(SettingsError) {
        var problems = Problems("mismatch_correction")
        problems.require(minimum.map { $0 >= 0 } ?? true, "minimum", minimum ?? 0, "at least 0")
        let lowest = minimum ?? 0
        problems.require(
            maximum.map { $0 > lowest } ?? true, "maximum", maximum ?? 0, "above the minimum, which is \(lowest)")
        try problems.throwIfAny()
        self.granularity = granularity
        self.constraint = constraint
        self.minimum = minimum
        self.maximum = maximum
    }

    /// w at each token.
    ///
    /// - Parameters:
    ///   - old: log π_old, scored by the trainer, `[actionTokens]`.
    ///   - rollout: log π_rollout, kept from sampling, `[actionTokens]`.
    /// - Returns: `[actionTokens]`, without a gradient.
    package func weights(old: Tensor, rollout: Tensor, _ spans: CompletionSpans) throws -> Tensor {
        let limit = ImportanceRatio.largestLogRatio
        let difference = try old.detached() - rollout.detached()
        let logWeights =
            switch granularity {
            case .token: difference
            case .sequence: try spans.spread(spans.segmentSum(difference))
            }
        return try constrained(logWeights.clamped(to: -limit...limit).exp())
    }

    private func constrained(_ weights: Tensor) throws -> Tensor {
        let bounds = (minimum ?? 0)...(maximum ?? .infinity)
        let clamped = try weights.clamped(to: bounds)
        switch constraint {
        case .truncate: return clamped
        case .mask:
            let isInside = try weights.equal(to: clamped)
            return try Tensor.where(isInside, weights, weights * 0)
        }
    }

    /// The weights' spread, by TRL's names.
    func noteWeights(_ weights: Tensor, _ spans: CompletionSpans, in report: inout LossReport) throws {
        let unit = granularity == .token ? nil : spans
        try report.note([weights]) { columns, metrics in
            let weights = unit?.means(of: columns[0]) ?? columns[0]
            metrics.set("sampling/importance_sampling_ratio/min", weights, .minimum)
            metrics.set("sampling/importance_sampling_ratio/mean", weights, .mean)
            metrics.set("sampling/importance_sampling_ratio/max", weights, .maximum)
        }
    }
}
