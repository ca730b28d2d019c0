import Algorithms
import Models
import Placement
import PolicyUpdater
import Records
import Tensors
import Testing

@TensorActor @Suite("Policy and critic take a step together or not at all", .timeLimit(.minutes(10)))
struct JointStepTests {
    private let objective: PPOSettings

    init() throws { objective = PPOSettings(valueCoefficient: 0.5) }

    /// A critic in float32, of the policy's architecture unless given another.
    private func critic(_ configuration: ModelConfiguration? = nil, head: Tensor? = nil) throws -> Critic {
        let trunk = try Transformer(
            configuration: configuration ?? TinyPolicy.configuration(),
            parameters: TinyPolicy.tensors(TinyPolicy.weights(phase: 0.2), .float32))
        return try Critic(
            trunk: trunk, head: head ?? Tensor([1, -1, 0.5, 0.25, -0.5, 2, 1, -2] as [Float], shape: [1, 8]),
            objective: objective, settings: .plain(learningRate: 0.02, maxGradientNorm: 1),
            verification: .everyHandOver)
    }

    private func policy(_ critic: Critic?) throws -> TinyPolicy {
        try TinyPolicy(
            objective, .plain(learningRate: 0.01, weightDecay: 0.1, maxGradientNorm: 1), type: .float32,
            critic: critic)
    }

    /// Each network moves as it would alone.
    @Test func bothMoveAsEachWouldAlone() async throws {
        let batch = try await ExampleBatch.valued()
        let (joint, alone) = (try critic(), try critic())
        let (beside, without) = (try policy(joint), try policy(nil))
        for _ in 0..<2 {
            let metrics = try await beside.updater.train(batch)
            let expected = try await without.updater.train(batch)
            let criticMetrics = try await alone.train(batch)
            for name in ["loss", "grad_norm", "learning_rate", "skipped_steps", "policy_loss"] {
                #expect(metrics[name] != nil && metrics[name] == expected[name], "\(name)")
            }
            for name in ["value_loss", "critic/grad_norm", "critic/learning_rate", "critic/skipped_steps"] {
                #expect(metrics[name] != nil && metrics[name] == criticMetrics[name], "\(name)")
            }
            // What is a state is no measurement: of several optimizer steps the last one's counts.
            var later = metrics
            let states = ["learning_rate", "skipped_steps", "critic/learning_rate", "critic/skipped_steps"]
            for name in states { later[name] = 7 }
            let row = Metrics.reduced([metrics, later])
            for name in states { #expect(row[name] == 7, "\(name)") }
        }
        #expect(try beside.state() == without.state())
        #expect(try joint.optimizer.state() == alone.optimizer.state())
        #expect(try await joint.values(batch) == alone.values(batch))
        #expect(try await beside.updater.values(batch) == joint.values(batch))
    }

    /// With dynamic rope scaling completions of one prompt cannot be read together beyond the context, here of 4
    /// tokens: the critic's pass fails when the policy's gradient is already there.
    @Test func aCriticThatFailsLeavesThePolicyExactlyAsItWas() async throws {
        let configuration = try TinyPolicy.configuration(
            context: 4, others: #""rope_scaling": {"rope_type": "dynamic", "factor": 2.0},"#)
        let critic = try critic(configuration)
        let policy = try policy(critic)
        var short = try await ExampleBatch.valued()
        short.groups = [ExampleBatch.group([1], [[2, 3], [4]])]
        for index in 0..<2 {
            short.groups[0].completions[index].oldValues = [index == 0 ? [0, 0] : [0]]
            short.groups[0].completions[index].returns = [index == 0 ? [1, 1] : [1]]
        }
        _ = try await policy.updater.train(short)  // moments, counters and version are not those of a fresh one
        let (before, criticBefore) = (try policy.state(), try critic.optimizer.state())
        #expect(before.version == PolicyVersion(1) && before.optimizer.counters.schedulePosition == 1)
        await #expect(throws: ModelError.self) { _ = try await policy.updater.train(try await ExampleBatch.valued()) }
        #expect(try policy.state() == before)
        #expect(try critic.optimizer.state() == criticBefore)
        // The check can fail: in two steps, one after the other, the policy has moved when the critic fails.
        let apart = try self.policy(nil)
        _ = try await apart.updater.train(short)
        #expect(try apart.state() == before)
        _ = try await apart.updater.train(try await ExampleBatch.valued())
        await #expect(throws: ModelError.self) { _ = try await critic.train(try await ExampleBatch.valued()) }
        #expect(try apart.state() != before)
        _ = try await policy.updater.train(short)  // and both can go on
        #expect(try policy.state() != before)
    }

    /// A head that is not contiguous can be read and differentiated; AdamW refuses to write it. The policy is then
    /// written.
    @Test func aCriticThatCannotBeWrittenPoisonsBoth() async throws {
        let wide = try Tensor((0..<16).map { Float($0 % 5) / 4 }, shape: [8, 2]).transposed(0, 1)
        let critic = try critic(head: wide.narrow(axis: 0, start: 0, count: 1))
        let policy = try policy(critic)
        let batch = try await ExampleBatch.valued()
        await #expect(throws: TensorError.self) { _ = try await policy.updater.train(batch) }
        guard case .poisoned(let reason) = policy.actor.phase else {
            Issue.record("the policy is \(policy.actor.phase)")
            return
        }
        #expect(reason.contains("after version 0"))
        await #expect(throws: PlacementError.self) { _ = try await critic.values(batch) }
        await #expect(throws: PlacementError.self) { _ = try await policy.updater.train(batch) }
    }

    @Test(arguments: [true, false])
    func aNumberThatIsNotFiniteInEitherSkipsBoth(_ isThePolicys: Bool) async throws {
        let critic = try critic()
        let policy = try policy(critic)
        let batch = try await ExampleBatch.valued()
        var broken = batch
        if isThePolicys {
            broken.groups[0].completions[0].advantages[0][1] = 1e300  // infinite in float32
        } else {
            broken.groups[0].completions[0].returns[0][1] = 1e300
        }
        let (before, values) = (try policy.bits(), try await critic.values(batch))
        let metrics = try await policy.updater.train(broken)
        #expect(metrics["skipped_steps"] == 1 && metrics["critic/skipped_steps"] == 1)
        #expect(try #require(metrics["loss"]).isFinite == !isThePolicys)
        #expect(try #require(metrics["value_loss"]).isFinite == isThePolicys)
        #expect(try policy.bits() == before)
        #expect(try await critic.values(batch) == values)
        #expect(try policy.actor.version == PolicyVersion(0))
        for counters in [policy.updater.optimizer.counters, critic.optimizer.counters] {
            #expect(counters.optimizerSteps == 0 && counters.schedulePosition == 1 && counters.skippedSteps == 1)
        }
        let next = try await policy.updater.train(batch)
        #expect(next["skipped_steps"] == 1 && next["critic/skipped_steps"] == 1)
        #expect(try policy.actor.version == PolicyVersion(1))
    }
}
