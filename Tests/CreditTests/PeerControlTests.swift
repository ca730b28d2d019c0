import Credit
import Foundation
import Records
import Testing
import TestSupport

private func reference<Value: Decodable>(_ name: String) throws -> Value {
    let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: name)
    return try JSONDecoder().decode(Value.self, from: Data(contentsOf: file))
}

/// What `Tests/References/lagrange_multipliers.py` wrote.
private struct LagrangeCase: Decodable {
    var limit: Double
    var rate: Double
    var initial: Double
    var bound: Double?
    var costs: [Double]
    var multipliers: [Double]
}

/// What `Tests/References/trl_gdpo.py` wrote, `[group][completion][reward]`.
private struct GDPO: Decodable {
    var weights: [Double]
    var scores: [[[Double?]]]
    var cases: [String: [[Double]]]
}

@Suite("Against other libraries' own numbers")
struct PeerControlTests {
    /// omnisafe's multiplier is float32.
    @Test func theTextbooksMultiplierIsOmnisafes() throws {
        let cases: [LagrangeCase] = try reference("lagrange_multipliers.json")
        #expect(cases.count == 3)
        for example in cases {
            let settings = MultiplierSettings(
                learningRate: example.rate, initial: example.initial, limit: example.bound)
            let constraint = Constraint("cost", limit: example.limit, kind: .atMost)
            var controller = LagrangianConstraints([constraint], settings)
            for (cost, expected) in zip(example.costs, example.multipliers) {
                let group = ScoredGroups.group(scores: [[.value(cost)]])
                _ = controller.observe(ObservedStep(rewardNames: ["cost"], groups: [group]))
                let found = try #require(controller.multipliers["cost"])
                #expect(abs(found - expected) < 1e-6 && abs(found - expected - 1e-3) > 1e-6)
            }
        }
    }

    private static let settings: [(name: String, settings: GroupBaselineSettings)] = [
        ("normalize_then_sum", .init(aggregation: .normalizeThenSum)), ("sum_then_normalize", .init()),
        ("sum_then_normalize_unscaled", .init(scaling: .none)),
    ]

    private func advantages(_ data: GDPO, _ settings: GroupBaselineSettings, _ weights: StreamWeights = [:]) throws
        -> [Double]
    {
        let groups = data.scores.enumerated().map { row, group in
            ScoredGroups.group(scores: group.map { $0.map(ScoredGroups.score) }, row: row)
        }
        let rewards = RewardCombination(
            names: ["correct", "length", "style"], weights: weights.values.isEmpty ? data.weights : [3, 3, 3])
        let rule = GroupBaseline(rewards: rewards, settings: settings)
        return try rule.credit(CreditBatch(groups: groups, weights: weights)).update.advantages
            .flatMap { $0.map { $0[0] } }
    }

    /// Three rewards of different scales, some abstaining; TRL computes in float32.
    @Test func severalRewardsGetTRLsAdvantages() throws {
        let data: GDPO = try reference("trl_gdpo.json")
        for (name, settings) in Self.settings {
            let expected = try #require(data.cases[name]).flatMap(\.self)
            #expect(relativeDistance(try advantages(data, settings), expected) < 2e-6, "\(name)")
            #expect(relativeDistance(try advantages(data, settings).map { $0 + 0.01 }, expected) > 1e-3)
        }
    }

    /// Weights that a schedule gives are those of a job that has them from the beginning.
    @Test func scheduledWeightsAreWeights() throws {
        let data: GDPO = try reference("trl_gdpo.json")
        let names = ["correct", "length", "style"]
        let scheduled = StreamWeights(Dictionary(uniqueKeysWithValues: zip(names, data.weights)))
        for (name, settings) in Self.settings {
            let expected = try #require(data.cases[name]).flatMap(\.self)
            #expect(relativeDistance(try advantages(data, settings, scheduled), expected) < 2e-6, "\(name)")
        }
    }
}
