internal import Algorithms
internal import Tensors

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
