import Job
import Models
import Planning
import Tensors
import Testing

/// Peaks that `plumbline bench update` measured (resident bytes, float32, one thread, 8 completions a prompt), in MB.
@Suite("The memory estimate against measured peaks")
struct MemoryEstimateTests {
    struct Measured: CustomTestStringConvertible {
        var model: (vocabulary: Int, hidden: Int, layers: Int, heads: Int, keyValueHeads: Int, intermediate: Int)
        var prompts: Int
        var promptLength: Int
        var completionLength: Int
        var limit: Int
        var megabytes: Double
        var testDescription: String { "\(model.layers) layers, \(prompts) × (\(promptLength) + \(completionLength))" }
    }

    private static let small = (49152, 576, 30, 9, 3, 1536)
    private static let middle = (8192, 512, 8, 8, 8, 1408)
    private static let tiny = (512, 256, 6, 8, 4, 1024)

    static let measured = [
        Measured(model: small, prompts: 1, promptLength: 64, completionLength: 8, limit: 2048, megabytes: 2548),
        Measured(model: small, prompts: 1, promptLength: 256, completionLength: 64, limit: 2048, megabytes: 2927),
        Measured(model: small, prompts: 2, promptLength: 256, completionLength: 64, limit: 2048, megabytes: 3849),
        Measured(model: small, prompts: 3, promptLength: 256, completionLength: 64, limit: 768, megabytes: 3754),
        Measured(model: small, prompts: 4, promptLength: 256, completionLength: 64, limit: 2048, megabytes: 4777),
        Measured(model: middle, prompts: 4, promptLength: 64, completionLength: 64, limit: 1024, megabytes: 965),
        Measured(model: middle, prompts: 8, promptLength: 64, completionLength: 64, limit: 2048, megabytes: 1438),
        Measured(model: middle, prompts: 16, promptLength: 64, completionLength: 64, limit: 16384, megabytes: 3694),
        Measured(model: middle, prompts: 8, promptLength: 256, completionLength: 16, limit: 8192, megabytes: 1674),
        Measured(model: tiny, prompts: 8, promptLength: 32, completionLength: 64, limit: 8192, megabytes: 891),
    ]

    @Test(arguments: measured) func isWithinFifteenPercent(_ example: Measured) throws {
        let shape = example.model
        let configuration = try ModelConfiguration(
            json: """
                {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "vocab_size": \(shape.vocabulary),
                 "hidden_size": \(shape.hidden), "intermediate_size": \(shape.intermediate),
                 "num_hidden_layers": \(shape.layers), "num_attention_heads": \(shape.heads),
                 "num_key_value_heads": \(shape.keyValueHeads), "max_position_embeddings": 2048, "rms_norm_eps": 1e-6,
                 "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": true}
                """)
        let estimate = MemoryEstimate(
            configuration, type: .float32, hasReference: false,
            MemoryEstimate.Sizes(
                promptLength: example.promptLength, completionLength: example.completionLength, completionsPerPrompt: 8,
                completionsPerOptimizerStep: 8 * example.prompts, rows: 8 * example.prompts,
                maxTokensPerMicroBatch: example.limit, checkpointsBlocks: false))
        let ratio = Double(estimate.peak) / 1e6 / example.megabytes
        #expect(abs(ratio - 1) < 0.15, "estimated \(estimate.peak / 1_000_000) MB, measured \(example.megabytes)")
    }

    /// `plumbline bench step`, two threads of a Xeon with AVX-512. A token
    /// takes 4 bytes for each of 30 · (576 + 2·192 + 576 + 2·1536 + 576) outputs and 30 · (576 + 9) of attention, of the other
    /// model for 6 · 3,336.
    @Test(arguments: [
        (small, prompts: 4, promptLength: 256, megabytes: 4803.0, bytes: 692_280 * (1024 + 2048)),
        (tiny, prompts: 8, promptLength: 32, megabytes: 705.0, bytes: 80_064 * (256 + 4096)),
    ])
    func productsThatWaitForTheUpdateAreHeld(
        _ model: (Int, Int, Int, Int, Int, Int), prompts: Int, promptLength: Int, megabytes: Double, bytes: Int
    ) throws {
        let shape = try ModelConfiguration(
            fresh: FreshModelShape(
                family: .llama, vocabularySize: model.0, hiddenSize: model.1, layers: model.2, heads: model.3,
                keyValueHeads: model.4, intermediateSize: model.5))
        func estimate(_ limit: Int) -> MemoryEstimate {
            MemoryEstimate(
                shape, type: .float32, hasReference: false, layout: .packed, forwardCacheLimit: limit,
                MemoryEstimate.Sizes(
                    promptLength: promptLength, completionLength: 64, completionsPerPrompt: 8,
                    completionsPerOptimizerStep: 8 * prompts, rows: 8 * prompts, maxTokensPerMicroBatch: 2048,
                    checkpointsBlocks: false))
        }
        let peak = estimate(2_500_000_000).peak
        #expect(abs(Double(peak) / 1e6 / megabytes - 1) < 0.15, "estimated \(peak / 1_000_000) MB")
        #expect(estimate(.max).forwardCache == bytes && estimate(0).forwardCache == 0)
        // Half of them may all wait for the second pass.
        #expect(estimate(bytes / 2).forwardCache == bytes / 2 && estimate(bytes / 2).peak <= peak)
        #expect(estimate(bytes / 4).peak < peak && estimate(0).peak <= estimate(bytes / 4).peak)
    }

    /// `plumbline bench step --lora-rank 16` on the shape of 135 M parameters: 8 completions of 256 + 16 tokens; the
    /// whole model took 2725 MB.
    @Test func adaptersTakeGradientsAndMomentsOfTheirOwnAlone() throws {
        let shape = try ModelConfiguration(
            fresh: FreshModelShape(
                family: .llama, vocabularySize: 49152, hiddenSize: 576, layers: 30, heads: 9, keyValueHeads: 3,
                intermediateSize: 1536))
        func estimate(_ model: ModelConfiguration, hasReference: Bool = false) -> MemoryEstimate {
            MemoryEstimate(
                model, type: .float32, hasReference: hasReference,
                MemoryEstimate.Sizes(
                    promptLength: 256, completionLength: 16, completionsPerPrompt: 8, completionsPerOptimizerStep: 8,
                    rows: 8, maxTokensPerMicroBatch: 2048, checkpointsBlocks: false))
        }
        let adapted = try shape.adapted(by: LoRAConfiguration(rank: 16, targets: .allLinear))
        let ratio = Double(estimate(adapted).peak) / 1e6 / 1378
        #expect(abs(ratio - 1) < 0.15, "estimated \(estimate(adapted).peak / 1_000_000) MB")
        #expect(abs(Double(estimate(shape).peak) / 1e6 / 2725 - 1) < 0.15)
        #expect(estimate(adapted, hasReference: true).reference == 0)
        // Of the blocks' 106 M weights three bytes of four go, and a scale comes for every output:
        // 30 · (3·(2·576·576 + 2·192·576 + 3·1536·576) − 4·(2·576 + 2·192 + 2·1536 + 576)).
        let packed = MemoryEstimate(
            adapted, type: .float32, base: .int8, hasReference: false,
            MemoryEstimate.Sizes(
                promptLength: 256, completionLength: 16, completionsPerPrompt: 8, completionsPerOptimizerStep: 8,
                rows: 8, maxTokensPerMicroBatch: 2048, checkpointsBlocks: false))
        let saved = 30 * (3 * (2 * 576 * 576 + 2 * 192 * 576 + 3 * 1536 * 576) - 4 * (3 * 576 + 2 * 192 + 2 * 1536))
        #expect(estimate(adapted).frozenBase - packed.frozenBase == saved)
        #expect(estimate(adapted).training - packed.training == saved && estimate(adapted).peak > packed.peak)
        #expect(adapted.adapterCount == 4_884_480)  // 30 · 16 · (4·576 + 2·(576 + 192) + 3·(576 + 1536))
    }

    /// Moments in a file are not among what is held; a step has those of one parameter, and of a small one's passes that is
    /// the peak: 49152·576 numbers of the embedding, 8 bytes each.
    @Test func momentsInAFileAreNotHeld() throws {
        let shape = try ModelConfiguration(
            fresh: FreshModelShape(
                family: .llama, vocabularySize: 49152, hiddenSize: 576, layers: 30, heads: 9, keyValueHeads: 3,
                intermediateSize: 1536))
        func estimate(
            _ offloads: Bool, promptLength: Int, completions: Int, hasCritic: Bool = false, replicas: Int = 1
        ) -> MemoryEstimate {
            MemoryEstimate(
                shape, type: .float32, hasReference: false, hasCritic: hasCritic, offloadsOptimizer: offloads,
                replicas: replicas,
                MemoryEstimate.Sizes(
                    promptLength: promptLength, completionLength: 16, completionsPerPrompt: completions,
                    completionsPerOptimizerStep: completions, rows: completions, maxTokensPerMicroBatch: 2048,
                    checkpointsBlocks: false))
        }
        let moments = 8 * shape.parameterCount
        let (memory, file) = (
            estimate(false, promptLength: 1024, completions: 8), estimate(true, promptLength: 1024, completions: 8)
        )
        #expect(memory.optimizerState == moments && file.optimizerState == moments)
        #expect(memory.training - file.training == moments && memory.peak - file.peak == moments)
        let ofTwo = [false, true].map { estimate($0, promptLength: 1024, completions: 8, hasCritic: true).peak }
        #expect(ofTwo[0] - ofTwo[1] == 2 * moments)
        let small = estimate(true, promptLength: 1, completions: 1)
        #expect(small.peak - small.training == 230_000_000 + 8 * 49152 * 576)
        // Each of two processes has half of them; of four the first has most when it saves: weights, and the moments of all.
        let half = estimate(false, promptLength: 1024, completions: 8, replicas: 2)
        #expect(half.optimizerState == moments / 2 && memory.peak - half.peak == moments / 2)
        let saving = estimate(false, promptLength: 1, completions: 1, replicas: 4)
        #expect(saving.peak == 230_000_000 + 12 * shape.parameterCount)
    }

    /// 135 M parameters in float32. A reference of its own lies beside everything; one of mapped pages is in memory only
    /// while it scores, when there are neither gradients nor activations: weights, both moments, the reference and the
    /// process. Of a step that keeps next to nothing for its backward pass gradients are as much as the reference.
    @Test func aMappedReferenceIsInMemoryWhileItScores() throws {
        let shape = try ModelConfiguration(
            fresh: FreshModelShape(
                family: .llama, vocabularySize: 49152, hiddenSize: 576, layers: 30, heads: 9, keyValueHeads: 3,
                intermediateSize: 1536))
        func estimate(_ hasReference: Bool, maps: Bool = false, promptLength: Int = 256) -> MemoryEstimate {
            MemoryEstimate(
                shape, type: .float32, hasReference: hasReference, mapsReference: maps,
                MemoryEstimate.Sizes(
                    promptLength: promptLength, completionLength: 16, completionsPerPrompt: 8,
                    completionsPerOptimizerStep: 8, rows: 8, maxTokensPerMicroBatch: 2048, checkpointsBlocks: false))
        }
        let weights = shape.parameterCount * 4
        let (none, own, mapped) = (estimate(false), estimate(true), estimate(true, maps: true))
        #expect(own.reference == weights && mapped.reference == weights)
        #expect(own.peak == none.peak + weights)
        #expect(mapped.peak == none.peak && none.peak > 4 * weights)
    }

    /// Of a matrix of 576 · 1536 numbers a critic has weight, gradient and both moments, of everything else its weights.
    @Test func aCriticTrainsWhatThePolicyTrains() throws {
        let shape = try ModelConfiguration(
            fresh: FreshModelShape(
                family: .llama, vocabularySize: 49152, hiddenSize: 576, layers: 30, heads: 9, keyValueHeads: 3,
                intermediateSize: 1536))
        let estimate = MemoryEstimate(
            shape, type: .float32, trained: ["model.layers.29.mlp.down_proj.weight"], hasReference: false,
            hasCritic: true,
            MemoryEstimate.Sizes(
                promptLength: 256, completionLength: 16, completionsPerPrompt: 8, completionsPerOptimizerStep: 8,
                rows: 8, maxTokensPerMicroBatch: 2048, checkpointsBlocks: false))
        #expect(estimate.critic == 4 * shape.parameterCount + 12 * 576 * 1536)
    }

    /// Weights, gradients and two moments of each number of either model, whatever the other has: a critic of 71 M
    /// parameters beside a policy of next to none. What two tokens keep for their way back is less than their gradients.
    @Test func aCriticOfAnotherModelHasItsOwnSize() throws {
        func shape(_ hidden: Int, _ layers: Int) throws -> ModelConfiguration {
            try ModelConfiguration(
                fresh: FreshModelShape(
                    family: .llama, vocabularySize: 512, hiddenSize: hidden, layers: layers, heads: 8, keyValueHeads: 8,
                    intermediateSize: 2 * hidden))
        }
        let (policy, critic) = (try shape(32, 1), try shape(768, 12))
        let estimate = MemoryEstimate(
            policy, type: .float32, hasReference: false, hasCritic: true, criticModel: critic,
            MemoryEstimate.Sizes(
                promptLength: 1, completionLength: 1, completionsPerPrompt: 1, completionsPerOptimizerStep: 1, rows: 1,
                maxTokensPerMicroBatch: 64, checkpointsBlocks: false))
        #expect(estimate.critic == 16 * critic.parameterCount && critic.parameterCount > 100 * policy.parameterCount)
        #expect(estimate.peak == 230_000_000 + 16 * (policy.parameterCount + critic.parameterCount))
    }

    /// Each set of gradients has 4 bytes of every number. Of streams that are compared the last one's are those that a step
    /// has anyway, with the head's, which is whole before they are; those of parts lie beside their sum, when nothing of a
    /// pass is there any more.
    @Test func gradientsThatAreComparedAreAllHeld() throws {
        let shape = try ModelConfiguration(
            fresh: FreshModelShape(
                family: .llama, vocabularySize: 49152, hiddenSize: 576, layers: 30, heads: 9, keyValueHeads: 3,
                intermediateSize: 1536))
        func peak(streams: Int = 0, parts: Int = 0) -> Int {
            MemoryEstimate(
                shape, type: .float32, hasReference: false, streams: streams, parts: parts,
                MemoryEstimate.Sizes(
                    promptLength: 1, completionLength: 1, completionsPerPrompt: 1, completionsPerOptimizerStep: 1,
                    rows: 1, maxTokensPerMicroBatch: 2048, checkpointsBlocks: false)
            ).peak
        }
        let gradients = 4 * shape.parameterCount
        #expect(peak(streams: 3) - peak() == 2 * gradients)
        #expect(peak(parts: 3) - peak() == 3 * gradients - 4 * 49_152 * 576)
    }

    /// A critic of adapters holds their weights, gradients and both moments, and its base where that is not the
    /// policy's: 4 · 4,884,480 · 4 bytes of rank 16 on the shape of 135 M parameters.
    @Test func aCriticOfAdaptersNeedsNoSecondBase() throws {
        let shape = try ModelConfiguration(
            fresh: FreshModelShape(
                family: .llama, vocabularySize: 49152, hiddenSize: 576, layers: 30, heads: 9, keyValueHeads: 3,
                intermediateSize: 1536))
        let adapted = try shape.adapted(by: LoRAConfiguration(rank: 16, targets: .allLinear))
        func estimate(_ hasCritic: Bool, sharesBase: Bool = true, type: JobElementType = .float32) -> MemoryEstimate {
            MemoryEstimate(
                adapted, type: type, hasReference: false, hasCritic: hasCritic, criticSharesBase: sharesBase,
                MemoryEstimate.Sizes(
                    promptLength: 256, completionLength: 16, completionsPerPrompt: 8, completionsPerOptimizerStep: 8,
                    rows: 8, maxTokensPerMicroBatch: 2048, checkpointsBlocks: false))
        }
        let (shared, own) = (estimate(true), estimate(true, sharesBase: false))
        #expect(estimate(false).critic == 0 && shared.critic == 16 * 4_884_480)
        #expect(shared.peak - estimate(false).peak <= 16 * 4_884_480 && shared.peak > estimate(false).peak)
        #expect(own.critic - shared.critic == own.frozenBase && own.frozenBase == shape.parameterCount * 4)
        #expect(own.peak - shared.peak == own.frozenBase)
        // bfloat16 halves the base alone.
        #expect(estimate(true, type: .bfloat16).critic == 16 * 4_884_480)
    }

    /// 141 M parameters in float32. Processes that sample together hold half of the keys and values of 64 rows, each of
    /// 512 + 512 / 8 tokens with 2 · 30 · 192 numbers; with parts that they train no whole weights beside them. With one
    /// row that is not what takes most: whole weights are, while they are saved.
    @Test func processesThatSampleTogetherHaveAPartOfTheCache() throws {
        let shape = try ModelConfiguration(
            fresh: FreshModelShape(
                family: .llama, vocabularySize: 49152, hiddenSize: 576, layers: 30, heads: 8, keyValueHeads: 2,
                headSize: 96, intermediateSize: 1536))
        func estimate(_ train: Int, _ generate: Int, rows: Int = 64) -> MemoryEstimate {
            MemoryEstimate(
                shape, type: .float32, hasReference: false, tensorParallel: train, generationParallel: generate,
                MemoryEstimate.Sizes(
                    promptLength: 512, completionLength: 512, completionsPerPrompt: 8, completionsPerOptimizerStep: 8,
                    rows: rows, maxTokensPerMicroBatch: 1, checkpointsBlocks: true))
        }
        let cache = (512 + 64) * 2 * 30 * 192 * 4
        #expect(estimate(1, 1).cache == 64 * cache && estimate(1, 2).cache == 32 * cache)
        let weights = 4 * shape.parameterCount
        #expect(estimate(2, 1).peak - estimate(2, 2).peak == weights + 32 * cache)
        #expect(estimate(2, 1, rows: 1).peak - estimate(2, 2, rows: 1).peak == cache)
        // Of n numbers that are cut, quarters in place of halves are 4 bytes of each and 8 of its moments less: 3n. The
        // halves to sample with are then others than those that are trained: 2n beside these.
        let cut = shape.parameterShapes.filter { $0.sharedAxis != nil }.reduce(0) { $0 + $1.count }
        #expect(estimate(2, 2).peak - estimate(4, 2).peak == cut)
    }

    /// Adapters of rank 16 on every projection. In each of 30 blocks B has 768 + 2·192 + 2·1536 rows that are cut and A
    /// 768 + 1536 columns, each number with its gradient and two moments; the model itself is whole, and so are the sums
    /// that a process alone samples with: 2·768·576 + 2·192·576 + 3·1536·576 numbers in a block.
    @Test func adaptersAreDividedAndTheirModelIsNot() throws {
        let shape = try ModelConfiguration(
            fresh: FreshModelShape(
                family: .llama, vocabularySize: 49152, hiddenSize: 576, layers: 30, heads: 8, keyValueHeads: 2,
                headSize: 96, intermediateSize: 1536))
        let adapted = try shape.adapted(by: LoRAConfiguration(rank: 16, targets: .allLinear))
        func estimate(_ train: Int, _ generate: Int = 1, samplesAlone: Bool = false) -> MemoryEstimate {
            MemoryEstimate(
                adapted, type: .float32, hasReference: false, tensorParallel: train, generationParallel: generate,
                samplesAlone: samplesAlone,
                MemoryEstimate.Sizes(
                    promptLength: 16, completionLength: 16, completionsPerPrompt: 8, completionsPerOptimizerStep: 8,
                    rows: 1, maxTokensPerMicroBatch: 1, checkpointsBlocks: true))
        }
        let cut = 30 * 16 * (768 + 2 * 192 + 2 * 1536 + 768 + 1536)
        #expect(estimate(1).training - estimate(2).training == 16 * cut / 2)
        #expect(estimate(2).frozenBase == 4 * shape.parameterCount)
        let sums = 4 * 30 * (2 * 768 * 576 + 2 * 192 * 576 + 3 * 1536 * 576)
        #expect(estimate(2, 2, samplesAlone: true).peak - estimate(2, 2).peak == sums / 2)
    }

    /// Of each matrix that is packed with what adapters add the sum is there while it is packed, at most 576 · 1536 numbers,
    /// and gone before the cache comes: 64 rows of 16 tokens and an eighth of 16 have more.
    @Test func aSumIsThereWhileItIsPacked() throws {
        let shape = try ModelConfiguration(
            fresh: FreshModelShape(
                family: .llama, vocabularySize: 49152, hiddenSize: 576, layers: 30, heads: 8, keyValueHeads: 2,
                headSize: 96, intermediateSize: 1536))
        let adapted = try shape.adapted(by: LoRAConfiguration(rank: 16, targets: .allLinear))
        func peak(_ rows: Int) -> Int {
            MemoryEstimate(
                adapted, type: .float32, hasReference: false, layout: .packed,
                MemoryEstimate.Sizes(
                    promptLength: 16, completionLength: 16, completionsPerPrompt: 8, completionsPerOptimizerStep: 8,
                    rows: rows, maxTokensPerMicroBatch: 1, checkpointsBlocks: true)
            ).peak
        }
        let (sum, row) = (4 * 576 * 1536, 18 * 2 * 30 * 192 * 4)
        #expect(peak(1) == peak(0))
        #expect(peak(64) - peak(1) == 64 * row - sum)
    }

    /// A critic of its own weights is whole with its gradients where the policy is halved, and each of four processes has a
    /// quarter of its two moments.
    @Test func aCriticIsWholeBesideSharedLayers() throws {
        let shape = try ModelConfiguration(
            fresh: FreshModelShape(
                family: .llama, vocabularySize: 64, hiddenSize: 576, layers: 3, heads: 8, keyValueHeads: 2,
                headSize: 96, intermediateSize: 1536))
        let estimate = MemoryEstimate(
            shape, type: .float32, hasReference: false, hasCritic: true, tensorParallel: 2, replicas: 2,
            MemoryEstimate.Sizes(
                promptLength: 16, completionLength: 16, completionsPerPrompt: 8, completionsPerOptimizerStep: 8,
                rows: 8, maxTokensPerMicroBatch: 2048, checkpointsBlocks: false))
        #expect(estimate.critic == (4 + 4 + 8 / 4) * shape.parameterCount)
    }

    /// Of a layer of 4·768 + 2·192 + 2·1536 numbers inside its two parts half is kept, of three layers and once for
    /// gradients.
    @Test func activationsUnderAdaptersAreDividedToo() throws {
        let shape = try ModelConfiguration(
            fresh: FreshModelShape(
                family: .llama, vocabularySize: 64, hiddenSize: 576, layers: 3, heads: 8, keyValueHeads: 2,
                headSize: 96, intermediateSize: 1536)
        ).adapted(by: LoRAConfiguration(rank: 16, targets: .names(["q_proj"])))
        func bytes(_ ranks: Int) -> Int {
            shape.activationBytesPerToken(.float32, checkpointsBlocks: false, ranks: ranks)
        }
        let inside = 4 * 768 + 2 * 192 + 2 * 1536
        #expect(bytes(1) - bytes(2) == 4 * 4 * inside / 2)
    }

    /// 151,936 words of four bytes each: of 256 rows at a time 155.6 MB, and beside them all rows of a pass where these are
    /// at most 256 MiB, 441 rows; else those of the first 256.
    @Test(arguments: [
        (8, 64, 2 * 64), (4, 220, 2 * 220), (1, 256, 2 * 256), (1, 257, 256 + 257), (1, 441, 256 + 441),
        (2, 442, 2 * 256),
    ])
    func aPassHasTheLogitsOfSomeOfItsRows(_ completions: Int, _ rows: Int, _ held: Int) throws {
        let shape = try ModelConfiguration(
            fresh: FreshModelShape(
                family: .qwen2, vocabularySize: 151_936, hiddenSize: 64, layers: 2, heads: 2, keyValueHeads: 2,
                intermediateSize: 96))
        func estimate(_ tensorParallel: Int) -> MemoryEstimate {
            MemoryEstimate(
                shape, type: .float32, hasReference: false, tensorParallel: tensorParallel,
                MemoryEstimate.Sizes(
                    promptLength: 8, completionLength: rows / completions, completionsPerPrompt: completions,
                    completionsPerOptimizerStep: completions, rows: completions, maxTokensPerMicroBatch: 4096,
                    checkpointsBlocks: false))
        }
        let tokens = 8 + rows / completions * completions
        let kept = tokens * shape.activationBytesPerToken(.float32, checkpointsBlocks: false)
        // Half of a layer's 4·64 + 2·64 + 2·96 numbers inside its two parts, of two layers and once for gradients.
        let halved = tokens * shape.activationBytesPerToken(.float32, checkpointsBlocks: false, ranks: 2)
        #expect(kept - halved == tokens * 3 * 288 * 4)
        let head = 4 * 151_936 * 64
        try #require(rows.isMultiple(of: completions))
        #expect(estimate(1).activations - kept - head == held * 151_936 * 4)
        // Half of the words: of twice as many rows all are kept.
        let halves = min(rows, 256) + rows
        #expect(estimate(2).activations - halved - head / 2 == halves * 75_968 * 4)
    }

    /// Plans count logits as the engine does, whose numbers their room cannot read.
    @Test(arguments: [256, 16_384, 16_385, 49_152, 131_072, 151_936]) func plansKnowHowManyLogitsThereAre(_ words: Int)
    {
        #expect(ScoredLogits.atOnce(vocabulary: words) == Tensor.scoreChunk(vocabulary: words))
        #expect(ScoredLogits.kept(vocabulary: words) == Tensor.keptScores(vocabulary: words))
    }

    /// Whole weights beside halves of what is trained, and the logits of 256 rows while these are scored: 49,152 of four
    /// bytes each.
    @Test func whatIsScoredHasItsLogits() throws {
        let shape = try ModelConfiguration(
            fresh: FreshModelShape(
                family: .llama, vocabularySize: 49152, hiddenSize: 576, layers: 30, heads: 8, keyValueHeads: 2,
                headSize: 96, intermediateSize: 1536))
        let peaks = [false, true].map { scores in
            MemoryEstimate(
                shape, type: .float32, hasReference: false, tensorParallel: 2, generationParallel: 2,
                scoresPolicy: scores,
                MemoryEstimate.Sizes(
                    promptLength: 512, completionLength: 512, completionsPerPrompt: 8, completionsPerOptimizerStep: 8,
                    rows: 1, maxTokensPerMicroBatch: 1, checkpointsBlocks: true)
            ).peak
        }
        #expect(peaks[1] - peaks[0] == 256 * 49_152 * 4)
    }
}
