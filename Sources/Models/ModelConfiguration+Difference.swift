extension ModelConfiguration {
    /// In what this configuration, a checkpoint's, computes otherwise than a job's, in words that name the key; `nil` where
    /// the same weights compute the same.
    package func difference(from job: ModelConfiguration) -> String? {
        guard let (own, other) = zip(mathematics, job.mathematics).first(where: { $0 != $1 }) else { return nil }
        return "\(own.key) \(own.value), the model's \(other.value)"
    }

    /// What decides the result, by its key in `config.json`.
    private var mathematics: [(key: String, value: String)] {
        let windows = slidingWindows.map { $0.map(String.init) ?? "none" }
        var all: [(key: String, value: String)] = [
            ("model_type", family.rawValue), ("vocab_size", "\(vocabularySize)"), ("hidden_size", "\(hiddenSize)"),
            ("intermediate_size", "\(intermediateSize)"), ("num_hidden_layers", "\(layers)"),
            ("num_attention_heads", "\(heads)"), ("num_key_value_heads", "\(keyValueHeads)"),
            ("head_dim", "\(headSize)"), ("rms_norm_eps", rmsNormEpsilon.shortText),
            ("tie_word_embeddings", "\(tiesEmbeddings)"), ("attention_bias", "\(biases.queryKeyValue)"),
            ("mlp_bias", "\(biases.feedForward)"), ("sliding_window", windows.joined(separator: " ")),
            ("rope_theta", ropeTheta.shortText), ("rope_scaling", "\(ropeScaling)"),
        ]
        // Only there it is more than a limit.
        if case .dynamic = ropeScaling { all.append(("max_position_embeddings", "\(contextLength)")) }
        return all
    }
}
