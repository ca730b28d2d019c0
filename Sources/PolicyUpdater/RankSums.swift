internal import Algorithms
package import Tensors

/// What a rank's passes over its share of a batch came to.
private struct Share: Codable, Sendable {
    let loss: Double
    let metrics: LossMetrics
}

extension ProcessGroup? {
    /// What the ranks' shares of a batch come to together; the share itself for one process.
    @TensorActor
    func combined(_ loss: Double, _ metrics: LossMetrics) throws -> (Double, LossMetrics) {
        guard let self else { return (loss, metrics) }
        var (sum, all) = (0.0, LossMetrics())
        for share in try self.exchange(Share(loss: loss, metrics: metrics)) {
            sum += share.loss
            all.combine(share.metrics)
        }
        return (sum, all)
    }
}

/// The way of a policy's weights in a run of which some ranks only sample: from the first rank to those.
package struct WeightSharing: Sendable {
    /// All ranks of the run.
    let ranks: ProcessGroup
    /// Whether this one only samples.
    let receives: Bool

    package init(over ranks: ProcessGroup, receives: Bool) {
        self.ranks = ranks
        self.receives = receives
    }
}
