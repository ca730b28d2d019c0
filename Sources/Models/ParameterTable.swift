/// One tensor of a model, by its Hugging Face name.
package struct ParameterShape: Sendable, Equatable {
    /// What the tensor does, which decides how a fresh one starts and whether weight decay is usual for it.
    package enum Role: Sendable, Equatable {
        /// A matrix or the embedding: starts normal.
        case weight
        /// The scale of a norm: starts at 1.
        case norm
        /// An addend of a projection: starts at 0.
        case bias
    }

    package let name: String
    package let shape: [Int]
    package let role: Role
    /// The axis that ranks of a tensor-parallel group share; `nil` for what each of them has whole.
    package var sharedAxis: Int?

    package var count: Int { shape.reduce(1, *) }
}

extension ModelConfiguration {
    /// Rows of the query projection, and width of what attention gives to the output projection.
    package var queryWidth: Int { heads * headSize }
    /// Rows of the key projection, and of the value projection.
    package var keyValueWidth: Int { keyValueHeads * headSize }

    /// Every tensor of the model in the order transformers lists them. A tied head is absent.
    package var parameterShapes: [ParameterShape] {
        let embedding = ParameterShape(
            name: ParameterName.embedding, shape: [vocabularySize, hiddenSize], role: .weight, sharedAxis: 0)
        let norm = ParameterShape(name: ParameterName.finalNorm, shape: [hiddenSize], role: .norm)
        let head = ParameterShape(
            name: ParameterName.head, shape: [vocabularySize, hiddenSize], role: .weight, sharedAxis: 0)
        return [embedding] + (0..<layers).flatMap(layerShapes) + [norm] + (tiesEmbeddings ? [] : [head])
    }

    private func layerShapes(_ layer: Int) -> [ParameterShape] {
        /// Cut where it makes heads or the inner width of the feed-forward part, or reads them.
        func projection(_ part: String, _ rows: Int, _ columns: Int, bias: Bool, axis: Int) -> [ParameterShape] {
            let name = ParameterName.layer(layer, part)
            let weight = ParameterShape(
                name: name + ".weight", shape: [rows, columns], role: .weight, sharedAxis: axis)
            let addend = ParameterShape(
                name: name + ".bias", shape: [rows], role: .bias, sharedAxis: axis == 0 ? 0 : nil)
            return bias ? [weight, addend] : [weight]
        }
        func norm(_ part: String, _ width: Int) -> ParameterShape {
            ParameterShape(name: ParameterName.layer(layer, part) + ".weight", shape: [width], role: .norm)
        }
        let attention =
            projection("self_attn.q_proj", queryWidth, hiddenSize, bias: biases.queryKeyValue, axis: 0)
            + projection("self_attn.k_proj", keyValueWidth, hiddenSize, bias: biases.queryKeyValue, axis: 0)
            + projection("self_attn.v_proj", keyValueWidth, hiddenSize, bias: biases.queryKeyValue, axis: 0)
            + projection("self_attn.o_proj", hiddenSize, queryWidth, bias: biases.attentionOutput, axis: 1)
        let headNorms =
            normalizesQueriesAndKeys ? [norm("self_attn.q_norm", headSize), norm("self_attn.k_norm", headSize)] : []
        let feedForward =
            projection("mlp.gate_proj", intermediateSize, hiddenSize, bias: biases.feedForward, axis: 0)
            + projection("mlp.up_proj", intermediateSize, hiddenSize, bias: biases.feedForward, axis: 0)
            + projection("mlp.down_proj", hiddenSize, intermediateSize, bias: biases.feedForward, axis: 1)
        let norms = [norm("input_layernorm", hiddenSize), norm("post_attention_layernorm", hiddenSize)]
        return attention + headNorms + feedForward + norms
    }
}

/// The names transformers gives to the tensors of these families.
enum ParameterName {
    static let embedding = "model.embed_tokens.weight"
    static let finalNorm = "model.norm.weight"
    static let head = "lm_head.weight"

    /// What the names of all tensors of blocks begin with.
    static let layers = "model.layers."

    static func layer(_ layer: Int, _ part: String) -> String { "\(layers)\(layer).\(part)" }

    /// A and B of a projection's adapter, as peft calls them within its own prefix.
    static func down(_ projection: String) -> String { projection + ".lora_A.weight" }
    static func up(_ projection: String) -> String { projection + ".lora_B.weight" }

    /// Whether a tensor of a file holds nothing to learn: old files keep the rotary frequencies, which follow from the
    /// configuration.
    static func isDerived(_ name: String) -> Bool { name.hasSuffix(".rotary_emb.inv_freq") }
}
