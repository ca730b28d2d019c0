import Credit
import Foundation
import Records
import TestSupport
import Testing

/// The volume of a union of boxes by inclusion and exclusion: every set of points counts with the box they all contain.
private func unionVolume(_ points: [[Double]]) -> Double {
    (1..<(1 << points.count)).reduce(0) { sum, set in
        let chosen = points.indices.filter { set & (1 << $0) != 0 }.map { points[$0] }
        let box = chosen[0].indices.map { axis in max(0, chosen.map { $0[axis] }.min() ?? 0) }.reduce(1, *)
        return sum + (chosen.count % 2 == 1 ? box : -box)
    }
}

@Suite("The hypervolume is exact")
struct HypervolumeTests {
    /// By hand: slices of height 1 with the widths 3, 2, 1, then 3 + 2.5 + 0.5·2.5 + 0.5·1. In space 3·6 − 3·2 + 1 by
    /// inclusion and exclusion, and 8 − (3·4 − 3·2 + 1) more.
    @Test func workedExamples() {
        let plane: [[Double]] = [[3, 1], [2, 2], [1, 3]]
        #expect(Hypervolume.volume(plane) == 6)
        #expect(Hypervolume.volume(plane + [[2.5, 2.5]]) == 7.25)
        let space: [[Double]] = [[1, 2, 3], [3, 1, 2], [2, 3, 1]]
        #expect(Hypervolume.volume(space) == 13)
        #expect(Hypervolume.volume(space + [[2, 2, 2]]) == 14)
        #expect(Hypervolume.volume(space + [[1, 1, 2]]) == 13)  // dominated
        #expect(Hypervolume.volume([[0.5, -0.2]]) == 0)  // without the clip −0.1
        #expect(Hypervolume.volume([]) == 0)
    }

    @Test(arguments: 1...5)
    func againstInclusionAndExclusion(_ axes: Int) {
        var random = TestRandom(seed: UInt64(axes))
        for count in 1...8 {
            // Some coordinates below 0, some equal.
            let points = (0..<count).map { _ in
                (0..<axes).map { _ in (Double.random(in: -0.3...1, using: &random) * 8).rounded() / 8 }
            }
            let expected = unionVolume(points)
            #expect(abs(Hypervolume.volume(points) - expected) < 1e-12, "\(points)")
            #expect(abs(Hypervolume.volume(points.reversed()) - expected) < 1e-12)
            let turned = points.map { Array($0[1...] + $0[..<1]) }
            #expect(abs(Hypervolume.volume(turned) - expected) < 1e-12)
            let scaled = points.map { $0.enumerated().map { $1 * Double($0 + 2) } }
            let factor = (0..<axes).map { Double($0 + 2) }.reduce(1, *)
            #expect(abs(Hypervolume.volume(scaled) - factor * expected) < 1e-9)
        }
    }

    /// Cells of an integer grid that some point dominates, counted one by one.
    @Test(arguments: 2...5)
    func againstCountedCells(_ axes: Int) {
        var random = TestRandom(seed: 40 + UInt64(axes))
        let points = (0..<12).map { _ in (0..<axes).map { _ in Double.random(in: 0..<5, using: &random).rounded(.down) }
        }
        let cells = Int(pow(5, Double(axes)))
        let covered = (0..<cells).count { cell in
            let corner = (0..<axes).map { axis in Double(cell / Int(pow(5, Double(axis))) % 5) }
            return points.contains { zip($0, corner).allSatisfy { $0 > $1 } }
        }
        #expect(Hypervolume.volume(points) == Double(covered))
    }
}

@Suite("Hypervolume-guided weighting")
struct HypervolumeWeightingTests {
    private func evaluation(_ accuracy: Double, _ length: Double, step: Int = 1) -> ObservedEvaluation {
        ObservedEvaluation(step: step, means: ["accuracy": accuracy, "length": length, "watched": 7])
    }

    private var axes: [HypervolumeWeighting.Axis] {
        [.init("accuracy", span: 0.1), .init("length", isMinimized: true)]
    }

    @Test func theMapOfTheGain() {
        for (gain, expected) in [(0.1, 0.6495019919), (0.5, 1.1931757359), (1, 1.6423912339), (0, 0.5)] {
            #expect(abs(HypervolumeWeighting.multiplier(gain: gain) - expected) < 1e-10)
        }
        #expect(abs(HypervolumeWeighting.multiplier(gain: 0.34657359028) - 1) < 1e-10)  // artanh(1/3)
    }

    /// The reference is (0.5, 200). (0.6, 150) lies 1 and 0.25 beyond it: a gain of 0.25. (0.7, 180) lies 2 and 0.1
    /// beyond: 0.1 more. (0.4, 100) is worse than the reference in one reward and gains nothing.
    @Test func theFrontGrows() throws {
        var controller = HypervolumeWeighting(axes)
        #expect(controller.needsEvaluation && controller.weights(at: 0) == StreamWeights())
        #expect(controller.observe(evaluation(0.5, 200)) == ControllerUpdate())
        #expect(!controller.needsEvaluation && controller.state.multiplier == 1)
        let first = controller.observe(evaluation(0.6, 150))
        #expect(abs(try #require(first?.metrics["dynamic_weights/hypervolume_gain"]) - 0.25) < 1e-12)
        #expect(abs(controller.weights(at: 9).advantageFactor - (0.5 + 1.5 * tanh(0.25))) < 1e-12)
        let second = controller.observe(evaluation(0.7, 180))
        #expect(abs(try #require(second?.metrics["dynamic_weights/hypervolume_gain"]) - 0.1) < 1e-12)
        #expect(abs(try #require(second?.metrics["dynamic_weights/hypervolume"]) - 0.35) < 1e-12)
        let third = controller.observe(evaluation(0.4, 100))
        #expect(third?.metrics["dynamic_weights/hypervolume_gain"] == 0 && controller.state.multiplier == 0.5)
        #expect(third?.metrics["dynamic_weights/front_size"] == 2)
        // (0.7, 140) dominates both.
        let fourth = controller.observe(evaluation(0.7, 140))
        #expect(fourth?.metrics["dynamic_weights/front_size"] == 1 && controller.state.front.count == 1)
    }

    @Test func itSaysWhatAnEvaluationBrought() {
        var controller = HypervolumeWeighting(axes)
        _ = controller.observe(evaluation(0.5, 200))
        #expect(
            controller.observe(evaluation(0.5, 210, step: 40))?.note
                == "advantages count 0.5 instead of 1: the evaluation at step 40 adds nothing to the front: another was better in every reward"
        )
    }

    @Test func anEvaluationWithoutAMeanLeavesTheState() {
        var controller = HypervolumeWeighting(axes)
        _ = controller.observe(evaluation(0.5, 200))
        let before = controller
        #expect(controller.observe(ObservedEvaluation(step: 1, means: ["accuracy": 1])) == nil)
        #expect(controller.observe(evaluation(.nan, 1)) == nil)
        // No reward scored any of the completions.
        var unscored = ObservedEvaluation(step: 1, means: [:])
        unscored.measured["eval_completions/mean_length"] = 3
        #expect(controller.observe(unscored) == nil)
        #expect(controller == before)
    }

    /// A guard may be due where the evaluation is not: that is no number which is not finite.
    @Test func aGuardsEvaluationIsNoSkip() {
        var controller = HypervolumeWeighting(axes)
        _ = controller.observe(evaluation(0.5, 200))
        let before = controller
        var guarded = ObservedEvaluation(step: 1, means: [:])
        guarded.measured["eval_guard/held/reward"] = 0.5
        #expect(controller.observe(guarded) == ControllerUpdate())
        #expect(controller.observe(ObservedEvaluation(step: 2, means: [:])) == ControllerUpdate())
        #expect(controller == before)
    }

    @Test func anotherJobsFrontIsRefused() throws {
        var saved = HypervolumeWeighting([.init("style")])
        _ = saved.observe(ObservedEvaluation(step: 0, means: ["style": 1]))
        var controller = HypervolumeWeighting(axes)
        let data = try saved.encodedState(with: JSONEncoder())
        let error = #expect(throws: ControllerStateError.self) {
            try controller.takeState(from: data, with: JSONDecoder())
        }
        #expect(error?.description == "the checkpoint has a front of style; the job has accuracy, length")
    }

    /// A factor on rewards is divided out by whoever normalizes, to the ε: a factor on advantages is not.
    @Test func aFactorOnRewardsIsNoneWhereTheyAreNormalized() throws {
        let groups = [ScoredGroups.group([1, 0, 0.5, 0]), ScoredGroups.group([0, 0, 1, 1], row: 1)]
        let rewards = RewardCombination(names: ["accuracy"])
        let rules: [(rule: any CreditRule, isNormalized: Bool)] = [
            (GroupBaseline(rewards: rewards, settings: .init(epsilon: 1e-6)), true),
            (GroupBaseline(rewards: rewards, settings: .init(scaling: .batch, epsilon: 1e-6)), true),
            (GroupBaseline(rewards: rewards, settings: .init(aggregation: .normalizeThenSum, epsilon: 1e-6)), true),
            (BatchWhitening(rewards: rewards, form: .groupMean), true),
            (GroupBaseline(rewards: rewards, settings: .init(scaling: .none)), false),
            (LeaveOneOut(rewards: rewards, settings: .init()), false), (PlainReward(rewards: rewards), false),
        ]
        func advantages(_ rule: any CreditRule, _ weights: StreamWeights) throws -> [Double] {
            try rule.credit(CreditBatch(groups: groups, weights: weights)).update.advantages.flatMap {
                $0.flatMap(\.self)
            }
        }
        var onRewards = StreamWeights()
        onRewards.rewardFactor = 2
        var onAdvantages = StreamWeights()
        onAdvantages.advantageFactor = 2
        for (rule, isNormalized) in rules {
            let plain = try advantages(rule, [:])
            let doubled = plain.map { 2 * $0 }
            #expect(relativeDistance(try advantages(rule, onAdvantages), doubled) < 1e-12, "\(type(of: rule))")
            #expect(
                relativeDistance(try advantages(rule, onRewards), isNormalized ? plain : doubled) < 1e-5,
                "\(type(of: rule))")
        }
    }

    /// The KL keeps its weight: m is a matter of the rewards.
    @Test func theFactorLeavesTheKLAlone() throws {
        let rule = PlainReward(rewards: try .single, penalty: KLToGo(coefficient: 0.5))
        var batch = CreditBatch(groups: [ScoredGroups.group([1])], referenceLogProbabilities: [[[-1, -1]]])
        batch.weights.advantageFactor = 1.5
        #expect(try rule.credit(batch).update.parts[0].streamWeights == [1.5, 0.5])
    }
}

@Suite("Gradient-based weighting")
struct GradientWeightingTests {
    private let gradients: [[Double]] = [[1, 0, 0.5], [0.5, 1, 0], [-0.5, 0.2, 1]]

    private func gram(_ gradients: [[Double]]) -> [[Double]] {
        gradients.map { one in gradients.map { zip(one, $0).map(*).reduce(0, +) } }
    }

    /// Unclipped: I = (1.75, 1.70, 1.24), the row sums of the products (1.25, 0.5, 0), (0.5, 1.25, −0.05) and
    /// (0, −0.05, 1.29); the weights move to w·exp(0.1·I) over its sum.
    @Test func theWorkedExample() {
        let alignments = gram(gradients).map { $0.reduce(0, +) }
        #expect(zip(alignments, [1.75, 1.70, 1.24]).allSatisfy { abs($0 - $1) < 1e-12 })
        let moved = GradientWeighting.moved([0.4, 0.35, 0.25], by: alignments.map { 0.1 * $0 })
        #expect(zip(moved, [0.4057519249, 0.3532622002, 0.2409858749]).allSatisfy { abs($0 - $1) < 1e-10 })
    }

    @Test func invariants() {
        let weights = [0.4, 0.35, 0.25]
        let moved = GradientWeighting.moved(weights, by: [0.3, -0.1, 0.7])
        #expect(abs(moved.reduce(0, +) - 1) < 1e-15)
        let shifted = GradientWeighting.moved(weights, by: [1000.3, 999.9, 1000.7])
        #expect(relativeDistance(shifted, moved) < 1e-12)
        #expect(relativeDistance(GradientWeighting.moved(weights, by: [5, 5, 5]), weights) < 1e-12)
        let huge = GradientWeighting.moved(weights, by: [1e6, 0, -1e6])
        #expect(huge.allSatisfy(\.isFinite) && huge[0] == 1)
        let turned = gradients.map { $0.map { -$0 } }
        #expect(GradientWeighting.alignments(gram(turned)) == GradientWeighting.alignments(gram(gradients)))
    }

    /// Each gradient is clipped to norm 1 first: twice a gradient of norm above 1 is the same, and |I| stays below K.
    @Test func largeGradientsAreClipped() {
        let large = [gradients[0].map { 100 * $0 }, gradients[1].map { 50 * $0 }, gradients[2].map { 0.1 * $0 }]
        let norms = large.map { $0.map { $0 * $0 }.reduce(0, +).squareRoot() }
        let clipped = zip(large, norms).map { one, norm in one.map { $0 * min(1, 1 / (norm + 1e-6)) } }
        let expected = gram(clipped).map { $0.reduce(0, +) }
        #expect(relativeDistance(GradientWeighting.alignments(gram(large)), expected) < 1e-12)
        #expect(expected.allSatisfy { abs($0) <= 3 })
    }

    private func products(_ learningRate: Double = 1e-6) -> StreamProducts {
        StreamProducts(
            gram: gram(gradients.map { $0.map { 0.5 * $0 } }), learningRate: learningRate, peakLearningRate: 1e-6)
    }

    /// I = 0.25·(1.75, 1.70, 1.24); s = 0.1 at the peak, half of it at half the rate; with τ = 1e-5 the same.
    @Test func theStepFollowsTheLearningRate() throws {
        let alignments = [1.75, 1.70, 1.24].map { 0.25 * $0 }
        for (rate, size, temperature) in [(1e-6, 0.1, nil), (5e-7, 0.05, nil), (5e-7, 0.05, 1e-5)] {
            var controller = GradientWeighting(
                ["a", "b", "c"], initial: [8, 7, 5], temperature: temperature)
            let update = controller.weigh(products(rate), of: ["a", "b", "c", "kl"].dropLast())
            let expected = GradientWeighting.moved([0.4, 0.35, 0.25], by: alignments.map { size * $0 })
            let found = ["a", "b", "c"].compactMap { controller.weights(at: 0)[$0] }
            #expect(relativeDistance(found, expected) < 1e-12)
            // ‖Σ w_k g_k‖ from the vectors themselves.
            let mixed = (0..<3).map { axis in zip(found, gradients).map { $0 * 0.5 * $1[axis] }.reduce(0, +) }
            let norm = mixed.map { $0 * $0 }.reduce(0, +).squareRoot()
            #expect(abs(try #require(update?.metrics["dynamic_weights/mixed_norm"]) - norm) < 1e-12)
            #expect(update?.metrics["dynamic_weights/backward_passes"] == 3)
            #expect(abs(try #require(update?.metrics["dynamic_weights/alignment/b"]) - alignments[1]) < 1e-12)
        }
    }

    /// 400 steps against it: the weight stops at the floor, and comes back when the gradients turn.
    @Test func aWeightAtTheFloorComesBack() throws {
        var controller = GradientWeighting(["a", "b"], stepSize: 1, floor: 1e-4)
        let against = StreamProducts(gram: [[1, -0.5], [-0.5, 0.04]], learningRate: 1, peakLearningRate: 1)
        for _ in 0..<400 { _ = controller.weigh(against, of: ["a", "b"]) }
        let least = try #require(controller.weights(at: 0)["b"])
        #expect(least >= 0.99e-4 && least <= 1.01e-4)
        let towards = StreamProducts(gram: [[0.04, -0.02], [-0.02, 1]], learningRate: 1, peakLearningRate: 1)
        for _ in 0..<60 { _ = controller.weigh(towards, of: ["a", "b"]) }
        #expect(try #require(controller.weights(at: 0)["b"]) > 0.99)
    }

    @Test func gradientsThatAreNotFiniteLeaveTheState() {
        var controller = GradientWeighting(["a", "b"])
        let before = controller
        let broken = StreamProducts(gram: [[.nan, 0], [0, 1]], learningRate: 1, peakLearningRate: 1)
        #expect(controller.weigh(broken, of: ["a", "b"]) == nil)
        #expect(controller == before)
    }
}
