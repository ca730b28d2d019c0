package import Records
package import Tensors

/// Corrects for samples drawn from a policy slightly different from the one the trainer computes: other kernels,
/// another precision, filters. Truncated (TIS) and masked (MIS) importance sampling, as in TRL.
///
///     w_t = π_old(y_t) / π_rollout(y_t)              token
///     w   = Π_t π_old(y_t) / π_rollout(y_t)          sequence, the same for all its tokens
///     truncate: w ← clamp(w, C_min, C_max)           mask: w ← 0 outside C_min...C_max
///
/// w is constant and multiplies the policy term only, not a KL term; denominators stay as they are. Unbounded sequence
/// weights are unbiased; token weights are not, and have far less variance. Where the two policies agree, w is exactly
/// 1.
package struct MismatchCorrection: Sendable, Equatable {
    package enum Granularity: String, Sendable, Equatable, CaseIterable { case token, sequence }
    package enum Constraint: String, Sendable, Equatable, CaseIterable { case truncate, mask }

    /// Both in one word: `importance_sampling_correction:`.
    package enum Form: String, SettingsChoice {
        case none
        case tokenTruncate = "token_truncate"
        case tokenMask = "token_mask"
        case sequenceTruncate = "sequence_truncate"
        case sequenceMask = "sequence_mask"
    }

    package let granularity: Granularity
    package let constraint: Constraint
    /// C_min; `nil` for none.
    package let minimum: Double?
    /// C_max; `nil` for none.
    package let maximum: Double?

    /// Starts from TRL's defaults.
    package init(
        granularity: Granularity = .sequence, constraint: Constraint = .mask, minimum: Double? = nil,
        maximum: Double? = 3
    ) {
        self.granularity = granularity
        self.constraint = constraint
        self.minimum = minimum
        self.maximum = maximum
    }

    /// `nil` where no correction is asked for.
    package init?(reading job: inout SettingsReader) {
        let form = job.read(
            "importance_sampling_correction", default: Form.none,
            "Weighs the policy term by w = π_old/π_sampler when the sampler is not quite the trainer's policy (top_p below 1, bf16): per token or per sequence, truncated to the bounds (TIS) or masked outside them (MIS). Off unless set."
        )
        minimum = job.read(
            "importance_sampling_min", optional: nil, .atLeast(0), "The weights' lower bound; none unless set.")
        maximum = job.read(
            "importance_sampling_max", optional: 3.0, .above(0), "The weights' upper bound; null for none.")
        switch form {
        case .none:
            job.ignore("importance_sampling_min", "importance_sampling_max")
            return nil
        case .tokenTruncate: (granularity, constraint) = (.token, .truncate)
        case .tokenMask: (granularity, constraint) = (.token, .mask)
        case .sequenceTruncate: (granularity, constraint) = (.sequence, .truncate)
        case .sequenceMask: (granularity, constraint) = (.sequence, .mask)
        }
        let lowest = minimum ?? 0
        job.check(
            maximum.map { $0 > lowest } ?? true, "importance_sampling_max", "above the minimum, which is \(lowest)")
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
