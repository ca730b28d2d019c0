import Credit
import Records
import TestSupport
import Testing

@Suite("Groups with a demonstration among them")
struct DemonstratedGroupsTests {
    /// The numbers of LUFFY's released code in `Tests/References/luffy_losses.py`: rewards 0, 1, 0 and a
    /// demonstration's 1; ¼, 0, 0 and 1.
    private func batch(lacking: Bool = false) -> CreditBatch {
        var batch = CreditBatch(groups: [
            ScoredGroups.group([0, 1, 0], row: 0), ScoredGroups.group([0.25, 0, 0], row: 1),
        ])
        batch.demonstrations = [1.0, 1].enumerated().map { index, reward in
            lacking && index == 1
                ? nil
                : ScoredDemonstration(
                    completion: Completion(text: "right", tokenIDs: [5, 6, 7, 0]), scores: [.value(reward)])
        }
        return batch
    }

    private func rule(
        _ own: DemonstratedGroups.Own, _ scaling: GroupBaselineSettings.Scaling = .none
    ) -> DemonstratedGroups {
        DemonstratedGroups(
            GroupBaseline(
                rewards: RewardCombination(names: ["accuracy"]), settings: GroupBaselineSettings(scaling: scaling)),
            own: own)
    }

    @Test func everyoneIsComparedWithAllOfTheGroup() throws {
        let credited = try rule(.advantage).credit(batch())
        let expected = [[-0.5, 0.5, -0.5, 0.5], [-0.0625, -0.3125, -0.3125, 0.6875]]
        for (group, expected) in zip(credited.update.parts[0].groups, expected) {
            #expect(group.completions.map { $0.advantages[0][0] } == expected)
            #expect(group.completions.map(\.isDemonstration) == [false, false, false, true])
            #expect(group.completions[3].tokenIDs == [5, 6, 7, 0])
            #expect(group.completions[3].advantages[0].count == 4)
            #expect(group.completions[3].rolloutLogProbabilities == [0, 0, 0, 0])
        }
        #expect(credited.credits.map { $0.map { $0.advantage } } == expected.map { $0.prefix(3).map { $0 } })
    }

    /// What is reported of the policy is the policy's: mean reward (0 + 1 + 0 + ¼ + 0 + 0)/6.
    @Test func theReportIsOfThePolicy() throws {
        let metrics = try rule(.advantage).credit(batch()).metrics
        #expect(abs(try #require(metrics["reward"]) - 1.25 / 6) < 1e-12)
        #expect(metrics["demonstrations/reward"] == 1 && metrics["demonstrations/coverage"] == 1)
    }

    /// Completions of 0 differ from a demonstration of 1, which moves every advantage, and not from one of 0. Signs are
    /// learned from where nothing differs.
    @Test(arguments: [(1.0, 0.0), (0.0, 1.0)])
    func aDemonstrationThatDiffersMakesAGroupALiveOne(_ demonstration: Double, _ dead: Double) throws {
        var batch = CreditBatch(groups: [ScoredGroups.group([0, 0, 0])])
        batch.demonstrations = [
            ScoredDemonstration(
                completion: Completion(text: "right", tokenIDs: [5, 0]), scores: [.value(demonstration)])
        ]
        let credited = try rule(.advantage).credit(batch)
        #expect(credited.metrics["frac_reward_zero_std"] == dead)
        #expect(credited.metrics["frac_reward_zero_std/all_wrong"] == dead)
        #expect(credited.metrics["frac_reward_zero_std/all_right"] == 0)
        #expect(credited.metrics["advantages/abs_mean"] == demonstration / 4 && credited.metrics["reward"] == 0)
        #expect(rule(.advantage).needsDifferences && !rule(.sign).needsDifferences)
    }

    @Test func aPromptWithoutOneIsComparedWithinItself() throws {
        let credited = try rule(.advantage).credit(batch(lacking: true))
        let second = credited.update.parts[0].groups[1].completions
        #expect(second.count == 3 && second.allSatisfy { !$0.isDemonstration })
        #expect(abs(second[0].advantages[0][0] - (0.25 - 0.25 / 3)) < 1e-12)
        #expect(credited.metrics["demonstrations/coverage"] == 0.5)
    }

    /// SRFT: 1 for a reward above 0, −1 for another; the demonstration's is standardized, (1 − ½)/(√⅓ + 10⁻⁴).
    @Test func signsAreThePolicysOwn() throws {
        let credited = try rule(.sign, .group).credit(batch())
        let first = credited.update.parts[0].groups[0].completions
        #expect(first.prefix(3).map { $0.advantages[0][0] } == [-1, 1, -1])
        #expect(abs(first[3].advantages[0][0] - 0.5 / ((1.0 / 3).squareRoot() + 1e-4)) < 1e-12)
        #expect(credited.credits[0].map { $0.advantage } == [-1, 1, -1])
    }

    @Test func oldLogProbabilitiesGetAPlaceForIt() throws {
        var batch = batch()
        batch.oldLogProbabilities = batch.groups.map {
            $0.group.rollouts.map { $0.policyLogProbabilities.map { $0 - 1 } }
        }
        let credited = try rule(.advantage).credit(batch)
        #expect(credited.update.parts[0].groups[0].completions[3].oldLogProbabilities == [0, 0, 0, 0])
    }
}
