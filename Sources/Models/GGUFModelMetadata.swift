internal import Foundation
import GGUF

/// What a GGUF file says of a model's shape and mathematics, and what llama.cpp cannot be told.
struct GGUFModelMetadata {
    private(set) var entries: [(key: String, value: GGUFValue)] = []
    private(set) var problems: [ConfigurationProblem] = []
    private(set) var notices: [String] = []

    init(_ configuration: ModelConfiguration) {
        let architecture = configuration.family.ggufName
        func add(_ key: String, _ value: GGUFValue) { entries.append(("\(architecture).\(key)", value)) }
        add("block_count", .integer(configuration.layers))
        add("context_length", .integer(configuration.contextLength))
        add("embedding_length", .integer(configuration.hiddenSize))
        add("feed_forward_length", .integer(configuration.intermediateSize))
        add("attention.head_count", .integer(configuration.heads))
        add("attention.head_count_kv", .integer(configuration.keyValueHeads))
        add("attention.layer_norm_rms_epsilon", .float(Float(configuration.rmsNormEpsilon)))
        add("attention.key_length", .integer(configuration.headSize))
        add("attention.value_length", .integer(configuration.headSize))
        add("rope.dimension_count", .integer(configuration.headSize))
        add("rope.freq_base", .float(Float(configuration.ropeTheta)))
        add("vocab_size", .integer(configuration.vocabularySize))
        switch configuration.ropeScaling {
        case .none, .llama3: break  // the factors of Llama 3 are a tensor
        case .linear(let factor):
            add("rope.scaling.type", .string("linear"))
            add("rope.scaling.factor", .float(Float(factor)))
        case .yarn(let yarn):
            add("rope.scaling.type", .string("yarn"))
            add("rope.scaling.factor", .float(Float(yarn.factor)))
            add("rope.scaling.original_context_length", .integer(yarn.originalContextLength))
        case .dynamic: break
        }
        if configuration.family == .mistral, let window = configuration.slidingWindows.compactMap(\.self).first {
            add("attention.sliding_window", .integer(window))
            notices.append(
                "llama.cpp computes no sliding window for this family: from token \(window + 1) of a text on it differs"
            )
        }
        findProblems(configuration)
    }

    private mutating func findProblems(_ configuration: ModelConfiguration) {
        func note(_ setting: String, _ found: String, _ expected: String) {
            problems.append(
                .init(setting: setting, found: found, expected: "\(expected), which is what llama.cpp computes"))
        }
        switch configuration.ropeScaling {
        case .none, .linear: break
        case .llama3:
            if configuration.family.ggufName != "llama" {
                note("rope_scaling", "llama3", "none, linear or yarn for \(configuration.family.rawValue)")
            }
        case .dynamic: note("rope_scaling", "dynamic", "none, linear, yarn or llama3")
        case .yarn(let yarn):
            let usual = yarn.factor <= 1 ? 1 : 0.1 * log(yarn.factor) + 1
            if yarn.betaFast != 32 || yarn.betaSlow != 1 || !yarn.truncates || abs(yarn.attentionFactor - usual) > 1e-6
            {
                note(
                    "rope_scaling", "yarn with settings of its own",
                    "beta_fast 32, beta_slow 1 and the usual attention_factor")
            }
        }
        if configuration.family == .qwen3, configuration.biases.queryKeyValue {
            note("attention_bias", "true", "false for qwen3")
        }
        if configuration.family != .mistral, configuration.slidingWindows.contains(where: { $0 != nil }) {
            note("use_sliding_window", "true", "false")
        }
    }
}
