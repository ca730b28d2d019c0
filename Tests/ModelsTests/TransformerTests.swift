import Foundation
import JSON
import Models
import Records
import Tensors
import TestSupport
import Testing

@TensorActor @Suite("Transformer against transformers 5.23.0")
struct PublishedLogProbabilityTests {
    @Test("log-probs of every token within 1e-4", arguments: PublishedModel.names)
    func logProbabilities(_ name: String) throws {
        let published = try PublishedModel(name)
        let model = try ModelFolder.load(published.folder)
        #expect(model.configuration.parameterCount == published.parameterCount)
        for text in published.texts {
            let difference = largestDifference(try model.logProbabilities(text.tokens), text.logProbabilities)
            print("\(name): \(text.tokens.count) tokens, largest |Δ log-prob| \(difference)")
            #expect(difference <= 1e-4)
        }
    }

    @Test("leaving out the rope scaling, the window or the norm's epsilon shows: the check above can fail")
    func differencesShow() throws {
        let changes: [(String, [String: JSONValue])] = [
            ("llama3", ["rope_parameters": .object(["rope_theta": .number(500)])]),
            ("llama_linear", ["rope_parameters": .object(["rope_theta": .number(500)])]),
            ("llama_dynamic", ["rope_parameters": .object(["rope_theta": .number(500)])]),
            ("llama_yarn", ["rope_parameters": .object(["rope_theta": .number(500)])]),
            ("mistral_sliding", ["sliding_window": .number(10)]),
            ("qwen2_sliding", ["max_window_layers": .number(0), "layer_types": .null]),
        ]
        for (name, change) in changes {
            let published = try PublishedModel(name)
            let model = try ModelFolder.load(published.folder)
            let changed = try Transformer(
                configuration: model.configuration.with(change), parameters: model.parametersByName)
            let text = published.texts[0]
            #expect(
                largestDifference(try changed.logProbabilities(text.tokens), text.logProbabilities) > 1e-2, "\(name)")
        }
    }

    /// bfloat16 keeps 8 bits: hidden states of two layers stay within hundredths, log-probs of a few nats within
    /// tenths.
    @Test(
        "weights held in bfloat16 give about the same log-probs, in float64 the same", arguments: ["llama3", "qwen2"])
    func otherTypes(_ name: String) throws {
        let published = try PublishedModel(name)
        let text = published.texts[0]
        let narrow = try ModelFolder.load(published.folder, elementType: .bfloat16)
        let wide = try ModelFolder.load(published.folder, elementType: .float64)
        #expect(narrow.elementType == .bfloat16 && wide.elementType == .float64)
        #expect(largestDifference(try wide.logProbabilities(text.tokens), text.logProbabilities) <= 1e-4)
        let difference = largestDifference(try narrow.logProbabilities(text.tokens), text.logProbabilities)
        print("\(name) in bfloat16: largest |Δ log-prob| \(difference)")
        #expect(difference > 1e-4 && difference < 0.3)
    }

    @Test(
        "greedy decoding from the cache gives transformers' tokens",
        arguments: ["llama3", "qwen2", "qwen3", "mistral_sliding"])
    func greedy(_ name: String) throws {
        let published = try PublishedModel(name)
        let expected = try #require(published.greedy)
        let model = try ModelFolder.load(published.folder)
        let cache = try KeyValueCache(
            configuration: model.configuration, promptSlots: 1, promptCapacity: expected.prompt.count, rowSlots: 1,
            rowCapacity: expected.completion.count)
        var hidden = try model.prefill(
            tokens: expected.prompt, layout: SequenceLayout(sequenceLengths: [expected.prompt.count]), cache: cache,
            promptSlots: [0])
        var completion: [Int] = []
        while completion.count < expected.completion.count {
            let logits = try hidden.linear(weight: model.head)
            completion.append(try logits.argmax(axis: 1).integers()[0])
            let rows = DecodeRows(
                promptSlots: [0], promptLengths: [expected.prompt.count], ownSlots: [0], ownLengths: [completion.count])
            hidden = try model.decode(tokens: [completion[completion.count - 1]], cache: cache, rows: rows)
        }
        #expect(completion == expected.completion)
    }
}

@TensorActor @Suite("Packed groups against each text alone")
struct PackedTransformerTests {
    /// Lengths of two groups: prompts of 12 and 5 tokens, one completion empty.
    nonisolated static let groups: [(promptLength: Int, completionLengths: [Int])] = [
        (12, [7, 1, 11]), (5, [4, 0, 9]),
    ]
    nonisolated static let families = ["llama_biases", "llama3", "qwen2", "mistral_sliding", "qwen2_sliding", "qwen3"]

    /// Token ids that only depend on their position.
    nonisolated static func token(_ position: Int) -> Int { 3 + (position * 37 + position * position * 11) % 90 }

    @Test("log-probs and gradients equal unshared ones in float32", arguments: families)
    func sharedInFloat32(_ name: String) throws { try compareSharing(name, .float32, tolerance: 1e-5) }

    @Test("log-probs and gradients equal unshared ones in float64", arguments: families)
    func sharedInFloat64(_ name: String) throws { try compareSharing(name, .float64, tolerance: 1e-10) }

    @Test("checkpointed blocks give the same gradients", arguments: ["llama_biases", "qwen3", "qwen2_sliding"])
    func checkpointed(_ name: String) throws {
        let model = try ModelFolder.load(PublishedModel(name).folder)
        let (plain, checkpointed) = (try model.leaves(.float32), try model.leaves(.float32))
        let layout = try SequenceLayout(groups: Self.groups)
        try loss(plain, layout, Array(0..<layout.tokenCount)).backward()
        try loss(checkpointed, layout, Array(0..<layout.tokenCount), checkpointsBlocks: true).backward()
        for (one, other) in zip(plain.parameters, checkpointed.parameters) {
            let expected = try #require(one.tensor.gradient).doubles()
            let distance = relativeDistance(try #require(other.tensor.gradient).doubles(), expected)
            #expect(distance <= 1e-6, "\(one.name)")
        }
    }

    @Test(
        "states that are asked for are those of the whole pass, and so are their gradients", arguments: families,
        [false, true])
    func askedFor(_ name: String, _ checkpointsBlocks: Bool) throws {
        let model = try ModelFolder.load(PublishedModel(name).folder)
        // Behind the two groups one of which only the prompt's beginning is asked for, and one that nobody asks for.
        let layout = try SequenceLayout(groups: Self.groups + [(6, [2]), (4, [3])])
        let (first, second, third) = (layout.groups[0], layout.groups[1], layout.groups[2])
        let end = first.prompt.upperBound - 1
        let indices = [
            second.completions[2].upperBound - 2, end, first.completions[2].lowerBound + 4, end,
            third.prompt.lowerBound,
            first.completions[0].lowerBound, second.completions[0].upperBound - 1,
        ]
        let tokens = try Tensor((0..<layout.tokenCount).map(Self.token))
        let weights = try Tensor(
            (0..<indices.count * model.configuration.hiddenSize).map { sin(Double($0) * 1.7) + 0.3 },
            shape: [indices.count, model.configuration.hiddenSize])
        let (whole, part) = (try model.leaves(.float64), try model.leaves(.float64))
        let expected = try whole.hiddenStates(tokens: tokens, layout: layout).rows(at: indices)
        let found = try part.hiddenStates(
            tokens: tokens, layout: layout, at: indices, checkpointsBlocks: checkpointsBlocks)
        #expect(relativeDistance(try found.doubles(), try expected.doubles()) <= 1e-13)
        try (expected * weights).sum().backward()
        try (found * weights).sum().backward()
        for (one, other) in zip(whole.parameters, part.parameters) where one.name != "lm_head.weight" {
            let gradient = try #require(one.tensor.gradient).doubles()
            #expect(
                relativeDistance(try #require(other.tensor.gradient).doubles(), gradient) <= 1e-12, "\(one.name)")
        }
    }

    private func compareSharing(_ name: String, _ type: ElementType, tolerance: Double) throws {
        let model = try ModelFolder.load(PublishedModel(name).folder)
        let (shared, alone) = (try model.leaves(type), try model.leaves(type))
        let layout = try SequenceLayout(groups: Self.groups)
        let whole = try loss(shared, layout, Array(0..<layout.tokenCount))
        try whole.backward()
        var sum = 0.0
        for group in layout.groups {
            for completion in group.completions where !completion.isEmpty {
                let text = try SequenceLayout(groups: [(group.prompt.count, [completion.count])])
                let part = try loss(alone, text, Array(group.prompt) + Array(completion))
                try part.backward()
                sum += try part.item()
            }
        }
        #expect(abs(try whole.item() - sum) <= tolerance * abs(sum))
        var worst = 0.0
        for (one, other) in zip(shared.parameters, alone.parameters) {
            let expected = try #require(other.tensor.gradient).doubles()
            let distance = relativeDistance(try #require(one.tensor.gradient).doubles(), expected)
            #expect(distance <= tolerance, "\(one.name)")
            worst = max(worst, distance)
        }
        print("\(name) \(type): largest ‖Δ gradient‖ / ‖gradient‖ over tensors \(worst)")
    }

    /// A weighted sum of the log-probs of all completion tokens. `positions` are those of the tokens in the whole pack:
    /// they choose token and weight, so that a text alone has the loss of its share of the pack.
    private func loss(
        _ model: Transformer, _ layout: SequenceLayout, _ positions: [Int], checkpointsBlocks: Bool = false
    ) throws -> Tensor {
        let hidden = try model.hiddenStates(
            tokens: Tensor(positions.map(Self.token)), layout: layout, checkpointsBlocks: checkpointsBlocks)
        let targets = layout.completionTokenIndices.map { positions[$0] }
        let scores = try Tensor.tokenScores(
            hidden: hidden.rows(at: layout.predictionIndices), head: model.head,
            targets: Tensor(targets.map(Self.token)), temperature: 1)
        let weights = try Tensor(targets.map { sin(Double($0) * 1.7) + 0.3 }).to(model.elementType)
        return try (scores.logProbabilities * weights).sum()
    }
}

@TensorActor @Suite("Transformer calls")
struct TransformerCallTests {
    @Test("parameters that do not fit are all listed")
    func wrongParameters() throws {
        let model = try ModelFolder.load(PublishedModel("llama2").folder)
        var parameters = model.parametersByName
        parameters["model.norm.weight"] = nil
        parameters["model.layers.0.mlp.up_proj.weight"] = try Tensor.zeros([48, 31])
        parameters["model.layers.0.self_attn.q_proj.bias"] = try Tensor.zeros([32])
        let error = try #require(throws: ModelError.self) {
            try Transformer(configuration: model.configuration, parameters: parameters)
        }
        #expect(
            error
                == .weights(
                    path: "parameters",
                    problems: [
                        .shape(name: "model.layers.0.mlp.up_proj.weight", found: [48, 31], expected: [48, 32]),
                        .missing(name: "model.norm.weight", shape: [32]),
                        .unexpected(name: "model.layers.0.self_attn.q_proj.bias", shape: [32]),
                    ]))
    }

    @Test("tokens and layout of different lengths are an error")
    func wrongLayout() throws {
        let model = try ModelFolder.load(PublishedModel("llama2").folder)
        #expect(throws: ModelError.self) {
            try model.hiddenStates(tokens: Tensor([3, 4, 5]), layout: SequenceLayout(sequenceLengths: [4]))
        }
        #expect(throws: ModelError.self) {
            try model.hiddenStates(tokens: Tensor([3, 4, 5]), layout: SequenceLayout(sequenceLengths: [4]), at: [1])
        }
    }

    @Test("dynamic rope scaling: up to the context all goes, beyond it only texts that stand alone")
    func dynamicScaling() throws {
        let model = try ModelFolder.load(PublishedModel("llama_dynamic").folder)  // context 24
        func score(_ groups: [(promptLength: Int, completionLengths: [Int])]) throws -> [Int] {
            let layout = try SequenceLayout(groups: groups)
            return try model.hiddenStates(
                tokens: Tensor((0..<layout.tokenCount).map(PackedTransformerTests.token)), layout: layout
            ).shape
        }
        #expect(try score([(20, [4, 3])]) == [27, 32])
        #expect(try score([(20, [9]), (30, [])]) == [59, 32])
        let error = try #require(throws: ModelError.self) { try score([(20, [5, 3])]) }
        #expect(error.description.contains("beyond 24 tokens (max_position_embeddings) with dynamic rope scaling"))
        // Two short texts of one prompt beside a long one are turned as they are alone.
        let layout = try SequenceLayout(groups: [(20, [2, 1]), (20, [10]), (30, [])])
        let tokens = (0..<layout.tokenCount).map(PackedTransformerTests.token)
        let all = try model.hiddenStates(tokens: Tensor(tokens), layout: layout)
        let alone = try model.hiddenStates(
            tokens: Tensor(Array(tokens[..<22])), layout: SequenceLayout(groups: [(20, [2])]))
        #expect(relativeDistance(try all.rows(at: Array(0..<22)).doubles(), try alone.doubles()) <= 1e-5)
        // A text's length counts whichever of its states are asked for.
        let indices = [51, 19, 40, 21, 60]
        let asked = try model.hiddenStates(tokens: Tensor(tokens), layout: layout, at: indices)
        #expect(relativeDistance(try asked.doubles(), try all.rows(at: indices).doubles()) <= 1e-5)

        let cache = try KeyValueCache(
            configuration: model.configuration, promptSlots: 1, promptCapacity: 23, rowSlots: 1, rowCapacity: 4)
        _ = try model.prefill(
            tokens: (0..<23).map(PackedTransformerTests.token), layout: SequenceLayout(sequenceLengths: [23]),
            cache: cache, promptSlots: [0])
        func rows(_ length: Int) -> DecodeRows {
            DecodeRows(promptSlots: [0], promptLengths: [23], ownSlots: [0], ownLengths: [length])
        }
        #expect(try model.decode(tokens: [5], cache: cache, rows: rows(1)).shape == [1, 32])
        #expect(throws: ModelError.self) { try model.decode(tokens: [5], cache: cache, rows: rows(2)) }
    }
}
