import Credit
import Records
import TestSupport
import Testing

@Suite("Leave-one-out baseline")
struct LeaveOneOutTests {
    @Test func theGoldenGroups() throws {
        let rule = try LeaveOneOut(rewards: .single, settings: .init())
        let advantages = rule.advantages(of: [[1, 0, 0, 1], [3, 5], [0.1, 0.1, 0.1], [2], [nil, 4], [2, nil, 1]])
        #expect(relativeDistance(advantages[0], [2.0 / 3, -2.0 / 3, -2.0 / 3, 2.0 / 3]) < 1e-12)
        #expect(advantages[1...].map(\.self) == [[-2, 2], [0, 0, 0], [0], [0, 0], [1, 0, -1]])
    }

    @Test(arguments: [2, 3, 5])
    func theExpectedGradientIsThePolicyGradient(_ samples: Int) throws {
        let arms = TabularPolicy(vocabulary: 3, length: 1, seed: 4)
        let rewards = [1.0, 0.2, 0.6]
        let rule = try LeaveOneOut(rewards: .single, settings: .init())
        let exact = arms.expectation { arms.scoreGradient($0, coefficients: [rewards[$0[0]]]) }
        let mean = Enumeration.expectedGradient(of: arms, samples: samples) { group in
            rule.advantages(of: [group.map { rewards[$0] }])[0]
        }
        #expect(relativeDistance(mean, exact) < 1e-12)
    }

    /// Over pairs of completions: with the penalty in the reward it is the gradient of E[r] − β·KL(π‖π_ref) over
    /// completions.
    @Test func thePenaltysGradientIsThatOfTheSequencesKL() throws {
        let policy = TabularPolicy(vocabulary: 3, length: 2, seed: 71)
        let reference = TabularPolicy(vocabulary: 3, length: 2, seed: 72)
        func reward(_ sequence: [Int]) -> Double { sequence.reduce(0.5) { $0 / 2 + Double($1) } }
        let penalty = KLToGo(coefficient: 0.4, reach: .completion)
        let rule = try LeaveOneOut(rewards: .single, settings: .init(penalty: penalty))
        let all = policy.sequences
        let found = try Enumeration.groups(of: 2, from: all.count).map { pair in
            let completions = pair.map { all[$0] }
            let rollouts = completions.enumerated().map { sample, tokens in
                ScoredGroups.rollout(
                    tokens: tokens, logProbabilities: policy.logProbabilities(tokens), sample: sample)
            }
            let scored = ScoredGroup(
                group: RolloutGroup(
                    prompt: ScoredGroups.prompt(0), rollouts: rollouts, policyVersion: PolicyVersion(0)),
                scores: completions.map { [.value(reward($0))] })
            let references = completions.map { reference.logProbabilities($0).map(Float.init) }
            let credited = try rule.credit(CreditBatch(groups: [scored], referenceLogProbabilities: [references]))
            let weight = completions.map(policy.probability).reduce(1, *) / 2
            return zip(completions, credited.update.advantages[0]).map { tokens, advantages in
                policy.scoreGradient(tokens, coefficients: advantages.map { $0 * weight })
            }.summed()
        }.summed()
        let expected = policy.centralDifferences { moved in
            moved.expectation { (sequence: [Int]) -> Double in
                let difference = zip(moved.logProbabilities(sequence), reference.logProbabilities(sequence))
                return reward(sequence) - 0.4 * difference.reduce(0) { $0 + $1.0 - $1.1 }
            }
        }
        #expect(relativeDistance(found, expected) < 1e-5)  // log-probs cross rooms as Float
    }

    /// Rewards 9 and 0 clipped to 0...4; penalties 0.5·(1 + 1) and 0: 3 against 0.
    @Test func theClipComesBeforeThePenalty() throws {
        let penalty = KLToGo(coefficient: 0.5, reach: .completion)
        let rule = try LeaveOneOut(rewards: .single, settings: .init(rewardClip: 0...4, penalty: penalty))
        let batch = CreditBatch(
            groups: [ScoredGroups.group([9, 0])], oldLogProbabilities: [[[-1, -1], [-1, -1]]],
            referenceLogProbabilities: [[[-2, -2], [-1, -1]]])
        let credited = try rule.credit(batch)
        #expect(credited.update.advantages[0] == [[3, 3], [-3, -3]])
        #expect(credited.metrics["kl"] == 0.5)
        #expect(credited.metrics["reward"] == 4.5)
    }

    /// Advantages ±1, ±2: variance 10/3; unscorable completions stay out of it.
    @Test func normalizingDividesByTheBatchesDeviation() throws {
        let rule = try LeaveOneOut(rewards: .single, settings: .init(normalizesAdvantages: true))
        let found = rule.advantages(of: [[1, 0, nil], [2, 0]])
        let divisor = (10.0 / 3).squareRoot() + 1e-4
        #expect(relativeDistance(found[0], [1 / divisor, -1 / divisor, 0]) < 1e-12)
        #expect(relativeDistance(found[1], [2 / divisor, -2 / divisor]) < 1e-12)
        #expect(rule.advantages(of: [[1, 1], [2, 2]]) == [[0, 0], [0, 0]])
    }
}
