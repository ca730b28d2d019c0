import Credit
import Records
import TestSupport
import Testing

@Suite("Streams of advantages and their mixer")
struct MixerTests {
    /// Two completions of two tokens; d = 0.5, −0.5 and 1, 0.
    private func batch(_ rewards: [Double?] = [1, 0], greedy: Double? = nil, truncated: Set<Int> = []) -> CreditBatch {
        CreditBatch(
            groups: [ScoredGroups.group(rewards, greedy: greedy, truncated: truncated)],
            oldLogProbabilities: [[[-1, -1], [-1, -1]]], referenceLogProbabilities: [[[-1.5, -0.5], [-2, -1]]])
    }

    /// −Σ d to go: 0, 0.5 and −1, 0.
    @Test func thePenaltyIsAStreamOfItsOwnThatIsToGrow() throws {
        let rule = try GreedyBaseline(
            rewards: .single, settings: .init(penalty: KLToGo(coefficient: 0.25)))
        let credited = try rule.credit(batch(greedy: 0.25))
        #expect(credited.streams == ["reward", "kl"])
        #expect(credited.update.parts[0].streamWeights == [1, 0.25])
        #expect(
            credited.update.groups[0].completions.map(\.advantages)
                == [[[0.75, 0.75], [0, 0.5]], [[-0.25, -0.25], [-1, 0]]])
        #expect(credited.update.advantages[0] == [[0.75, 0.875], [-0.5, -0.25]])
        #expect(credited.credits[0].map(\.advantage) == [0.8125, -0.375])
    }

    /// −Σ d: 0 and −1; leave-one-out 1 and −1.
    @Test func theLeaveOneOutAdvantageOfThePenaltyIsItsOwn() throws {
        let rule = try LeaveOneOut(
            rewards: .single, settings: .init(penalty: KLToGo(coefficient: 0.5, reach: .completion)))
        let credited = try rule.credit(batch())
        #expect(
            credited.update.groups[0].completions.map(\.advantages) == [[[1, 1], [1, 1]], [[-1, -1], [-1, -1]]])
        #expect(credited.update.advantages[0] == [[1.5, 1.5], [-1.5, -1.5]])
    }

    @Test func withoutAPenaltyThereIsOneStreamOfWeightOneAndItIsTheAdvantageToTheBit() throws {
        let stream = [0.1, 0.7, -3e-300]
        #expect(UpdateCompletion.mixed([stream], [1]) == stream)
        let names = ["group", "batch", "normalize then sum", "rloo", "reinforce++, mean", "ppo"]
        for rule in try NamedRule.all where names.contains(rule.name) {
            let credited = try rule.rule.credit(
                CreditBatch(groups: batch(greedy: 0.5).groups, values: CriticValues(oneHead: [[[0, 0], [0, 0]]])))
            #expect(credited.streams == ["reward"] && credited.update.parts[0].streamWeights == [1], "\(rule.name)")
        }
    }

    private func scaled(_ mixer: Mixer, beta: Double, _ batch: CreditBatch) throws -> CreditedBatch {
        var rule = PlainReward(rewards: try .single, penalty: KLToGo(coefficient: beta, reach: .oneStep))
        rule.mixer = mixer
        return try rule.credit(batch)
    }

    /// Rewards 2 and −1 at two tokens each: mean 0.5, variance 4·1.5²/3 = 3. −d: −0.5, 0.5, −1, 0: mean −0.25, variance
    /// (1 + 9 + 9 + 1)/16/3 = 5/12.
    @Test func eachStreamIsStandardizedByItself() throws {
        let credited = try scaled(Mixer(.eachStream), beta: 0.1, batch([2, -1]))
        let found = credited.update.groups[0].completions.map(\.advantages)
        let reward = 1.5 / 3.0.squareRoot()
        let penalty = [-0.25, 0.75, -0.75, 0.25].map { $0 / (5.0 / 12).squareRoot() }
        #expect(relativeDistance(found.flatMap { $0[0] }, [reward, reward, -reward, -reward]) < 1e-7)
        #expect(relativeDistance(found.flatMap { $0[1] }, penalty) < 1e-7)
        #expect(credited.update.parts[0].streamWeights == [1, 0.1])
        #expect(try scaled(Mixer(.eachStream), beta: 7, batch([2, -1])).update.groups == credited.update.groups)
    }

    @Test func aStreamWithoutAnyVarianceBecomesZero() throws {
        let found = try scaled(Mixer(.eachStream), beta: 0.1, batch([0.1, 0.1])).update.groups[0].completions
        #expect(found.allSatisfy { $0.advantages[0] == [0, 0] })
        #expect(found.contains { $0.advantages[1] != [0, 0] })
    }

    /// The second has no reward: what is left are the tokens of the first, −0.5 and 0.5 in the penalty's stream, of
    /// variance 1/2.
    @Test func whatIsNotValidEntersNoMeanAndGetsZero() throws {
        let found = try scaled(Mixer(.eachStream), beta: 0.1, batch([2, nil])).update.groups[0].completions
        #expect(relativeDistance(found[0].advantages[1], [-0.5, 0.5].map { $0 / 0.5.squareRoot() }) < 1e-7)
        #expect(found.map { $0.advantages[0] } == [[0, 0], [0, 0]])
        #expect(found[1].advantages[1] == [0, 0])
    }

    /// 1 − 0.5·to go of d: 1, 1.25 and −0.5, 0: mean 0.4375.
    @Test func theMixIsWhitenedAsOne() throws {
        var rule = PlainReward(rewards: try .single, penalty: KLToGo(coefficient: 0.5))
        rule.mixer = Mixer(.mix)
        let credited = try rule.credit(batch())
        let plain = [1, 1.25, -0.5, 0]
        let variance = plain.reduce(0) { $0 + ($1 - 0.4375) * ($1 - 0.4375) } / 3
        let expected = plain.map { ($0 - 0.4375) / variance.squareRoot() }
        #expect(credited.streams == ["reward+kl"] && credited.update.parts[0].streamWeights == [1])
        #expect(relativeDistance(credited.update.groups[0].completions.flatMap { $0.advantages[0] }, expected) < 1e-7)
    }

    // MARK: Rewards kept apart

    private func apart(_ names: [String] = ["a", "b"]) throws -> RewardCombination {
        var rewards = RewardCombination(names: names, weights: [2, 0.5])
        rewards.form = .apart
        return rewards
    }

    private let scores: [[RewardScore]] = [
        [.value(1), .value(3)], [.value(0.25), .value(-1)], [.value(0), .value(0.5)],
    ]

    @Test func linearRulesGiveTheSameSumWhetherRewardsAreKeptApartOrNot() throws {
        let summed = RewardCombination(names: ["a", "b"], weights: [2, 0.5])
        func rules(_ rewards: RewardCombination) throws -> [any CreditRule] {
            [
                PlainReward(rewards: rewards), LeaveOneOut(rewards: rewards, settings: .init()),
                GreedyBaseline(rewards: rewards, settings: .init()),
                BatchWhitening(rewards: rewards, form: .groupMean),
                GroupBaseline(rewards: rewards, settings: .init(scaling: .none)),
            ]
        }
        let batch = CreditBatch(groups: [
            ScoredGroups.group(scores: scores, greedyScores: [.value(0.5), .value(1)], lengths: [1, 2, 3])
        ])
        for (one, other) in zip(try rules(summed), try rules(apart())) {
            let (expected, found) = (try one.credit(batch), try other.credit(batch))
            let distance = relativeDistance(
                found.update.advantages[0].flatMap(\.self), expected.update.advantages[0].flatMap(\.self))
            #expect(distance < 1e-12, "\(type(of: one))")
            #expect(found.update.parts[0].streamWeights == (one is BatchWhitening ? [1] : [2, 0.5]))
        }
    }

    /// Rewards a: 1 and 0 beside an abstention; its leave-one-out is 1 and −1, as if the third completion were not
    /// there.
    @Test func aCompletionThatOneRewardLeftOutIsNoPartOfItsComparison() throws {
        var scores = scores
        scores[1][0] = .abstained(reason: "-")
        let rule = LeaveOneOut(rewards: try apart(), settings: .init())
        let found = try rule.credit(CreditBatch(groups: [ScoredGroups.group(scores: scores)])).update.groups[0]
            .completions.map { $0.advantages.map { $0[0] } }
        #expect(found.map { $0[0] } == [1, 0, -1])
        #expect(relativeDistance(found.map { $0[1] }, [3.25, -2.75, -0.5]) < 1e-12)  // 3/2·(r − 5/6)
    }

    @Test func aControllersWeightsTakeThePlaceOfTheJobs() throws {
        let rule = PlainReward(rewards: try apart())
        let batch = CreditBatch(groups: [ScoredGroups.group(scores: scores)], weights: ["b": 4])
        #expect(try rule.credit(batch).update.parts[0].streamWeights == [2, 4])
    }

    @Test func whatCannotBeKeptApartIsRefused() throws {
        let batch = CreditBatch(
            groups: [ScoredGroups.group(scores: scores)],
            referenceLogProbabilities: [[[-1, -1], [-1, -1], [-1, -1]]])
        let penalty = KLToGo(coefficient: 0.1, reach: .completion)
        let rules: [any CreditRule] = [
            GroupBaseline(rewards: try apart(), settings: .init(penalty: penalty)),
            GroupBaseline(rewards: try apart(), settings: .init(aggregation: .normalizeThenSum)),
            LeaveOneOut(rewards: try apart(), settings: .init(normalizesAdvantages: true)),
        ]
        for rule in rules { #expect(throws: CreditError.self) { try rule.credit(batch) } }
        #expect(throws: CreditError.streamName("kl")) {
            try PlainReward(rewards: try apart(["a", "kl"])).credit(batch)
        }
    }
}

@Suite("Streams of an actor-critic")
struct ActorCriticStreamTests {
    private func rule(_ rewards: RewardCombination? = nil) throws -> ActorCritic {
        var rule = try ActorCritic(
            rewards: rewards ?? .single, estimator: .init(discount: 1, lambda: 1),
            penalty: KLToGo(coefficient: 0.5, reach: .oneStep))
        rule.mixer = Mixer()
        return rule
    }

    /// A reward of 1 at the end; d = 0.5, −0.25.
    private func batch(_ values: CriticValues) -> CreditBatch {
        CreditBatch(
            groups: [ScoredGroups.group([1])], oldLogProbabilities: [[[-1, -1]]],
            referenceLogProbabilities: [[[-1.5, -0.75]]], values: values)
    }

    /// λ = 1: A is what follows less V. Rewards 1, 1 less 0.5, 0.25; −d to go is −0.25, 0.25 less −0.5, 0.
    @Test func aHeadForEachStreamHasItsOwnReturns() throws {
        let credited = try rule().credit(batch(CriticValues([[[[0.5, 0.25], [-0.5, 0]]]])))
        let completion = credited.update.groups[0].completions[0]
        #expect(completion.advantages == [[0.5, 0.75], [0.25, 0.25]])
        #expect(completion.returns == [[1, 1], [-0.25, 0.25]])
        #expect(completion.oldValues == [[0.5, 0.25], [-0.5, 0]])
        #expect(credited.update.advantages[0][0] == [0.625, 0.875])
        #expect(credited.metrics["values/kl/mean"] == -0.25 && credited.metrics["returns/reward/mean"] == 1)
    }

    /// The sum's return: 1 − 0.5·0.25 and 1 + 0.5·0.25.
    @Test func oneHeadValuesTheSum() throws {
        let completion = try rule().credit(batch(CriticValues(oneHead: [[[0.5, 0.25]]]))).update.groups[0]
            .completions[0]
        #expect(completion.advantages == [[0.5, 0.75], [-0.25, 0.25]])
        #expect(completion.returns == [[0.875, 1.125]])
    }

    @Test func aCriticOfAnotherNumberOfHeadsIsRefused() throws {
        #expect(throws: CreditError.valueStreams(expected: 2, found: 3)) {
            try rule().credit(batch(CriticValues([[[[0, 0], [0, 0], [0, 0]]]])))
        }
        var rewards = try RewardCombination.single
        rewards.form = .apart
        var weighted = batch(CriticValues(oneHead: [[[0, 0]]]))
        #expect(throws: Never.self) { try rule(rewards).credit(weighted) }
        weighted.weights = ["accuracy": 2]  // then V would count twice
        #expect(throws: CreditError.valueStreams(expected: 2, found: 1)) { try rule(rewards).credit(weighted) }
    }

    @Test func aStepWithoutGroupsHasNothingToValue() throws {
        var rewards = RewardCombination(names: ["a", "b"], weights: [2, 1])
        rewards.form = .apart
        let empty = CreditBatch(
            groups: [], oldLogProbabilities: [], referenceLogProbabilities: [], values: CriticValues([]))
        for own in try [rule(rewards), rule()] {
            let credited = try own.credit(empty)
            #expect(credited.update.groups.isEmpty && credited.credits.isEmpty)
        }
    }
}
