import Algorithms
import Models
import Placement
import PolicyUpdater
import Records
import RolloutEngine
import Tensors
import TestSupport
import Testing
import Tokenization

@TensorActor @Suite("Soft rollouts in the trainer")
struct SoftReplayTests {
    nonisolated static let noises: [SoftNoise] = [
        .gumbel(GumbelNoise()), .gumbel(GumbelNoise(temperature: 0.7)),
        .dirichlet(DirichletNoise(concentration: 4)),
        .gaussian(GaussianNoise()), .embedding(EmbeddingNoise()),
    ]

    private let tokenizer: Tokenizer
    private let configuration: ModelConfiguration
    private let policy: ReallocatingActor

    init() throws {
        tokenizer = try BPETrainer(vocabularySize: 280, specialTokens: ["<|end|>"]).train(["one two three four"])
        configuration = try ModelConfiguration(
            fresh: FreshModelShape(
                family: .qwen2, vocabularySize: tokenizer.vocabularySize, hiddenSize: 32, layers: 2, heads: 4,
                keyValueHeads: 2, intermediateSize: 64, contextLength: 64))
        let model = try ModelInitializer.model(configuration, seed: 8)
        for (_, tensor) in model.parameters { try tensor.multiplyInPlace(tensor.rank == 2 ? 8 : 1) }
        policy = try ReallocatingActor(
            role: "policy", parameters: ParameterSet(trainable: model.parametersByName), verification: .everyHandOver)
    }

    /// Rollouts of four prompts whose thinking a word ends, and a cold stop after nine steps.
    private func rollouts(_ noise: SoftNoise, thinkEnd: Int) async throws -> UpdateBatch {
        let coldStop = SoftThinkingSettings.ColdStop(entropyNats: 50, steps: 9)
        let sampling = SamplingSettings(
            temperature: 0.8, maxCompletionLength: 14,
            softThinking: SoftThinkingSettings(
                noise: noise, support: SoftSupport(), temperature: 1.2, thinkEndTokenID: thinkEnd, coldStop: coldStop))
        let engine = RolloutEngine(
            policy: policy, configuration: configuration, tokenizer: tokenizer, seed: 4,
            limits: BatchLimits(rows: 5))
        let requests = (0..<4).map { row in
            RolloutRequest(
                prompt: TokenizedPrompt(
                    prompt: Prompt(row: row, source: "test", content: .text("")), tokenIDs: [row + 40, 3, 9 * row + 1]),
                samples: 4)
        }
        var batch = UpdateBatch(groups: [])
        for try await group in engine.generate(requests, settings: sampling, step: 1) {
            let completions = group.rollouts.map { rollout in
                UpdateCompletion(
                    tokenIDs: rollout.completion.tokenIDs, isAction: rollout.isAction,
                    advantages: [rollout.actionPositions.map { _ in Double(rollout.sample) - 1.5 }],
                    rolloutLogProbabilities: rollout.policyLogProbabilities, payload: rollout.payload)
            }
            batch.groups.append(UpdateGroup(promptTokenIDs: group.prompt.tokenIDs, completions: completions))
        }
        return batch
    }

    /// The trainer builds a rollout's inputs from its record and finds what the sampler saw: at every thinking step,
    /// the one that ended the thinking included, the parameters and the log-density, at every other action the
    /// log-prob. A cold stop's word is read and not scored.
    @Test(arguments: noises)
    func theTrainerSeesWhatTheSamplerSaw(_ noise: SoftNoise) async throws {
        // The word that leads the third step of most completions ends the thinking in a second run of the same draws.
        let free = try await rollouts(noise, thinkEnd: 101)
        var counts: [Int: Int] = [:]
        for completion in free.groups.flatMap(\.completions) { counts[completion.tokenIDs[2], default: 0] += 1 }
        let common = try #require(counts.max { ($0.value, $1.key) < ($1.value, $0.key) }).key
        let batch = UpdateBatch(groups: free.groups + (try await rollouts(noise, thinkEnd: common)).groups)
        let settings = SofTGRPOSettings(surrogate: GRPOSettings(lossType: .grpo), noise: noise, temperature: 1.2)
        let updater = try PolicyUpdater(
            policy: policy, configuration: configuration, parts: [PartPlan(settings, temperature: 0.8)],
            settings: UpdaterSettings(
                optimizer: OptimizerSettings(
                    learningRate: 1e-3, schedule: LearningRateSchedule(.constant, totalSteps: 1)),
                maxTokensPerMicroBatch: 60))
        let scores = try await updater.logProbabilities(batch, under: .oldPolicy)
        var (soft, plain, boundaries, forced, largest) = (0, 0, 0, 0, Float(0))
        for (group, completions) in batch.groups.map(\.completions).enumerated() {
            for (index, completion) in completions.enumerated() {
                let record = try #require(completion.softTokens)
                boundaries += record.boundary == nil ? 0 : 1
                forced += completion.tokenCount - completion.actionCount
                let scored = try #require(scores.payloads[group][index] as? SoftTokens)
                let parameters = scored.oldParameters
                #expect(parameters.count == record.parameters.count)
                for (a, b) in zip(parameters, record.parameters) { largest = max(largest, abs(a - b)) }
                #expect(scores.tokens[group][index].count == completion.actionCount)
                for (action, pair) in zip(
                    scores.tokens[group][index], completion.rolloutLogProbabilities
                ).enumerated() {
                    if record.supportSizes[action] > 0 {
                        soft += 1
                        // a density's slope is up to 1/σ² steeper than its parameters: relative to its size
                        #expect(abs(pair.0 - pair.1) < 2e-3 * max(1, abs(pair.1)))
                    } else {
                        plain += 1
                        #expect(abs(pair.0 - pair.1) < 1e-4)
                    }
                }
            }
        }
        #expect(largest < 1e-4, "largest difference of a parameter: \(largest)")
        #expect(soft > 60 && plain > 40)
        #expect(boundaries >= 2 && forced >= 2)
        let metrics = try await updater.train(batch)
        #expect(metrics["ratio/max"] == 1 && metrics["ratio/mean"] == 1)
        #expect(try #require(metrics["grad_norm"]) > 0)
    }
}
