internal import Models
internal import Tensors

/// Log-probs and entropies of a micro-batch's generated tokens under a model, at the sampling temperature.
struct TokenScorer {
    let temperature: Double
    let checkpointsBlocks: Bool

    /// - Returns: `[generated tokens]` each, in nats; log-probs with a gradient when the model's parameters have one.
    func scores(_ packed: PackedMicroBatch, under model: Transformer) throws -> TokenScores {
        let hidden = try model.hiddenStates(
            tokens: Tensor(packed.tokens, device: model.device), layout: packed.layout,
            checkpointsBlocks: checkpointsBlocks)
        return try Tensor.tokenScores(
            hidden: hidden.rows(at: packed.layout.predictionIndices), head: model.head,
            targets: Tensor(packed.targets, device: model.device), temperature: temperature)
    }
}
