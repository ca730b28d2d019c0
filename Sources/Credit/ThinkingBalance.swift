package import Records

/// α of BVPO: what the gradient with traces counts beside the one without.
package struct ThinkingBalance: Sendable, Equatable, Codable {
    /// How an estimated α moves.
    package struct Bounds: Sendable, Equatable {
        package var range: ClosedRange<Double>
        /// Most that one calibration moves it.
        package var move: Double
        /// What is kept of the terms so far at each calibration.
        package var memory: Double
        /// ‖b̂_e‖² over its standard error below which α is held.
        package var leastRatio: Double

        package init(
            range: ClosedRange<Double> = 0.1...0.9, move: Double = 0.1, memory: Double = 0.9, leastRatio: Double = 2
        ) {
            self.range = range
            self.move = move
            self.memory = memory
            self.leastRatio = leastRatio
        }
    }

    package private(set) var alpha: Double
    /// Running means of the terms; `nil` before the first calibration.
    package private(set) var terms: ThinkingBalanceTerms?
    package private(set) var calibrations = 0
    /// Calibrations that left α as it was: their bias could not be told from noise, or a term was not finite.
    package private(set) var held = 0

    package init(alpha: Double) { self.alpha = alpha }

    /// Takes a calibration.
    ///
    /// - Returns: `bvpo/alpha_star` and every term, with the ratio that decides whether α moves.
    package mutating func take(_ estimate: ThinkingBalanceEstimate, _ bounds: Bounds) -> Metrics {
        calibrations += 1
        let found = estimate.terms
        let isFinite = found.meanSquaredError(0.5).isFinite && found.optimum != nil && !estimate.emptyBiasRatio.isNaN
        if isFinite { terms = terms?.moved(towards: found, by: 1 - bounds.memory) ?? found }
        let optimum = terms?.optimum
        if isFinite, estimate.emptyBiasRatio >= bounds.leastRatio, let optimum {
            let wanted = min(max(optimum, bounds.range.lowerBound), bounds.range.upperBound)
            alpha += min(max(wanted - alpha, -bounds.move), bounds.move)
        } else {
            held += 1
        }
        var metrics = Metrics()
        metrics["bvpo/alpha_star"] = optimum
        metrics["bvpo/var_thinking"] = found.traceVariance
        metrics["bvpo/var_empty"] = found.emptyVariance
        metrics["bvpo/var_cross"] = found.crossVariance
        metrics["bvpo/bias_thinking"] = found.traceBias
        metrics["bvpo/bias_empty"] = found.emptyBias
        metrics["bvpo/bias_cross"] = found.crossBias
        metrics["bvpo/bias_empty_ratio"] = estimate.emptyBiasRatio
        metrics["bvpo/held_calibrations", .last] = Double(held)
        return metrics
    }
}
