package import Coordinator
package import Records
internal import RewardInterface

/// Looks at each step's numbers for signs that a run is broken. What it counts over several steps begins anew with each
/// start.
package struct RunWatch: Sendable {
    /// Largest mean difference between sampled and re-scored log-probs, in nats.
    private let gapLimit: Double?
    private let masksTruncated: Bool
    private let needsDifferences: Bool
    private let clippedLimit: Int
    /// Rollout steps in a row so far of completions that were all cut off and taught nothing.
    private var clippedSteps = 0
    /// Groups in these steps; a step in which nothing was learned from counts as many as are asked for.
    private var clippedGroups = 0
    /// As many for each step of the limit: a few prompts that are too hard are no broken run.
    private static let leastGroups = 8
    /// Tokens of the longest completion so far that ended by itself; `nil` where none has.
    private var longestEnded: Int?
    /// Steps in a row so far in which a reward scored nothing, by its name.
    private var silentSteps: [String: Int] = [:]
    /// As many are worth a warning.
    private static let mostSilentSteps = 5
    private let guards: [MetricGuard]
    /// What became of each guard's metric.
    private var guarded: [Guarded]

    /// The course of a guarded metric.
    private struct Guarded: Sendable {
        var isSeen = false
        /// Steps in a row so far beyond the bound, and the first of them.
        var steps = 0
        var since = 0
        var newest = 0.0
    }

    /// - Parameters:
    ///   - gapLimit: `nil` for none.
    ///   - masksTruncated: Whether completions that were cut off are left out of the loss.
    ///   - needsDifferences: Whether completions of equal rewards teach nothing.
    ///   - clippedLimit: Rollout steps in a row of completions that were all cut off and taught nothing, at which the
    ///     run ends if they had enough groups; 0 for never.
    ///   - guards: Metrics that are to stay within bounds.
    package init(
        gapLimit: Double?, masksTruncated: Bool = false, needsDifferences: Bool = true, clippedLimit: Int = 0,
        guards: [MetricGuard] = []
    ) {
        self.guards = guards
        guarded = guards.map { _ in Guarded() }
        self.gapLimit = gapLimit
        self.masksTruncated = masksTruncated
        self.needsDifferences = needsDifferences
        self.clippedLimit = clippedLimit
    }

    /// Counts a step into what is watched over several of them; before ``warnings(_:)`` and ``check(_:step:)``.
    ///
    /// - Parameter groups: As many as the step had.
    package mutating func note(_ metrics: Metrics, step: Int, groups: Int = 0) {
        if let ended = metrics["completions/max_terminated_length"] {
            longestEnded = max(longestEnded ?? 0, Int(ended))
        }
        noteLoss(metrics, groups: groups)
        for name in metrics.names {
            guard let reward = name.wholeMatch(of: #/rewards/(.+)/coverage/#)?.1 else { continue }
            silentSteps[String(reward)] = metrics[name] == 0 ? silentSteps[String(reward), default: 0] + 1 : 0
        }
        for (index, rule) in guards.enumerated() {
            guard let value = metrics[rule.metric] ?? rule.absence else { continue }
            guarded[index].isSeen = true
            guarded[index].newest = value
            guarded[index].steps = rule.isCrossed(by: value) ? guarded[index].steps + 1 : 0
            if guarded[index].steps == 1 { guarded[index].since = step }
        }
    }

    /// What a guard has to say of its metric; `nil` while it is within its bound.
    private func alarm(_ index: Int) -> String? {
        let (rule, course) = (guards[index], guarded[index])
        guard course.steps >= rule.steps else { return nil }
        return "metric_guard: \(rule.metric) has been \(rule.words) since step \(course.since); "
            + "it is now \(course.newest)"
    }

    /// What guards found, and guards of a metric that the steps do not have: nobody would miss their alarm.
    private func guardWarnings(_ metrics: Metrics) -> [(name: String, text: String)] {
        guards.indices.compactMap { index in
            let name = guards[index].metric
            if let alarm = alarm(index) { return ("guard \(index) \(name)", alarm) }
            guard !guarded[index].isSeen else { return nil }
            let near = nearestNames(to: name, among: metrics.names)
            return (
                "guard_unseen \(index) \(name)",
                "metric_guard: no step so far has a metric '\(name)', so this guard watches nothing"
                    + (near.isEmpty ? "" : "; did you mean \(near.joined(separator: ", "))?")
            )
        }
    }

    /// Rewards that have scored nothing in the last steps, each with its first reason in this one. Abstaining is no
    /// failure, so that no error rate shows it.
    package func silent(of rewards: [String], in report: StepReport) -> [(name: String, text: String)] {
        rewards.enumerated().compactMap { index, reward in
            guard silentSteps[reward, default: 0] >= Self.mostSilentSteps else { return nil }
            let scores = report.groups.flatMap(\.scores).compactMap { $0.indices.contains(index) ? $0[index] : nil }
            let reason = scores.lazy.compactMap(\.note).first?.split(separator: "\n").first.map { " (\($0))" } ?? ""
            return (
                "silent \(reward)",
                "the reward \(reward) has scored no completion in \(Self.mostSilentSteps) steps in a row\(reason): "
                    + "nothing is learned from it"
            )
        }
    }

    /// Counts a step in which every completion was cut off, and none was rewarded or learned from. Where all completions
    /// are to be of the limit's length, their rewards differ, or are above 0.
    private mutating func noteLoss(_ metrics: Metrics, groups: Int) {
        let isUnlearned = metrics["empty_steps"] != nil && (masksTruncated || metrics["reward"] == nil)
        guard metrics["completions/clipped_ratio"] == 1,
            isUnlearned || metrics["frac_reward_zero_std/all_wrong"] == 1
        else {
            (clippedSteps, clippedGroups) = (0, 0)
            return
        }
        clippedSteps += 1
        clippedGroups += isUnlearned ? max(groups, Self.leastGroups) : groups
    }

    /// What is known of the length that completions need.
    private var neededLength: String {
        longestEnded.map { "the longest that ended by itself so far has \($0) tokens" }
            ?? "none has ended by itself so far"
    }

    /// Signs that a run may be learning nothing, by name; worth a line each, once.
    package func warnings(_ metrics: Metrics) -> [(name: String, text: String)] {
        var found: [(String, String)] = []
        if let clipped = metrics["completions/clipped_ratio"], clipped >= 0.5 {
            found.append(
                (
                    "clipped",
                    "\(Int(clipped * 100)) % of the completions hit max_completion_length; their ends are cut off, and "
                        + neededLength
                ))
        }
        let isRewarded = metrics.names.contains { $0.hasPrefix("rewards/") && $0.hasSuffix("/coverage") }
        if isRewarded, metrics["reward"] == nil, metrics["empty_steps"] == nil {
            found.append(("unscored", "no completion was scored: this step has no reward to learn from"))
        } else if needsDifferences, let dead = metrics["frac_reward_zero_std"], dead >= 1,
            metrics["empty_steps"] == nil
        {
            found.append(("dead", "every group's completions have equal rewards: this step teaches nothing"))
        }
        if let skipped = metrics["skipped_steps"], skipped > 0 {
            found.append(
                ("skipped", "an optimizer step was skipped: its loss or gradient was not finite"))
        }
        if metrics["empty_steps"] != nil, masksTruncated, metrics["completions/clipped_ratio"] == 1 {
            found.append(
                (
                    "masked",
                    "a step had no completion to learn from: all were cut off, and mask_truncated_completions leaves "
                        + "such ones out; raise max_completion_length"
                ))
        } else if metrics["empty_steps"] != nil {
            found.append(
                (
                    "empty",
                    "a step had no completion to learn from: none was scored, was good enough or had an advantage"
                ))
        }
        return found + Self.softWarnings(metrics) + Self.thinkingWarnings(metrics) + guardWarnings(metrics)
    }

    /// Signs that a model that should think or should not does the other.
    private static func thinkingWarnings(_ metrics: Metrics) -> [(name: String, text: String)] {
        var found: [(String, String)] = []
        if let marked = metrics["pairs/empty/marker"], marked > 0.02 {
            found.append(
                (
                    "thinking_not_suppressed",
                    "\(Int(marked * 100)) % of the answers behind the empty block hold a marker of thinking: it is "
                        + "not suppressed; see bvpo.empty_block"
                ))
        }
        if let unclosed = metrics["pairs/thinking/unclosed"], unclosed >= 0.5 {
            found.append(
                (
                    "thinking_unclosed",
                    "\(Int(unclosed * 100)) % of the completions that should think never close their block "
                        + "(bvpo.think_end) and are in no pair"
                ))
        }
        if let prompts = metrics["bvpo/calibration_prompts"], prompts < 2 {
            found.append(
                (
                    "calibration",
                    "α could not be estimated: fewer than two prompts had all their traces closed; raise "
                        + "bvpo.calibration_trace_length"
                ))
        }
        return found
    }

    /// Signs that soft thinking has collapsed: mixtures of one word, thinking without an end, a policy far from its
    /// reference.
    private static func softWarnings(_ metrics: Metrics) -> [(name: String, text: String)] {
        var found: [(String, String)] = []
        if let several = metrics["soft/multi_ratio"], several < 0.01 {
            found.append(
                ("soft_collapse", "soft thinking has collapsed: fewer than 1 % of its steps mix more than one word"))
        }
        if let unended = metrics["soft/unended_ratio"], unended >= 0.5 {
            found.append(
                (
                    "soft_unended",
                    "\(Int(unended * 100)) % of the completions have no answer behind their thinking "
                        + "(soft_thinking.think_end)"
                ))
        }
        if let divergence = metrics["soft/kl"], divergence > 1 {
            found.append(
                (
                    "soft_kl",
                    "thinking steps are \(divergence) nats from the reference policy on average; such runs tend to "
                        + "collapse"
                ))
        }
        return found
    }

    /// Rewards that failed in a step, each with its first reason; a failure is no zero, and no secret either.
    static func failures(of rewards: [String], in report: StepReport) -> [(name: String, text: String)] {
        rewards.enumerated().compactMap { index, reward in
            let scores = report.groups.flatMap(\.scores).compactMap { $0.indices.contains(index) ? $0[index] : nil }
            let failed = scores.filter(\.isFailure)
            guard let first = failed.first else { return nil }
            let reason = (first.note ?? first.state).split(separator: "\n").last ?? ""
            return (
                "failed \(reward)",
                "\(failed.count) of \(scores.count) scores of \(reward) failed or timed out in step \(report.step): "
                    + "\(reason) "
                    + "(completions/ has each; rewards/\(reward)/error_rate and timeout_rate count them)"
            )
        }
    }

    /// Ends a run whose completions never end, that crossed a guard's bound, or whose sampler and trainer disagree.
    package func check(_ metrics: Metrics, step: Int) throws(JobError) {
        for index in guards.indices where guards[index].stops {
            if let alarm = alarm(index) { throw JobError(place: "step \(step)", message: alarm) }
        }
        if clippedLimit > 0, clippedSteps >= clippedLimit, clippedGroups / Self.leastGroups >= clippedLimit {
            throw JobError(
                place: "step \(step)",
                message: "for \(clippedSteps) rollout steps every completion hit max_completion_length and none was "
                    + "rewarded (clipped_steps_limit: 0 goes on all the same); \(neededLength). Raise "
                    + "max_completion_length, or begin with a model that ends its texts, such as one that sft has "
                    + "taught")
        }
        guard let gapLimit, let gap = metrics["sampling/sampling_logp_difference/mean"], !(gap <= gapLimit) else {
            return
        }
        throw JobError(
            place: "step \(step)",
            message: "sampled and re-scored log-probs differ by \(gap) nats on average, the limit is "
                + "\(gapLimit) (logprob_gap_limit); the rollouts are not the policy's own")
    }
}

/// Counts optimizer steps that could not be taken, one after the other: the weights stay as they are, so that many of
/// them in a row say that a policy is broken and not that a batch was.
package struct SkippedSteps: Sendable {
    private static let limit = 10
    private var step: Int
    /// Steps skipped by then; `nil` where a checkpoint was begun from that does not say so.
    private var total: Double?
    private var inARow = 0

    /// - Parameter firstStep: Where the run begins.
    package init(firstStep: Int) {
        step = firstStep
        total = firstStep == 0 ? 0 : nil
    }

    /// - Throws: `NotFinite` when the last ten steps were skipped.
    package mutating func note(_ report: StepReport) throws(NotFinite) {
        guard let total = report.metrics["skipped_steps"] else { return }
        let (taken, skipped) = (report.step - step, Int(total - (self.total ?? total)))
        (step, self.total) = (report.step, total)
        inARow = skipped >= taken ? inARow + skipped : 0
        guard inARow < Self.limit else {
            throw NotFinite("the losses or gradients of \(inARow) steps in a row", since: report.step - inARow)
        }
    }
}
