import Algorithms
import Foundation
import PolicyUpdater
import Records
import Tensors
import TestSupport
import Testing

@TensorActor @Suite("What a mixed loss's gradient is made of", .timeLimit(.minutes(10)))
struct PartGradientsTests {
    private func settings(every steps: Int, _ maxTokens: Int? = nil, learningRate: Double = 0) throws -> UpdaterSettings
    {
        UpdaterSettings(
            optimizer: OptimizerSettings(
                learningRate: learningRate, beta1: 0, maxGradientNorm: nil,
                schedule: LearningRateSchedule(.constant, totalSteps: 100)),
            maxCompletionLength: 9, maxTokensPerMicroBatch: maxTokens, partGradientSteps: steps)
    }

    /// The gradient of the step that the updater has taken, end to end: β₁ is 0.
    private func gradient(of policy: TinyPolicy) throws -> [Double] {
        let moments = try policy.updater.optimizer.firstMoments.doubles()
        return moments.keys.sorted().flatMap { moments[$0]! }
    }

    private func product(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }

    /// Compares norms and shares with those of gradients that were taken one by one.
    private func compare(_ metrics: Metrics, _ parts: [(name: String, gradient: [Double])]) throws {
        let sum = parts[0].gradient.indices.map { index in parts.reduce(0) { $0 + $1.gradient[index] } }
        let square = product(sum, sum)
        #expect(abs(try #require(metrics["grad_norm"]) - square.squareRoot()) < 1e-9 * square.squareRoot())
        for (name, gradient) in parts {
            let norm = product(gradient, gradient).squareRoot()
            #expect(norm > 1e-6, "\(name)")
            #expect(abs(try #require(metrics["gradient_parts/\(name)/norm"]) - norm) < 1e-9 * norm, "\(name)")
            let share = product(gradient, sum) / square
            #expect(abs(try #require(metrics["gradient_parts/\(name)/share"]) - share) < 1e-9, "\(name)")
        }
        let named = metrics.names.filter { $0.hasPrefix("gradient_parts/") }
        #expect(named.count == 2 * parts.count, "\(named)")
        #expect(metrics["timing_s/part_gradients"] != nil)
    }

    /// Rollouts at weight 0.7 times 0.5 beside demonstrations at −1.25, in one piece and in several.
    @Test(arguments: [nil, 9])
    func partsHaveTheGradientsThatTheyHaveAlone(_ maxTokens: Int?) async throws {
        let plans = [
            PartPlan(GRPOSettings(lossType: .grpo), weight: 0.7),
            PartPlan(SupervisedFineTuning(), weight: -1.25, name: "sft"),
        ]
        var batch = UpdateBatch(parts: [
            UpdatePart(.rollouts, try await ExampleBatch.mixed().groups),
            UpdatePart(
                .demonstrations, [ExampleBatch.group([3, 1], [[2, 6, 0]]), ExampleBatch.group([4], [[5, 5]])]),
        ])
        batch.parts[0].weight = 0.5
        var found: [(name: String, gradient: [Double])] = []
        for (index, name) in ["rollouts", "sft"].enumerated() {
            let alone = try TinyPolicy(plans[index].objective, settings(every: 0, maxTokens))
            var own = batch.parts[index]
            own.weight = 1
            _ = try await alone.updater.train(UpdateBatch(parts: [own]))
            found.append((name, try gradient(of: alone).map { $0 * [0.35, -1.25][index] }))
        }
        let policy = try TinyPolicy(parts: plans, settings(every: 1, maxTokens))
        try compare(try await policy.updater.train(batch), found)
        // A part of weight 0 and one with nothing in it have no numbers.
        batch.parts[0].weight = 0
        let one = try await policy.updater.train(batch)
        #expect(one["gradient_parts/rollouts/norm"] == nil && abs((one["gradient_parts/sft/share"] ?? 0) - 1) < 1e-12)
        batch.parts[0].weight = 1
        batch.parts[1].groups = []
        let other = try await policy.updater.train(batch)
        #expect(
            other["gradient_parts/sft/norm"] == nil && abs((other["gradient_parts/rollouts/share"] ?? 0) - 1) < 1e-12)
    }

    /// The mixed batch whose last completion of each group is a demonstration.
    private func demonstrated() async throws -> UpdateBatch {
        var batch = try await ExampleBatch.mixed()
        for group in batch.groups.indices {
            let last = batch.groups[group].completions.count - 1
            batch.groups[group].completions[last].isDemonstration = true
        }
        return batch
    }

    /// LUFFY without its bonus is linear in the advantages: each kind's gradient is that of a batch where the others
    /// have none.
    @Test(arguments: [nil, 9])
    func luffysKindsHaveTheGradientsOfTheirAdvantages(_ maxTokens: Int?) async throws {
        let batch = try await demonstrated()
        let objective = LUFFYSettings(entropyCoefficient: 0)
        var found: [(name: String, gradient: [Double])] = []
        for (name, isDemonstration) in [("rollouts", false), ("demonstrations", true)] {
            var own = batch
            for group in own.groups.indices {
                for index in own.groups[group].completions.indices
                where own.groups[group].completions[index].isDemonstration != isDemonstration {
                    let count = own.groups[group].completions[index].tokenIDs.count
                    own.groups[group].completions[index].advantages = [[Double](repeating: 0, count: count)]
                }
            }
            let alone = try TinyPolicy(objective, settings(every: 0, maxTokens))
            _ = try await alone.updater.train(own)
            found.append((name, try gradient(of: alone)))
        }
        let policy = try TinyPolicy(objective, settings(every: 1, maxTokens))
        try compare(try await policy.updater.train(batch), found)
    }

    /// SRFT: without the scale of imitation only the rewards are left, and without any demonstration's advantage only
    /// imitation stands beside the policy's own.
    @Test(arguments: [nil, 9])
    func srftsTermsAddUpToItsStep(_ maxTokens: Int?) async throws {
        let batch = try await demonstrated()
        func gradient(_ objective: SRFTSettings, _ batch: UpdateBatch) async throws -> [Double] {
            let alone = try TinyPolicy(objective, settings(every: 0, maxTokens))
            _ = try await alone.updater.train(batch)
            return try self.gradient(of: alone)
        }
        var unrewarded = batch
        for group in unrewarded.groups.indices {
            for index in unrewarded.groups[group].completions.indices
            where unrewarded.groups[group].completions[index].isDemonstration {
                let count = unrewarded.groups[group].completions[index].tokenIDs.count
                unrewarded.groups[group].completions[index].advantages = [[Double](repeating: 0, count: count)]
            }
        }
        let whole = try await gradient(SRFTSettings(), batch)
        let withoutImitation = try await gradient(SRFTSettings(imitationScale: 0), batch)
        let ownAlone = try await gradient(SRFTSettings(imitationScale: 0), unrewarded)
        func difference(_ a: [Double], _ b: [Double]) -> [Double] { zip(a, b).map { $0 - $1 } }
        let policy = try TinyPolicy(SRFTSettings(), settings(every: 1, maxTokens))
        try compare(
            try await policy.updater.train(batch),
            [
                ("imitation", difference(whole, withoutImitation)),
                ("demonstrations", difference(withoutImitation, ownAlone)), ("rollouts", ownAlone),
            ])
    }

    @Test func aTeacherStandsBesideRewards() async throws {
        let batch = try await ExampleBatch.mixed()
        func policy(_ objective: DistillationSettings, every steps: Int) throws -> TinyPolicy {
            try TinyPolicy(objective, settings(every: steps), reference: TinyPolicy.reference())
        }
        let (rewarded, taught) = (
            try policy(DistillationSettings(form: .sampled, usesAdvantages: true), every: 0),
            try policy(DistillationSettings(), every: 0)
        )
        for alone in [rewarded, taught] { _ = try await alone.updater.train(batch) }
        let both = try policy(DistillationSettings(usesAdvantages: true), every: 1)
        try compare(
            try await both.updater.train(batch),
            [("rewards", try gradient(of: rewarded)), ("teacher", try gradient(of: taught))])
    }

    /// Every second step has numbers, and none of them moves anything.
    @Test func measuringChangesNothing() async throws {
        let batch = try await demonstrated()
        let measured = try TinyPolicy(SRFTSettings(), settings(every: 2, learningRate: 0.01))
        let plain = try TinyPolicy(SRFTSettings(), settings(every: 0, learningRate: 0.01))
        for step in 0..<4 {
            let metrics = try await measured.updater.train(batch)
            let expected = try await plain.updater.train(batch)
            #expect((metrics["gradient_parts/imitation/norm"] != nil) == (step % 2 == 0))
            #expect(metrics["loss"] == expected["loss"] && metrics["grad_norm"] == expected["grad_norm"])
            #expect(!expected.names.contains { $0.hasPrefix("gradient_parts/") })
        }
        #expect(try measured.state() == plain.state())
    }
}
