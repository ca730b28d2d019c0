import Credit
import Records
import TestSupport
import Testing

/// The rules that every invariant is tested on.
struct NamedRule: Sendable, CustomTestStringConvertible {
    let name: String
    let rule: any CreditRule
    /// Whether a constant added to every reward of a prompt, the greedy one's included, changes nothing.
    var ignoresShift = false
    var testDescription: String { name }

    static var all: [NamedRule] {
        get throws {
            let mean = GroupBaselineSettings(aggregation: .normalizeThenSum)
            let scaled = GroupBaselineSettings(scaling: .batch)
            let toGo = KLToGo(coefficient: 0.25)
            let completion = KLToGo(coefficient: 0.25, reach: .completion)
            return [
                .init(
                    name: "group", rule: GroupBaseline(rewards: try .single, settings: .init()), ignoresShift: true),
                .init(name: "batch", rule: GroupBaseline(rewards: try .single, settings: scaled)),
                .init(
                    name: "normalize then sum", rule: GroupBaseline(rewards: try .single, settings: mean),
                    ignoresShift: true),
                .init(name: "rloo", rule: LeaveOneOut(rewards: try .single, settings: .init()), ignoresShift: true),
                .init(
                    name: "rloo, penalty",
                    rule: LeaveOneOut(
                        rewards: try .single, settings: .init(penalty: completion, normalizesAdvantages: true)),
                    ignoresShift: true),
                .init(
                    name: "remax", rule: GreedyBaseline(rewards: try .single, settings: .init(penalty: toGo)),
                    ignoresShift: true),
                .init(name: "reinforce", rule: PlainReward(rewards: try .single, penalty: toGo)),
                .init(name: "reinforce++", rule: BatchWhitening(rewards: try .single, form: .plain(penalty: toGo))),
                .init(
                    name: "reinforce++, mean", rule: BatchWhitening(rewards: try .single, form: .groupMean),
                    ignoresShift: true),
                .init(name: "ppo", rule: try ActorCritic(rewards: .single, estimator: .init())),
            ]
        }
    }

    /// `[group][completion][token]`
    func advantages(_ batch: CreditBatch) throws -> [[[Double]]] {
        try rule.credit(batch).update.advantages
    }
}

@Suite("What holds for every credit rule")
struct CreditRuleInvariantTests {
    /// Two prompts, three and two completions of several lengths; log-probs and values are fixed numbers of each
    /// completion.
    private func batch(
        _ rewards: [[Double?]] = [[1, 0, 0.25], [0.5, 2]], keeping kept: [[Int]] = [[0, 1, 2], [0, 1]],
        greedy: [Double] = [0.5, 1]
    ) -> CreditBatch {
        let lengths = [[3, 1, 2], [4, 2]]
        func numbers(_ phase: Int) -> [[[Float]]] {
            kept.enumerated().map { row, completions in
                completions.map { completion in
                    (0..<lengths[row][completion]).map {
                        Float(($0 * 7 + completion * 5 + row * 3 + phase) % 11) / 8 - 1.5
                    }
                }
            }
        }
        return CreditBatch(
            groups: kept.enumerated().map { row, completions in
                ScoredGroups.group(
                    completions.map { rewards[row][$0] }, greedy: greedy[row],
                    lengths: completions.map { lengths[row][$0] }, row: row)
            }, oldLogProbabilities: numbers(0), referenceLogProbabilities: numbers(4),
            values: CriticValues(oneHead: numbers(9)))
    }

    @Test(arguments: try NamedRule.all)
    func theOrderOfCompletionsIsIrrelevantToTheBit(_ rule: NamedRule) throws {
        let plain = try rule.advantages(batch())
        let turned = try rule.advantages(batch(keeping: [[2, 0, 1], [1, 0]]))
        #expect(turned == [[plain[0][2], plain[0][0], plain[0][1]], [plain[1][1], plain[1][0]]])
    }

    @Test(arguments: try NamedRule.all)
    func aCompletionWithoutARewardIsAsIfItWereAbsent(_ rule: NamedRule) throws {
        let with = try rule.advantages(batch([[1, nil, 0.25], [0.5, 2]]))
        let without = try rule.advantages(batch(keeping: [[0, 2], [0, 1]]))
        #expect(with == [[without[0][0], [0], without[0][1]], without[1]])
    }

    @Test(arguments: try NamedRule.all)
    func withoutAnyRewardNothingIsLearnedAndNothingIsNaN(_ rule: NamedRule) throws {
        let credited = try rule.rule.credit(batch([[nil, nil, nil], [nil, nil]]))
        #expect(credited.update.advantages.joined().joined().allSatisfy { $0 == 0 })
        #expect(credited.metrics.entries.allSatisfy { $0.value.isFinite })
        #expect(credited.metrics["reward"] == nil)
    }

    @Test(arguments: try NamedRule.all)
    func onlyABaselineOfThePromptMakesAShiftIrrelevant(_ rule: NamedRule) throws {
        func flat(_ batch: CreditBatch) throws -> [Double] { try rule.advantages(batch).flatMap { $0.flatMap(\.self) } }
        let plain = try flat(batch())
        let shifted = try flat(batch([[8.5, 7.5, 7.75], [0.5, 2]], greedy: [8, 1]))
        let distance = relativeDistance(shifted, plain)
        #expect(rule.ignoresShift ? distance < 1e-12 : distance > 0.01, "\(distance)")
    }

    /// Of the methods with a baseline of the prompt and no penalty.
    @Test(arguments: ["group", "batch", "normalize then sum", "rloo", "reinforce++, mean"])
    func equalRewardsOfAPromptGiveExactlyZero(_ name: String) throws {
        let rule = try #require(try NamedRule.all.first { $0.name == name })
        let found = try rule.advantages(batch([[0.1, 0.1, 0.1], [0.7, 0.7]]))
        #expect(found.joined().joined().allSatisfy { $0 == 0 })
    }

    @Test(arguments: ["group", "batch", "rloo"])
    func theAdvantagesOfAPromptAddUpToZero(_ name: String) throws {
        let rule = try #require(try NamedRule.all.first { $0.name == name })
        for group in try rule.advantages(batch()) {
            #expect(abs(group.map { $0[0] }.reduce(0, +)) < 1e-12)
            #expect(group.map { abs($0[0]) }.reduce(0, +) > 0.1)
        }
    }
}
