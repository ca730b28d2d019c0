import Credit
import Foundation
import Records
import TestSupport
import Testing

@Suite("What a job says of its rewards' weights")
struct RewardControlTests {
    private static let rewards = [
        RewardControl.Reward("accuracy", range: 0...1), .init("completion_length", range: 0...1e9), .init("style"),
    ]

    private func map(_ members: [(String, String)]) -> SettingsNode {
        SettingsNode(
            .map(members.map { .init($0.0, SettingsNode(.scalar($0.1, isQuoted: false), place: "job line 2")) }),
            place: "job line 2")
    }

    private func list(_ items: [SettingsNode]) -> SettingsNode { SettingsNode(.list(items), place: "job line 1") }
    private func number(_ text: String) -> SettingsNode {
        SettingsNode(.scalar(text, isQuoted: false), place: "line 1")
    }

    private func read(
        _ members: [SettingsNode.Member], namesAreFinal: Bool = true
    ) -> (control: RewardControl, job: SettingsReader) {
        var job = SettingsReader("the job", members)
        let control = RewardControl(reading: &job, rewards: Self.rewards, namesAreFinal: namesAreFinal)
        return (control, job)
    }

    private func held(_ reward: String, _ limit: String, _ kind: String, _ more: [(String, String)] = [])
        -> SettingsNode
    {
        map([("reward", reward), ("limit", limit), ("kind", kind)] + more)
    }

    @Test func withoutThemEveryRewardWeighsOne() {
        let (control, job) = read([])
        #expect(control.rewards == RewardCombination(names: Self.rewards.map(\.name)))
        #expect(control.controllers(optimizerStepsPerRollout: 1).isEmpty && job.problems.isEmpty)
        #expect(control.mixer(Mixer(.mix)) == Mixer(.mix))
    }

    @Test func aConstrainedRewardHasAStreamAndNoWeightOfItsOwn() {
        let (control, job) = read([.init("constraints", list([held("completion_length", "200", "at_most")]))])
        #expect(job.problems.isEmpty)
        #expect(control.rewards.form == .apart && control.rewards.weights == [1, 0, 1])
        #expect(control.rewards.shapes[1] == .divided(by: 200))
        #expect(control.mixer(Mixer(.mix)) == Mixer(.rewards))
        #expect(control.controllers(optimizerStepsPerRollout: 1).map(\.name) == ["constraints"])
        #expect(job.entry("reward_weights")?.value == "[1.0, 0.0, 1.0]")
    }

    /// −((300 − 200)/200)² = −0.25, beside an accuracy of 1.
    @Test func theSaturatedFormIsOneReward() throws {
        let (control, job) = read([
            .init("constraints", list([held("completion_length", "200", "equal")])),
            .init("multipliers", map([("variant", "ppo_sat")])),
        ])
        #expect(job.problems.isEmpty && control.rewards.form == .summed)
        let scores = [RewardScore.value(1), .value(300), .abstained(reason: "-")]
        #expect(control.rewards.combined(scores) == 0.75)
    }

    @Test func weightsByStepAreLinesOrSteps() {
        let curve = map([("0", "1"), ("100", "0.2")])
        for (word, expected) in [("linear", 0.6), ("steps", 1.0)] {
            let (control, job) = read([
                .init("reward_weights", map([]).with("accuracy", number("2")).with("style", curve)),
                .init("reward_weight_interpolation", number(word)),
            ])
            #expect(job.problems.isEmpty, "\(job.problems)")
            let controllers = control.controllers(optimizerStepsPerRollout: 1)
            #expect(controllers.map(\.name) == ["reward_weights"])
            let weights = [0, 50, 100, 500].compactMap { controllers[0].weights(at: $0)["style"] }
            #expect(zip(weights, [1, expected, 0.2, 0.2]).allSatisfy { abs($0 - $1) < 1e-12 } && weights.count == 4)
            #expect(control.rewards.weights == [2, 1, 0.2])  // what an evaluation weighs with: the end's
        }
    }

    /// A list has one entry a reward, each a number, a section or a list of sections.
    @Test func weightsComeAsAListToo() {
        let curve = list([map([("0", "0")]), map([("10", "1")])])
        let (control, job) = read([.init("reward_weights", list([number("2"), number("0"), curve]))])
        #expect(job.problems.isEmpty)
        #expect(job.entry("reward_weights")?.value == "[2.0, 0.0, {0: 0.0, 10: 1.0}]")
        let weights = control.controllers(optimizerStepsPerRollout: 1)[0].weights(at: 5)
        #expect(weights == StreamWeights(["style": 0.5]))
    }

    struct Refusal: CustomTestStringConvertible {
        let members: [SettingsNode.Member]
        let message: String
        var testDescription: String { message }
    }

    @Test func whatCannotBeIsRefused() {
        let variant = { (name: String) in SettingsNode.Member("multipliers", self.map([("variant", name)])) }
        let constraints = { (items: [SettingsNode]) in SettingsNode.Member("constraints", self.list(items)) }
        let refusals: [Refusal] = [
            .init(
                members: [constraints([held("completion_lenght", "200", "at_most")])],
                message: "constraints: no reward is named 'completion_lenght'; did you mean completion_length?"),
            .init(
                members: [constraints([held("accuracy", "1.5", "at_least")])],
                message: "constraints: accuracy can never be at least 1.5; its scores lie from 0 to 1"),
            .init(
                members: [constraints([held("completion_length", "-1", "equal")])],
                message: "constraints: completion_length can never be equal to -1; its scores lie from 0 to 1e+09"),
            .init(
                members: [constraints([held("style", "1", "at_least"), held("style", "2", "at_most")])],
                message:
                    "constraints: two are named style; give one of them another name, as {…, name: style_at_most}"),
            .init(
                members: [constraints([held("style", "1", "at_least")]), variant("xi_ppo")],
                message:
                    "multipliers.variant is xi_ppo, which holds equal, and style is at_least; expected textbook, or another kind"
            ),
            .init(
                members: [
                    constraints([held("style", "1", "at_least")]),
                    .init("reward_weights", map([]).with("style", map([("0", "1"), ("9", "2")]))),
                ],
                message:
                    "reward_weights has weights by step for style, whose weight is the multiplier of a constraint; a weight has one owner. Allowed: one of constraints, dynamic_weights gradient, recap and weights by step per reward; recap together with constraints on other rewards; and with any of them dynamic_weights hypervolume, which multiplies all, and kl_target"
            ),
            .init(
                members: [
                    constraints([held("style", "1", "at_least")]),
                    .init("dynamic_weights", map([("method", "gradient")])),
                ],
                message:
                    "dynamic_weights.method is gradient, which sets the weights of the rewards, and so do constraints; a weight has one owner. Allowed: \(RewardControl.stacks)"
            ),
            .init(
                members: [
                    .init("reward_weights", list([number("1"), number("0"), number("2")])),
                    .init("dynamic_weights", map([("method", "gradient")])),
                ],
                message:
                    "reward_weights has 0, and dynamic_weights.method gradient begins with them; expected numbers above 0"
            ),
            .init(
                members: [.init("dynamic_weights", map([("method", "hypervolume"), ("minimize", "lenght")]))],
                message:
                    "dynamic_weights.minimize: no reward is named 'lenght'; reward_funcs has accuracy, completion_length, style"
            ),
            .init(
                members: [.init("dynamic_weights", map([("method", "recap")]))],
                message:
                    "dynamic_weights.method is recap, which measures how far completion_length is from its largest score, and that is unknown; set dynamic_weights.ceilings, one number per reward"
            ),
            .init(
                members: [
                    .init(
                        "dynamic_weights",
                        map([]).with("method", list([number("recap"), number("gradient")])).with(
                            "ceilings", list([number("1"), number("9"), number("2")])))
                ],
                message:
                    "dynamic_weights.method has gradient and recap, which both set the weights of the rewards; a weight has one owner. Allowed: \(RewardControl.stacks)"
            ),
            .init(
                members: [
                    .init("dynamic_weights", map([("method", "recap")])),
                    .init("reward_weights", list([number("1"), number("0"), number("0")])),
                ],
                message:
                    "dynamic_weights.method is recap; one objective has nothing to be weighed against, expected another reward or dynamic_weights.replay"
            ),
            .init(
                members: [
                    .init(
                        "dynamic_weights",
                        map([("method", "recap")]).with("ceilings", list([number("1"), number("9"), number("2")]))),
                    .init("reward_weights", list([number("1"), number("-0.1"), number("2")])),
                ],
                message:
                    "reward_weights has -0.1 for completion_length, and dynamic_weights.method recap measures how far a reward is from its largest score; a cost moves away from that as it improves; expected a number of at least 0, or constraints on completion_length"
            ),
            .init(
                members: [
                    .init("dynamic_weights", map([("method", "recap")]).with("ceilings", list([number("1")])))
                ],
                message: "dynamic_weights.ceilings gives 1 for 3 rewards; expected 3"),
            .init(
                members: [
                    constraints([held("style", "0.5", "equal", [("low", "0.2"), ("high", "0.5")])]),
                    .init("threshold_search", map([("gold", "accuracy")])),
                ],
                message:
                    "constraints: style has the limit 0.5 and the same high, and threshold_search begins between them; expected a high above the limit"
            ),
            .init(
                members: [
                    constraints([held("style", "0.5", "equal", [("low", "0.2"), ("high", "0.504")])]),
                    .init("threshold_search", map([("gold", "accuracy")])),
                ],
                message:
                    "threshold_search.cache_distance is 0.005, and no limit has more room than that up to its high (style from 0.5 to 0.504): every point would take the value of the first; expected less, or a larger high"
            ),
            .init(
                members: [.init("reward_weights", list([number("1")]))],
                message: "reward_weights gives 1 for 3 rewards; expected 3"),
            .init(
                members: [.init("reward_weights", map([("stile", "1")]))],
                message: "reward_weights: no reward is named 'stile'; did you mean style?"),
            .init(
                members: [.init("reward_weights", list([number("1"), number("1e160"), number("1")]))],
                message: "a weight is '1e160'; expected a finite number, of a size from 1e-15 to 1e15"),
            .init(
                members: [.init("reward_weights", map([]).with("style", map([("0", "1"), ("5", "1e308")])))],
                message: "the weight at step 5 is '1e308'; expected a finite number, of a size from 1e-15 to 1e15"),
            .init(
                members: [constraints([held("style", "1e308", "equal")])],
                message: "a constraint's limit is '1e308'; expected a finite number, of a size from 1e-15 to 1e15"),
            .init(
                members: [constraints([held("style", "1", "equal", [("scale", "5e-324")])])],
                message: "a constraint's scale is '5e-324'; expected a finite number, of a size from 1e-15 to 1e15"),
            .init(
                members: [constraints([map([("reward", "style"), ("limit", "1")])])],
                message:
                    "a constraint needs kind: at_least, at_most or equal; found a section with reward, limit"),
            .init(
                members: [constraints([held("style", "1", "atleast")])],
                message: "a constraint's kind is 'atleast'; expected one of at_least, at_most, equal"),
            .init(
                members: [constraints([held("style", "1", "equal", [("scael", "2")])])],
                message: "a constraint has no 'scael'; did you mean scale?"),
        ]
        for refusal in refusals {
            let (control, job) = read(refusal.members)
            #expect(control.controllers(optimizerStepsPerRollout: 1).isEmpty)  // nothing is made of what is wrong
            let problems = job.problems.map(\.message)
            #expect(problems.contains(refusal.message), "\(problems)")
        }
    }

    /// As in the paper's own search: from 0.0029 to 0.005, beside limits with more room than the cache tells apart.
    @Test func oneOfSeveralSearchedLimitsMayHaveLittleRoom() {
        let (control, job) = read([
            .init(
                "constraints",
                list([
                    held("accuracy", "0.43", "equal", [("low", "0.4"), ("high", "0.528")]),
                    held("style", "0.0029", "equal", [("low", "0.002"), ("high", "0.005")]),
                ])),
            .init("threshold_search", map([("gold", "completion_length")])),
        ])
        #expect(job.problems.isEmpty && control.search?.bounds["style"] == 0.002...0.005, "\(job.problems)")
    }

    /// What a reward calls itself may be known only when it is open: `scores.py:style` goes by its last part.
    @Test func aNameMayBeKnownLater() {
        let entry = SettingsNode.Member("constraints", list([held("politeness", "1", "at_least")]))
        #expect(read([entry], namesAreFinal: false).job.problems.isEmpty)
        #expect(read([entry]).job.problems.count == 1)
        var job = SettingsReader("the job", [entry])
        let control = RewardControl(reading: &job, rewards: [.init("scores.py:politeness")], namesAreFinal: false)
        #expect(control.constraints.map(\.reward) == ["scores.py:politeness"])
    }

    /// A factor of all weights stands beside whatever sets them.
    @Test func theAllowedStacksAreTaken() {
        let constraints = SettingsNode.Member("constraints", list([held("style", "1", "at_least")]))
        let guided = SettingsNode.Member("dynamic_weights", map([("method", "hypervolume")]))
        let both = SettingsNode.Member(
            "dynamic_weights", map([]).with("method", list([number("hypervolume"), number("gradient")])))
        let scheduled = SettingsNode.Member("reward_weights", map([]).with("style", map([("0", "1"), ("9", "2")])))
        let recap = SettingsNode.Member(
            "dynamic_weights",
            map([("replay", "general.jsonl")]).with("method", list([number("recap"), number("hypervolume")])).with(
                "ceilings", list([number("1"), number("9"), number("2")])))
        for (members, names) in [
            ([constraints, recap], ["constraints", "recap", "hypervolume"]),
            ([constraints, guided], ["constraints", "hypervolume"]), ([both], ["gradient_weights", "hypervolume"]),
            ([scheduled, guided], ["reward_weights", "hypervolume"]),
        ] {
            let (control, job) = read(members)
            #expect(job.problems.isEmpty, "\(job.problems)")
            #expect(control.controllers(optimizerStepsPerRollout: 1).map(\.name) == names)
        }
    }

    @Test func aLimitThatAlwaysHoldsIsSaid() {
        let job = read([.init("constraints", list([held("accuracy", "0", "at_least")]))]).job
        #expect(job.notices == ["constraints: accuracy is always at least 0; its scores lie from 0 to 1"])
    }

    @Test func theResolvedFileReadsBackTheSame() throws {
        let (control, job) = read([
            .init("constraints", list([held("completion_length", "200", "at_most"), held("style", "1", "equal")]))
        ])
        let yaml = try #require(job.entry("constraints")?.value)
        #expect(
            yaml
                == "[{reward: completion_length, limit: 200.0, kind: at_most, scale: 200.0, name: completion_length}, {reward: style, limit: 1.0, kind: equal, scale: 1.0, name: style}]"
        )
        #expect(control.constraints.map(\.limit) == [200, 1])
    }
}

extension SettingsNode {
    fileprivate func with(_ key: String, _ node: SettingsNode) -> SettingsNode {
        guard case .map(let members) = content else { return self }
        return SettingsNode(.map(members + [Member(key, node)]), place: place)
    }
}

@Suite("Constraints over the streams of every rule")
struct ConstrainedStreamTests {
    private let constraints = [Constraint("length", limit: 10, kind: .atMost)]
    private var rewards: RewardCombination {
        RewardCombination(
            names: ["task", "length"], weights: [1, 0], form: .apart, shapes: [.asScored, .divided(by: 10)])
    }

    private func batch(_ initial: Double = 1) -> CreditBatch {
        let scores: [[Double?]] = [[1, 20], [0, 10], [0, 15], [1, 15]]
        let controller = LagrangianConstraints(constraints, MultiplierSettings(initial: initial))
        return CreditBatch(
            groups: [
                ScoredGroups.group(
                    scores: scores.map { $0.map(ScoredGroups.score) }, greedyScores: [.value(0), .value(10)])
            ],
            values: CriticValues([[[[0, 0], [0, 0]], [[0, 0], [0, 0]], [[0, 0], [0, 0]], [[0, 0], [0, 0]]]]),
            weights: controller.weights(at: 0))
    }

    /// λ = 1, divided by 1 + λ: the task weighs 1/2, the length −1/2.
    @Test func theWeightsAreTheMultipliers() throws {
        let rules: [any CreditRule] = [
            GroupBaseline(rewards: rewards, settings: .init()), LeaveOneOut(rewards: rewards, settings: .init()),
            GreedyBaseline(rewards: rewards, settings: .init()), PlainReward(rewards: rewards),
            BatchWhitening(rewards: rewards, form: .groupMean, mixer: Mixer(.rewards)),
        ]
        for rule in rules {
            let part = try rule.credit(batch()).update.parts[0]
            #expect(part.streamWeights == [0.5, -0.5] && part.klWeight == 0.5, "\(type(of: rule))")
        }
        var critic = ActorCritic(rewards: rewards, estimator: .init(discount: 1, lambda: 1))
        critic.mixer = Mixer(.rewards)
        #expect(try critic.credit(batch()).update.parts[0].streamWeights == [0.5, -0.5])
    }

    /// Rewards 1 0 0 1 have the mean 1/2 and the deviation 1/√3; lengths 2 1 1.5 1.5 the mean 1.5 and the deviation
    /// 1/√6. A = ½·√3·(½, −½, −½, ½) − ½·√6·(½, −½, 0, 0), to the 10⁻⁴ on the deviation; nothing is normalized again.
    @Test func eachObjectiveIsNormalizedAndTheMixIsNot() throws {
        let found = try GroupBaseline(rewards: rewards, settings: .init(epsilon: 0)).credit(batch()).update
            .advantages[0].map { $0[0] }
        let (a, b) = (3.0.squareRoot() / 4, 6.0.squareRoot() / 4)
        let expected = [a - b, -a + b, -a, a]
        #expect(zip(found, expected).allSatisfy { abs($0 - $1) < 1e-12 }, "\(found)")
    }

    /// The KL is left as it is where rewards are brought to one scale: β keeps its meaning.
    @Test func theKLStreamKeepsItsScale() throws {
        var batch = batch()
        batch.referenceLogProbabilities = [(0..<4).map { _ in [-0.8, -0.6] }]
        let penalty = KLToGo(coefficient: 0.2)
        for (mixer, keeps) in [(Mixer(.rewards), true), (Mixer(.eachStream), false)] {
            let part = try PlainReward(rewards: rewards, penalty: penalty, mixer: mixer).credit(batch).update.parts[0]
            #expect(zip(part.streamWeights, [0.5, -0.5, 0.1]).allSatisfy { abs($0 - $1) < 1e-12 })
            // d = 0.1 and −0.1: to go 0, −0.1.
            let kl = part.groups[0].completions[0].advantages[2]
            #expect((zip(kl, [0, 0.1]).allSatisfy { abs($0 - $1) < 1e-6 }) == keeps, "\(kl)")
        }
    }

    /// One reward failed for a whole group: that group teaches the other objective alone, and the other groups both.
    @Test func aRewardThatFailsForAGroupLeavesTheOtherToTeach() throws {
        let failed = ScoredGroups.group(scores: [
            [.value(1), .failed(message: "-")], [.value(0), .failed(message: "-")],
        ])
        let whole = ScoredGroups.group(scores: [[.value(1), .value(12)], [.value(0), .value(8)]], row: 1)
        let controller = LagrangianConstraints(constraints, MultiplierSettings(initial: 1))
        let batch = CreditBatch(groups: [failed, whole], weights: controller.weights(at: 0))
        let credited = try GroupBaseline(rewards: rewards, settings: .init(epsilon: 0)).credit(batch)
        let advantages = credited.update.groups.map { $0.completions.map { $0.advantages.map { $0[0] } } }
        let half = 0.5.squareRoot()
        #expect(relativeDistance(advantages[0].flatMap(\.self), [half, 0, -half, 0]) < 1e-12)
        #expect(relativeDistance(advantages[1].flatMap(\.self), [half, half, -half, -half]) < 1e-12)
        #expect(credited.metrics["frac_reward_zero_std"] == 0)
        let tally = ObservedStep(rewardNames: ["task", "length"], groups: [failed, whole]).tally(of: "length")
        #expect(tally == ScoreTally(sum: 20, count: 2))
    }

    /// Equal tasks and different lengths: the group is not dead, one stream still uses it.
    @Test func aGroupIsDeadWhenNoObjectiveDiffers() throws {
        let group = ScoredGroups.group(scores: [[.value(1), .value(12)], [.value(1), .value(8)]])
        let credited = try GroupBaseline(rewards: rewards, settings: .init()).credit(CreditBatch(groups: [group]))
        #expect(credited.metrics["frac_reward_zero_std"] == 0)
    }
}
