/// A published architecture that ``Transformer`` computes.
///
/// All are decoder-only transformers with RMS norms before each part, rotary positions, grouped-query attention and a
/// gated SiLU feed-forward part; they differ in biases, norms on queries and keys, sliding windows and defaults.
package enum ModelFamily: String, Sendable, Equatable, CaseIterable {
    /// Llama 2 and 3 and what is shaped like them (SmolLM2, TinyLlama, …).
    case llama
    /// Mistral: as Llama, with one sliding window for all layers where the file states one.
    case mistral
    /// Qwen2 and Qwen2.5: biases on queries, keys and values.
    case qwen2
    /// Qwen3: queries and keys are normalised per head.
    case qwen3

    /// The class name under `architectures` in `config.json`.
    package var architecture: String {
        switch self {
        case .llama: "LlamaForCausalLM"
        case .mistral: "MistralForCausalLM"
        case .qwen2: "Qwen2ForCausalLM"
        case .qwen3: "Qwen3ForCausalLM"
        }
    }

    /// The context length when the file states none, as transformers has it.
    var defaultContextLength: Int {
        switch self {
        case .llama: 2048
        case .mistral: 131_072
        case .qwen2, .qwen3: 32768
        }
    }

    /// The token ids when the file states none: (beginning, end), as transformers has them.
    var defaultTokenIDs: (begin: Int?, end: [Int]) {
        switch self {
        case .llama, .mistral: (1, [2])
        case .qwen2, .qwen3: (nil, [])
        }
    }

    /// Where the file states no `num_key_value_heads`; `nil` means as many as query heads.
    var defaultKeyValueHeads: Int? {
        switch self {
        case .llama: nil
        case .mistral: 8
        case .qwen2, .qwen3: 32
        }
    }

    /// Where the file states no `head_dim`; `nil` means hidden size ÷ heads.
    var defaultHeadSize: Int? { self == .qwen3 ? 128 : nil }

    /// Every supported family, for messages.
    static var supported: String {
        allCases.map { "\($0.rawValue) (\($0.architecture))" }.joined(separator: ", ")
    }
}
