internal import Records

/// The reward numbers of a step.
struct RewardStatistics {
    let metrics: Metrics

    /// - Parameters:
    ///   - combined: The weighted rewards, `[group][completion]`.
    ///   - isDead: Groups without a difference to learn from; empty where the question has no meaning.
    init(_ batch: CreditBatch, _ combined: [[Double?]], _ rewards: RewardCombination, isDead: [Bool]) {
        var metrics = Metrics()
        let all = Moments(combined.joined().compactMap(\.self))
        metrics["reward"] = all.mean
        metrics["reward_std"] = all.standardDeviation
        if !isDead.isEmpty { Self.countDeadGroups(combined, isDead, into: &metrics) }
        let scores = batch.groups.flatMap(\.scores)
        for (index, name) in rewards.names.enumerated() {
            Self.describe(scores.map { $0[index] }, as: "rewards/\(name)", into: &metrics)
        }
        self.metrics = metrics
    }

    /// Of all dead groups, and of those that are solved and hopeless.
    static let deadGroupNames = [
        "frac_reward_zero_std", "frac_reward_zero_std/all_right", "frac_reward_zero_std/all_wrong",
    ]

    /// Groups that teach nothing, apart by whether they are solved or hopeless: the cures differ.
    ///
    /// A dead group counts as all right when its common reward is above 0, as it is for rewards of 0 and 1 and of −1
    /// and 1.
    private static func countDeadGroups(_ combined: [[Double?]], _ isDead: [Bool], into metrics: inout Metrics) {
        let dead = zip(combined, isDead).filter(\.1).map { Moments($0.0.compactMap(\.self)).mean }
        let counts = [dead.count, dead.count { ($0 ?? 0) > 0 }, dead.count { $0.map { $0 <= 0 } ?? false }]
        for (name, count) in zip(deadGroupNames, counts) { metrics[name] = Double(count) / Double(isDead.count) }
    }

    private static func describe(_ scores: [RewardScore], as name: String, into metrics: inout Metrics) {
        let given = Moments(scores.compactMap(\.score))
        metrics["\(name)/mean"] = given.mean
        metrics["\(name)/std"] = given.standardDeviation
        guard !scores.isEmpty else { return }
        func share(_ state: String) -> Double { Double(scores.count { $0.state == state }) / Double(scores.count) }
        metrics["\(name)/coverage"] = share("scored")
        metrics["\(name)/error_rate"] = share("failed")
        metrics["\(name)/timeout_rate"] = share("timedOut")
    }
}
