import Models
import Testing

/// What arXiv:2404.18466 says of its category-level choice, counted: two of four attention matrices, half of the norms,
/// of three feed-forward matrices two in half of the blocks and one in the others; embedding and head always.
@Suite("The half that half fine-tuning trains")
struct HalfFineTuningTests {
    private func model(layers: Int, tied: Bool = false, family: String = "qwen2", name: String = "Qwen2") throws
        -> ModelConfiguration
    {
        try ModelConfiguration(
            json: """
                {"model_type": "\(family)", "architectures": ["\(name)ForCausalLM"], "vocab_size": 16, "hidden_size": 8,
                 "intermediate_size": 12, "num_hidden_layers": \(layers), "num_attention_heads": 2, "head_dim": 4,
                 "num_key_value_heads": 1, "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
                 "hidden_act": "silu", "tie_word_embeddings": \(tied)}
                """)
    }

    @Test(arguments: 0..<20) func isHalfOfEachKindInEveryBlock(_ stage: Int) throws {
        let names = try model(layers: 5).randomHalf(stage: stage, seed: 3)
        var inTwos = 0
        for block in 0..<5 {
            let own = names.filter { $0.hasPrefix("model.layers.\(block).") }
            let attention = own.filter { $0.contains("self_attn") && $0.hasSuffix(".weight") }
            let feedForward = own.filter { $0.contains("mlp") }.count
            #expect(attention.count == 2 && own.filter { $0.contains("layernorm") }.count == 1)
            #expect([1, 2].contains(feedForward))
            inTwos += feedForward == 2 ? 1 : 0
            // Of Qwen2's projections those of queries, keys and values have biases, which go with them.
            let biased = attention.filter { !$0.contains("o_proj") }
            let expected = biased.map { $0.replacing(".weight", with: ".bias") }
            #expect(own.filter { $0.hasSuffix(".bias") } == expected)
        }
        #expect(inTwos == 3)
        let others = names.filter { !$0.hasPrefix("model.layers.") }
        #expect(others == ["model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"])
    }

    /// Norms of queries and keys are a kind of their own; a tied head is the embedding.
    @Test func otherFamiliesHaveOtherKinds() throws {
        let names = try model(layers: 3, tied: true, family: "qwen3", name: "Qwen3").randomHalf(stage: 0, seed: 1)
        for block in 0..<3 {
            let own = names.filter { $0.hasPrefix("model.layers.\(block).") }
            #expect(own.filter { $0.contains("q_norm") || $0.contains("k_norm") }.count == 1)
            #expect(own.filter { $0.contains("layernorm") }.count == 1)
            #expect(own.filter { $0.contains("self_attn") && $0.contains("_proj") }.count == 2)
        }
        #expect(!names.contains("lm_head.weight"))
    }

    /// Over 400 draws each matrix of a block is drawn about as often as the paper has it: 0.5 ± 5 · 0.025.
    @Test func stagesAndSeedsDrawAnew() throws {
        let model = try model(layers: 2)
        var counts: [String: Int] = [:]
        for stage in 0..<200 {
            for seed in [1, 2] as [UInt64] {
                let names = model.randomHalf(stage: stage, seed: seed)
                #expect(names == model.randomHalf(stage: stage, seed: seed))
                for name in names { counts[name, default: 0] += 1 }
            }
        }
        for shape in model.parameterShapes where shape.name.hasPrefix("model.layers.") {
            let count = counts[shape.name] ?? 0
            #expect(abs(Double(count) / 400 - 0.5) < 0.125, "\(shape.name): \(count)")
        }
        // Blocks do not follow each other: of 200 stages about a sixth draw the same two projections in both.
        let pairs = (0..<200).map { stage in
            (0..<2).map { block in
                model.randomHalf(stage: stage, seed: 1).filter {
                    $0.hasPrefix("model.layers.\(block).self_attn") && $0.hasSuffix("weight")
                }.map { $0.dropFirst("model.layers.0.".count) }
            }
        }
        #expect((10...70).contains(pairs.count { $0[0] == $0[1] }))
    }
}
