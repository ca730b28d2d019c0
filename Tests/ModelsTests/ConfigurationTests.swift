import Foundation
import JSON
import Models
import Records
import Testing

@Suite("config.json")
struct ConfigurationTests {
    static let llama = """
        {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 128, "hidden_size": 64,
         "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
         "max_position_embeddings": 512, "rms_norm_eps": 1e-05, "rope_theta": 500000.0, "hidden_act": "silu",
         "tie_word_embeddings": true, "bos_token_id": 1, "eos_token_id": [2, 3], "torch_dtype": "bfloat16"}
        """

    /// ``llama`` with members set; a value of `null` stays in the file as null, `removed` leaves it out.
    static func members(_ changes: [String: JSONValue], removing removed: [String] = []) throws -> [String: JSONValue] {
        var members = try ModelConfiguration(json: llama).members.merging(changes) { $1 }
        removed.forEach { members[$0] = nil }
        return members
    }

    @Test("every value of a Llama file arrives")
    func llamaValues() throws {
        let read = try ModelConfiguration(json: Self.llama)
        #expect(read.family == .llama)
        #expect((read.vocabularySize, read.hiddenSize, read.intermediateSize) == (128, 64, 96))
        #expect((read.layers, read.heads, read.keyValueHeads, read.headSize) == (2, 4, 2, 16))
        #expect((read.contextLength, read.ropeTheta, read.rmsNormEpsilon) == (512, 500_000, 1e-5))
        #expect(read.ropeScaling == .none && read.tiesEmbeddings)
        #expect((read.beginTokenID, read.endTokenIDs, read.paddingTokenID) == (1, [2, 3], nil))
        #expect(read.slidingWindows == [nil, nil] && !read.normalizesQueriesAndKeys)
        let biases = read.biases
        #expect(!biases.queryKeyValue && !biases.attentionOutput && !biases.feedForward)
    }

    @Test("the rope keys of transformers 4 and 5 mean the same")
    func ropeKeys() throws {
        let stretch: [String: JSONValue] = [
            "factor": .number(8), "low_freq_factor": .number(1), "high_freq_factor": .number(4),
            "original_max_position_embeddings": .number(128),
        ]
        let old = try ModelConfiguration(
            members: Self.members([
                "rope_scaling": .object(sorting: stretch.merging(["rope_type": .string("llama3")]) { $1 })
            ]))
        let older = try ModelConfiguration(
            members: Self.members([
                "rope_scaling": .object(sorting: stretch.merging(["type": .string("llama3")]) { $1 })
            ]))
        let new = try ModelConfiguration(
            members: Self.members(
                [
                    "rope_parameters": .object(
                        sorting: stretch.merging(["rope_type": .string("llama3"), "rope_theta": .number(500_000)]) {
                            $1
                        })
                ], removing: ["rope_theta"]))
        let expected = RotaryScaling.llama3(
            factor: 8, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalContextLength: 128)
        for read in [old, older, new] {
            #expect(read.ropeScaling == expected)
            #expect(read.ropeTheta == 500_000)
        }
    }

    @Test("a difference that changes the result is named, another is none")
    func differences() throws {
        let job = try ModelConfiguration(json: Self.llama)
        func difference(_ changes: [String: JSONValue]) throws -> String? {
            try ModelConfiguration(members: Self.members(changes)).difference(from: job)
        }
        #expect(try difference(["rope_theta": .number(10_000)]) == "rope_theta 10000, the model's 500000")
        #expect(try difference(["rms_norm_eps": .number(1e-6)]) == "rms_norm_eps 1e-06, the model's 1e-05")
        #expect(try difference(["num_hidden_layers": .number(3)]) == "num_hidden_layers 3, the model's 2")
        let scaling = JSONValue.object(sorting: ["rope_type": .string("linear"), "factor": .number(2)])
        #expect(try difference(["rope_scaling": scaling]) == "rope_scaling linear(factor: 2.0), the model's none")
        #expect(
            try difference([
                "torch_dtype": .string("float32"), "eos_token_id": .number(2), "max_position_embeddings": .number(1024),
            ]) == nil)
    }

    @Test("what is written reads back equal, harmless members and the spelling of numbers kept")
    func writtenBack() throws {
        let read = try ModelConfiguration(
            members: Self.members([
                "rope_theta": .fraction(10_000), "rms_norm_eps": JSONValue(parsing: "1E-6"),
                "a_key_of_tomorrow": .array([.string("kept \"as\" is\n"), .null]),
                "_name_or_path": .string("somewhere/some-model"),
            ]))
        #expect(try ModelConfiguration(json: read.json) == read)
        #expect(read.json.contains("\"rope_theta\": 10000.0,\n"))
        #expect(read.json.contains("\"rms_norm_eps\": 1E-6,\n") && read.rmsNormEpsilon == 1e-6)
        #expect(read.json.contains("\"vocab_size\": 128\n}"))
        #expect(read.json.contains("kept \\\"as\\\" is\\n"))
    }

    @Test("a sliding window belongs to the layers that its family gives it")
    func slidingWindows() throws {
        let mistral: [String: JSONValue] = [
            "model_type": .string("mistral"), "architectures": .array([.string("MistralForCausalLM")]),
        ]
        let qwen: [String: JSONValue] = [
            "model_type": .string("qwen2"), "architectures": .array([.string("Qwen2ForCausalLM")]),
            "sliding_window": .number(32), "max_window_layers": .number(1),
        ]
        func windows(_ base: [String: JSONValue], _ changes: [String: JSONValue] = [:]) throws -> [Int?] {
            try ModelConfiguration(members: Self.members(base.merging(changes) { $1 })).slidingWindows
        }
        #expect(try windows(mistral) == [4096, 4096])
        #expect(try windows(mistral, ["sliding_window": .null]) == [nil, nil])
        #expect(try windows(mistral, ["sliding_window": .number(64)]) == [64, 64])
        #expect(try windows(qwen) == [nil, nil])
        #expect(try windows(qwen, ["use_sliding_window": .bool(true)]) == [nil, 32])
        // transformers has 4096 where nothing stands, and none for null.
        let open = qwen.filter { $0.key != "sliding_window" }
        #expect(try windows(open, ["use_sliding_window": .bool(true)]) == [nil, 4096])
        let null: [String: JSONValue] = ["use_sliding_window": .bool(true), "sliding_window": .null]
        #expect(try windows(qwen, null) == [nil, nil])
        let kinds = JSONValue.array([.string("sliding_attention"), .string("full_attention")])
        #expect(try windows(qwen, ["use_sliding_window": .bool(true), "layer_types": kinds]) == [32, nil])
        let error = #expect(throws: ModelError.self) { try windows(qwen, null.merging(["layer_types": kinds]) { $1 }) }
        #expect(error?.description.contains("full_attention only, for sliding_window is null") == true)
    }

    @Test(
        "a value that cannot be computed is an error with its key, the value and what is right", arguments: Refusal.all)
    func refused(_ refusal: Refusal) throws {
        let members = try Self.members(refusal.changes, removing: refusal.removed)
        let error = try #require(throws: ModelError.self) {
            try ModelConfiguration(members: members, path: "m/config.json")
        }
        let message = error.description
        #expect(message.hasPrefix("m/config.json: "))
        #expect(message.contains(refusal.message), "got: \(message)")
    }

    @Test("all problems of a file come at once")
    func allAtOnce() throws {
        let members = try Self.members(
            ["hidden_act": .string("gelu"), "vocab_size": .string("many"), "num_key_value_heads": .number(3)])
        let error = try #require(throws: ModelError.self) { try ModelConfiguration(members: members) }
        #expect(
            error
                == .configuration(
                    path: "config.json",
                    problems: [
                        .init(setting: "hidden_act", found: "\"gelu\"", expected: "silu"),
                        .init(setting: "vocab_size", found: "\"many\"", expected: "a whole number from 1 to 16777216"),
                        .init(
                            setting: "num_key_value_heads", found: "3",
                            expected: "a divisor of num_attention_heads, which is 4"),
                    ]))
    }

    @Test(
        "text that is no JSON object is an error, never a crash",
        arguments: ["", "{", "[1]", "{\"a\": 1e999}", "null", "\u{0}"])
    func noObject(_ text: String) {
        #expect(throws: ModelError.self) { try ModelConfiguration(json: text) }
    }
}

/// One change to a good file, and what the message must say.
struct Refusal: Sendable, CustomTestStringConvertible {
    var changes: [String: JSONValue] = [:]
    var removed: [String] = []
    let message: String

    var testDescription: String { message }

    static func rope(_ kind: String, _ more: [String: JSONValue] = [:], says message: String) -> Refusal {
        .init(
            changes: ["rope_scaling": .object(sorting: more.merging(["rope_type": .string(kind)]) { $1 })],
            message: message)
    }

    static let all: [Refusal] = [
        .init(
            changes: ["model_type": .string("gemma2")],
            message: "model_type is \"gemma2\"; expected one of llama (LlamaForCausalLM), mistral"),
        .init(removed: ["model_type", "architectures"], message: "model_type is missing; expected one of llama"),
        .init(
            changes: ["architectures": .array([.string("LlamaForSequenceClassification")])],
            message: "architectures is [\"LlamaForSequenceClassification\"]; expected [\"LlamaForCausalLM\"]"),
        .init(
            changes: ["architectures": .array([.string("Qwen2ForCausalLM")])],
            message: "architectures is [\"Qwen2ForCausalLM\"]; expected [\"LlamaForCausalLM\"]"),
        .init(changes: ["hidden_act": .string("gelu")], message: "hidden_act is \"gelu\"; expected silu"),
        .init(changes: ["pretraining_tp": .number(2)], message: "pretraining_tp is 2; expected 1"),
        .init(changes: ["partial_rotary_factor": .number(0.5)], message: "partial_rotary_factor is 0.5; expected 1"),
        .init(changes: ["rope_interleaved": .bool(true)], message: "rope_interleaved is true; expected false"),
        .init(changes: ["attention_dropout": .number(0.1)], message: "attention_dropout is 0.1; expected 0"),
        .init(changes: ["final_logit_softcapping": .number(30)], message: "final_logit_softcapping is 30; expected"),
        .init(changes: ["attn_logit_softcapping": .number(50)], message: "attn_logit_softcapping is 50; expected"),
        .init(changes: ["num_local_experts": .number(8)], message: "num_local_experts is 8; expected nothing"),
        .init(
            changes: ["quantization_config": .object(["bits": .number(4)])],
            message: "quantization_config is {\"bits\": 4}; expected nothing, quantized weights are not read"),
        .init(changes: ["auto_map": .object(["AutoModel": .string("x.Y")])], message: "own Python code"),
        .init(
            changes: ["layer_types": .array([.string("full_attention"), .string("sliding_attention")])],
            message: "layer_types is [\"full_attention\", \"sliding_attention\"]; expected full_attention only"),
        .init(
            changes: ["layer_types": .array([.string("full_attention")])],
            message: "layer_types is a list of 1; expected one entry for each of the 2 layers"),
        .init(
            changes: ["layer_types": .array([.string("linear_attention")])],
            message: "expected a list of full_attention"),
        .init(removed: ["hidden_size"], message: "hidden_size is missing; expected a whole number from 1"),
        .init(changes: ["vocab_size": .number(0)], message: "vocab_size is 0; expected a whole number from 1"),
        .init(changes: ["vocab_size": .number(1e300)], message: "vocab_size is 1e+300; expected a whole number"),
        .init(changes: ["num_hidden_layers": .number(2.5)], message: "num_hidden_layers is 2.5; expected a whole"),
        .init(
            changes: ["hidden_size": .number(66)],
            message: "hidden_size is 66; expected a multiple of num_attention_heads, which is 4, or a head_dim"),
        .init(changes: ["head_dim": .number(7)], message: "head_dim is 7; expected an even number"),
        .init(
            changes: [
                "num_attention_heads": .number(65536), "num_key_value_heads": .number(2), "head_dim": .number(512),
            ],
            message: "num_attention_heads is 65536; expected at most 32768 with a head size of 512"),
        .init(changes: ["num_key_value_heads": .number(3)], message: "num_key_value_heads is 3; expected a divisor of"),
        .init(changes: ["rms_norm_eps": .number(0)], message: "rms_norm_eps is 0; expected a number above 0"),
        .init(
            changes: ["tie_word_embeddings": .number(1)], message: "tie_word_embeddings is 1; expected true or false"),
        .init(
            changes: ["eos_token_id": .string("</s>")],
            message: "eos_token_id is \"</s>\"; expected a token id or a list"),
        .init(changes: ["rope_theta": .number(-1)], message: "rope_theta is -1"),
        .init(changes: ["rope_scaling": .string("linear")], message: "rope_scaling is \"linear\"; expected an object"),
        .rope(
            "longrope",
            says: "rope_scaling.rope_type is \"longrope\"; expected default, linear, dynamic, yarn or llama3"),
        .rope("linear", says: "rope_scaling.factor is missing; expected a number above 0"),
        .rope("dynamic", ["factor": .number(-2)], says: "rope_scaling.factor is -2; expected a number above 0"),
        .rope(
            "default", ["mrope_section": .array([.number(4)])],
            says: "rope_scaling.mrope_section is [4]; expected one of"),
        .rope(
            "llama3", ["factor": .number(8), "low_freq_factor": .number(4), "high_freq_factor": .number(1)],
            says: "rope_scaling.high_freq_factor is 1; expected a number above 4"),
        .rope(
            "yarn", ["factor": .number(4), "beta_fast": .number(1), "beta_slow": .number(32)],
            says: "rope_scaling.beta_fast is 1; expected at least beta_slow, which is 32"),
        .rope(
            "yarn", ["factor": .number(4), "truncate": .number(1)],
            says: "rope_scaling.truncate is 1; expected true or false"),
        .init(
            changes: [
                "rope_scaling": .object(["rope_type": .string("linear"), "factor": .number(2)]),
                "rope_parameters": .object(["rope_type": .string("default")]),
            ], message: "expected nothing beside rope_parameters"),
    ]
}
