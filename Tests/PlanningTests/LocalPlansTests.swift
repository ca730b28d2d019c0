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

    @Test func ranksTakeShares() throws {
        let found = try Self.candidates(ranks: 2)
        // Half of the sequences: passes of 16 to 1, 32 to 8 rows.
        #expect(found.count == 2 * 5 * 3)
        #expect(found.allSatisfy { $0.plan.runProblems.isEmpty })
        #expect(found.allSatisfy { $0.plan.assignments.values.allSatisfy { $0.strategy == Strategy(1, 1, 2) } })
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
            ("actor_train", "after has offloadOptimizer", { $0.after.insert(.offloadOptimizer) }),
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
