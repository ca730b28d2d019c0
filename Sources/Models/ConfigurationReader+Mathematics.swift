internal import Foundation
import JSON

extension ConfigurationReader {
    /// Keys of other architectures that change the result wherever they appear: their value, if any, must be one of
    /// these.
    private static let neutral: [(key: String, accepted: [JSONValue], expected: String)] = [
        ("pretraining_tp", [.number(1)], "1"),
        ("partial_rotary_factor", [.number(1)], "1 or nothing"),
        ("rope_interleaved", [.bool(false)], "false or nothing"),
        ("attention_dropout", [.number(0)], "0, dropout is not built"),
        ("attn_logit_softcapping", [.number(0)], "nothing, soft capping is not built"),
        ("final_logit_softcapping", [.number(0)], "nothing, soft capping is not built"),
        ("logits_scaling", [.number(1)], "1 or nothing"),
        ("logit_scale", [.number(1)], "1 or nothing"),
        ("embedding_multiplier", [.number(1)], "1 or nothing"),
        ("attention_multiplier", [], "nothing, attention is scaled by head_dim^-0.5"),
        ("query_pre_attn_scalar", [], "nothing, attention is scaled by head_dim^-0.5"),
        ("residual_multiplier", [.number(1)], "1 or nothing"),
        ("clip_qkv", [], "nothing, clipping is not built"),
        ("use_qk_norm", [.bool(false)], "false or nothing; Qwen3 has norms on queries and keys"),
        ("no_rope_layers", [.array([])], "nothing, every layer has rotary positions"),
        ("attention_chunk_size", [], "nothing, chunked attention is not built"),
        ("num_experts", [.number(0)], "nothing, mixtures of experts are not built"),
        ("num_local_experts", [.number(0)], "nothing, mixtures of experts are not built"),
        ("add_cross_attention", [.bool(false)], "false"),
        ("is_encoder_decoder", [.bool(false)], "false"),
        ("quantization_config", [], "nothing, quantized weights are not read; use the unquantized model"),
        ("auto_map", [], "nothing, a model with its own Python code is not supported"),
    ]

    /// Notes every member that would make the published model compute something else than ``Transformer`` does.
    mutating func refuseForeignMathematics(_ family: ModelFamily) {
        for key in ["hidden_act", "hidden_activation"] {
            if let activation = value(key), activation != .string("silu"), activation != .string("swish") {
                note(key, activation, "silu")
            }
        }
        for (key, accepted, expected) in Self.neutral {
            if let found = value(key), !accepted.contains(found) { note(key, found, expected) }
        }
        refuseForeignLayers(family)
    }

    private mutating func refuseForeignLayers(_ family: ModelFamily) {
        guard let found = value("layer_types") else { return }
        let isQwen = family == .qwen2 || family == .qwen3
        let known: Set<JSONValue> = [.string("full_attention"), .string("sliding_attention")]
        guard let kinds = found.elements, kinds.allSatisfy(known.contains) else {
            return note("layer_types", found, "a list of full_attention and sliding_attention")
        }
        let isAsked = value("use_sliding_window") == .bool(true)
        let windows = isAsked && !isNull("sliding_window")
        if kinds.contains(.string("sliding_attention")), !(isQwen && windows), family != .mistral {
            let reason = isAsked ? "sliding_window is null" : "use_sliding_window is false"
            note("layer_types", found, "full_attention only" + (isQwen ? ", for \(reason)" : ""))
        }
        if family == .mistral, Set(kinds).count > 1 {
            note("layer_types", found, "one kind for all layers, as Mistral has it")
        }
        if let layers = value("num_hidden_layers")?.number, Double(kinds.count) != layers {
            note("layer_types", "a list of \(kinds.count)", "one entry for each of the \(layers.shortText) layers")
        }
    }

    // MARK: Rotary positions

    private static let rotaryKeys: Set<String> = [
        "type", "rope_type", "rope_theta", "factor", "original_max_position_embeddings", "attention_factor",
        "beta_fast",
        "beta_slow", "mscale", "mscale_all_dim", "truncate", "low_freq_factor", "high_freq_factor",
        "partial_rotary_factor",
    ]

    /// The base and the scaling, from `rope_parameters` (transformers 5) or from `rope_theta` and `rope_scaling`.
    mutating func rotary(contextLength: Int) -> (theta: Double, scaling: RotaryScaling) {
        let old = value("rope_scaling")
        let new = value("rope_parameters")
        if let old, let new, old != new {
            note("rope_scaling", old, "nothing beside rope_parameters, which says \(new.shortText)")
        }
        let key = new == nil ? "rope_scaling" : "rope_parameters"
        let given = new ?? old ?? .object([:])
        guard let stated = given.dictionary else {
            note(key, given, "an object")
            return (10_000, .none)
        }
        var rope = RotaryReader(stated.filter { $0.value != .null }, key: key)
        for unknown in rope.members.keys.filter({ !Self.rotaryKeys.contains($0) }).sorted() {
            rope.note(unknown, "one of \(Self.rotaryKeys.sorted().joined(separator: ", "))")
        }
        if let partial = rope.members["partial_rotary_factor"], partial != .number(1) {
            rope.note("partial_rotary_factor", "1 or nothing")
        }
        let outer = number("rope_theta", absent: 10_000, above: 1)
        let theta = rope.number("rope_theta", absent: outer, above: 1)
        let original = originalContextLength(&rope, contextLength: contextLength)
        let scaling = rope.scaling(original: original, contextLength: contextLength)
        for problem in rope.problems { note(problem.setting, problem.found, problem.expected) }
        return (theta, scaling)
    }

    private mutating func originalContextLength(_ rope: inout RotaryReader, contextLength: Int) -> Int {
        let key = "original_max_position_embeddings"
        if value(key) != nil { return size(key, limit: 1 << 31) }
        return Int(rope.number(key, absent: Double(contextLength), above: 0, wholeBelow: 0x1p31))
    }
}

/// Reads the object under `rope_parameters` or `rope_scaling`.
private struct RotaryReader {
    let members: [String: JSONValue]
    let key: String
    var problems: [ConfigurationProblem] = []

    init(_ members: [String: JSONValue], key: String) {
        self.members = members
        self.key = key
    }

    mutating func note(_ name: String, _ expected: String) {
        problems.append(
            .init(setting: "\(key).\(name)", found: members[name]?.shortText ?? "missing", expected: expected))
    }

    /// - Parameter wholeBelow: Where given, only whole numbers below it are accepted.
    mutating func number(
        _ name: String, absent: Double? = nil, above bound: Double, wholeBelow: Double? = nil
    ) -> Double {
        if members[name] == nil, let absent { return absent }
        let kind = wholeBelow == nil ? "a number" : "a whole number"
        guard let number = members[name]?.double, number > bound, number.isFinite,
            wholeBelow.map({ number < $0 && number == number.rounded() }) ?? true
        else {
            note(name, "\(kind) above \(bound.shortText)")
            return bound + 1
        }
        return number
    }

    mutating func scaling(original: Int, contextLength: Int) -> RotaryScaling {
        let kind = members["rope_type"] ?? members["type"] ?? .string("default")
        switch kind {
        case .string("default"): return .none
        case .string("linear"): return .linear(factor: number("factor", above: 0))
        case .string("dynamic"): return .dynamic(factor: number("factor", above: 0))
        case .string("yarn"): return .yarn(yarn(original: original, contextLength: contextLength))
        case .string("llama3"):
            let factor = number("factor", above: 0)
            let low = number("low_freq_factor", above: 0)
            let high = number("high_freq_factor", above: low)
            return .llama3(
                factor: factor, lowFrequencyFactor: low, highFrequencyFactor: high, originalContextLength: original)
        default:
            note(members["rope_type"] == nil ? "type" : "rope_type", RotaryScaling.supported)
            return .none
        }
    }

    private mutating func yarn(original: Int, contextLength: Int) -> RotaryScaling.Yarn {
        let factor = number(
            "factor", absent: members["factor"] == nil ? Double(contextLength) / Double(original) : nil, above: 0)
        func magnitude(_ scale: Double) -> Double { factor <= 1 ? 1 : 0.1 * scale * log(factor) + 1 }
        let scale = number("mscale", absent: 0, above: -1)
        let scaleAllDimensions = number("mscale_all_dim", absent: 0, above: -1)
        let usual =
            scale != 0 && scaleAllDimensions != 0 ? magnitude(scale) / magnitude(scaleAllDimensions) : magnitude(1)
        let slow = number("beta_slow", absent: 1, above: 0)
        let fast = number("beta_fast", absent: 32, above: 0)
        if fast < slow { note("beta_fast", "at least beta_slow, which is \(slow.shortText)") }
        let truncate = members["truncate"] ?? .bool(true)
        if truncate != .bool(true), truncate != .bool(false) { note("truncate", "true or false") }
        return .init(
            factor: factor, originalContextLength: original, betaFast: fast, betaSlow: slow,
            attentionFactor: number("attention_factor", absent: usual, above: 0), truncates: truncate == .bool(true))
    }
}
