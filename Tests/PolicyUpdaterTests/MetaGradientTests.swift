import Algorithms
import Placement
import PolicyUpdater
import Records
import TestSupport
import Tensors
import Testing

@TensorActor @Suite("The slope of a utility in the weight of imitation", .timeLimit(.minutes(10)))
struct MetaGradientTests {
    private let held = UpdatePart(
        .demonstrations, [ExampleBatch.group([2, 5], [[1, 3, 0]]), ExampleBatch.group([6], [[4, 0]])])

    /// Rollouts and demonstrations, the latter with the weight μ.
    private func batch(_ weight: Double) async throws -> UpdateBatch {
        UpdateBatch(parts: [
            UpdatePart(.rollouts, try await ExampleBatch.mixed().groups, weight: 1 - weight),
            UpdatePart(
                .demonstrations, [ExampleBatch.group([3, 1], [[2, 6, 0]]), ExampleBatch.group([4], [[5, 5]])],
                weight: weight),
        ])
    }

    /// An updater that has taken two steps: moments and bias corrections are no longer those of the first.
    private func policy(_ settings: UpdaterSettings) async throws -> TinyPolicy {
        let policy = try TinyPolicy(
            parts: [
                PartPlan(GRPOSettings(lossType: .grpo)),
                PartPlan(SupervisedFineTuning(), on: .demonstrations, name: "sft"),
            ], settings)
        for _ in 0..<2 { _ = try await policy.updater.train(batch(0.4)) }
        return policy
    }

    private func settings(clip: Double?) throws -> UpdaterSettings {
        try .plain(learningRate: 0.03, weightDecay: 0.1, maxGradientNorm: clip)
    }

    private func lookAhead(
        _ point: LookAhead.Point = .exact, _ model: LookAhead.StepModel = .adam
    ) -> LookAhead {
        LookAhead(point, model, utility: PartPlan(SupervisedFineTuning(), on: .demonstrations))
    }

    /// −L on the held-out rows where a real step with the weight μ leads; plain steps by loops over Double.
    private func utility(_ policy: TinyPolicy, _ weight: Double, _ model: LookAhead.StepModel) async throws -> Double {
        let batch = try await batch(weight)
        var utility = 0.0
        _ = try await policy.updater.lend { point in
            let updater = policy.updater
            let terms = try zip(batch.parts, updater.parts).map { part, plan in
                (part.weight, try updater.gradients(of: part, by: plan, at: point).gradients)
            }
            var ahead: [String: Tensor]
            if model == .adam {
                ahead = try updater.propose(StepGradients(sumOf: terms), loss: 0, at: point).lookAhead()
            } else {
                ahead = [:]
                for (name, leaf) in point.policy.leaves {
                    let moved = try zip(
                        leaf.detached().doubles(),
                        zip(terms[0].1.gradients[name]!.doubles(), terms[1].1.gradients[name]!.doubles())
                    ).map { $0 - 0.03 * (terms[0].0 * $1.0 + terms[1].0 * $1.1) }
                    ahead[name] = try Tensor(moved, shape: leaf.shape)
                }
            }
            utility =
                -(try updater.gradients(
                    of: held, by: PartPlan(SupervisedFineTuning(), on: .demonstrations), at: point.moved(to: ahead)
                ).loss)
            return .skipped(0)
        }
        return utility
    }

    /// Through AdamW's own step with moments, decay and clipping, and through a plain one.
    @Test(
        arguments: [(LookAhead.StepModel.adam, nil), (.adam, 0.05), (.plain, nil)] as [(LookAhead.StepModel, Double?)])
    func itIsTheDifferenceQuotientThroughAStep(_ model: LookAhead.StepModel, _ clip: Double?) async throws {
        let policy = try await policy(settings(clip: clip))
        for weight in [0.2, 0.7] {
            let found = try await policy.updater.metaGradient(of: batch(weight), by: held, lookAhead(.exact, model))
            let step = 1e-5
            let above = try await utility(policy, weight + step, model)
            let expected = (above - (try await utility(policy, weight - step, model))) / (2 * step)
            #expect(relativeError(found.slope, expected) < 1e-5, "\(model) at \(weight): \(found.slope), \(expected)")
            #expect(abs(expected) > 1e-5)
            #expect(found.cosine.sign == found.slope.sign && abs(found.cosine) <= 1)
            // Along the sign, the utility rises.
            let moved = try await utility(policy, weight + 1e-3 * (found.slope > 0 ? 1 : -1), model)
            #expect(moved > (try await utility(policy, weight, model)))
        }
    }

    /// With the denominators frozen, as is often written, the slope is that of another step.
    @Test func theSecondMomentIsPartOfTheStep() async throws {
        let policy = try await policy(settings(clip: nil))
        let optimizer = policy.updater.optimizer
        let name = try #require(optimizer.firstMoments.keys.sorted().first)
        let gradient = try optimizer.firstMoments.mapValues { try $0 * 0.5 + 0.01 }
        let direction = try gradient.mapValues { try $0 * 0 + 1 }
        let found = try optimizer.derivative(gradients: gradient, along: direction)[name]!.doubles()
        let (m, v) = (
            try optimizer.firstMoments[name]!.doubles(), try optimizer.secondMoments[name]!.doubles()
        )
        // The third step's update of one weight, u = m̂/(√v̂ + ε), by hand.
        func update(_ g: Double, _ i: Int) -> Double {
            let mean = (0.9 * m[i] + 0.1 * g) / (1 - 0.729)
            let square = (0.999 * v[i] + 0.001 * g * g) / (1 - 0.999 * 0.999 * 0.999)
            return mean / (square.squareRoot() + 1e-8)
        }
        let g = try gradient[name]!.doubles()
        var largest = 0.0
        for i in g.indices {
            let expected = centralDifferences(at: [g[i]], step: 1e-7) { update($0[0], i) }[0]
            #expect(abs(found[i] - expected) < 1e-5 * max(1, abs(expected)))
            let square = (0.999 * v[i] + 0.001 * g[i] * g[i]) / (1 - 0.999 * 0.999 * 0.999)
            let frozen = 0.1 / (1 - 0.729) / (square.squareRoot() + 1e-8)
            largest = max(largest, abs(frozen - expected) / abs(expected))
        }
        #expect(largest > 0.01)
    }

    /// η·⟨∇L_U(θ), g_S − g_R⟩ by loops.
    @Test func theFirstOrderSlopeIsTakenWhereTheWeightsAre() async throws {
        let policy = try await policy(settings(clip: nil))
        let batch = try await batch(0.6)
        let found = try await policy.updater.metaGradient(of: batch, by: held, lookAhead(.firstOrder, .plain))
        var expected = 0.0
        _ = try await policy.updater.lend { point in
            let updater = policy.updater
            let own = try zip(batch.parts, updater.parts).map { part, plan in
                try updater.gradients(of: part, by: plan, at: point).gradients.gradients.doubles()
            }
            let utility = try updater.gradients(
                of: held, by: PartPlan(SupervisedFineTuning(), on: .demonstrations), at: point
            ).gradients.gradients.doubles()
            for (name, u) in utility {
                expected += u.indices.reduce(0) { $0 + 0.03 * u[$1] * (own[1][name]![$1] - own[0][name]![$1]) }
            }
            return .skipped(0)
        }
        #expect(relativeError(found.slope, expected) < 1e-9)
        let exact = try await policy.updater.metaGradient(of: batch, by: held, lookAhead(.exact, .plain))
        #expect(relativeError(exact.slope, expected) > 1e-4)
    }

    @Test func nothingIsWritten() async throws {
        let policy = try await policy(settings(clip: 0.5))
        let before = try policy.state()
        _ = try await policy.updater.metaGradient(of: batch(0.5), by: held, lookAhead())
        #expect(try policy.state() == before)
    }

    /// A part of weight 0 is as if it were not there, to the bit.
    @Test(arguments: [0, 1])
    func aPartWithoutWeightIsLeftOut(_ kept: Int) async throws {
        let settings = try settings(clip: 0.5)
        let both = try TinyPolicy(
            parts: [
                PartPlan(GRPOSettings(lossType: .grpo)),
                PartPlan(SupervisedFineTuning(), on: .demonstrations, name: "sft"),
            ], settings)
        let one = try TinyPolicy(parts: [both.updater.parts[kept]], settings)
        for _ in 0..<3 {
            var batch = try await batch(Double(kept))
            let metrics = try await both.updater.train(batch)
            batch.parts = [batch.parts[kept]]
            #expect(metrics["grad_norm"] == (try await one.updater.train(batch)["grad_norm"]))
        }
        #expect(try both.bits() == one.bits())
    }
}
