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

@TensorActor @Suite("Products that wait from sampling for the update")
struct ForwardCacheTests {
    private let tokenizer: Tokenizer

    init() throws {
        tokenizer = try BPETrainer(vocabularySize: 280, specialTokens: ["<|end|>"]).train(["one two three four"])
    }

    /// A policy, what samples from it and what trains it, with what they keep between them.
    private struct Bench {
        let policy: ReallocatingActor
        let engine: RolloutEngine
        let updater: PolicyUpdater
        let cache: ForwardCache?
    }

    /// - Parameters:
    ///   - family: Qwen2's has biases, Qwen3's norms of queries and keys.
    ///   - limit: Most bytes that are kept; `nil` keeps nothing.
    private func bench(
        _ family: ModelFamily = .qwen2, layout: GenerationLayout = .packed, adapterRank: Int? = nil, limit: Int?,
        rows: Int = 5, maxTokens: Int? = nil, type: ElementType = .float32
    ) throws -> Bench {
        var configuration = try ModelConfiguration(
            fresh: FreshModelShape(
                family: family, vocabularySize: tokenizer.vocabularySize, hiddenSize: 32, layers: 3, heads: 4,
                keyValueHeads: 2, intermediateSize: 48, contextLength: 128))
        let model = try ModelInitializer.model(configuration, seed: 8)
        for (name, tensor) in model.parameters {
            if tensor.rank == 2 { try tensor.multiplyInPlace(8) }
            if name.hasSuffix("bias") { try tensor.addInPlace(Tensor.ones(tensor.shape), scaledBy: 0.3) }
        }
        let own = try model.parametersByName.mapValues { try $0.to(type) }
        var parameters = ParameterSet(trainable: own)
        if let adapterRank {
            configuration = try configuration.adapted(by: LoRAConfiguration(rank: adapterRank, targets: .allLinear))
            var adapters: [String: Tensor] = [:]
            for (number, shape) in configuration.adapterShapes.enumerated() {
                var numbers = TestRandom(seed: UInt64(number))
                adapters[shape.name] = try Tensor(numbers.doubles(shape.count).map { 0.05 * $0 }, shape: shape.shape)
                    .to(type)
            }
            parameters = ParameterSet(
                trainable: adapters, frozen: own, adapters: configuration.lowRankUpdates)
        }
        let policy = try ReallocatingActor(
            role: "policy", parameters: parameters,
            packing: type == .float32 ? configuration.packing(layout) : [:], verification: .everyHandOver)
        let engine = RolloutEngine(
            policy: policy, configuration: configuration, tokenizer: tokenizer, seed: 4, limits: BatchLimits(rows: rows)
        )
        let updater = try PolicyUpdater(
            policy: policy, configuration: configuration, parts: [PartPlan(GRPOSettings(lossType: .grpo))],
            settings: UpdaterSettings(
                optimizer: OptimizerSettings(
                    learningRate: 0.1, epsilon: 1, schedule: LearningRateSchedule(.constant, totalSteps: 9)),
                maxTokensPerMicroBatch: maxTokens))
        let cache = limit.map { ForwardCache(configuration, limit: $0, type: type) }
        (engine.forwardCache, updater.forwardCache) = (cache, cache)
        return Bench(policy: policy, engine: engine, updater: updater, cache: cache)
    }

    /// Prompts of 1 to 40 tokens; the completions end where the end token comes, after a single token or after 40.
    private func rollouts(_ bench: Bench, step: Int = 1, greedy: Bool = false) async throws -> UpdateBatch {
        let requests = (0..<4).map { row in
            RolloutRequest(
                prompt: TokenizedPrompt(
                    prompt: Prompt(row: row, source: "test", content: .text("")),
                    tokenIDs: (0..<1 + row * 13).map { (7 * $0 + 31 * row) % 250 + 1 }),
                samples: 4, includesGreedy: greedy)
        }
        let sampling = SamplingSettings(maxCompletionLength: 40, stopTokenIDs: Set(0..<20))
        var groups: [(row: Int, group: UpdateGroup)] = []
        for try await group in bench.engine.generate(requests, settings: sampling, step: step) {
            let completions = group.rollouts.map { rollout in
                UpdateCompletion(
                    tokenIDs: rollout.completion.tokenIDs,
                    advantages: [rollout.completion.tokenIDs.map { _ in Double(rollout.sample) - 1.5 }],
                    rolloutLogProbabilities: rollout.policyLogProbabilities)
            }
            groups.append(
                (group.prompt.prompt.row, UpdateGroup(promptTokenIDs: group.prompt.tokenIDs, completions: completions)))
        }
        return UpdateBatch(groups: groups.sorted { $0.row < $1.row }.map(\.group))
    }

    /// Every trained weight after a step, by name.
    private func weights(_ bench: Bench) async throws -> [String: [Double]] {
        try await bench.policy.masters { set in try set.trained.mapValues { try $0.doubles() } }
    }

    private func difference(_ a: [String: [Double]], _ b: [String: [Double]]) -> Double {
        a.map { name, values in zip(values, b[name] ?? []).map { abs($0 - $1) }.max() ?? .infinity }.max() ?? .infinity
    }

    struct Form: CustomTestStringConvertible {
        let family: ModelFamily
        let layout: GenerationLayout
        var adapterRank: Int?
        var maxTokens: Int?
        var type = ElementType.float32
        var testDescription: String {
            "\(family) \(layout) \(type), adapters \(adapterRank ?? 0), passes \(maxTokens ?? 0)"
        }
    }

    nonisolated static let forms = [
        Form(family: .qwen2, layout: .packed), Form(family: .qwen2, layout: .shared, maxTokens: 70),
        Form(family: .qwen3, layout: .packed, maxTokens: 70),
        Form(family: .llama, layout: .packed, adapterRank: 2, maxTokens: 70),
        Form(family: .qwen2, layout: .packed, adapterRank: 2), Form(family: .qwen3, layout: .shared, adapterRank: 3),
        Form(family: .qwen2, layout: .shared, maxTokens: 70, type: .float64),
        Form(family: .qwen3, layout: .shared, adapterRank: 2, type: .float64),
    ]

    /// AdamW with an ε of 1 steps along the gradient: what both steps leave behind is as far apart as rounding, relative to
    /// how far they went. A group that is cut in two passes reads its prompt in both.
    @Test(arguments: forms)
    func aStepIsTheOneThatMultipliesAgain(_ form: Form) async throws {
        var found: [(before: [String: [Double]], after: [String: [Double]], batch: UpdateBatch, loss: Double)] = []
        for limit in [nil, Int.max] {
            let bench = try bench(
                form.family, layout: form.layout, adapterRank: form.adapterRank, limit: limit,
                maxTokens: form.maxTokens, type: form.type
            )
            let batch = try await rollouts(bench)
            let lengths = batch.groups.flatMap { $0.completions.map(\.tokenCount) }
            #expect(lengths.contains(1) && lengths.contains { $0 > 32 } && lengths.contains { $0 > 1 && $0 < 32 })
            let kept = bench.policy.footprint().bytes(.forwardCache)
            #expect((kept > 0) == (limit != nil))
            let before = try await weights(bench)
            let metrics = try await bench.updater.train(batch)
            #expect(bench.policy.footprint().bytes(.forwardCache) == 0)
            let gap = try #require(metrics["sampling/sampling_logp_difference/max"])
            #expect(gap < 1e-4)
            found.append((before, try await weights(bench), batch, try #require(metrics["loss"])))
        }
        let texts = found.map { $0.batch.groups.map { $0.completions.map(\.tokenIDs) } }
        #expect(texts[0] == texts[1])
        let moved = difference(found[0].before, found[0].after)
        let apart = difference(found[0].after, found[1].after)
        print("\(form.testDescription): steps of \(moved) are \(apart) apart")
        #expect(moved > 1e-3 && apart < (form.type == .float64 ? 1e-12 : 1e-4) * moved, "\(apart) of \(moved)")
        #expect(abs(found[0].loss - found[1].loss) < 1e-5)
    }

    /// What a pass takes is what it would make: were one number of it wrong, the step would be another one.
    @Test func theProductsAreThoseThatAreTaken() async throws {
        let bench = try bench(limit: .max)
        let batch = try await rollouts(bench)
        let before = try await weights(bench)
        for tensor in try #require(bench.cache).tensors { try tensor.multiplyInPlace(1.001) }
        _ = try await bench.updater.train(batch)
        let plain = try self.bench(limit: nil)
        _ = try await plain.updater.train(try await rollouts(plain))
        let (wrong, right) = (try await weights(bench), try await weights(plain))
        #expect(difference(wrong, right) > 1e-4 * difference(before, right))
    }

    /// Groups that do not fit are let go of; passes over the others still take theirs. Nothing is taken for other weights.
    @Test func whatDoesNotFitIsWorkedOutAgain() async throws {
        let plain = try bench(limit: nil, maxTokens: 1)
        _ = try await plain.updater.train(try await rollouts(plain))
        let expected = try await weights(plain)
        let whole = try bench(limit: .max, maxTokens: 1)
        _ = try await rollouts(whole)
        let all = whole.policy.footprint().bytes(.forwardCache)
        for share in [0.05, 0.4, 0.8] {
            let limit = Int(share * Double(all))
            let bench = try bench(limit: limit, maxTokens: 1)
            let batch = try await rollouts(bench)
            let kept = bench.policy.footprint().bytes(.forwardCache)
            #expect(kept <= limit && (kept > 0) == (share > 0.1))
            _ = try await bench.updater.train(batch)
            #expect(try await difference(weights(bench), expected) < 1e-5)
        }
        // A second step on the same rollouts finds nothing, nor does a step after another one's rollouts.
        let bench = try bench(limit: .max)
        let batch = try await rollouts(bench)
        let cache = try #require(bench.cache)
        #expect(cache.taken([], at: 0) != nil && cache.taken([], at: 1) == nil)
        _ = try await bench.updater.train(batch)
        #expect(cache.tensors.isEmpty)
        _ = try await rollouts(bench, step: 2)
        #expect(cache.taken([], at: 1) != nil && cache.taken([], at: 0) == nil)
        _ = try await bench.updater.train(batch)  // of older weights: worked out at the present ones
        let twin = try self.bench(limit: nil)
        _ = try await twin.updater.train(try await rollouts(twin))
        _ = try await twin.updater.train(batch)
        #expect(try await difference(weights(bench), weights(twin)) < 1e-5)
    }

    /// A baseline's greedy completion is not learned from, and completions of the same tokens are each there once.
    @Test func completionsAreFoundByTheirTokens() async throws {
        let bench = try bench(limit: .max, type: .float64)
        let batch = try await rollouts(bench, greedy: true)
        let withGreedy = bench.policy.footprint().bytes(.forwardCache)
        let cache = try #require(bench.cache)
        let (lost, group) = (batch.groups[1], batch.groups[2])
        let tokens = group.completions.map(\.tokenIDs)
        func bytes() -> Int { bench.policy.footprint().bytes(.forwardCache) }
        #expect(cache.taken([(group.promptTokenIDs + [1], [tokens[0]])], at: 0) == nil && bytes() == withGreedy)
        // A pass that is not all there takes nothing, and what is there of it goes.
        let others = lost.completions.map(\.tokenIDs)
        #expect(cache.taken([(group.promptTokenIDs, []), (lost.promptTokenIDs, others + [[1, 2, 3]])], at: 0) == nil)
        let without = bytes()
        #expect(without < withGreedy && cache.taken([(lost.promptTokenIDs, [others[0]])], at: 0) == nil)
        #expect(cache.taken([(group.promptTokenIDs, [tokens[0]])], at: 0) != nil)
        #expect(cache.taken([(group.promptTokenIDs, [tokens[0]])], at: 0) == nil)  // it has been taken
        #expect(cache.taken([(group.promptTokenIDs, [tokens[1], tokens[2]])], at: 0) != nil)
        #expect(bytes() == without)  // what is taken goes as it is read
        // Of three groups one is left, without one of its completions.
        let last = batch.groups[3]
        cache.keep(only: [(last.promptTokenIDs, last.completions.dropLast().map(\.tokenIDs))])
        #expect(bytes() < without)
        #expect(cache.taken([(last.promptTokenIDs, [last.completions[3].tokenIDs])], at: 0) == nil)
        #expect(cache.taken([(last.promptTokenIDs, last.completions.dropLast().map(\.tokenIDs))], at: 0) != nil)
        let plain = try self.bench(limit: .max, type: .float64)
        _ = try await rollouts(plain)
        #expect(plain.policy.footprint().bytes(.forwardCache) == withGreedy)
    }
}
