internal import Foundation
internal import Records

/// Watches the rewards of a run for signs that the policy learns something else than what is meant. Moves no weight.
///
/// - A reward that follows length or repetition: the correlation, over the completions of the last ``window`` steps and
///   within their groups, of the combined reward with the number of actions, or with the share of repeated 4-grams, is
///   at least ``following``.
/// - A shadow, a reward of weight 0, that falls while the trained reward rises: over the last ``window`` steps the
///   correlation of the mean reward with the step is at least ``trending``, that of the shadow's mean at most
///   −``trending``.
///
/// - Nothing to learn from: within the groups of the last ``deadSteps`` steps, or over each step where a group is one
///   completion, no two differ in a trained reward. The policy has collapsed, or has learned all that the rewards tell
///   apart.
///
/// Each is said once, the first two from half a window on, and noted as `alarms/…` in every step that shows it.
package struct RewardWatch: RewardController {
    /// Steps that are looked at together.
    package static let window = 32
    package static let following = 0.6
    static let trending = 0.5
    static let deadSteps = 8

    package let name = "reward_watch"
    package var state = State()
    private let rewards: RewardCombination
    private let constrained: Set<String>

    /// What it remembers.
    package struct State: Sendable, Equatable, Codable {
        /// The last steps, the newest behind.
        fileprivate var steps: [Step] = []
        /// Alarms that were said.
        fileprivate var said: Set<String> = []
    }

    /// One step in sums.
    fileprivate struct Step: Sendable, Equatable, Codable {
        var length = Covariation()
        var repetition = Covariation()
        /// Of the combined reward.
        var reward: Double?
        /// Of each shadow, in the order of the rewards.
        var shadows: [Double?] = []
        /// Whether completions that are compared differ in a trained reward.
        var isLive = true
    }

    /// - Parameter constrained: Names of rewards that multipliers weigh beside their own weight: they are no shadows.
    package init(_ rewards: RewardCombination, constrained: [String] = []) {
        self.rewards = rewards
        self.constrained = Set(constrained)
    }

    package func weights(at step: Int) -> StreamWeights { StreamWeights() }

    private func isShadow(_ index: Int) -> Bool {
        rewards.weights[index] == 0 && !constrained.contains(rewards.names[index])
    }
    private var shadows: [Int] { rewards.weights.indices.filter(isShadow) }
    private var trained: [Int] { rewards.weights.indices.filter { !isShadow($0) } }

    /// Metrics: `rewards/{name}/live_groups` (share of the groups whose scores differ), `reward_correlation/length` and
    /// `…/repetition`, `completions/repetition` (the mean share of repeated 4-grams), with shadows `reward_trend` and
    /// `rewards/{name}/trend`.
    package mutating func observe(_ step: ObservedStep) -> ControllerUpdate? {
        var update = ControllerUpdate()
        guard !step.groups.isEmpty else { return update }
        for (index, name) in rewards.names.enumerated() {
            let live = step.groups.count { !Moments($0.scores.compactMap { $0[index].score }).isConstant }
            update.metrics["rewards/\(name)/live_groups"] = Double(live) / Double(step.groups.count)
        }
        state.steps = state.steps.suffix(Self.window - 1) + [observed(step, &update.metrics)]
        var alarms = followed(&update.metrics)
        alarms += fallingShadows(&update.metrics) + deadGroups()
        for alarm in alarms { update.metrics["alarms/\(alarm.name)", .max] = 1 }
        let news = alarms.filter { state.said.insert($0.name).inserted }
        update.note = news.isEmpty ? nil : news.map(\.text).joined(separator: "; ")
        return update
    }

    private func observed(_ step: ObservedStep, _ metrics: inout Metrics) -> Step {
        var seen = Step()
        var combined: [Double] = []
        var repeated: [Double] = []
        for group in step.groups {
            let given = group.group.rollouts.indices.compactMap { index in
                rewards.combined(group.scores[index]).map { (index: index, reward: $0) }
            }
            let rollouts = given.map { group.group.rollouts[$0.index] }
            let own = given.map(\.reward)
            let repetitions = rollouts.map { Self.repetition(of: $0.completion.tokenIDs) }
            seen.length.add(own, rollouts.map { Double($0.actionCount) })
            seen.repetition.add(own, repetitions)
            combined += own
            repeated += repetitions
        }
        seen.reward = Moments(combined).mean
        seen.shadows = shadows.map { shadow in
            Moments(step.groups.flatMap { $0.scores.compactMap { $0[shadow].score } }).mean
        }
        // Methods without groups compare completions over the step.
        let scores = step.groups.map(\.compared)
        let compared = scores.allSatisfy { $0.count < 2 } ? [scores.flatMap(\.self)] : scores
        seen.isLive = compared.contains { group in
            trained.contains { index in !Moments(group.compactMap { $0[index].score }).isConstant }
        }
        metrics["completions/repetition"] = Moments(repeated).mean
        return seen
    }

    /// The share of a completion's 4-grams that stand in it before; 0 of fewer than four tokens.
    package static func repetition(of tokens: [Int]) -> Double {
        guard tokens.count >= 4 else { return 0 }
        let grams = (0...tokens.count - 4).map { tokens[$0..<$0 + 4] }
        return 1 - Double(Set(grams).count) / Double(grams.count)
    }

    // MARK: Alarms

    private typealias Alarm = (name: String, text: String)

    private var isLongEnough: Bool { state.steps.count >= Self.window / 2 }

    private static func shown(_ number: Double) -> String { String(format: "%.2f", number) }

    private func followed(_ metrics: inout Metrics) -> [Alarm] {
        let kinds = [
            ("length", "longer completions are", state.steps.map(\.length)),
            ("repetition", "completions that repeat themselves are", state.steps.map(\.repetition)),
        ]
        return kinds.compactMap { kind, what, sums in
            guard let correlation = Covariation(adding: sums).correlation else { return nil }
            metrics["reward_correlation/\(kind)"] = correlation
            guard isLongEnough, correlation >= Self.following else { return nil }
            return (
                "reward_follows_\(kind)",
                "the reward follows \(kind): \(what) the better ones, correlation \(Self.shown(correlation)) within "
                    + "groups over the last \(state.steps.count) steps (threshold \(Self.following)); the policy "
                    + "may be learning that instead"
            )
        }
    }

    private func fallingShadows(_ metrics: inout Metrics) -> [Alarm] {
        guard !shadows.isEmpty, let rising = trend(state.steps.map(\.reward)) else { return [] }
        metrics["reward_trend"] = rising
        return shadows.enumerated().compactMap { index, shadow in
            let name = rewards.names[shadow]
            guard let falling = trend(state.steps.map { $0.shadows[index] }) else { return nil }
            metrics["rewards/\(name)/trend"] = falling
            guard isLongEnough, rising >= Self.trending, falling <= -Self.trending else { return nil }
            return (
                "shadow_falls/\(name)",
                "the reward rises while its shadow \(name) falls: their correlations with the step are "
                    + "\(Self.shown(rising)) and "
                    + "\(Self.shown(falling)) over the last \(state.steps.count) steps (threshold "
                    + "±\(Self.trending)); the trained "
                    + "rewards may be over-optimised"
            )
        }
    }

    private func deadGroups() -> [Alarm] {
        let last = state.steps.suffix(Self.deadSteps)
        guard last.count == Self.deadSteps, last.allSatisfy({ !$0.isLive }) else { return [] }
        let cause =
            constrained.isEmpty
            ? "" : "; a multiplier that has grown too large can do that, and multipliers.max bounds it"
        return [
            (
                "no_live_groups",
                "no completions of the last \(last.count) steps differ in a trained reward where they are compared: "
                    + "there is nothing to learn from\(cause)"
            )
        ]
    }

    /// The correlation of a number with the step.
    private func trend(_ values: [Double?]) -> Double? {
        let given = values.enumerated().compactMap { index, value in value.map { (Double(index), $0) } }
        var sums = Covariation()
        sums.add(given.map(\.0), given.map(\.1))
        return given.count < 3 ? nil : sums.correlation
    }
}

/// Sums of squares and products about the means of groups.
private struct Covariation: Sendable, Equatable, Codable {
    private var (xx, yy, xy) = (0.0, 0.0, 0.0)

    init() {}

    init(adding sums: [Covariation]) {
        for sum in sums { (xx, yy, xy) = (xx + sum.xx, yy + sum.yy, xy + sum.xy) }
    }

    /// Adds a group, with its own means.
    mutating func add(_ x: [Double], _ y: [Double]) {
        guard let meanX = Moments(x).mean, let meanY = Moments(y).mean else { return }
        for (x, y) in zip(x, y) {
            xx += (x - meanX) * (x - meanX)
            yy += (y - meanY) * (y - meanY)
            xy += (x - meanX) * (y - meanY)
        }
    }

    /// `nil` where one of the two does not vary.
    var correlation: Double? {
        guard xx > 0, yy > 0 else { return nil }
        return xy / (xx * yy).squareRoot()
    }
}
