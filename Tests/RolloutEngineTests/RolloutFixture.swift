import Models
import Placement
import Records
import RolloutEngine
import Tensors
import Tokenization

/// A tiny model with random weights, its tokenizer, and engines over both.
@TensorActor
struct RolloutFixture {
    let tokenizer: Tokenizer
    let configuration: ModelConfiguration
    let model: Transformer
    let policy: ReallocatingActor

    init(contextLength: Int = 256) throws {
        tokenizer = try BPETrainer(vocabularySize: 300, specialTokens: ["<|end|>"])
            .train(["one two three four five six seven eight nine ten", "1 + 2 = 3, 4 + 5 = 9"])
        configuration = try ModelConfiguration(
            fresh: FreshModelShape(
                family: .qwen2, vocabularySize: tokenizer.vocabularySize, hiddenSize: 32, layers: 2, heads: 4,
                keyValueHeads: 2, intermediateSize: 64, contextLength: contextLength))
        model = try ModelInitializer.model(configuration, seed: 3)
        // A fresh model is nearly uniform; larger weights give it preferences.
        for (_, tensor) in model.parameters { try tensor.multiplyInPlace(tensor.rank == 2 ? 12 : 1) }
        policy = try ReallocatingActor(
            role: "policy", parameters: ParameterSet(trainable: model.parametersByName), version: PolicyVersion(4),
            verification: .everyHandOver)
    }

    func engine(rows: Int = 128, prefillTokens: Int = 4096, seed: UInt64 = 17) throws -> RolloutEngine {
        RolloutEngine(
            policy: policy, configuration: configuration, tokenizer: tokenizer, seed: seed,
            limits: BatchLimits(rows: rows, prefillTokens: prefillTokens))
    }

    /// Prompts of different lengths, rows 0, 1, …
    func requests(_ count: Int, samples: Int, greedy: Bool = false) -> [RolloutRequest] {
        (0..<count).map { row in
            let tokens = (0...(row * 5 % 13)).map { ($0 * 37 + row * 11) % tokenizer.vocabularySize }
            let prompt = Prompt(row: row, source: "test", content: .text("prompt \(row)"))
            return RolloutRequest(
                prompt: TokenizedPrompt(prompt: prompt, tokenIDs: tokens), samples: samples, includesGreedy: greedy)
        }
    }

    /// Logits of the token behind `tokens`, by a full forward pass over them.
    func logits(after tokens: [Int]) throws -> [Float] {
        try Tensor.withoutGradients {
            let layout = try SequenceLayout(sequenceLengths: [tokens.count])
            let hidden = try model.hiddenStates(tokens: Tensor(tokens), layout: layout)
            return try hidden.narrow(axis: 0, start: tokens.count - 1, count: 1).linear(weight: model.head).floats()
        }
    }
}

/// All groups of a stream in the order of their prompts' rows.
func collected(_ stream: AsyncThrowingStream<RolloutGroup, any Error>) async throws -> [RolloutGroup] {
    var groups: [RolloutGroup] = []
    for try await group in stream { groups.append(group) }
    return groups.sorted { $0.prompt.prompt.row < $1.prompt.prompt.row }
}
