import GGUF
import JSON

/// What the metadata of a GGUF file says of a model, as the members of a `config.json`, which are then read and
/// checked as any.
struct GGUFConfiguration {
    let file: GGUFFile
    private var metadata: GGUFMetadata { file.metadata }
    private let architecture: String

    /// - Throws: ``ModelError`` for a file that names no architecture, or one whose mathematics is not built.
    init(_ file: GGUFFile) throws(ModelError) {
        self.file = file
        let key = "general.architecture"
        architecture = try ModelError.reading { () throws(GGUFError) in try file.metadata.string(key) } ?? ""
        guard ModelFamily.allCases.contains(where: { $0.ggufName == architecture }) else {
            let known = Set(ModelFamily.allCases.map(\.ggufName)).sorted().joined(separator: ", ")
            throw .configuration(
                path: file.path,
                problems: [
                    .init(
                        setting: key, found: architecture.isEmpty ? "missing" : "\"\(architecture)\"",
                        expected: "one of \(known), the families that are built")
                ])
        }
    }

    /// The configuration.
    ///
    /// - Throws: ``ModelError/configuration(path:problems:)`` with everything that is wrong, under the keys of the
    ///   file.
    func read() throws(ModelError) -> ModelConfiguration {
        let members = try ModelError.reading { () throws(GGUFError) in try self.members() }
        let refused = refusals()
        guard refused.isEmpty else { throw .configuration(path: file.path, problems: refused) }
        do throws(ModelError) {
            let plain = try ModelConfiguration(members: members, path: file.path)
            guard let factors = file.tensors.first(where: { $0.name == GGUFParameterName.rotaryFactors }) else {
                return plain
            }
            return try Llama3Factors.configuration(plain, with: factors, of: file)
        } catch {
            guard case .configuration(let path, let problems) = error else { throw error }
            throw .configuration(path: path, problems: problems.map(renamed))
        }
    }

    private func key(_ name: String) -> String { "\(architecture).\(name)" }

    /// Key in `config.json` and key behind the architecture.
    private static let sizes = [
        ("hidden_size", "embedding_length"), ("intermediate_size", "feed_forward_length"),
        ("num_hidden_layers", "block_count"), ("num_attention_heads", "attention.head_count"),
        ("num_key_value_heads", "attention.head_count_kv"), ("head_dim", "attention.key_length"),
        ("max_position_embeddings", "context_length"),
    ]
    private static let tokenIDs = [
        ("bos_token_id", "tokenizer.ggml.bos_token_id"), ("pad_token_id", "tokenizer.ggml.padding_token_id"),
    ]
    private static let endIDs = ["eos", "eot", "eom"].map { "tokenizer.ggml.\($0)_token_id" }

    private func members() throws(GGUFError) -> [String: JSONValue] {
        let hasBiases = file.tensors.contains { $0.name.hasSuffix("attn_q.bias") }
        let window = try metadata.integer(key("attention.sliding_window")) ?? 0
        let family: ModelFamily =
            architecture == "llama" ? (window > 0 ? .mistral : .llama) : ModelFamily(rawValue: architecture) ?? .llama
        var members: [String: JSONValue] = [
            "architectures": [.string(family.architecture)], "model_type": .string(family.rawValue),
            "hidden_act": "silu", "tie_word_embeddings": .bool(!file.tensors.contains { $0.name == "output.weight" }),
        ]
        for (name, suffix) in Self.sizes { members[name] = size(key(suffix)) }
        // Unlike transformers, llama.cpp takes the same for both where the file does not say.
        if members["num_key_value_heads"] == nil { members["num_key_value_heads"] = members["num_attention_heads"] }
        if members["head_dim"] == nil, let width = members["hidden_size"]?.int,
            let heads = members["num_attention_heads"]?.int,
            heads > 0, width % heads == 0
        {
            members["head_dim"] = .number(width / heads)
        }
        let rows = file.tensors.first { $0.name == "token_embd.weight" }?.shape.first
        let tokens: Int? =
            if case .strings(let tokens) = metadata["tokenizer.ggml.tokens"] { tokens.count } else { nil }
        if let count = rows ?? tokens { members["vocab_size"] = .number(count) }
        if let epsilon = try metadata.number(key("attention.layer_norm_rms_epsilon")) {
            members["rms_norm_eps"] = .fraction(epsilon)
        }
        members["rope_theta"] = .fraction(try metadata.number(key("rope.freq_base")) ?? 10_000)
        if let scaling = try rotaryScaling() { members["rope_scaling"] = scaling }
        switch family {
        case .llama:
            members["attention_bias"] = .bool(hasBiases)
            members["mlp_bias"] = .bool(file.tensors.contains { $0.name.hasSuffix("ffn_up.bias") })
        case .mistral: members["sliding_window"] = .number(window)
        case .qwen2: break
        case .qwen3: members["attention_bias"] = .bool(hasBiases)
        }
        for (name, key) in Self.tokenIDs { members[name] = try tokenID(key).map { .number($0) } ?? .null }
        var ends: [Int] = []
        for key in Self.endIDs { if let id = try tokenID(key), !ends.contains(id) { ends.append(id) } }
        members["eos_token_id"] = ends.count == 1 ? .number(ends[0]) : .array(ends.map { .number($0) })
        return members
    }

    private func tokenID(_ key: String) throws(GGUFError) -> Int? {
        guard let id = try metadata.integer(key), id != Int(UInt32.max) else { return nil }
        return id
    }

    /// A size; of a list with one for each layer the one that all of them have.
    private func size(_ key: String) -> JSONValue? {
        switch metadata[key] {
        case nil: return nil
        case .integer(let value): return .number(value)
        case .integers(let values) where Set(values).count == 1: return .number(values[0])
        case let other?: return .string(other.kind)  // refused below with what it is
        }
    }

    // MARK: Rotary positions

    /// As llama.cpp takes it: a factor without a type, which older files have under another name, is linear, and 0 is
    /// none.
    private func rotaryScaling() throws(GGUFError) -> JSONValue? {
        let older = try metadata.number(key("rope.scale_linear"))
        let factor = try metadata.number(key("rope.scaling.factor")) ?? older
        let original = try metadata.integer(key("rope.scaling.original_context_length"))
        let kind = try metadata.string(key("rope.scaling.type")) ?? "linear"
        if kind == "linear", factor ?? 0 == 0 || factor == 1 { return nil }
        var members: [JSONValue.Member] = [.init("rope_type", .string(kind))]
        if let factor { members.append(.init("factor", .fraction(factor))) }
        if kind == "yarn", let original { members.append(.init("original_max_position_embeddings", .number(original))) }
        return kind == "none" ? nil : .object(members)
    }

    // MARK: What is not built

    /// Keys behind the architecture that change the result wherever they stand, with the values that do not.
    private static let neutral: [(key: String, accepted: [GGUFValue], expected: String)] = [
        ("expert_count", [.integer(0)], "nothing, mixtures of experts are not built"),
        ("attention.scale", [], "nothing, attention is scaled by head_dim^-0.5"),
        ("attention.clamp_kqv", [.float(0)], "nothing, clipping is not built"),
        ("attention.max_alibi_bias", [.float(0)], "nothing, positions are rotary"),
        ("attention.causal", [.bool(true)], "true"),
        ("attention.temperature_length", [], "nothing, attention has one temperature"),
        ("attn_logit_softcapping", [.float(0)], "nothing, soft capping is not built"),
        ("final_logit_softcapping", [.float(0)], "nothing, soft capping is not built"),
        ("logit_scale", [.float(1), .float(0)], "1 or nothing"),
        ("residual_scale", [.float(1), .float(0)], "1 or nothing"),
        ("embedding_scale", [.float(1), .float(0)], "1 or nothing"),
        ("use_parallel_residual", [.bool(false)], "false or nothing"),
        ("pooling_type", [.integer(0)], "nothing, the model gives a vector and no token"),
        ("rope.dimension_sections", [], "nothing, positions have one dimension"),
        ("rope.scaling.attn_factor", [.float(1), .float(0)], "1 or nothing"),
        ("rope.scaling.yarn_log_multiplier", [], "nothing"),
        ("rope.scaling.yarn_ext_factor", [.float(1), .float(-1)], "1 or nothing"),
        ("rope.scaling.yarn_attn_factor", [.float(1), .float(-1)], "1 or nothing"),
        ("rope.scaling.yarn_beta_fast", [.float(32), .float(-1)], "32 or nothing"),
        ("rope.scaling.yarn_beta_slow", [.float(1), .float(-1)], "1 or nothing"),
    ]

    private func refusals() -> [ConfigurationProblem] {
        var problems: [ConfigurationProblem] = []
        func note(_ key: String, _ expected: String) {
            problems.append(.init(setting: key, found: metadata[key]?.kind ?? "missing", expected: expected))
        }
        for (name, accepted, expected) in Self.neutral {
            if let found = metadata[key(name)], !accepted.contains(found) { note(key(name), expected) }
        }
        for name in ["attention.layer_norm_rms_epsilon", "context_length", "attention.head_count"]
        where metadata[key(name)] == nil { note(key(name), "a number") }
        for (_, name) in Self.sizes {
            if let found = size(key(name)), found.int == nil { note(key(name), "one whole number for all layers") }
        }
        let width = size(key("attention.key_length"))
        for name in ["attention.value_length", "rope.dimension_count"] {
            guard let found = size(key(name)), let expected = width ?? headWidth, found != expected else { continue }
            note(key(name), "\(expected.serialized), the width of a head")
        }
        if let window = metadata[key("attention.sliding_window")], architecture != "llama", window != .integer(0) {
            note(key("attention.sliding_window"), "nothing, windows of this family are not read from GGUF")
        }
        return problems
    }

    private var headWidth: JSONValue? {
        guard let width = size(key("embedding_length"))?.int, let heads = size(key("attention.head_count"))?.int,
            heads > 0
        else { return nil }
        return .number(width / heads)
    }

    /// A problem under the key of the file.
    private func renamed(_ problem: ConfigurationProblem) -> ConfigurationProblem {
        var problem = problem
        let names =
            Self.sizes.map { ($0, key($1)) } + Self.tokenIDs + [
                ("eos_token_id", Self.endIDs[0]), ("rms_norm_eps", key("attention.layer_norm_rms_epsilon")),
                ("rope_theta", key("rope.freq_base")), ("rope_scaling.rope_type", key("rope.scaling.type")),
                ("rope_scaling.factor", key("rope.scaling.factor")),
                ("sliding_window", key("attention.sliding_window")),
            ]
        if let name = names.first(where: { $0.0 == problem.setting })?.1 {
            problem.setting = "\(name) (\(problem.setting))"
        }
        return problem
    }
}

extension ModelError {
    /// Runs `body`; what is wrong with a GGUF file becomes a model's error.
    static func reading<Value>(_ body: () throws(GGUFError) -> Value) throws(ModelError) -> Value {
        do throws(GGUFError) {
            return try body()
        } catch {
            throw .file(path: error.path, message: error.message)
        }
    }
}
