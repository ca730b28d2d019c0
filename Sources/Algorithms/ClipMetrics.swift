internal import Tensors

/// How much of a batch the clipped surrogate left without a gradient, by TRL's names.
enum ClipMetrics {
    /// - Parameters:
    ///   - ratios: ρ of each token, `[actionTokens]`.
    ///   - level: With `sequence` the means run over completions instead of tokens.
    static func note(
        ratios: Tensor, advantages: Tensor, clip: ClippedSurrogate, level: ImportanceRatio, _ spans: CompletionSpans,
        in report: inout LossReport
    ) throws {
        try report.note([ratios, advantages]) { columns, metrics in
            let ratios = columns[0]
            let tokens = Array(zip(ratios, columns[1]))
            let low = tokens.map { $0 < clip.range.lowerBound && $1 < 0 ? 1.0 : 0 }
            let high = tokens.map { $0 > clip.range.upperBound && $1 > 0 ? 1.0 : 0 }
            let region = zip(low, high).map { max($0, $1) }
            func unit(_ values: [Double]) -> [Double] { level == .token ? values : spans.means(of: values) }

            metrics.set("clip_ratio/low_mean", unit(low), .mean)
            metrics.set("clip_ratio/low_min", spans.means(of: low), .minimum)
            metrics.set("clip_ratio/high_mean", unit(high), .mean)
            metrics.set("clip_ratio/high_max", spans.means(of: high), .maximum)
            metrics.set("clip_ratio/region_mean", unit(region), .mean)
            switch clip.upperBound {
            case .none: break
            case .delta(let bound), .dual(let bound):
                metrics.set("clip_ratio/dual_mean", unit(tokens.map { $0 > bound && $1 < 0 ? 1 : 0 }), .mean)
            }
            metrics.set("ratio/mean", unit(ratios), .mean)
            metrics.set("ratio/max", ratios, .maximum)
        }
    }
}

extension CompletionSpans {
    /// The mean of each completion that has tokens, of numbers per token.
    func means(of values: [Double]) -> [Double] {
        ranges.filter { !$0.isEmpty }.map { values[$0].reduce(0, +) / Double($0.count) }
    }
}
