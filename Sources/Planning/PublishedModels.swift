/// The shapes of models that published planners were measured with, so that a plan needs no folder of weights.
extension ModelShape {
    /// `llama-2-7b` and its like; a critic or reward model of the shape has `output: .values(1)`.
    package static let published: [String: ModelShape] = [
        "llama-2-7b": llama(layers: 32, hidden: 4096, intermediate: 11008, heads: 32, keyValueHeads: 32),
        "llama-2-13b": llama(layers: 40, hidden: 5120, intermediate: 13824, heads: 40, keyValueHeads: 40),
        "codellama-34b": llama(layers: 48, hidden: 8192, intermediate: 22016, heads: 64, keyValueHeads: 8),
        "llama-2-70b": llama(layers: 80, hidden: 8192, intermediate: 28672, heads: 64, keyValueHeads: 8),
    ]

    private static func llama(
        layers: Int, hidden: Int, intermediate: Int, heads: Int, keyValueHeads: Int
    ) -> ModelShape {
        ModelShape(
            layers: layers, hiddenSize: hidden, intermediateSize: intermediate, heads: heads,
            keyValueHeads: keyValueHeads, vocabularySize: 32000)
    }

    /// The same trunk with so many values in place of the head.
    package func withValues(_ count: Int = 1) -> ModelShape {
        var shape = self
        shape.output = .values(count)
        return shape
    }
}
