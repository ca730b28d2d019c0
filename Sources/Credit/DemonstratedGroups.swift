internal import Records

/// The group baseline over groups in which a demonstration stands beside the policy's own completions.
///
///     A_i = r_i − mean over all of the group         divided as ``GroupBaselineSettings/Scaling`` says
///
/// as in LUFFY (arXiv:2504.14945), where every completion gets its A; with ``Own/sign``, as in SRFT (arXiv:2506.19767),
/// only the demonstration does, and the policy's own get 1 where their reward is positive and −1 where it is not. A
/// prompt without a demonstration is compared within itself. The numbers that are reported are those of the policy's
/// own completions, but for the share of groups without a difference: there the demonstration is one of them.
package struct DemonstratedGroups: CreditRule {
    /// What the policy's own completions get.
    package enum Own: Sendable, Equatable {
        case advantage
        case sign
    }

    package let baseline: GroupBaseline
    package let own: Own

    package init(_ baseline: GroupBaseline, own: Own = .advantage) {
        self.baseline = baseline
        self.own = own
    }

    package var rewards: RewardCombination { baseline.rewards }
    package var mixer: Mixer { baseline.mixer }
    package var takesDemonstrations: Bool { true }
    package var needsDifferences: Bool { own == .advantage }

    package func credit(_ batch: CreditBatch) throws(CreditError) -> CreditedBatch {
        let alone = try baseline.credit(batch)
        let together = try baseline.credit(Self.joined(batch))
        var result = together
        for group in result.update.parts[0].groups.indices {
            let count = batch.groups[group].group.rollouts.count
            for index in result.update.parts[0].groups[group].completions.indices {
                result.update.parts[0].groups[group].completions[index].isDemonstration = index >= count
                guard own == .sign, index < count else { continue }
                let sign: Double = alone.credits[group][index].reward.map { $0 > 0 ? 1 : -1 } ?? 0
                let advantages = result.update.parts[0].groups[group].completions[index].advantages
                result.update.parts[0].groups[group].completions[index].advantages = advantages.map {
                    $0.map { _ in sign }
                }
                result.credits[group][index].advantage = sign
            }
            result.credits[group] = Array(result.credits[group].prefix(count))
        }
        result.metrics = alone.metrics
        for name in RewardStatistics.deadGroupNames { result.metrics[name] = together.metrics[name] }
        result.metrics["advantages/abs_mean"] =
            Moments(
                result.credits.joined().compactMap { $0.advantage.map(abs) }
            ).mean
        let demonstrated = batch.demonstrations.compactMap { $0.flatMap { rewards.combined($0.scores) } }
        result.metrics["demonstrations/reward"] = Moments(demonstrated).mean
        result.metrics["demonstrations/coverage"] =
            Double(batch.demonstrations.count { $0 != nil }) / Double(max(batch.groups.count, 1))
        return result
    }

    /// The batch with each demonstration as its group's last completion, of a writer whose probabilities are 1.
    private static func joined(_ batch: CreditBatch) -> CreditBatch {
        var joined = batch
        for (group, demonstration) in batch.demonstrations.enumerated() {
            guard let demonstration else { continue }
            let zeros = [Float](repeating: 0, count: demonstration.completion.tokenIDs.count)
            joined.groups[group].group.rollouts.append(
                Rollout(
                    completion: demonstration.completion, samplingLogProbabilities: zeros,
                    policyLogProbabilities: zeros,
                    sample: batch.groups[group].group.rollouts.count))
            joined.groups[group].scores.append(demonstration.scores)
            joined.oldLogProbabilities?[group].append(zeros)
            joined.referenceLogProbabilities?[group].append(zeros)
        }
        return joined
    }
}
