import Credit
import Foundation
import Records
import Testing

/// What `Tests/References/verl_core.py` wrote: verl's own advantages. Rows are completions, in the order of a shuffled
/// batch.
private struct VerlReference: Decodable, Sendable {
    struct GAE: Decodable, Sendable {
        var gamma: Double
        var lambda: Double
        var advantages: [[Double]]
        var returns: [[Double]]
    }

    struct AdaptiveKL: Decodable, Sendable {
        var kl: Double
        var after: Double
    }

    var lengths: [Int]
    /// The prompt of each completion; the last prompt has only one.
    var groups: [Int]
    /// β.
    var coefficient: Double
    var scores: [Double]
    var secondScores: [Double]
    var greedyScores: [Double]
    var oldLogProbabilities: [[Float]]
    var referenceLogProbabilities: [[Float]]
    var values: [[Float]]
    var gae: [GAE]
    var reinforcePlusPlus: [[Double]]
    var reinforcePlusPlusBaseline: [[Double]]
    var rloo: [[Double]]
    var rlooWithPenalty: [[Double]]
    var remax: [[Double]]
    var grpo: [[Double]]
    var drGRPO: [[Double]]
    var gdpo: [[Double]]
    var adaptiveKL: [AdaptiveKL]

    static func read() throws -> VerlReference {
        let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "verl_advantages.json")
        return try JSONDecoder().decode(VerlReference.self, from: Data(contentsOf: file))
    }
}

@Suite("Advantages against verl's own")
struct VerlAdvantageTests {
    private let reference: VerlReference

    init() throws { reference = try .read() }

    /// Rows of the batch by prompt.
    private func byPrompt<Row>(_ rows: [Row], groups: [Int]? = nil) -> [[Row]] {
        let groups = groups ?? reference.groups
        return Set(groups).sorted().map { prompt in rows.indices.filter { groups[$0] == prompt }.map { rows[$0] } }
    }

    private func batch() -> CreditBatch {
        let (lengths, greedy) = (byPrompt(reference.lengths), byPrompt(reference.greedyScores))
        let groups = byPrompt(reference.scores).enumerated().map { row, scores in
            ScoredGroups.group(scores, greedy: greedy[row][0], lengths: lengths[row], row: row)
        }
        return CreditBatch(
            groups: groups, oldLogProbabilities: byPrompt(reference.oldLogProbabilities),
            referenceLogProbabilities: byPrompt(reference.referenceLogProbabilities),
            values: CriticValues(oneHead: byPrompt(reference.values)))
    }

    private func penalty(_ reach: KLToGo.Reach) throws -> KLToGo {
        KLToGo(coefficient: reference.coefficient, reach: reach)
    }

    /// - Parameter departs: what ours gives the single completion of the last prompt, where that is not verl's number.
    private func compare(
        _ rule: some CreditRule, _ expected: [[Double]], lastPrompt departs: Double? = nil, _ what: String = ""
    ) throws {
        let found = try rule.credit(batch()).update.advantages
        var expected = byPrompt(expected)
        if let departs {
            let last = expected[expected.count - 1][0]
            #expect(last.allSatisfy { abs($0 - departs) > 0.1 })
            expected[expected.count - 1][0] = last.map { _ in departs }
        }
        expectClose(found, expected, what)
    }

    private func expectClose(_ found: [[[Double]]], _ expected: [[[Double]]], _ what: String) {
        let (found, expected) = (found.joined().map(\.self), expected.joined().map(\.self))
        #expect(found.map(\.count) == expected.map(\.count))
        let distance = zip(found.joined(), expected.joined()).map { abs($0 - $1) }.max() ?? .infinity
        #expect(distance < 1e-6, "\(what) \(distance)")
    }

    @Test func generalizedAdvantageEstimation() throws {
        #expect(reference.gae.count == 4)
        for expected in reference.gae {
            let rule = try ActorCritic(
                rewards: .single, estimator: .init(discount: expected.gamma, lambda: expected.lambda),
                penalty: penalty(.oneStep))
            try compare(rule, expected.advantages, "γ \(expected.gamma), λ \(expected.lambda)")
            let returns = try rule.credit(batch()).update.groups.map { $0.completions.map { $0.returns[0] } }
            expectClose(returns, byPrompt(expected.returns), "returns")
        }
    }

    @Test func reinforcePlusPlus() throws {
        try compare(
            BatchWhitening(rewards: .single, form: .plain(penalty: penalty(.toGo))), reference.reinforcePlusPlus)
        // A prompt with one completion has a mean of 0 in verl, which is the plain form for it.
        try compare(BatchWhitening(rewards: .single, form: .groupMean), reference.reinforcePlusPlusBaseline)
    }

    /// verl gives a prompt with one completion its reward as advantage; without a baseline ours is 0.
    @Test func leaveOneOut() throws {
        try compare(LeaveOneOut(rewards: .single, settings: .init()), reference.rloo, lastPrompt: 0)
        try compare(
            LeaveOneOut(rewards: .single, settings: .init(penalty: penalty(.completion))), reference.rlooWithPenalty,
            lastPrompt: 0)
    }

    @Test func greedyBaseline() throws {
        try compare(
            GreedyBaseline(rewards: .single, settings: .init(penalty: penalty(.toGo))), reference.remax)
    }

    /// The same departure for a prompt with one completion.
    @Test func groupBaseline() throws {
        try compare(GroupBaseline(rewards: .single, settings: .init(epsilon: 1e-6)), reference.grpo, lastPrompt: 0)
        try compare(GroupBaseline(rewards: .single, settings: .init(scaling: .none)), reference.drGRPO, lastPrompt: 0)
    }

    /// verl whitens the weighted sum over tokens, TRL and ours over completions. With N completions of T tokens each
    /// that is a factor sqrt((N·T − 1) / (T·(N − 1))); N = 7 and T = 2 here, and prompts of three and four completions.
    @Test func eachRewardNormalizedBeforeTheSum() throws {
        let groups = [0, 0, 0, 1, 1, 1, 1]
        let scores = byPrompt(Array(zip(reference.scores, reference.secondScores)), groups: groups)
        let batch = CreditBatch(
            groups: scores.enumerated().map { row, scores in
                ScoredGroups.group(scores: scores.map { [.value($0), .value($1)] }, row: row)
            })
        let rule = GroupBaseline(
            rewards: RewardCombination(names: ["a", "b"], weights: [1, 0.5]),
            settings: .init(aggregation: .normalizeThenSum, epsilon: 1e-6))
        let factor = (13.0 / 12).squareRoot()
        let found = try rule.credit(batch).update.advantages.map { $0.map { $0.map { $0 * factor } } }
        let distance = zip(found.joined().joined(), reference.gdpo.joined()).map { abs($0 - $1) }.max() ?? .infinity
        #expect(distance < 5e-6)  // verl keeps ε beside the deviations of rewards only
        #expect(found.joined().map(\.count) == reference.gdpo.map(\.count))
    }

    @Test func adaptiveCoefficient() throws {
        let controller = AdaptiveKL(initial: 0.05, target: 0.1, horizon: 1000)
        var coefficient = controller.initial
        #expect(reference.adaptiveKL.count == 5)
        for step in reference.adaptiveKL {
            coefficient = controller.next(coefficient, kl: step.kl, completions: 64)
            #expect(abs(coefficient - step.after) < 1e-12)
        }
    }
}
