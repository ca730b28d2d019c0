import JSON
package import Tensors

/// Makes fresh models.
///
/// Weights are normal with the configuration's `initializer_range` as standard deviation, norms 1, biases 0, as
/// transformers starts these families. A number depends on the seed, on which tensor of the configuration it is in and
/// on its index there, so the order in which tensors are made changes nothing.
package enum ModelInitializer {
    /// A fresh model.
    package static func model(
        _ configuration: ModelConfiguration, seed: UInt64, elementType: ElementType = .float32, device: Device = .cpu
    ) throws -> Transformer {
        var parameters: [String: Tensor] = [:]
        for (index, parameter) in configuration.parameterShapes.enumerated() {
            parameters[parameter.name] = try fresh(
                parameter, index: index, seed: seed, deviation: configuration.initializerRange
            ).to(elementType).to(device)
        }
        return try Transformer(configuration: configuration, parameters: parameters)
    }

    private static func fresh(
        _ parameter: ParameterShape, index: Int, seed: UInt64, deviation: Double
    ) throws(TensorError) -> Tensor {
        switch parameter.role {
        case .norm: try Tensor.ones(parameter.shape)
        case .bias: try Tensor.zeros(parameter.shape)
        case .weight:
            try Tensor(
                normals(parameter.count, row: index, seed: seed, deviation: deviation), shape: parameter.shape)
        }
    }

    /// Two numbers an address; the number of the pair fills the address's token and slot, 24 bits each.
    private static func normals(_ count: Int, row: Int, seed: UInt64, deviation: Double) -> [Float] {
        [Float](unsafeUninitializedCapacity: count) { buffer, initialized in
            for pair in 0..<(count + 1) / 2 {
                let address = RandomAddress(row: row, token: pair >> 24, slot: pair & 0xFF_FFFF)
                let (first, second) = address.normals(seed: seed, stream: .initialization)
                buffer.initializeElement(at: 2 * pair, to: Float(first * deviation))
                if 2 * pair + 1 < count { buffer.initializeElement(at: 2 * pair + 1, to: Float(second * deviation)) }
            }
            initialized = count
        }
    }
}

/// The shape of a fresh model, for ``ModelConfiguration/init(fresh:)``.
package struct FreshModelShape: Sendable, Equatable {
    package var family: ModelFamily
    package var vocabularySize: Int
    package var hiddenSize: Int
    package var layers: Int
    package var heads: Int
    /// `nil`: as many as ``heads``.
    package var keyValueHeads: Int?
    /// `nil`: hidden size ÷ heads.
    package var headSize: Int?
    package var intermediateSize: Int
    package var contextLength: Int
    package var ropeTheta: Double
    package var tiesEmbeddings: Bool
    package var beginTokenID: Int?
    package var endTokenID: Int?
    package var paddingTokenID: Int?

    package init(
        family: ModelFamily, vocabularySize: Int, hiddenSize: Int, layers: Int, heads: Int, keyValueHeads: Int? = nil,
        headSize: Int? = nil, intermediateSize: Int, contextLength: Int = 2048, ropeTheta: Double = 10_000,
        tiesEmbeddings: Bool = true, beginTokenID: Int? = nil, endTokenID: Int? = nil, paddingTokenID: Int? = nil
    ) {
        self.family = family
        self.vocabularySize = vocabularySize
        self.hiddenSize = hiddenSize
        self.layers = layers
        self.heads = heads
        self.keyValueHeads = keyValueHeads
        self.headSize = headSize
        self.intermediateSize = intermediateSize
        self.contextLength = contextLength
        self.ropeTheta = ropeTheta
        self.tiesEmbeddings = tiesEmbeddings
        self.beginTokenID = beginTokenID
        self.endTokenID = endTokenID
        self.paddingTokenID = paddingTokenID
    }
}

extension ModelConfiguration {
    /// The configuration of a fresh model, with the members transformers expects of its family.
    ///
    /// - Throws: ``ModelError/configuration(path:problems:)`` when the sizes do not fit each other.
    package init(fresh shape: FreshModelShape) throws(ModelError) {
        func number(_ value: Int?) -> JSONValue { value.map { .number($0) } ?? .null }
        var members: [String: JSONValue] = [
            "architectures": .array([.string(shape.family.architecture)]), "model_type": .string(shape.family.rawValue),
            "vocab_size": number(shape.vocabularySize), "hidden_size": number(shape.hiddenSize),
            "intermediate_size": number(shape.intermediateSize), "num_hidden_layers": number(shape.layers),
            "num_attention_heads": number(shape.heads),
            "num_key_value_heads": number(shape.keyValueHeads ?? shape.heads),
            "max_position_embeddings": number(shape.contextLength), "rope_theta": .fraction(shape.ropeTheta),
            "rms_norm_eps": .fraction(1e-6), "initializer_range": .fraction(0.02), "hidden_act": .string("silu"),
            "attention_dropout": .fraction(0), "tie_word_embeddings": .bool(shape.tiesEmbeddings),
            "use_cache": .bool(true), "torch_dtype": .string("float32"), "bos_token_id": number(shape.beginTokenID),
            "eos_token_id": number(shape.endTokenID), "pad_token_id": number(shape.paddingTokenID),
        ]
        if shape.headSize != nil || shape.family == .qwen3 {
            members["head_dim"] = number(shape.headSize ?? shape.hiddenSize / max(1, shape.heads))
        }
        switch shape.family {
        case .llama: break
        case .mistral: members["sliding_window"] = .null
        case .qwen2, .qwen3: members["use_sliding_window"] = .bool(false)
        }
        try self.init(members: members, path: "the model's shape")
    }
}
