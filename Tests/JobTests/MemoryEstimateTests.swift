import Job
import Methods
import Models
import Planning
import Tensors
import Testing

/// Peaks that `plumbline bench update` measured (resident bytes, float32, one thread, 8 completions a prompt), in MB.
@Suite("The memory estimate against measured peaks")
struct MemoryEstimateTests {
    typealias Shape = (vocabulary: Int, hidden: Int, layers: Int, heads: Int, keyValueHeads: Int, intermediate: Int)

    struct Measured: CustomTestStringConvertible {
        var model: Shape
        var prompts: Int
        var promptLength: Int
        var completionLength: Int
        var limit: Int
        var megabytes: Double
        var testDescription: String { "\(model.layers) layers, \(prompts) × (\(promptLength) + \(completionLength))" }
    }

    /// 135 M parameters.
    private static let small: Shape = (49152, 576, 30, 9, 3, 1536)
    private static let middle: Shape = (8192, 512, 8, 8, 8, 1408)
    private static let tiny: Shape = (512, 256, 6, 8, 4, 1024)

    static let measured = [
        Measured(model: small, prompts: 1, promptLength: 64, completionLength: 8, limit: 2048, megabytes: 2537),
        Measured(model: small, prompts: 1, promptLength: 256, completionLength: 64, limit: 2048, megabytes: 2750),
        Measured(model: small, prompts: 2, promptLength: 256, completionLength: 64, limit: 2048, megabytes: 3473),
        Measured(model: small, prompts: 3, promptLength: 256, completionLength: 64, limit: 768, megabytes: 3412),
        Measured(model: small, prompts: 4, promptLength: 256, completionLength: 64, limit: 2048, megabytes: 4058),
        Measured(model: middle, prompts: 4, promptLength: 64, completionLength: 64, limit: 1024, megabytes: 880),
        Measured(model: middle, prompts: 8, promptLength: 64, completionLength: 64, limit: 2048, megabytes: 1209),
        Measured(model: middle, prompts: 16, promptLength: 64, completionLength: 64, limit: 16384, megabytes: 3319),
        Measured(model: middle, prompts: 8, promptLength: 256, completionLength: 16, limit: 8192, megabytes: 1342),
        Measured(model: tiny, prompts: 8, promptLength: 32, completionLength: 64, limit: 8192, megabytes: 786),
    ]

    private static func llama(_ shape: Shape = small, headSize: Int? = nil) throws -> ModelConfiguration {
        try ModelConfiguration(
            fresh: FreshModelShape(
                family: .llama, vocabularySize: shape.vocabulary, hiddenSize: shape.hidden, layers: shape.layers,
                heads: shape.heads, keyValueHeads: shape.keyValueHeads, headSize: headSize,
                intermediateSize: shape.intermediate))
    }

    /// Of heads that two processes can share; 141 M parameters unless it is smaller.
    private static func divisible(vocabulary: Int = 49152, layers: Int = 30) throws -> ModelConfiguration {
        try llama((vocabulary, 576, layers, 8, 2, 1536), headSize: 96)
    }

    private static func adapted(_ shape: ModelConfiguration) throws -> ModelConfiguration {
        try shape.adapted(by: LoRAConfiguration(rank: 16, targets: .allLinear))
    }

    /// A step of so many prompts, sampled at once unless fewer rows are.
    private static func sizes(
        _ promptLength: Int, _ completionLength: Int, prompts: Int = 1, group: Int = 8, rows: Int? = nil,
        limit: Int = 2048, checkpoints: Bool = false
    ) -> MemoryEstimate.Sizes {
        MemoryEstimate.Sizes(
            promptLength: promptLength, completionLength: completionLength, completionsPerPrompt: group,
            completionsPerOptimizerStep: group * prompts, rows: rows ?? group * prompts,
            maxTokensPerMicroBatch: limit, checkpointsBlocks: checkpoints)
    }

    private static func estimate(
        _ model: ModelConfiguration, _ sizes: MemoryEstimate.Sizes,
        _ change: (inout MemoryEstimate.Settings) -> Void = { _ in }
    ) -> MemoryEstimate {
        var run = MemoryEstimate.Settings(model, sizes)
        change(&run)
        return MemoryEstimate(run)
    }

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
        let sizes = Self.sizes(
            example.promptLength, example.completionLength, prompts: example.prompts, limit: example.limit)
        let estimate = Self.estimate(configuration, sizes)
        let ratio = Double(estimate.peak) / 1e6 / example.megabytes
        #expect(abs(ratio - 1) < 0.15, "estimated \(estimate.peak / 1_000_000) MB, measured \(example.megabytes)")
        #expect(estimate.peakPhase == .updating)
    }

    /// `plumbline bench step`, two threads of a Xeon with AVX-512. A token
    /// takes 4 bytes for each of 30 · (576 + 2·192 + 576 + 2·1536 + 576) outputs and 30 · (576 + 9) of attention, of the other
    /// model for 6 · 3,336.
    @Test(arguments: [
        (small, prompts: 4, promptLength: 256, megabytes: 4803.0, bytes: 692_280 * (1024 + 2048)),
        (tiny, prompts: 8, promptLength: 32, megabytes: 705.0, bytes: 80_064 * (256 + 4096)),
    ])
    func productsThatWaitForTheUpdateAreHeld(
        _ model: Shape, prompts: Int, promptLength: Int, megabytes: Double, bytes: Int
    ) throws {
        let shape = try Self.llama(model)
        func estimate(_ limit: Int) -> MemoryEstimate {
            Self.estimate(shape, Self.sizes(promptLength, 64, prompts: prompts)) {
                ($0.layout, $0.forwardCacheLimit) = (.packed, limit)
            }
        }
        let peak = estimate(2_500_000_000).peak
        #expect(abs(Double(peak) / 1e6 / megabytes - 1) < 0.15, "estimated \(peak / 1_000_000) MB")
        #expect(estimate(.max).forwardCache == bytes && estimate(0).forwardCache == 0)
        // Half of them may all wait for the second pass.
        #expect(estimate(bytes / 2).forwardCache == bytes / 2 && estimate(bytes / 2).peak <= peak)
        #expect(estimate(bytes / 4).peak < peak && estimate(0).peak <= estimate(bytes / 4).peak)
    }

    /// `plumbline bench step --lora-rank 16 --forward-cache-gb 0` on the shape of 135 M parameters: 8 completions of
    /// 256 + 16 tokens; the whole model took 2725 MB.
    @Test func adaptersTakeGradientsAndMomentsOfTheirOwnAlone() throws {
        let shape = try Self.llama()
        let model = try Self.adapted(shape)
        let whole = Self.estimate(shape, Self.sizes(256, 16)) { $0.layout = .packed }
        let adapted = Self.estimate(model, Self.sizes(256, 16)) { $0.layout = .packed }
        #expect(abs(Double(adapted.peak) / 1e6 / 1601 - 1) < 0.15, "estimated \(adapted.peak / 1_000_000) MB")
        #expect(abs(Double(whole.peak) / 1e6 / 2725 - 1) < 0.15)
        let beside = Self.estimate(model, Self.sizes(256, 16)) { $0.reference = MethodPlan.Reference() }
        #expect(beside.reference?.weights == 0)
        // Of the blocks' 106 M weights three bytes of four go, and a scale comes for every output:
        // 30 · (3·(2·576·576 + 2·192·576 + 3·1536·576) − 4·(2·576 + 2·192 + 2·1536 + 576)).
        let packed = Self.estimate(model, Self.sizes(256, 16)) { $0.base = .int8 }
        let saved = 30 * (3 * (2 * 576 * 576 + 2 * 192 * 576 + 3 * 1536 * 576) - 4 * (3 * 576 + 2 * 192 + 2 * 1536))
        #expect(adapted.policy.frozenBase - packed.policy.frozenBase == saved)
        #expect(adapted.policy.training - packed.policy.training == saved && adapted.peak > packed.peak)
        #expect(model.adapterCount == 4_884_480)  // 30 · 16 · (4·576 + 2·(576 + 192) + 3·(576 + 1536))
    }

    /// Moments in a file are not among what is held; a step has those of one parameter, and of a small one's passes that is
    /// the peak: 49152·576 numbers of the embedding, 8 bytes each.
    @Test func momentsInAFileAreNotHeld() throws {
        let shape = try Self.llama()
        func estimate(
            _ offloads: Bool, promptLength: Int, completions: Int, hasCritic: Bool = false, replicas: Int = 1
        ) -> MemoryEstimate {
            Self.estimate(shape, Self.sizes(promptLength, 16, group: completions)) {
                ($0.offloadsOptimizer, $0.replicas) = (offloads, replicas)
                $0.critic = hasCritic ? shape : nil
            }
        }
        let moments = 8 * shape.parameterCount
        let (memory, file) = (
            estimate(false, promptLength: 1024, completions: 8), estimate(true, promptLength: 1024, completions: 8)
        )
        #expect(memory.policy.optimizerState == moments && file.policy.optimizerState == moments)
        #expect(memory.policy.training - file.policy.training == moments && memory.peak - file.peak == moments)
        let ofTwo = [false, true].map { estimate($0, promptLength: 1024, completions: 8, hasCritic: true).peak }
        #expect(ofTwo[0] - ofTwo[1] == 2 * moments)
        let small = estimate(true, promptLength: 1, completions: 1)
        #expect(small.peak - small.policy.training == 230_000_000 + 8 * 49152 * 576 && small.peakPhase == .stepping)
        // Each of two processes has half of them; of four the first has most when it saves: weights, and the moments of all.
        let half = estimate(false, promptLength: 1024, completions: 8, replicas: 2)
        #expect(half.policy.optimizerState == moments / 2 && memory.peak - half.peak == moments / 2)
        let saving = estimate(false, promptLength: 1, completions: 1, replicas: 4)
        #expect(saving.peak == 230_000_000 + 12 * shape.parameterCount && saving.peakPhase == .saving)
    }

    /// 135 M parameters in float32. A reference of its own lies beside everything; one of mapped pages is in memory only
    /// while it scores, when there are neither gradients nor activations: weights, both moments, the reference and the
    /// process. Of a step that keeps next to nothing for its backward pass gradients are as much as the reference.
    @Test func aMappedReferenceIsInMemoryWhileItScores() throws {
        let shape = try Self.llama()
        func estimate(_ hasReference: Bool, maps: Bool = false) -> MemoryEstimate {
            Self.estimate(shape, Self.sizes(256, 16)) {
                $0.reference = hasReference ? MethodPlan.Reference() : nil
                $0.mapsReference = maps
            }
        }
        let weights = shape.parameterCount * 4
        let (none, own, mapped) = (estimate(false), estimate(true), estimate(true, maps: true))
        #expect(own.reference?.weights == weights && mapped.reference?.weights == weights)
        #expect(own.peak == none.peak + weights)
        #expect(mapped.peak == none.peak && none.peak > 4 * weights)
    }

    /// Of a matrix of 576 · 1536 numbers a critic has weight, gradient and both moments, of everything else its weights.
    @Test func aCriticTrainsWhatThePolicyTrains() throws {
        let shape = try Self.llama()
        let estimate = Self.estimate(shape, Self.sizes(256, 16)) {
            ($0.critic, $0.trained) = (shape, .matching("layers.29.mlp.down_proj.weight"))
        }
        #expect(estimate.critic?.training == 4 * shape.parameterCount + 12 * 576 * 1536)
    }

    /// Weights, gradients and two moments of each number of either model, whatever the other has: a critic of 71 M
    /// parameters beside a policy of next to none. What two tokens keep for their way back is less than their gradients.
    @Test func aCriticOfAnotherModelHasItsOwnSize() throws {
        let (policy, critic) = (try Self.llama((512, 32, 1, 8, 8, 64)), try Self.llama((512, 768, 12, 8, 8, 1536)))
        let estimate = Self.estimate(policy, Self.sizes(1, 1, group: 1, limit: 64)) { $0.critic = critic }
        #expect(estimate.critic?.training == 16 * critic.parameterCount)
        #expect(critic.parameterCount > 100 * policy.parameterCount)
        #expect(estimate.peak == 230_000_000 + 16 * (policy.parameterCount + critic.parameterCount))
    }

    /// Each set of gradients has 4 bytes of every number. Of streams that are compared the last one's are those that a step
    /// has anyway, with the head's, which is whole before they are; those of parts lie beside their sum, when nothing of a
    /// pass is there any more.
    @Test func gradientsThatAreComparedAreAllHeld() throws {
        let shape = try Self.llama()
        func estimate(streams: Int = 0, parts: Int = 0) -> MemoryEstimate {
            Self.estimate(shape, Self.sizes(1, 1, group: 1)) {
                ($0.comparedStreams, $0.measuredParts) = (streams, parts)
            }
        }
        let gradients = 4 * shape.parameterCount
        let (plain, compared, measured) = (estimate(), estimate(streams: 3), estimate(parts: 3))
        #expect(compared.peak - plain.peak == 2 * gradients && compared.peakPhase == .comparing)
        #expect(measured.peak - plain.peak == 3 * gradients - 4 * 49_152 * 576 && measured.peakPhase == .measuring)
    }

    /// A critic of adapters holds their weights, gradients and both moments, and its base where that is not the
    /// policy's: 4 · 4,884,480 · 4 bytes of rank 16 on the shape of 135 M parameters.
    @Test func aCriticOfAdaptersNeedsNoSecondBase() throws {
        let shape = try Self.llama()
        let adapted = try Self.adapted(shape)
        func estimate(_ hasCritic: Bool, sharesBase: Bool = true, type: JobElementType = .float32) -> MemoryEstimate {
            Self.estimate(adapted, Self.sizes(256, 16)) {
                ($0.critic, $0.criticSharesBase, $0.type) = (hasCritic ? adapted : nil, sharesBase, type)
            }
        }
        let (none, shared, own) = (estimate(false), estimate(true), estimate(true, sharesBase: false))
        let (ofShared, ofOwn) = (try #require(shared.critic), try #require(own.critic))
        #expect(none.critic == nil && ofShared.training == 16 * 4_884_480)
        #expect(shared.peak - none.peak <= 16 * 4_884_480 && shared.peak > none.peak)
        let base = own.policy.frozenBase
        #expect(ofOwn.training - ofShared.training == base && base == shape.parameterCount * 4)
        #expect(own.peak - shared.peak == base)
        // bfloat16 halves the base alone.
        #expect(estimate(true, type: .bfloat16).critic?.training == 16 * 4_884_480)
    }

    /// 141 M parameters in float32. Processes that sample together hold half of the keys and values of 64 rows, each of
    /// 512 + 512 / 8 tokens with 2 · 30 · 192 numbers; with parts that they train no whole weights beside them. With one
    /// row that is not what takes most: whole weights are, while they are saved.
    @Test func processesThatSampleTogetherHaveAPartOfTheCache() throws {
        let shape = try Self.divisible()
        func estimate(_ train: Int, _ generate: Int, rows: Int = 64) -> MemoryEstimate {
            Self.estimate(shape, Self.sizes(512, 512, rows: rows, limit: 1, checkpoints: true)) {
                ($0.tensorParallel, $0.generationParallel) = (train, generate)
            }
        }
        let cache = (512 + 64) * 2 * 30 * 192 * 4
        #expect(estimate(1, 1).cache == 64 * cache && estimate(1, 2).cache == 32 * cache)
        let weights = 4 * shape.parameterCount
        #expect(estimate(2, 1).peak - estimate(2, 2).peak == weights + 32 * cache)
        #expect(estimate(2, 1, rows: 1).peak - estimate(2, 2, rows: 1).peak == cache)
        #expect(estimate(2, 1).peakPhase == .sampling && estimate(2, 2, rows: 1).peakPhase == .saving)
        // Of n numbers that are cut, quarters in place of halves are 4 bytes of each and 8 of its moments less: 3n. The
        // halves to sample with are then others than those that are trained: 2n beside these.
        let cut = shape.parameterShapes.filter { $0.sharedAxis != nil }.reduce(0) { $0 + $1.count }
        #expect(estimate(2, 2).peak - estimate(4, 2).peak == cut)
    }

    /// Adapters of rank 16 on every projection. In each of 30 blocks B has 768 + 2·192 + 2·1536 rows that are cut and A
    /// 768 + 1536 columns, each number with its gradient and two moments; the model itself is whole, and so are the sums
    /// that a process alone samples with: 2·768·576 + 2·192·576 + 3·1536·576 numbers in a block.
    @Test func adaptersAreDividedAndTheirModelIsNot() throws {
        let shape = try Self.divisible()
        let adapted = try Self.adapted(shape)
        func estimate(_ train: Int, _ generate: Int = 1, samplesAlone: Bool = false) -> MemoryEstimate {
            Self.estimate(adapted, Self.sizes(16, 16, rows: 1, limit: 1, checkpoints: true)) {
                ($0.tensorParallel, $0.generationParallel, $0.samplesAlone) = (train, generate, samplesAlone)
            }
        }
        let cut = 30 * 16 * (768 + 2 * 192 + 2 * 1536 + 768 + 1536)
        #expect(estimate(1).policy.training - estimate(2).policy.training == 16 * cut / 2)
        #expect(estimate(2).policy.frozenBase == 4 * shape.parameterCount)
        let sums = 4 * 30 * (2 * 768 * 576 + 2 * 192 * 576 + 3 * 1536 * 576)
        #expect(estimate(2, 2, samplesAlone: true).peak - estimate(2, 2).peak == sums / 2)
    }

    /// Of each matrix that is packed with what adapters add the sum is there while it is packed, at most 576 · 1536 numbers,
    /// and gone before the cache comes: 64 rows of 16 tokens and an eighth of 16 have more.
    @Test func aSumIsThereWhileItIsPacked() throws {
        let adapted = try Self.adapted(Self.divisible())
        func estimate(_ rows: Int) -> MemoryEstimate {
            Self.estimate(adapted, Self.sizes(16, 16, rows: rows, limit: 1, checkpoints: true)) { $0.layout = .packed }
        }
        let (sum, row) = (4 * 576 * 1536, 18 * 2 * 30 * 192 * 4)
        let (none, one, all) = (estimate(0), estimate(1), estimate(64))
        #expect(one.peak == none.peak && one.peakPhase == .handingOver)
        #expect(all.peak - one.peak == 64 * row - sum && all.peakPhase == .sampling)
    }

    /// A critic of its own weights is whole with its gradients where the policy is halved, and each of four processes has a
    /// quarter of its two moments.
    @Test func aCriticIsWholeBesideSharedLayers() throws {
        let shape = try Self.divisible(vocabulary: 64, layers: 3)
        let estimate = Self.estimate(shape, Self.sizes(16, 16)) {
            ($0.critic, $0.tensorParallel, $0.replicas) = (shape, 2, 2)
        }
        #expect(estimate.critic?.training == (4 + 4 + 8 / 4) * shape.parameterCount)
    }

    /// Of a layer of 4·768 + 2·192 + 2·1536 numbers inside its two parts half is kept, of three layers and once for
    /// gradients.
    @Test func activationsUnderAdaptersAreDividedToo() throws {
        let shape = try Self.divisible(vocabulary: 64, layers: 3).adapted(
            by: LoRAConfiguration(rank: 16, targets: .names(["q_proj"])))
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
        func activations(_ tensorParallel: Int) -> Int {
            Self.estimate(shape, Self.sizes(8, rows / completions, group: completions, limit: 4096)) {
                $0.tensorParallel = tensorParallel
            }.policy.activations
        }
        let tokens = 8 + rows / completions * completions
        let kept = tokens * shape.activationBytesPerToken(.float32, checkpointsBlocks: false)
        // Half of a layer's 4·64 + 2·64 + 2·96 numbers inside its two parts, of two layers and once for gradients.
        let halved = tokens * shape.activationBytesPerToken(.float32, checkpointsBlocks: false, ranks: 2)
        #expect(kept - halved == tokens * 3 * 288 * 4)
        let head = 4 * 151_936 * 64
        try #require(rows.isMultiple(of: completions))
        // The last layer has the prompt's 8 tokens without a norm's input, gate and up.
        let unwanted = [8 * (64 + 2 * 96) * 4, 8 * (64 + 96) * 4]
        #expect(activations(1) - kept + unwanted[0] - head == held * 151_936 * 4)
        // Half of the words: of twice as many rows all are kept.
        let halves = min(rows, 256) + rows
        #expect(activations(2) - halved + unwanted[1] - head / 2 == halves * 75_968 * 4)
    }

    /// Plans count logits as the engine does, whose numbers their room cannot read.
    @Test(arguments: [256, 16_384, 16_385, 49_152, 131_072, 151_936]) func plansKnowHowManyLogitsThereAre(_ words: Int)
    {
        #expect(ScoredLogits.atOnce(vocabulary: words) == Tensor.scoreChunk(vocabulary: words))
        #expect(ScoredLogits.kept(vocabulary: words) == Tensor.keptScores(vocabulary: words))
    }

    /// Plans count a token's keys and values, and what a pass keeps of it, as the estimate does, which reads a configuration
    /// that their room cannot see; all but 2 · 576 numbers outside the blocks.
    @Test func plansCountATokenAsTheEstimateDoes() throws {
        let shape = try Self.llama()
        let cluster = Cluster(
            nodes: 1, devicesPerNode: 1, memoryBytes: 1 << 40, intraGBps: 1, interGBps: 1, hbmGBps: 1, peakTFLOPs: 1)
        let own = Assignment(mesh: Mesh(all: cluster), strategy: Strategy(1, 1, 1), layout: .fp32Master)
        var memory = MemoryModel(ModelShape(shape))
        func demand(_ kind: CallSpec.Kind) throws -> MemoryDemand {
            let work = CallSpec.Work(sequences: 1, promptTokens: 9, newTokens: 0, recomputes: false)
            let found = memory.demandOfRun(
                CallSpec("call", kind, role: "actor", inputs: [], outputs: [], work: work), own)
            return try #require(found)
        }
        #expect(try demand(.generate).cache == 9 * shape.keyValueBytesPerToken(.float32))
        let kept = shape.activationBytesPerToken(.float32, checkpointsBlocks: false)
        #expect(try demand(.train).activations == 9 * (kept - 2 * 576 * 4))
    }

    /// Whole weights beside halves of what is trained, and the logits of 256 rows while these are scored: 49,152 of four
    /// bytes each.
    @Test func whatIsScoredHasItsLogits() throws {
        let shape = try Self.divisible()
        let peaks = [false, true].map { scores in
            Self.estimate(shape, Self.sizes(512, 512, rows: 1, limit: 1, checkpoints: true)) {
                ($0.tensorParallel, $0.generationParallel, $0.scoresPolicy) = (2, 2, scores)
            }.peak
        }
        #expect(peaks[1] - peaks[0] == 256 * 49_152 * 4)
    }
}
