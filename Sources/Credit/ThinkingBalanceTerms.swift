/// What decides the mean squared error of a gradient g_c = α·g_t + (1 − α)·g_e about the ideal one, μ: of BVPO, where
/// g_t has a sampled trace in it and g_e none (arXiv:2510.05095, Th. 2).
///
///     MSE(α) = α²·(tr Σ_t + ‖b_t‖²) + (1 − α)²·(tr Σ_e + ‖b_e‖²) + 2α(1 − α)·(tr Σ_te + ⟨b_t, b_e⟩)
///     α* = [tr Σ_e − tr Σ_te + ‖b_e‖² − ⟨b_t, b_e⟩] / [tr Σ_t + tr Σ_e − 2 tr Σ_te + ‖b_t − b_e‖²], clipped to 0 … 1
///
/// b are the biases E g − μ, Σ the covariances, Σ_te the cross-covariance. MSE(α*) is at most MSE(0) and MSE(1).
package struct ThinkingBalanceTerms: Sendable, Equatable, Codable {
    /// tr Σ_t, of the gradient with traces.
    package var traceVariance: Double
    /// tr Σ_e, of the gradient without.
    package var emptyVariance: Double
    /// tr Σ_te.
    package var crossVariance: Double
    /// ‖b_t‖².
    package var traceBias: Double
    /// ‖b_e‖².
    package var emptyBias: Double
    /// ⟨b_t, b_e⟩.
    package var crossBias: Double

    package init(
        traceVariance: Double, emptyVariance: Double = 0, crossVariance: Double = 0, traceBias: Double,
        emptyBias: Double, crossBias: Double
    ) {
        self.traceVariance = traceVariance
        self.emptyVariance = emptyVariance
        self.crossVariance = crossVariance
        self.traceBias = traceBias
        self.emptyBias = emptyBias
        self.crossBias = crossBias
    }

    /// MSE(α).
    package func meanSquaredError(_ alpha: Double) -> Double {
        let rest = 1 - alpha
        return alpha * alpha * (traceVariance + traceBias) + rest * rest * (emptyVariance + emptyBias)
            + 2 * alpha * rest * (crossVariance + crossBias)
    }

    /// α*; `nil` where every α is as good as another, or a term is not finite.
    package var optimum: Double? {
        let slope = emptyVariance - crossVariance + emptyBias - crossBias
        let curvature = traceVariance + emptyVariance - 2 * crossVariance + traceBias + emptyBias - 2 * crossBias
        guard curvature > 0, slope.isFinite, curvature.isFinite else { return nil }
        return min(max(slope / curvature, 0), 1)
    }

    /// Terms that go from these towards others: (1 − share) of these and share of the others.
    func moved(towards other: ThinkingBalanceTerms, by share: Double) -> ThinkingBalanceTerms {
        func between(_ field: KeyPath<ThinkingBalanceTerms, Double>) -> Double {
            (1 - share) * self[keyPath: field] + share * other[keyPath: field]
        }
        return ThinkingBalanceTerms(
            traceVariance: between(\.traceVariance), emptyVariance: between(\.emptyVariance),
            crossVariance: between(\.crossVariance), traceBias: between(\.traceBias), emptyBias: between(\.emptyBias),
            crossBias: between(\.crossBias))
    }
}
