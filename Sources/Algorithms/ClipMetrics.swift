internal import Tensors

/// How much of a batch the clipped surrogate left without a gradient, by TRL's names.
struct ClipMetrics {
    let metrics: LossMetrics

    /// - Parameters:
    ///   - ratios: ρ of each token, `[actionTokens]`.
    ///   - level: With `sequence` the means run over completions instead of tokens.
    init(
        ratios: Tensor, advantages: Tensor, clip: ClippedSurrogate, level: ImportanceRatio, _ spans: CompletionSpans
    ) throws {
        let ratios = try ratios.doubles()
        let advantages = try advantages.doubles()
        let tokens = Array(zip(ratios, advantages))
        let low = tokens.map { $0 < clip.range.lowerBound && $1 < 0 ? 1.0 : 0 }
        let high = tokens.map { $0 > clip.range.upperBound && $1 > 0 ? 1.0 : 0 }
        let region = zip(low, high).map { max($0, $1) }
        func unit(_ values: [Double]) -> [Double] { level == .token ? values : spans.means(of: values) }

        var metrics = LossMetrics()
        metrics.setMean("clip_ratio/low_mean", unit(low))
        metrics.setMinimum("clip_ratio/low_min", spans.means(of: low))
        metrics.setMean("clip_ratio/high_mean", unit(high))
        metrics.setMaximum("clip_ratio/high_max", spans.means(of: high))
        metrics.setMean("clip_ratio/region_mean", unit(region))
        if case .dual(let bound) = clip.upperBound {
            metrics.setMean("clip_ratio/dual_mean", unit(tokens.map { $0 > bound && $1 < 0 ? 1 : 0 }))
        }
        metrics.setMean("ratio/mean", unit(ratios))
        metrics.setMaximum("ratio/max", ratios)
        self.metrics = metrics
    }
}

extension CompletionSpans {
    /// The mean of each completion that has tokens, of numbers per token.
    func means(of values: [Double]) -> [Double] {
        ranges.filter { !$0.isEmpty }.map { values[$0].reduce(0, +) / Double($0.count) }
    }
}
