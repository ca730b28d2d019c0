import Algorithms
import Placement
import PolicyUpdater
import Records
import TestSupport
import Tensors
import Testing

@TensorActor @Suite("Gradients of parts, and steps that are looked at before they are taken", .timeLimit(.minutes(10)))
struct GradientsApartTests {
    /// Rollouts at weight 0.7 beside demonstrations at −1.25, each at its own temperature.
    private func plans() throws -> [PartPlan] {
        [
            PartPlan(GRPOSettings(lossType: .grpo), weight: 0.7, temperature: 0.7),
            PartPlan(SupervisedFineTuning(), weight: -1.25, name: "sft"),
        ]
    }

    private func batch() async throws -> UpdateBatch {
        let rollouts = try await ExampleBatch.mixed(temperature: 0.7)
        return UpdateBatch(parts: [
            UpdatePart(.rollouts, rollouts.groups),
            UpdatePart(
                .demonstrations, [ExampleBatch.group([3, 1], [[2, 6, 0]]), ExampleBatch.group([4], [[5, 5]])]),
        ])
    }

    private func policy(
        _ settings: UpdaterSettings? = nil, weights: [String: [Double]]? = nil, type: ElementType = .float64
    ) throws -> TinyPolicy {
        try TinyPolicy(parts: plans(), settings ?? .plain(learningRate: 0, beta1: 0), weights: weights, type: type)
    }

    /// The gradient of each part and its loss, taken apart.
    private func apart(
        _ policy: TinyPolicy, _ batch: UpdateBatch
    ) async throws -> [(loss: Double, gradients: [String: [Double]])] {
        var found: [(loss: Double, gradients: [String: [Double]])] = []
        _ = try await policy.updater.lend { point in
            for (part, plan) in zip(batch.parts, policy.updater.parts) {
                let own = try policy.updater.gradients(of: part, by: plan, at: point)
                found.append((own.loss, try own.gradients.gradients.doubles()))
                #expect(point.policy.leaves.values.allSatisfy { $0.gradient == nil })
            }
            return .skipped(0)
        }
        return found
    }

    /// A part differentiated apart has the gradient that an updater of this part alone has.
    @Test func aPartApartIsThePartAlone() async throws {
        let batch = try await batch()
        let found = try await apart(policy(), batch)
        for (index, plan) in try plans().enumerated() {
            let alone = try TinyPolicy(
                plan.objective, .plain(learningRate: 0, beta1: 0), temperature: plan.temperature)
            let metrics = try await alone.updater.train(UpdateBatch(parts: [batch.parts[index]]))
            #expect(metrics["loss"] == found[index].loss)
            #expect(try alone.updater.optimizer.firstMoments.doubles() == found[index].gradients)
        }
    }

    /// w₁·g₁ + w₂·g₂ by plain sums over Double.
    @Test func aStepOfTwoPartsHasTheWeightedSumOfTheirGradients() async throws {
        let batch = try await batch()
        let policy = try policy()
        let parts = try await apart(policy, batch)
        let metrics = try await policy.updater.train(batch)
        let found = try policy.updater.optimizer.firstMoments.doubles()  // β₁ = 0: the gradient
        var squares = 0.0
        for (name, own) in found {
            let sum = zip(parts[0].gradients[name]!, parts[1].gradients[name]!).map { 0.7 * $0 - 1.25 * $1 }
            #expect(relativeError(own, sum, floor: 1e-3) < 1e-12, "\(name)")
            squares += sum.reduce(0) { $0 + $1 * $1 }
        }
        #expect(abs(try #require(metrics["loss"]) - (0.7 * parts[0].loss - 1.25 * parts[1].loss)) < 1e-12)
        #expect(abs(try #require(metrics["grad_norm"]) - squares.squareRoot()) < 1e-12 * squares.squareRoot())
        #expect(metrics["sft/loss"] == parts[1].loss)
        #expect(metrics["entropy"] != nil && metrics["sft/entropy"] != nil)
        #expect(metrics["entropy"] != metrics["sft/entropy"])
    }

    /// Parts that are kept apart and then added give the same step.
    @Test func partsAddedByHandGiveTheSameStep() async throws {
        let batch = try await batch()
        let settings = try UpdaterSettings.plain(learningRate: 0.01, maxGradientNorm: 0.5)
        let (together, byHand) = (try policy(settings), try policy(settings))
        _ = try await together.updater.train(batch)
        _ = try await byHand.updater.lend { point in
            let updater = byHand.updater
            let terms = try zip(batch.parts, updater.parts).map { part, plan in
                (plan.weight, try updater.gradients(of: part, by: plan, at: point).gradients)
            }
            let step = try updater.propose(StepGradients(sumOf: terms), loss: 0, at: point)
            #expect(try Tensor.norm(of: Array(step.gradients.gradients.values)) < 0.5 + 1e-9)  // clipped
            return .step((), apply: { try step.commit() })
        }
        #expect(try byHand.actor.version == PolicyVersion(1))
        for (name, expected) in try together.parameters.doubles() {
            #expect(relativeDistance(try byHand.parameters[name]!.doubles(), expected) < 1e-9, "\(name)")
        }
    }

    /// Along one direction in every tensor, the loss of both parts together.
    @Test func theGradientIsTheSlopeOfTheWeightedLoss() async throws {
        let batch = try await batch()
        let policy = try policy(.plain(learningRate: 0, beta1: 0, maxTokensPerMicroBatch: 9))
        _ = try await policy.updater.train(batch)
        let found = try policy.updater.optimizer.firstMoments.doubles()
        let weights = try TinyPolicy.weights()
        let step = 1e-5
        var largest = 0.0
        for name in weights.keys.sorted() {
            let direction = weights[name]!.indices.map { 1 + 0.5 * Double(($0 * 7) % 5) * ($0 % 2 == 0 ? 1 : -1) }
            var losses: [Double] = []
            for sign in [1.0, -1] {
                var moved = weights
                for index in direction.indices { moved[name]![index] += sign * step * direction[index] }
                losses.append(try #require(try await self.policy(weights: moved).updater.train(batch)["loss"]))
            }
            let expected = (losses[0] - losses[1]) / (2 * step)
            let slope = zip(found[name]!, direction).reduce(0) { $0 + $1.0 * $1.1 }
            #expect(abs(slope - expected) < 1e-6 * max(1, abs(expected)), "\(name): \(slope), \(expected)")
            largest = max(largest, abs(expected))
        }
        #expect(largest > 0.01)
    }

    /// The third step, whose moments and bias correction are no longer those of the first, with clipping and decay.
    @Test(arguments: [ElementType.float32, .float64])
    func aLookAheadIsWhatACommitWritesAndWritesNothing(_ type: ElementType) async throws {
        let batch = try await batch()
        let policy = try policy(
            .plain(
                learningRate: 0.02, weightDecay: 0.1, maxGradientNorm: 0.5,
                schedule: LearningRateSchedule(.cosine, warmup: .steps(1), totalSteps: 9)), type: type)
        for _ in 0..<2 { _ = try await policy.updater.train(batch) }
        let before = try policy.state()
        var ahead: [String: [UInt64]] = [:]
        func lend(commits: Bool) async throws {
            _ = try await policy.updater.lend { point in
                let updater = policy.updater
                let terms = try zip(batch.parts, updater.parts).map { part, plan in
                    (plan.weight, try updater.gradients(of: part, by: plan, at: point).gradients)
                }
                let step = try updater.propose(StepGradients(sumOf: terms), loss: 0, at: point)
                ahead = try step.lookAhead().bits()
                #expect(try policy.bits() == before.weights)
                #expect(try updater.optimizer.state() == before.optimizer)
                return commits ? .step((), apply: { try step.commit() }) : .skipped(())
            }
        }
        try await lend(commits: false)
        #expect(try policy.state() == before)
        try await lend(commits: true)
        #expect(try policy.bits() == ahead)
        #expect(ahead.allSatisfy { $1 != before.weights[$0] })
        #expect(policy.updater.optimizer.counters.optimizerSteps == 3)
    }

    /// The gradient at a look-ahead is the gradient of a policy that has these weights.
    @Test func gradientsCanBeTakenAtALookAhead() async throws {
        let batch = try await batch()
        let policy = try policy(.plain(learningRate: 0.05))
        var (ahead, found): ([String: [Double]], [String: [Double]]) = ([:], [:])
        _ = try await policy.updater.lend { point in
            let updater = policy.updater
            let own = try updater.gradients(of: batch.parts[0], by: updater.parts[0], at: point)
            let weights = try updater.propose(own.gradients, loss: own.loss, at: point).lookAhead()
            ahead = try weights.doubles()
            found = try updater.gradients(
                of: batch.parts[1], by: updater.parts[1], at: point.moved(to: weights)
            ).gradients.gradients.doubles()
            return .skipped(0)
        }
        let there = try await apart(self.policy(weights: ahead), batch)[1].gradients
        #expect(found == there)
        let here = try await apart(self.policy(), batch)[1].gradients
        #expect(found != here)
    }

    /// Plain REINFORCE divides by completions; of pairs it divides by prompts, so that two completions count as one.
    @Test func pairsAreDividedByTheirPrompts() async throws {
        let objective = RLOOSettings(ratioClip: nil)
        let groups = [ExampleBatch.group([3, 1], [[2, 6], [1]]), ExampleBatch.group([4], [[5, 5], [0, 3, 2]])]
        func loss(_ kind: UpdatePart.Kind) async throws -> Double {
            let policy = try TinyPolicy(objective, .plain(learningRate: 0))
            return try #require(try await policy.updater.train(UpdateBatch(kind, groups: groups))["loss"])
        }
        let (rollouts, pairs) = (try await loss(.rollouts), try await loss(.pairs))
        #expect(abs(rollouts) > 0.01)
        #expect(abs(pairs - 2 * rollouts) < 1e-12)
    }

    @Test func aBatchOfOtherPartsIsRefused() async throws {
        let batch = try await batch()
        let policy = try policy()
        await #expect(throws: UpdateError.parts(found: 1, expected: 2)) {
            _ = try await policy.updater.train(UpdateBatch(parts: [batch.parts[0]]))
        }
        let nothing = try await policy.updater.train(UpdateBatch(groups: []))  // a step of the schedule all the same
        #expect(nothing["grad_norm"] == 0)
        #expect(policy.updater.optimizer.counters.schedulePosition == 1)
    }
}
