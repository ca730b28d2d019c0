import Credit
import Foundation
import Records
import TestSupport
import Testing

/// A bandit whose best response to any multipliers is known: the policy that maximizes Σ a_i J_i − b·β·KL(π‖p) is
/// p·exp(Σ a_i r_i/(bβ))/Z.
private struct Bandit {
    static let prior = [0.5, 0.25, 0.15, 0.10]
    static let first = [0.0, 1, 0.2, 0.9]
    static let second = [0.1, 0.8, 1, 0]
    static let beta = 0.5

    /// The best response to what a controller makes of the streams "first", "second" and "kl".
    static func response(to weights: StreamWeights) -> [Double] {
        let a = ["first": first, "second": second].map { (weights.weight(of: $0, own: 0), $1) }
        let b = weights.weight(of: "kl", own: beta)
        let masses = prior.indices.map { arm in
            prior[arm] * exp(a.reduce(0) { $0 + $1.0 * $1.1[arm] } / b)
        }
        let total = masses.reduce(0, +)
        return masses.map { $0 / total }
    }

    static func mean(_ reward: [Double], _ policy: [Double]) -> Double {
        zip(reward, policy).map(*).reduce(0, +)
    }

    static func divergence(_ policy: [Double]) -> Double {
        zip(policy, prior).map { $0 * log($0 / $1) }.reduce(0, +)
    }

    /// A step whose mean scores are exactly those of a policy.
    static func step(_ policy: [Double]) -> ObservedStep {
        let scores = [RewardScore.value(mean(first, policy)), .value(mean(second, policy))]
        return ObservedStep(rewardNames: ["first", "second"], groups: [ScoredGroups.group(scores: [scores])])
    }

    /// Dual steps against best responses.
    static func ascended(_ controller: LagrangianConstraints, steps: Int) -> (LagrangianConstraints, [Double]) {
        var controller = controller
        for _ in 0..<steps { _ = controller.observe(step(response(to: controller.weights(at: 0)))) }
        return (controller, response(to: controller.weights(at: 0)))
    }
}

/// Against the closed form: the multipliers with which the best response meets the limits, worked out from the same
/// bandit without this code.
@Suite("Multipliers reach the saddle point of an enumerable problem")
struct SaddlePointTests {
    private let both = [
        Constraint("first", limit: 0.5, kind: .equal), Constraint("second", limit: 0.45, kind: .equal),
    ]

    @Test(arguments: [true, false])
    func equalitiesOfTheTextbook(_ normalizes: Bool) throws {
        let settings = MultiplierSettings(learningRate: 1, isNormalized: normalizes)
        let (controller, policy) = Bandit.ascended(LagrangianConstraints(both, settings), steps: 3000)
        #expect(abs(try #require(controller.multipliers["first"]) - 0.3099608907) < 1e-6)
        #expect(abs(try #require(controller.multipliers["second"]) + 0.0058968801) < 1e-6)
        #expect(largestDifference(policy, [0.3834963528, 0.3534878376, 0.1288600946, 0.1341557150]) < 1e-6)
        #expect(abs(Bandit.divergence(policy) - 0.0405550866) < 1e-6)
        #expect(abs(Bandit.mean(Bandit.first, policy) - 0.5) < 1e-6)
    }

    /// w_KL = N − Σλ = N/(1 + Σλ̃), and λ̃ = λ/w_KL are the textbook's multipliers.
    @Test func theBoundedFormIsTheTextbooksInOtherUnits() throws {
        let settings = MultiplierSettings(.xiPPO, learningRate: 1, momentum: 0.1, maxGradientNorm: .some(nil))
        let (controller, policy) = Bandit.ascended(LagrangianConstraints(both, settings), steps: 6000)
        let weights = controller.weights(at: 0)
        #expect(abs(weights.factor - 1.5336670469) < 1e-6)
        #expect(abs(try #require(controller.multipliers["first"]) - 0.4753768039) < 1e-6)
        #expect(abs(try #require(controller.multipliers["second"]) + 0.0090438507) < 1e-6)
        #expect(abs(weights.weight(of: "first", own: 0) / weights.factor - 0.3099608907) < 1e-6)
        #expect(largestDifference(policy, [0.3834963528, 0.3534878376, 0.1288600946, 0.1341557150]) < 1e-6)
    }

    @Test func anInequalityThatBinds() throws {
        let settings = MultiplierSettings(learningRate: 1)
        let (controller, policy) = Bandit.ascended(
            LagrangianConstraints([Constraint("first", limit: 0.5)], settings), steps: 3000)
        let multiplier = try #require(controller.multipliers["first"])
        #expect(abs(multiplier - 0.3076930255) < 1e-6)
        #expect(largestDifference(policy, [0.3827804216, 0.3541428573, 0.1298741519, 0.1332025694]) < 1e-6)
        #expect(abs(multiplier * (Bandit.mean(Bandit.first, policy) - 0.5)) < 1e-6)  // complementary slackness
    }

    /// The prior has J = 0.37 already: λ falls to 0 and stays, whatever it began with, and the policy is the prior.
    @Test func anInequalityWithRoomWeighsNothing() throws {
        let settings = MultiplierSettings(learningRate: 1, initial: 0.8)
        let (controller, policy) = Bandit.ascended(
            LagrangianConstraints([Constraint("first", limit: 0.30)], settings), steps: 300)
        let multiplier = try #require(controller.multipliers["first"])
        #expect(multiplier == 0)
        #expect(largestDifference(policy, Bandit.prior) < 1e-12)
        #expect(abs(multiplier * (Bandit.mean(Bandit.first, policy) - 0.30)) < 1e-3)
    }

    /// The same limits from the other side: at most 1 − 0.5 of 1 − r has the same multiplier and the opposite weight.
    @Test func atMostIsAtLeastOfTheOpposite() throws {
        let settings = MultiplierSettings(learningRate: 1, isNormalized: false)
        let (controller, policy) = Bandit.ascended(
            LagrangianConstraints([Constraint("first", limit: 0.30, kind: .atMost)], settings), steps: 3000)
        let multiplier = try #require(controller.multipliers["first"])
        #expect(multiplier > 0 && controller.weights(at: 0).addends["first"] == -multiplier)
        #expect(abs(Bandit.mean(Bandit.first, policy) - 0.30) < 1e-6)
    }

    /// J = 0.05 needs an effective multiplier below −1/2, which tanh cannot give: λ goes to −1, where π ∝ p·exp(−r) has
    /// J = 0.2027.
    @Test func theBoundedFormHasARange() throws {
        let limit = [Constraint("first", limit: 0.05, kind: .equal)]
        let settings = MultiplierSettings(.xiPPO, learningRate: 1)
        var controller = LagrangianConstraints(limit, settings)
        var notes: [(step: Int, text: String)] = []
        for step in 0..<4000 {
            let update = controller.observe(Bandit.step(Bandit.response(to: controller.weights(at: 0))))
            if let note = update?.note { notes.append((step, note)) }
            let weights = controller.weights(at: 0)
            #expect(weights.weight(of: "first", own: 0) / weights.factor > -0.5)
        }
        let policy = Bandit.response(to: controller.weights(at: 0))
        #expect(try #require(controller.multipliers["first"]) < -0.99)
        #expect(abs(Bandit.mean(Bandit.first, policy) - 0.2027) < 2e-3)
        let alarms = notes.filter { $0.text.contains("for 20 rollouts") }
        #expect(alarms.count == 1 && alarms.first?.text.contains("stays above −1/2") == true, "\(notes)")
        // Going over to the textbook's form reaches the limit.
        let switching = MultiplierSettings(.xiPPO, learningRate: 1, onSaturation: .textbook)
        let (switched, reached) = Bandit.ascended(LagrangianConstraints(limit, switching), steps: 6000)
        #expect(switched.state.isTextbook)
        #expect(abs(Bandit.mean(Bandit.first, reached) - 0.05) < 1e-4)
    }

    /// λ = 1/2 of the bounded form weighs (1 − λ) the other rewards and λ the constrained one: the spec's μ-single.
    @Test func oneConstraintBesideATaskSharesOne() {
        let controller = LagrangianConstraints(
            [Constraint("first", limit: 0.5)], MultiplierSettings(.muPPO, initial: 0))
        let weights = controller.weights(at: 0)
        #expect(weights.weight(of: "task", own: 1) == 0.5 && weights.weight(of: "first", own: 0) == 0.5)
    }
}

@Suite("Which way multipliers move, and what they are moved by")
struct MultiplierStepTests {
    private func step(_ scores: [[Double?]]) -> ObservedStep {
        ObservedStep(
            rewardNames: ["task", "held"],
            groups: scores.map { group in
                ScoredGroups.group(scores: group.map { [.value(1), ScoredGroups.score($0)] })
            })
    }

    struct Case: CustomTestStringConvertible {
        let variant: MultiplierSettings.Variant
        let kind: Constraint.Kind
        /// Which way the weight of the reward goes when its mean is above the limit.
        let above: Double
        /// And when it is below.
        let below: Double
        var testDescription: String { "\(variant.rawValue) \(kind.rawValue)" }
    }

    /// Above its limit a reward loses weight, below it gains: for every variant and kind.
    static let signs: [Case] = [
        .init(variant: .textbook, kind: .atLeast, above: -1, below: 1),
        .init(variant: .textbook, kind: .atMost, above: -1, below: 1),
        .init(variant: .textbook, kind: .equal, above: -1, below: 1),
        .init(variant: .muPPO, kind: .atLeast, above: -1, below: 1),
        .init(variant: .muPPO, kind: .atMost, above: -1, below: 1),
        .init(variant: .xiPPO, kind: .equal, above: -1, below: 1),
        .init(variant: .allPPO, kind: .atMost, above: -1, below: 1),
    ]

    @Test(arguments: signs)
    func theSignTable(_ example: Case) throws {
        // From 0.6, so that an inequality has room to fall.
        let settings = MultiplierSettings(example.variant, initial: 0.6)
        for (mean, sign) in [(0.9, example.above), (0.1, example.below)] {
            var controller = LagrangianConstraints([Constraint("held", limit: 0.5, kind: example.kind)], settings)
            let own = example.variant == .allPPO ? 1.0 : 0
            let before = controller.weights(at: 0).weight(of: "held", own: own)
            _ = controller.observe(step([[mean]]))
            let after = controller.weights(at: 0).weight(of: "held", own: own)
            #expect((after - before) * sign > 0, "\(mean): \(before) → \(after)")
        }
    }

    /// Sums and counts: means of groups are no means of completions. (1 + 0 + 0 + 0)/4 = 0.25 of four, where the
    /// groups' means are 0.5.
    @Test func completionsCountAlikeWhateverTheirGroup() throws {
        var controller = LagrangianConstraints([Constraint("held", limit: 0.75)], MultiplierSettings(learningRate: 0.1))
        let moved = controller.observe(step([[1], [0, 0, 0]]))
        #expect(moved?.metrics["constraints/held/value"] == 0.25)
        #expect(moved?.metrics["constraints/held/violation"] == 0.5)
        #expect(moved?.metrics["constraints/held/limit"] == 0.75)
        #expect(moved?.metrics["constraints/held/lambda"] == 0)
        #expect(abs(try #require(controller.multipliers["held"]) - 0.05) < 1e-12)
    }

    /// A completion of 8 tokens scores 1, those of 1, 2 and 3 tokens 0: over tokens that is 8/14, over completions 1/4. One
    /// of 20 tokens without a score counts for nothing.
    @Test(arguments: [(true, 8.0 / 14), (false, 0.25)])
    func aLongCompletionCountsMoreOnlyWhereTheJobSaysSo(_ weighsLengths: Bool, _ mean: Double) throws {
        var controller = LagrangianConstraints(
            [Constraint("held", limit: 0.75)],
            MultiplierSettings(learningRate: 0.1, weighsLengths: weighsLengths))
        let held: [[Double?]] = [[1, 0, nil], [0, 0]]
        let scores = held.map { $0.map { [RewardScore.value(1), ScoredGroups.score($0)] } }
        let moved = controller.observe(
            ObservedStep(
                rewardNames: ["task", "held"],
                groups: [
                    ScoredGroups.group(scores: scores[0], lengths: [8, 1, 20]),
                    ScoredGroups.group(scores: scores[1], lengths: [2, 3]),
                ]))
        #expect(abs(try #require(moved?.metrics["constraints/held/value"]) - mean) < 1e-12)
        #expect(abs(try #require(controller.multipliers["held"]) - 0.1 * (0.75 - mean)) < 1e-12)
    }

    /// Scores that failed are no zeros: a NaN is a failure of its reward.
    @Test func aCompletionWithoutAScoreCountsForNothing() throws {
        var controller = LagrangianConstraints([Constraint("held", limit: 0.75)])
        let group = ScoredGroups.group(scores: [[.value(1), .value(0.5)], [.value(1), .value(.nan)]])
        let moved = controller.observe(ObservedStep(rewardNames: ["task", "held"], groups: [group]))
        #expect(moved?.metrics["constraints/held/value"] == 0.5)
        let state = controller.state.parameters
        let failed = controller.observe(step([[nil, nil]]))  // the reward failed for the whole step
        #expect(failed?.metrics["constraints/held/value"] == nil && failed?.metrics["constraints/held/lambda"] != nil)
        #expect(controller.state.parameters == state)
    }

    /// A limit of 200 counts in shares of itself: 300 is half a limit too much.
    @Test func aLargeLimitIsItsOwnUnit() throws {
        var controller = LagrangianConstraints(
            [Constraint("held", limit: 200, kind: .atMost)], MultiplierSettings(learningRate: 0.1))
        let moved = controller.observe(step([[350, 250]]))
        #expect(moved?.metrics["constraints/held/violation"] == 100)
        #expect(abs(try #require(controller.multipliers["held"]) - 0.05) < 1e-12)
    }

    /// η·(v, 0.5v + v): momentum 0.5, two steps of the violation 0.2, as torch's SGD has it.
    @Test func momentumIsThatOfSGD() throws {
        let settings = MultiplierSettings(learningRate: 1, momentum: 0.5)
        var controller = LagrangianConstraints([Constraint("held", limit: 0.5)], settings)
        for _ in 0..<2 { _ = controller.observe(step([[0.3]])) }
        #expect(abs(try #require(controller.multipliers["held"]) - (0.2 + 0.3)) < 1e-12)
        // The published code's five steps a rollout, without momentum: 5 × 0.2.
        let several = MultiplierSettings(learningRate: 1)
        var other = LagrangianConstraints([Constraint("held", limit: 0.5)], several, stepsPerRollout: 5)
        _ = other.observe(step([[0.3]]))
        #expect(abs(try #require(other.multipliers["held"]) - 1) < 1e-12)
    }

    /// tanh′(0) = 1: gradients −3 and −4 have the norm 5 and become −0.3 and −0.4.
    @Test func theDualGradientIsClippedAsAWhole() throws {
        let settings = MultiplierSettings(.xiPPO, learningRate: 1, momentum: 0, maxGradientNorm: 0.5)
        let constraints = [
            Constraint("task", limit: 4, kind: .equal, scale: 1), Constraint("held", limit: 4, kind: .equal, scale: 1),
        ]
        var controller = LagrangianConstraints(constraints, settings)
        _ = controller.observe(step([[0]]))
        #expect(abs(try #require(controller.state.parameters["task"]) - 0.3) < 1e-12)
        #expect(abs(try #require(controller.state.parameters["held"]) - 0.4) < 1e-12)
    }

    /// λ of ten rollouts is 0, 0.1, … 0.9; the last fifth is that of the 9th and 10th, and what began it.
    @Test func multipliersAreAveragedOverTheLastFifth() throws {
        var controller = LagrangianConstraints([Constraint("held", limit: 1)], MultiplierSettings(learningRate: 1))
        var last: ControllerUpdate?
        for _ in 0..<10 { last = controller.observe(step([[0.9]])) }
        #expect(abs(try #require(last?.metrics["constraints/held/lambda"]) - 0.9) < 1e-12)
        #expect(abs(try #require(last?.metrics["constraints/held/lambda_mean"]) - 0.8) < 1e-12)
        #expect(abs(try #require(last?.metrics["constraints/held/value_mean"]) - 0.9) < 1e-12)
    }

    @Test func itSaysWhyAWeightMoved() {
        var controller = LagrangianConstraints(
            [Constraint("held", limit: 200, kind: .atMost)], MultiplierSettings(learningRate: 0.1))
        let notes = (0..<4).map { _ in controller.observe(step([[300]]))?.note }
        #expect(
            notes == [
                nil, "the multiplier of held went from 0 to 0.1: held is 300, its limit at most 200", nil,
                "the multiplier of held went from 0.1 to 0.2: held is 300, its limit at most 200",
            ])
    }

    /// tanh(−3) = −0.995. The reward fails in the 20th rollout, which has no J of its own; in the other run the first
    /// score comes in the 26th.
    @Test(arguments: [(19, 1, 20), (0, 25, 26)])
    func aMultiplierAtItsBoundIsToldOfOnce(_ scored: Int, _ failed: Int, _ rollouts: Int) throws {
        let (score, failure) = (step([[0.9]]), step([[nil]]))
        let steps = [(score, scored), (failure, failed), (score, 10)].flatMap { Array(repeating: $0, count: $1) }
        func alarms(_ saturation: MultiplierSettings.Saturation) -> (told: [(Int, String)], isTextbook: Bool) {
            var controller = LagrangianConstraints(
                [Constraint("held", limit: 0.05, kind: .equal)],
                MultiplierSettings(.xiPPO, initial: -3, onSaturation: saturation))
            var told: [(Int, String)] = []
            for (index, observed) in steps.enumerated() {
                let note = controller.observe(observed)?.note
                if let note, note.contains("can do no more") { told.append((index + 1, note)) }
            }
            return (told, controller.state.isTextbook)
        }
        let (told, isTextbook) = alarms(.warn)
        #expect(told.map(\.0) == [rollouts] && !isTextbook)
        #expect(told.first?.1.contains("for \(rollouts) rollouts, held is 0.9 and must be equal to 0.05") == true)
        let switched = alarms(.textbook)
        #expect(switched.told.map(\.0) == [rollouts] && switched.isTextbook)
    }

    @Test func anotherJobsStateIsRefusedByName() throws {
        let saved = try LagrangianConstraints([Constraint("length", limit: 1)]).encodedState(with: JSONEncoder())
        var controller = LagrangianConstraints([Constraint("held", limit: 1)])
        let before = controller
        let error = #expect(throws: ControllerStateError.self) {
            try controller.takeState(from: saved, with: JSONDecoder())
        }
        #expect(error?.description == "the checkpoint has multipliers of length; the job constrains held")
        #expect(controller == before)
    }

    /// ℓ of one form is no λ of another, and a multiplier of the other kind pulls the other way. Limits and rates may
    /// differ.
    @Test func theStateOfAnotherVariantOrKindIsRefused() throws {
        let limit = [Constraint("held", limit: 0.5, kind: .atMost)]
        func state(_ controller: LagrangianConstraints) throws -> Data {
            try controller.encodedState(with: JSONEncoder())
        }
        let other = LagrangianConstraints(limit, MultiplierSettings(.allPPO))
        let opposite = LagrangianConstraints([Constraint("held", limit: 0.5)])
        let refused = [
            (other, "the checkpoint has multipliers of the variant all_ppo; the job has textbook"),
            (opposite, "the checkpoint's multiplier of held is that of the kind at_least; the job's is of at_most"),
        ]
        var controller = LagrangianConstraints(limit, MultiplierSettings(learningRate: 0.1))
        let before = controller
        for (saved, words) in refused {
            let error = #expect(throws: ControllerStateError.self) {
                try controller.takeState(from: state(saved), with: JSONDecoder())
            }
            #expect(error?.description == words && controller == before)
        }
        let same = LagrangianConstraints(
            [Constraint("held", limit: 0.75, kind: .atMost)], MultiplierSettings(learningRate: 0.2, initial: 0.5))
        try controller.takeState(from: state(same), with: JSONDecoder())
        #expect(controller.multipliers == ["held": 0.5])

        // A state of before they were kept is taken, and says from its next rollout on whose it is.
        let old = Data(
            #"{"parameters": {"held": 0.25}, "velocities": {}, "recent": {}, "saturated": {}, "announced": {}, "rollouts": 3, "isTextbook": false}"#
                .utf8)
        var bounded = other
        try bounded.takeState(from: old, with: JSONDecoder())
        #expect(bounded.state.parameters == ["held": 0.25])
        _ = bounded.observe(step([[0.5]]))
        #expect(throws: ControllerStateError.self) {
            try controller.takeState(from: state(bounded), with: JSONDecoder())
        }
    }

    /// A score out of reach is none, and without scores nothing moves.
    @Test func aScoreOutOfReachMovesNothing() {
        var controller = LagrangianConstraints([Constraint("held", limit: 1)])
        let metrics = controller.observe(step([[1e308, 1e308]]))?.metrics
        #expect(metrics?["constraints/held/value"] == nil && metrics?["constraints/held/lambda"] == 0)
    }

    /// λ = [ℓ + K·e]₊ with η = 0.1 and K = 2, the limit 0.5 of scale 1. Means 0.3, 0.4, 0.9, 0.9: pulls 0.2, 0.1, −0.4,
    /// −0.4; ℓ 0.02, 0.03, 0, 0; e 0.2, 0.8·0.2 + 0.2·0.1 = 0.18, 0.8·0.18 − 0.08 = 0.064, 0.8·0.064 − 0.08 = −0.0288.
    @Test func aProportionalTermBrakes() throws {
        var controller = LagrangianConstraints(
            [Constraint("first", limit: 0.5)], MultiplierSettings(learningRate: 0.1, proportional: 2))
        for (mean, expected) in [(0.3, 0.42), (0.4, 0.39), (0.9, 0.128), (0.9, 0)] {
            let step = ObservedStep(
                rewardNames: ["first"], groups: [ScoredGroups.group(scores: [[.value(mean)]])])
            _ = controller.observe(step)
            #expect(abs(try #require(controller.multipliers["first"]) - expected) < 1e-12)
        }
        // A state of before there was one goes on as if the pull had been none.
        let old = try JSONDecoder().decode(
            LagrangianConstraints.State.self,
            from: Data(
                #"{"parameters": {"first": 0.25}, "velocities": {}, "recent": {}, "saturated": {}, "announced": {}, "rollouts": 3, "isTextbook": false}"#
                    .utf8))
        controller.state = old
        #expect(controller.multipliers["first"] == 0.25)
    }

    /// A policy that follows the multiplier late: its mean moves each rollout by a tenth of what the multiplier is above
    /// 0.5. Without a proportional term the mean circles around the limit, further out each time; with one it comes to
    /// rest there.
    @Test(arguments: [(0.0, false), (2, true)])
    func whatFollowsLateComesToRest(_ proportional: Double, _ rests: Bool) {
        var controller = LagrangianConstraints(
            [Constraint("first", limit: 0.5)], MultiplierSettings(learningRate: 0.1, proportional: proportional))
        var mean = 0.3
        var late: [Double] = []
        for rollout in 0..<400 {
            _ = controller.observe(
                ObservedStep(rewardNames: ["first"], groups: [ScoredGroups.group(scores: [[.value(mean)]])]))
            mean += 0.1 * ((controller.multipliers["first"] ?? 0) - 0.5)
            if rollout >= 300 { late.append(abs(mean - 0.5)) }
        }
        #expect(((late.max() ?? 1) < 0.01) == rests)
    }
}
