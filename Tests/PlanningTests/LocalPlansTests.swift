import Planning
import Testing

@Suite("Plans that a run carries out")
struct LocalPlansTests {
    /// 64 sequences of 16 + 48 tokens, eight of each prompt, in two mini-batches.
    private static let graph: DataflowGraph = {
        func work(_ miniBatches: Int = 1) -> CallSpec.Work {
            .init(
                sequences: 64, promptTokens: 16, newTokens: 48, completionsPerPrompt: 8, miniBatches: miniBatches,
                recomputes: false)
        }
        return DataflowGraph(
            name: "grpo",
            calls: [
                CallSpec(
                    "actor_gen", .generate, role: "actor", inputs: ["prompts"], outputs: ["sequences"], work: work()),
                CallSpec(
                    "reward_inf", .infer, role: "reward", inputs: ["sequences"], outputs: ["scores"], work: work()),
                CallSpec(
                    "ref_inf", .infer, role: "reference", inputs: ["sequences"], outputs: ["ref_log_probs"],
                    work: work()),
                CallSpec(
                    "actor_train", .train, role: "actor", inputs: ["sequences", "scores", "ref_log_probs"],
                    outputs: [], work: work(2)),
            ])
    }()

    private static let models = [
        "actor": Toy.shape, "reference": Toy.shape, "reward": Toy.shape.withValues(),
    ]

    private static func candidates(
        ranks: Int = 1, memoryBytes: Int = 1 << 30, choices: LocalPlans.Choices? = nil
    ) throws -> [LocalPlans.Candidate] {
        var profile = ToyProfile.profile()
        profile.memoryBytes = memoryBytes
        let cluster = profile.cluster(ranks: ranks)
        return try LocalPlans(
            graph, models: models,
            choices: choices ?? .init(generation: [.fp32Packed, .fp32Master], training: .fp32Master)
        ).candidates(on: cluster, costs: ProfiledCosts(profile, cluster))
    }

    /// Layouts × passes of 32, 16, 8, 4, 2, 1 sequences × 64, 32, 16, 8 rows.
    @Test func everyChoiceIsOne() throws {
        let found = try Self.candidates()
        #expect(found.count == 2 * 6 * 4)
        #expect(Set(found.map(\.plan.planHash)).count == found.count)
        for candidate in found {
            #expect(candidate.plan.problems().isEmpty && candidate.plan.runProblems.isEmpty, "\(candidate.plan)")
        }
        #expect(zip(found, found.dropFirst()).allSatisfy { $0.nanoseconds <= $1.nanoseconds })
        // Packed rows take 600 ns for 16, read where they lie 900 for 8.
        #expect(found[0].generation == .fp32Packed)
    }

    /// 64 + 2·32 + 64 + 2·128 + 64 outputs and 64 + 4 of attention in each of 4 layers, of 8·16 + 64·48 tokens: 29,696,000
    /// bytes, of one process.
    @Test func productsThatWaitTakeTheirMemory() throws {
        func peaks(_ bytes: Int, ranks: Int = 1) throws -> [String: Int] {
            let choices = LocalPlans.Choices(
                generation: [.fp32Packed, .fp32Master], training: .fp32Master, forwardCacheBytes: bytes)
            let found = try Self.candidates(ranks: ranks, choices: choices)
            return Dictionary(uniqueKeysWithValues: found.map { ($0.plan.planHash, $0.peakBytes) })
        }
        let (without, all, some) = (try peaks(0), try peaks(.max), try peaks(1000))
        #expect(without.count == all.count && !without.isEmpty)
        for (plan, peak) in without { #expect(all[plan] == peak + 29_696_000 && some[plan] == peak + 1000) }
        #expect(try peaks(.max, ranks: 2) == peaks(0, ranks: 2))
    }

    @Test func ranksTakeShares() throws {
        let found = try Self.candidates(ranks: 2)
        // Half of the sequences: passes of 16 to 1, 32 to 8 rows.
        #expect(found.count == 2 * 5 * 3)
        #expect(found.allSatisfy { $0.plan.runProblems.isEmpty })
        #expect(found.allSatisfy { $0.plan.assignments.values.allSatisfy { $0.strategy == Strategy(1, 1, 2) } })
    }

    /// Whole layers have passes of 16 to 1 of a rank's sequences, layers that both ranks share of 32 to 1.
    @Test func ranksShareLayersWhereTheyMay() throws {
        let choices = LocalPlans.Choices(
            generation: [.fp32Packed, .fp32Master], training: .fp32Master, shards: [1, 2, 4])
        let found = try Self.candidates(ranks: 2, choices: choices)
        #expect(found.count == 2 * (5 + 6) * 3 && Set(found.map(\.plan.planHash)).count == found.count)
        for candidate in found {
            #expect(candidate.plan.problems().isEmpty && candidate.plan.runProblems.isEmpty)
            let strategy = candidate.plan.assignments["actor_train"]?.strategy
            #expect(strategy == Strategy(1, candidate.shards, 2 / candidate.shards))
        }
        // Sums of hidden states cost more than passes that are half as long save.
        #expect(found[0].shards == 1 && found.contains { $0.shards == 2 })
        // An odd number of words is cut all the same; of an odd width of the feed-forward part layers stay whole.
        func odd(_ change: (inout ModelShape) -> Void) throws -> [LocalPlans.Candidate] {
            var models = Self.models
            for role in models.keys { change(&models[role]!) }
            var profile = ToyProfile.profile(model: models["actor"]!)
            profile.memoryBytes = 1 << 30
            let cluster = profile.cluster(ranks: 2)
            return try LocalPlans(Self.graph, models: models, choices: choices).candidates(
                on: cluster, costs: ProfiledCosts(profile, cluster))
        }
        #expect(try odd { $0.vocabularySize = 257 }.count == found.count)
        let whole = try odd { $0.intermediateSize = 129 }
        #expect(whole.count == 2 * 5 * 3 && whole.allSatisfy { $0.shards == 1 })
    }

    /// Each way to train with each to sample: 32 to 8 rows of a rank alone, 64 to 8 of both together. In eight bits a
    /// layer is sampled from whole, and so are all of a model whose key and value heads four ranks cannot share.
    @Test func ranksSampleTogetherWhereTheyMay() throws {
        let choices = LocalPlans.Choices(
            generation: [.fp32Packed, .fp32Master], training: .fp32Master, shards: [1, 2], generationShards: [1, 2, 4])
        let found = try Self.candidates(ranks: 2, choices: choices)
        #expect(found.count == 2 * (5 + 6) * (3 + 4) && Set(found.map(\.plan.planHash)).count == found.count)
        for candidate in found {
            #expect(candidate.plan.problems().isEmpty && candidate.plan.runProblems.isEmpty)
            let own = try #require(candidate.plan.assignments["actor_gen"])
            #expect(own.strategy == Strategy(1, candidate.generationShards, 2 / candidate.generationShards))
            #expect(candidate.rows == ExecutionPlan.sequences(of: Self.graph.calls[0].work, own))
        }
        var eight = choices
        eight.generation = [.int8, .fp32Master]
        var profile = ToyProfile.profile()
        profile.points += [
            .init(.prefill, .int8, amount: 100, nanoseconds: 500), .init(.decode, .int8, amount: 8, nanoseconds: 100),
        ]
        let cluster = profile.cluster(ranks: 2)
        let packed = try LocalPlans(Self.graph, models: Self.models, choices: eight).candidates(
            on: cluster, costs: ProfiledCosts(profile, cluster)
        ).filter { $0.generation == .int8 }
        #expect(packed.count == (5 + 6) * 3 && packed.allSatisfy { $0.generationShards == 1 })
        let four = try Self.candidates(ranks: 4, choices: choices)
        #expect(Set(four.map { [$0.shards, $0.generationShards] }) == [[1, 1], [1, 2], [2, 1], [2, 2]])
    }

    /// Four ranks whose layers are cut in two to train and in four to sample, or the other way round: parts come over,
    /// and with packed ones lie beside what is packed of them. Of whole layers, and of equal parts, nothing comes.
    @Test func otherPartsThanThoseThatAreTrainedTakeTheirMemory() throws {
        var (shape, graph) = (Toy.shape, Self.short)
        shape.keyValueHeads = 4
        // So many rows at once that their keys and values make sampling the peak, which all ranks hold the same of.
        for index in graph.calls.indices { graph.calls[index].work.sequences = 256 }
        func found(_ layout: WeightLayout, _ trained: Int, _ sampled: Int) throws -> LocalPlans.Candidate {
            let profile = ToyProfile.profile(cores: 4, model: shape)
            let cluster = profile.cluster(ranks: 4)
            let choices = LocalPlans.Choices(
                generation: [layout], training: .fp32Master, sequencesOfPass: 1, rows: 256, shards: [trained],
                generationShards: [sampled])
            return try #require(
                try LocalPlans(graph, models: ["actor": shape], choices: choices).candidates(
                    on: cluster, costs: ProfiledCosts(profile, cluster)
                ).first)
        }
        // Norms are whole on each; 256 words, four heads and 128 columns are cut in equal parts.
        let norms = (2 * shape.layers + 1) * shape.hiddenSize
        func part(_ degree: Int) -> Int { 4 * (norms + (shape.parameterCount - norms) / degree) }
        for (trained, sampled) in [(4, 2), (2, 4)] {
            let (master, packed) = (
                try found(.fp32Master, trained, sampled), try found(.fp32Packed, trained, sampled)
            )
            #expect(packed.peakBytes - master.peakBytes == part(sampled))
            #expect(try found(.fp32Packed, sampled, sampled).plan.runProblems.isEmpty)
            // Beside what is trained: the same cache and activations without the parts that come.
            let home = try found(.fp32Master, sampled, sampled)
            let state = { (degree: Int) in 8 * (norms + (shape.parameterCount - norms) / degree) * degree / 4 }
            #expect(
                master.peakBytes - home.peakBytes
                    == part(sampled) + part(trained) - part(sampled) + state(trained) - state(sampled))
        }
        // Of whole weights parts are read where they lie. Of each of a prompt's 16 tokens a block's pass has 4·64 numbers,
        // and 4·64 + 2·64 + 3·128 that are cut: of 8 prompts on each rank, or of all 32 on the four together.
        let (whole, quarter) = (try found(.fp32Master, 1, 1), try found(.fp32Master, 1, 4))
        let (ofAll, ofOne) = (32 * 16 * 4 * (256 + 192), 8 * 16 * 4 * (256 + 768))
        #expect(quarter.peakBytes - whole.peakBytes == ofAll - ofOne)
    }

    /// 64 rows at once or 8: 64·8 + 8·16 tokens of keys and values or 8·8 + 16, of 2·4·32 numbers each, and prompts of a
    /// pass whose tokens have 4·64 + 4·64 + 2·32 + 3·128 numbers. Beside these lie the weights, and what is packed of them.
    @Test func fewerRowsAtOnceTakeLessMemory() throws {
        func peak(_ layout: WeightLayout, _ rows: Int) throws -> Int {
            var profile = ToyProfile.profile()
            profile.points += [
                .init(.prefill, .int8, amount: 100, nanoseconds: 500),
                .init(.decode, .int8, amount: 8, nanoseconds: 100),
            ]
            let cluster = profile.cluster(ranks: 1)
            let choices = LocalPlans.Choices(
                generation: [layout], training: .fp32Master, sequencesOfPass: 1, rows: rows)
            // No gradients to speak of: sampling is the peak.
            var graph: DataflowGraph = Self.short
            graph.calls[1].work.optimizer = .init(name: "adamw_torch", parameters: 1, stateBytes: 8)
            graph.calls[1].work.recomputes = true
            return try LocalPlans(graph, models: ["actor": Toy.shape], choices: choices).candidates(
                on: cluster, costs: ProfiledCosts(profile, cluster))[0].peakBytes
        }
        let difference = 4 * (256 * (640 - 80) + 16 * 960 * (8 - 1))
        #expect(try peak(.fp32Packed, 64) - peak(.fp32Packed, 8) == difference)
        let least = 2 * 4 * Toy.shape.parameterCount + 4 * (256 * 80 + 16 * 960)
        #expect(try abs(peak(.fp32Packed, 8) - least) < 32)  // the one number's moments
        // Passes beside int8 weights compute in float32, too.
        #expect(try peak(.int8, 64) - peak(.int8, 8) == difference)
    }

    /// Masters beside bfloat16 weights are whole on each rank, with moments in a file or without; of 64 scored tokens all
    /// logits of 256 words are there at once, and kept. Of moments in a file a step has those of the largest tensor.
    @Test func aRanksBytesAreCounted() throws {
        var memory = MemoryModel(Toy.shape)
        let numbers = Toy.shape.parameterCount
        func demand(
            _ kind: CallSpec.Kind, _ layout: WeightLayout, tp: Int = 1, after: Set<Release> = [], sequences: Int = 16,
            optimizer: CallSpec.Work.Optimizer? = nil
        ) throws -> MemoryDemand {
            let call = CallSpec(
                "call", kind, role: "actor", inputs: [], outputs: [],
                work: .init(
                    sequences: sequences, promptTokens: 1, newTokens: 8, recomputes: false, optimizer: optimizer))
            let own = ToyProfile.assignment(layout, tp: tp, dp: 2, after: after)
            let found = memory.demandOfRun(call, own)
            return try #require(found)
        }
        let half = try demand(.train, .bf16WithMaster)
        #expect(half.weights == (2 + 4) * numbers && half.optimizer == 4 * numbers)
        // 64 + 8 tokens of 4 + 1 times 832 numbers, 960 without gradients; 64 of 2 · 256 logits.
        let whole = try demand(.train, .fp32Master)
        #expect(whole.weights == 4 * numbers && whole.optimizer == 4 * numbers)
        let logits = 64 * 256 * 4
        #expect(whole.activations == 72 * 4 * 5 * 832 + 2 * logits)
        #expect(try demand(.train, .fp32Master, tp: 2).activations == 72 * 4 * 5 * 544 + logits)
        #expect(try demand(.infer, .fp32Master).activations == 72 * 4 * 960 + logits)
        // Of a model that is trained two ranks have parts, of one under adapters each has everything.
        let adapters = CallSpec.Work.Optimizer(name: "adamw_torch", parameters: numbers / 4, stateBytes: 2 * numbers)
        #expect(try demand(.train, .fp32Master, tp: 2).weights < 3 * numbers)
        #expect(try demand(.train, .fp32Master, tp: 2, optimizer: adapters).weights == 4 * numbers)
        // Of each of four blocks 2·64·64 + 2·32·64 + 3·128·64 numbers in 2·64 + 2·32 + 2·128 + 64 rows, and the head.
        let embedding = 256 * 64
        #expect(try demand(.generate, .int8).weights == 4 * (36_864 + 4 * 512) + 4 * embedding)
        // One sequence has 9 tokens, which take more than the moments of the embedding's 256·64 numbers, and less than those
        // of 32,768·64.
        let short = try demand(.train, .fp32Master, after: [.offloadOptimizer], sequences: 2)
        #expect(short.activations == 9 * 4 * 5 * 832 + 2 * logits / 8 && short.activations > 8 * embedding)
        var wide = Toy.shape
        wide.vocabularySize = 32_768
        memory = MemoryModel(wide)
        let most = try demand(.train, .fp32Master, after: [.offloadOptimizer], sequences: 2)
        #expect(most.activations == 8 * 32_768 * 64)
        // A model that gives values has no words to score.
        memory = MemoryModel(Toy.shape.withValues())
        #expect(try demand(.infer, .fp32Master).activations == 72 * 4 * 960)
    }

    /// Of a model of which next to nothing is trained, as of one under adapters, two ranks that share its layers have what
    /// two have that do not: the model beside its packed matrices, which are the peak.
    @Test func whatIsNotTrainedIsNotBroughtTogether() throws {
        var graph: DataflowGraph = Self.short
        graph.calls[1].work.optimizer = .init(name: "adamw_torch", parameters: 1, stateBytes: 8)
        graph.calls[1].work.recomputes = true
        var profile = ToyProfile.profile()
        profile.memoryBytes = 1 << 30
        let cluster = profile.cluster(ranks: 2)
        let peaks = try [1, 2].map { shards in
            let choices = LocalPlans.Choices(
                generation: [.fp32Packed], training: .fp32Master, sequencesOfPass: 1, rows: 8, shards: [shards])
            let plans = LocalPlans(graph, models: ["actor": Toy.shape], choices: choices)
            let found = try plans.candidates(on: cluster, costs: ProfiledCosts(profile, cluster))
            #expect(found.map(\.shards) == [shards])
            return found.first?.peakBytes ?? 0
        }
        #expect(abs(peaks[0] - peaks[1]) < 64 && peaks[0] > 8 * Toy.shape.parameterCount)
    }

    /// Sampling and a step of 64 short completions, where weights and moments are most of what lies there.
    private static let short: DataflowGraph = {
        func work(_ miniBatches: Int = 1) -> CallSpec.Work {
            .init(
                sequences: 64, promptTokens: 16, newTokens: 8, completionsPerPrompt: 8, miniBatches: miniBatches,
                recomputes: false)
        }
        return DataflowGraph(
            name: "reinforce",
            calls: [
                CallSpec(
                    "actor_gen", .generate, role: "actor", inputs: ["prompts"], outputs: ["sequences"], work: work()),
                CallSpec(
                    "actor_train", .train, role: "actor", inputs: ["sequences"], outputs: [], work: work(2)),
            ])
    }()

    private static func short(
        memoryBytes: Int = 1 << 30, _ choices: LocalPlans.Choices
    ) throws -> (found: [LocalPlans.Candidate], profile: CostProfile) {
        var profile = ToyProfile.profile()
        profile.memoryBytes = memoryBytes
        let cluster = profile.cluster(ranks: 2)
        let plans = LocalPlans(short, models: ["actor": Toy.shape], choices: choices)
        return (try plans.candidates(on: cluster, costs: ProfiledCosts(profile, cluster)), profile)
    }

    /// The fastest of all plans of two ranks that the rules allow and a run carries out: every strategy, layout and
    /// number of pieces, not halves of them alone.
    private static func exhaustive(_ profile: CostProfile) throws -> (nanoseconds: Int, count: Int) {
        let cluster = profile.cluster(ranks: 2)
        let (all, costs) = (Mesh(all: cluster), ProfiledCosts(profile, cluster))
        let capacity = Int(Double(cluster.memoryBytes) * MemoryModel.share)
        var (best, count) = (Int.max, 0)
        for strategy in [Strategy(1, 1, 2), Strategy(1, 2, 1), Strategy(2, 1, 1)] {
            for layout in [WeightLayout.fp32Packed, .fp32Master] {
                // Of 32 sequences 8 at once at least, as the choices have it.
                for (passes, rows) in (1...32).flatMap({ passes in (1...4).map { (passes, $0) } }) {
                    let plan = ExecutionPlan(
                        cluster: cluster, models: ["actor": Toy.shape], graph: short,
                        assignments: [
                            "actor_gen": Assignment(
                                mesh: all, strategy: Strategy(1, 1, 2), layout: layout, microBatches: rows,
                                after: [.dropKV, .dropWeights]),
                            "actor_train": Assignment(
                                mesh: all, strategy: strategy, layout: .fp32Master, microBatches: passes,
                                after: [.dropGradients]),
                        ])
                    guard plan.runProblems.isEmpty, plan.problems().isEmpty else { continue }
                    let timeline = try PlanSimulator(plan, costs: costs).run()
                    guard timeline.peakBytes.allSatisfy({ $0 <= capacity }) else { continue }
                    count += 1
                    best = min(best, timeline.iterationNanoseconds)
                }
            }
        }
        return (best, count)
    }

    /// With all the memory layers stay whole. One byte less than those need of a rank, and they are shared; gradients and
    /// weights are then halves, and sampling reads them where they have come together.
    @Test func sharedLayersAreForWhatDoesNotFit() throws {
        let choices = LocalPlans.Choices(
            generation: [.fp32Packed, .fp32Master], training: .fp32Master, shards: [1, 2])
        let (ample, profile) = try Self.short(choices)
        let all = try Self.exhaustive(profile)
        #expect(ample[0].shards == 1 && ample[0].nanoseconds == all.nanoseconds && all.count > ample.count)
        let least = try #require(ample.filter { $0.shards == 1 }.map(\.peakBytes).min())
        let scarce = try Self.short(memoryBytes: 2 * Int(Double(least - 1) / MemoryModel.share), choices)
        #expect(scarce.found[0].fits && scarce.found[0].shards == 2 && scarce.found[0].generation == .fp32Master)
        let fitting = try Self.exhaustive(scarce.profile)
        #expect(scarce.found[0].nanoseconds == fitting.nanoseconds && fitting.nanoseconds > all.nanoseconds)
    }

    /// Of layers that are shared, sampling holds what came together beside what is packed of it; of whole ones there is
    /// nothing to bring together. In both the most is held while 8 rows are sampled.
    @Test func packedWeightsLieBesideWhatTheyAreMadeOf() throws {
        func peak(_ layout: WeightLayout, _ shards: Int) throws -> Int {
            try Self.short(
                .init(generation: [layout], training: .fp32Master, sequencesOfPass: 1, rows: 8, shards: [shards])
            ).found[0].peakBytes
        }
        #expect(try peak(.fp32Packed, 2) - peak(.fp32Master, 2) == 4 * Toy.shape.parameterCount)
    }

    /// Of shards that are trained and sampled from no call reads wholes; what saves does, beside halves of weights and moments.
    @Test func savingReadsWholeWeights() throws {
        let found = try Self.short(
            .init(
                generation: [.fp32Master], training: .fp32Master, sequencesOfPass: 1, rows: 8, shards: [2],
                generationShards: [2])
        ).found[0]
        let norms = (2 * Toy.shape.layers + 1) * Toy.shape.hiddenSize
        let half = norms + (Toy.shape.parameterCount - norms) / 2
        #expect(found.peakBytes == (4 + 8) * half + 4 * Toy.shape.parameterCount)
        // Eight replicas have an eighth of the moments each, and the first all while it saves.
        let profile = ToyProfile.profile(cores: 8)
        let cluster = profile.cluster(ranks: 8)
        let choices = LocalPlans.Choices(
            generation: [.fp32Master], training: .fp32Master, sequencesOfPass: 1, rows: 8)
        var graph: DataflowGraph = Self.short
        graph.calls[1].work.recomputes = true
        let replicas = try LocalPlans(graph, models: ["actor": Toy.shape], choices: choices).candidates(
            on: cluster, costs: ProfiledCosts(profile, cluster))
        #expect(replicas[0].peakBytes == (4 + 8) * Toy.shape.parameterCount)
    }

    /// Sampling, values and a step of two roles, whose gradients both wait for it.
    private static let twoRoles: DataflowGraph = {
        let work = CallSpec.Work(
            sequences: 64, promptTokens: 16, newTokens: 8, completionsPerPrompt: 8, miniBatches: 2, recomputes: true)
        return DataflowGraph(
            name: "ppo",
            calls: [
                CallSpec(
                    "actor_gen", .generate, role: "actor", inputs: ["prompts"], outputs: ["sequences"], work: work),
                CallSpec("critic_inf", .infer, role: "critic", inputs: ["sequences"], outputs: ["values"], work: work),
                CallSpec(
                    "actor_train", .train, role: "actor", inputs: ["sequences", "values"], outputs: [], work: work),
                CallSpec(
                    "critic_train", .train, role: "critic", inputs: ["sequences", "values"], outputs: [], work: work),
            ])
    }()

    /// 4 bytes of weights, 4 of gradients and 8 of moments of each number of both roles, while the critic's pass of 24 tokens
    /// keeps its inputs of four layers and twice what one layer keeps of 832 numbers. Eight replicas have an eighth of the
    /// moments each, and the first all of both roles while it saves.
    @Test func twoTrainedRolesHoldTheirGradientsTogether() throws {
        let values = Toy.shape.withValues()
        let all = Toy.shape.parameterCount + values.parameterCount
        var choices = LocalPlans.Choices(
            generation: [.fp32Master], training: .fp32Master, sequencesOfPass: 1, rows: 8)
        func found(_ ranks: Int, memoryBytes: Int = 1 << 30) throws -> LocalPlans.Candidate {
            var profile = ToyProfile.profile(cores: ranks)
            profile.memoryBytes = memoryBytes
            let cluster = profile.cluster(ranks: ranks)
            let plans = LocalPlans(Self.twoRoles, models: ["actor": Toy.shape, "critic": values], choices: choices)
            return try plans.candidates(on: cluster, costs: ProfiledCosts(profile, cluster))[0]
        }
        let peak = 16 * all + 24 * 4 * (4 * 64 + 2 * 832)
        #expect(try found(1).peakBytes == peak)
        #expect(try found(8).peakBytes == (4 + 8) * all)
        // What the process takes must fit beside it, and is no part of the plan's own bytes.
        let memory = peak * 100 / 95 + 2
        #expect(try found(1, memoryBytes: memory).fits)
        choices.processBytes = 1000
        let full = try found(1, memoryBytes: memory)
        #expect(!full.fits && full.peakBytes == peak)
        #expect(try found(1, memoryBytes: memory + 1100).fits)
    }

    /// Moments of 8 bytes a number, a half on each rank, lie there all the time or never; two steps read and write them, at
    /// half of the 10 bytes a nanosecond that stand for a disk nobody has measured.
    @Test func momentsInAFileAreNotHeldAndTakeTheirTime() throws {
        func plan(_ offloads: Bool) throws -> LocalPlans.Candidate {
            try Self.short(
                .init(
                    generation: [.fp32Master], training: .fp32Master, sequencesOfPass: 16, rows: 8, offloads: [offloads]
                )
            ).found[0]
        }
        let (memory, file) = (try plan(false), try plan(true))
        let state = 4 * Toy.shape.parameterCount
        #expect(memory.peakBytes - file.peakBytes == state)
        #expect(abs(file.nanoseconds - memory.nanoseconds - 2 * 2 * state / 5) <= 2)
        #expect(file.plan.runProblems.isEmpty)
        #expect(file.plan.assignments["actor_train"]?.after.count == 2)
        #expect(memory.plan.planHash != file.plan.planHash && file.offloads && !memory.offloads)
    }

    @Test func whatTheJobSaysIsKept() throws {
        // 32 sequences in passes of at most 20 are two of 16; 24 rows of 64 are three pieces of 22.
        let found = try Self.candidates(
            choices: .init(generation: [.int8, .fp32Packed], training: .fp32Master, sequencesOfPass: 20, rows: 24))
        #expect(found.count == 1)
        #expect(found[0].sequencesOfPass == 16 && found[0].rows == 22)
        #expect(found[0].plan.assignments["actor_train"]?.microBatches == 2)
        #expect(found[0].plan.assignments["actor_gen"]?.microBatches == 3)
        // 64 sequences of the reference in passes of 16.
        #expect(found[0].plan.assignments["ref_inf"]?.microBatches == 4)
    }

    @Test func whatDoesNotFitComesLast() throws {
        let all = try Self.candidates()
        let limit = try #require(all.map(\.peakBytes).min())
        let found = try Self.candidates(memoryBytes: limit * 100 / 95 + 2)
        let fitting = found.filter(\.fits)
        #expect(!fitting.isEmpty && fitting.count < found.count)
        #expect(found.prefix(fitting.count).allSatisfy { $0.fits })
    }

    /// Each refusal names the call and the field of the file.
    @Test func whatIsNotCarriedOutIsNamed() throws {
        let base = try Self.candidates(ranks: 2)[0].plan
        func problems(_ call: String, _ change: (inout Assignment) -> Void) throws -> String {
            var plan = base
            var own = try #require(plan.assignments[call])
            change(&own)
            plan.assignments[call] = own
            return plan.runProblems.map(\.description).joined(separator: "\n")
        }
        let cases: [(String, String, (inout Assignment) -> Void)] = [
            (
                "ref_inf", "tp is 2; expected 1: only actor_train and what samples from actor may cut layers",
                { $0.strategy = Strategy(1, 2, 1) }
            ),
            (
                "actor_gen", "tp is 2 with int8; expected 1, or fp32Master or fp32Packed",
                { ($0.strategy, $0.layout) = (Strategy(1, 2, 1), .int8) }
            ),
            (
                "actor_gen", "tp is 4; expected a divisor of the 2 key and value heads",
                { $0.strategy = Strategy(1, 4, 1) }
            ),
            (
                "actor_train", "tp is 2 with bf16+fp32Master; expected 1, or fp32Master",
                { ($0.strategy, $0.layout) = (Strategy(1, 2, 1), .bf16WithMaster) }
            ),
            ("actor_train", "pp is 2; expected 1", { $0.strategy = Strategy(2, 1, 1) }),
            (
                "ref_inf", "mesh is node 0 slots 0..<1; expected all 2 ranks",
                { ($0.mesh, $0.strategy) = (Mesh(nodes: 0..<1, slots: 0..<1), Strategy(1, 1, 1)) }
            ),
            ("actor_gen", "layout is bf16; expected fp32Master or fp32Packed or int8", { $0.layout = .bf16 }),
            ("reward_inf", "layout is bf16; expected fp32Master", { $0.layout = .bf16 }),
            ("actor_gen", "after lacks dropKV", { $0.after.remove(.dropKV) }),
            ("actor_gen", "after lacks dropWeights", { $0.after.remove(.dropWeights) }),
            ("actor_train", "after lacks dropGradients", { $0.after = [] }),
            ("ref_inf", "after has offloadWeights", { $0.after = [.offloadWeights] }),
            ("ref_inf", "microbatches is 64; expected", { $0.microBatches = 64 }),
            // A rank has 32 of the 64 sequences, and 16 of a mini-batch. Ninths are 4, of which there are 8.
            (
                "actor_gen", "microbatches is 9; expected 8: 32 sequences in 9 pieces are 4 each",
                { $0.microBatches = 9 }
            ),
            ("actor_train", "microbatches is 5; expected 4: 16 sequences", { $0.microBatches = 5 }),
        ]
        for (call, words, change) in cases {
            let found = try problems(call, change)
            #expect(found.contains("train calls.\(call): \(words)"), "\(found)")
        }
        #expect(base.runProblems.isEmpty)
        // The sequences of both ranks are one replica's, in twice as many passes: all passes are as long as before.
        var cut = base
        cut.assignments["actor_train"]?.strategy = Strategy(1, 2, 1)
        cut.assignments["actor_train"]?.microBatches *= 2
        #expect(cut.runProblems.isEmpty, "\(cut.runProblems)")
        // So may those that are sampled be, from whole weights or from the shards.
        for var plan in [base, cut] {
            plan.assignments["actor_gen"]?.strategy = Strategy(1, 2, 1)
            plan.assignments["actor_gen"]?.layout = .fp32Packed
            plan.assignments["actor_gen"]?.microBatches *= 2
            #expect(plan.runProblems.isEmpty, "\(plan.runProblems)")
        }
        var untrained = base
        untrained.graph.calls.removeLast()
        #expect(untrained.runProblems.map(\.message) == ["no call trains the role actor"])
    }

    /// A plan whose file was written before there was anything of this reads as it was.
    @Test func theNewKeysAreOptional() throws {
        var plan = Toy.switching
        #expect(!plan.json.serialized.contains("completionsPerPrompt") && !plan.json.serialized.contains("optimizer"))
        plan.graph.calls[2].work.optimizer = .init(name: "lion", parameters: 7, stateBytes: 28)
        plan.graph.calls[0].work.completionsPerPrompt = 8
        let again = try ExecutionPlan(parsing: plan.canonicalBytes, file: "plan.json")
        #expect(again == plan && again.planHash == plan.planHash && plan.planHash != Toy.switching.planHash)
    }
}
