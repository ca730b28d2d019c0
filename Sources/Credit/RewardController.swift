package import Foundation
package import Records

/// Moves weights of advantage streams, or other coefficients of a credit rule, from step to step.
///
/// A value: a step that is given up takes an older copy back. What it remembers is its `state`, which checkpoints hold;
/// its settings are the job's.
package protocol RewardController: Sendable {
    associatedtype State: Codable & Sendable & Equatable

    /// Names its state in a checkpoint and its family of metrics: lower-case letters, digits and `_`; one controller a
    /// name.
    var name: String { get }
    var state: State { get set }
    /// What it makes of the weights of the step that begins.
    ///
    /// - Parameter step: Optimizer steps taken so far.
    func weights(at step: Int) -> StreamWeights

    /// Refuses a state that is not that of this job: a checkpoint's.
    ///
    /// - Throws: ``ControllerStateError`` naming what differs.
    func check(_ state: State) throws

    /// Learns from a step whose groups were credited with the present ``weights(at:)``.
    ///
    /// - Returns: What changed and why; `nil` where an input is not a finite number, with the state as it was: the
    ///   caller counts that.
    mutating func observe(_ step: ObservedStep) -> ControllerUpdate?

    /// Learns from the groups of the step that comes, before they are credited: its ``weights(at:)`` afterwards are that
    /// step's.
    ///
    /// - Parameters:
    ///   - batch: With the log-probs that the credit rule reads, and what all controllers make of the weights so far.
    ///   - rewards: The job's.
    /// - Returns: As ``observe(_:)-(ObservedStep)``.
    mutating func prepare(for batch: CreditBatch, _ rewards: RewardCombination) -> ControllerUpdate?

    /// Learns from what the training of a step measured, after ``observe(_:)-(ObservedStep)``.
    ///
    /// - Parameter trained: All numbers of the step.
    /// - Returns: As ``observe(_:)-(ObservedStep)``.
    mutating func observe(trained: Metrics) -> ControllerUpdate?

    /// Whether it can do nothing before it has seen an evaluation.
    var needsEvaluation: Bool { get }

    /// Learns from an evaluation between two steps.
    ///
    /// - Returns: As ``observe(_:)-(ObservedStep)``.
    mutating func observe(_ evaluation: ObservedEvaluation) -> ControllerUpdate?

    /// Why the run should end before its last step, by what the state says; `nil` to go on.
    var endsRun: String? { get }

    /// Whether it compares the gradients of streams before each step.
    var readsGradients: Bool { get }

    /// Learns from the gradients of the step that comes: its ``weights(at:)`` afterwards are that step's.
    ///
    /// - Parameter streams: Their names, in the order of the products.
    /// - Returns: As ``observe(_:)-(ObservedStep)``.
    mutating func weigh(_ products: StreamProducts, of streams: [String]) -> ControllerUpdate?
}

/// What a controller sees of a step.
package struct ObservedStep: Sendable, Equatable {
    /// The rewards' names, in the order of the scores.
    package var rewardNames: [String]
    /// Raw scores of every group that the present policy wrote in the step, also of those that dynamic sampling left
    /// out: a mean over the kept ones says nothing of the policy. Replayed ones are never among them, and completions
    /// that were made to go on stand here as they were before, with the scores that they had.
    package var groups: [ScoredGroup]
    /// Completions of the groups that were credited.
    package var creditedCompletions: Int
    /// The KL estimate averaged over the credited groups' tokens, in nats; `nil` without a penalty in the reward.
    package var meanKL: Double?

    /// - Parameter creditedCompletions: Those of all groups unless given.
    package init(
        rewardNames: [String], groups: [ScoredGroup], creditedCompletions: Int? = nil, meanKL: Double? = nil
    ) {
        self.rewardNames = rewardNames
        self.groups = groups
        self.creditedCompletions = creditedCompletions ?? groups.reduce(0) { $0 + $1.group.rollouts.count }
        self.meanKL = meanKL
    }
}

/// What a controller did with a step.
package struct ControllerUpdate: Sendable, Equatable {
    /// What was in force in the step, and the numbers that moved it.
    package var metrics: Metrics
    /// A line for a person, when it has moved notably.
    package var note: String?

    package init(metrics: Metrics = Metrics(), note: String? = nil) {
        self.metrics = metrics
        self.note = note
    }
}

/// What a controller sees of an evaluation.
package struct ObservedEvaluation: Sendable, Equatable {
    /// Optimizer steps taken.
    package var step: Int
    /// Mean scores by reward; without those that scored nothing.
    package var means: [String: Double]
    /// All numbers of the evaluation.
    package var measured: Metrics

    package init(step: Int, means: [String: Double], measured: Metrics = Metrics()) {
        self.step = step
        self.means = means
        self.measured = measured
    }

    /// Whether the rewards were measured on the rows of the evaluation, scored or not: what is due may be a guard's rows
    /// alone.
    package var measuresRewards: Bool {
        !means.isEmpty || measured.names.contains { $0.hasPrefix("eval_") && !$0.hasPrefix("eval_guard/") }
    }
}

/// Scores that were added up: ranks add their sums and counts, never their means.
package struct ScoreTally: Sendable, Equatable {
    package var sum: Double
    package var count: Int
    /// 0 of no scores.
    package var mean: Double { count == 0 ? 0 : sum / Double(count) }

    package init(sum: Double = 0, count: Int = 0) {
        self.sum = sum
        self.count = count
    }
}

extension ObservedStep {
    /// A reward's scores of the step's completions; none of a reward that nobody knows.
    ///
    /// - Parameter countsTokens: Whether a score counts as often as its completion has actions, and not once.
    package func tally(of reward: String, countsTokens: Bool = false) -> ScoreTally {
        guard let index = rewardNames.firstIndex(of: reward) else { return ScoreTally() }
        return groups.reduce(into: ScoreTally()) { tally, group in
            for (rollout, scores) in zip(group.group.rollouts, group.scores) {
                guard let score = scores[index].score else { continue }
                let times = countsTokens ? rollout.actionCount : 1
                tally.sum += score * Double(times)
                tally.count += times
            }
        }
    }
}

/// A saved state that belongs to another job.
package struct ControllerStateError: Error, Sendable, Equatable, CustomStringConvertible {
    package let description: String

    package init(_ description: String) { self.description = description }
}

extension RewardController {
    package func check(_ state: State) throws {}
    package mutating func prepare(for batch: CreditBatch, _ rewards: RewardCombination) -> ControllerUpdate? {
        ControllerUpdate()
    }
    package mutating func observe(trained: Metrics) -> ControllerUpdate? { ControllerUpdate() }
    package var needsEvaluation: Bool { false }
    package var endsRun: String? { nil }
    package mutating func observe(_ evaluation: ObservedEvaluation) -> ControllerUpdate? { ControllerUpdate() }
    package var readsGradients: Bool { false }
    package mutating func weigh(_ products: StreamProducts, of streams: [String]) -> ControllerUpdate? {
        ControllerUpdate()
    }

    /// The state as JSON.
    package func encodedState(with encoder: JSONEncoder) throws -> Data { try encoder.encode(state) }

    /// Takes over what ``encodedState(with:)`` wrote; changes nothing when it throws.
    package mutating func takeState(from data: Data, with decoder: JSONDecoder) throws {
        let saved = try decoder.decode(State.self, from: data)
        try check(saved)
        state = saved
    }
}
