package import Credit
package import Foundation
package import Records

// What a step needs of the other rooms. The Coordinator sees these protocols and plain values only; `Job` names the
// parts behind them.

/// Hands out the prompts of a run in its order, and takes back a step that was abandoned.
package protocol PromptSource: Sendable {
    /// The next `count` prompts, each in every variant: `[prompt][variant]`. A prompt comes at most once in a step.
    func next(_ count: Int, in variants: [PromptVariant]) async throws -> [[TokenizedPrompt]]
    /// The next `count` demonstrations: a prompt with the completion to imitate.
    func nextDemonstrations(_ count: Int) async throws -> [UpdateGroup]
    /// The pairs of the next `count` prompts, in the parts that the method's plan has; a prompt without a pair in one
    /// of them has two masked completions there.
    func nextPairs(_ count: Int) async throws -> [UpdatePart]
    /// Remembers the present position, for ``rewind()``.
    func mark() async
    /// Goes back to the last mark: an abandoned step hands out the same prompts again.
    func rewind() async
    /// Epochs handed out so far, with the fraction of the running one.
    var epoch: Double { get async }
}

/// A prompt with a completion to imitate.
package struct DemonstratedPrompt: Sendable, Equatable {
    package var prompt: TokenizedPrompt
    package var completion: Completion

    package init(prompt: TokenizedPrompt, completion: Completion) {
        self.prompt = prompt
        self.completion = completion
    }

    /// What is learned from it.
    package var updateGroup: UpdateGroup {
        UpdateGroup(
            promptTokenIDs: prompt.tokenIDs, completions: [UpdateCompletion(tokenIDs: completion.tokenIDs)])
    }
}

/// Hands out demonstrations for steps that imitate beside sampling.
package protocol DemonstrationSource: Sendable {
    /// The demonstrations of a step that has sampled these prompts; a prompt without one is left out. Where prompts
    /// find theirs, each comes with the prompt that was asked for.
    func demonstrations(of prompts: [TokenizedPrompt]) async throws -> [DemonstratedPrompt]
    /// The demonstrations of a step that takes so many prompts of `source` and samples none.
    ///
    /// - Parameter step: Addresses the draws of a source that samples.
    func next(_ count: Int, from source: any PromptSource, step: Int, stop: StopSignal) async throws
        -> [DemonstratedPrompt]
    /// As ``PromptSource/mark()`` and ``PromptSource/rewind()``, for an order of its own.
    func mark() async
    func rewind() async
}

/// Makes completions go on, and keeps what comes to a right answer.
package protocol Rethinking: Sendable {
    /// - Parameters:
    ///   - groups: Scored.
    ///   - step: Addresses the draws.
    func rethink(_ groups: [ScoredGroup], step: Int, stop: StopSignal) async throws -> RethoughtGroups
}

/// A step's groups after some completions were made to go on.
package struct RethoughtGroups: Sendable {
    /// With the kept ones in place of those that they begin like.
    package var groups: [ScoredGroup]
    /// The kept ones to be imitated.
    package var kept: [UpdateGroup] = []
    package var metrics = Metrics()

    package init(groups: [ScoredGroup]) { self.groups = groups }
}

/// Says how much each part of a step counts, where that moves.
package protocol PartWeighing: Sendable {
    /// - Parameters:
    ///   - batch: Of the step's first optimizer step. It is looked at, not learned from.
    ///   - progress: Where the run is before the step.
    /// - Returns: A weight for each part, and what is worth noting of them.
    func weigh(
        _ batch: UpdateBatch, at progress: RunProgress, stop: StopSignal
    ) async throws -> (weights: [Double], metrics: Metrics)
    /// Shows it what the training of a weighed step measured; `entropy` is that of what the step sampled itself, and
    /// absent where it learned from replayed completions alone.
    ///
    /// - Returns: What a person should read.
    func observe(_ training: Metrics) async -> String?
    /// As ``PromptSource/mark()`` and ``PromptSource/rewind()``, for its own state.
    func mark() async
    func rewind() async
}

/// Samples completions.
package protocol Generating: Sendable {
    /// Samples every request's completions with the draws of `step`; a group leaves as soon as its last row has ended,
    /// so groups come in any order. Ends with ``StopRequested`` when `stop` is set between two decode steps.
    func generate(
        _ requests: [RolloutRequest], step: Int, stop: StopSignal
    ) -> AsyncThrowingStream<RolloutGroup, any Error>
}

/// Asks every reward for every completion of a group.
package protocol Scoring: Sendable {
    /// The names of the rewards, in the order of the scores.
    var rewardNames: [String] { get }
    /// Scores a group. A reward that fails on a completion is a state of its score; only what makes the run pointless
    /// throws (a bad prompt row, an exhausted error budget).
    func score(_ group: RolloutGroup) async throws -> ScoredGroup
    /// The same for a rank's share of what all ranks score: its failures stand in no error budget until
    /// ``count(_:)`` is shown the shares of all.
    func scoreUncounted(_ group: RolloutGroup) async throws -> ScoredGroup
    /// Takes the scores of such groups into the error budgets, in this order.
    ///
    /// - Throws: When a budget is exhausted.
    func count(_ groups: [ScoredGroup]) throws
    /// Takes what the rewards remarked beside their scores since the last call, sealed: it goes with the groups to the
    /// other ranks, and to the step that learns from them.
    func sealRemarks() throws -> Data
    /// Puts such remarks among those of the running step.
    func unseal(_ remarks: Data) throws
}

extension Scoring {
    package func scoreUncounted(_ group: RolloutGroup) async throws -> ScoredGroup { try await score(group) }
    package func count(_ groups: [ScoredGroup]) throws {}
}

/// Computes log-probs and values, and takes optimizer steps.
package protocol Updating: Sendable {
    /// The log-prob of every action under the named weights, with what the completions' payloads keep of those weights.
    func logProbabilities(_ batch: UpdateBatch, under role: InferenceRole) async throws -> CompletionLogProbabilities
    /// What the critic expects of every completion.
    func values(_ batch: UpdateBatch) async throws -> CriticValues
    /// Inner products of the gradients that each stream of advantages of the batch's rollouts has alone; nothing is
    /// written.
    func streamProducts(_ batch: UpdateBatch, stop: StopSignal?) async throws -> StreamProducts
    /// Takes one optimizer step. With a stop signal, throws ``StopRequested`` between micro-batches and leaves the
    /// weights untouched; without one it always finishes.
    func train(_ batch: UpdateBatch, stop: StopSignal?) async throws -> Metrics
    /// Whether the loss weighs tokens by the old policy over the one that sampled them: the ratios among the metrics of
    /// a step are then these weights.
    var weighsSampler: Bool { get async }
    /// The version of the policy's weights, as rollouts are stamped with it.
    var policyVersion: PolicyVersion { get async throws }
    /// Where several ranks share the policy's layers, brings them together for what reads whole weights until the next
    /// step. Every rank calls it; where they are together it does nothing.
    func gatherWeights() async throws
    /// Where several ranks share the policy's layers to train, to sample, or for both, brings each what it samples with
    /// until the next step. Every rank calls it; where that is done it does nothing.
    func gatherSamplingWeights() async throws
    /// Brings what several ranks keep apart to the first of them, which is about to save. Every rank calls it.
    func assembleState() async throws
    /// Brings the policy's weights from the ranks that train to those that only sample. Every rank calls it.
    func shareWeights() async throws
}

extension Updating {
    package func gatherWeights() {}
    package func gatherSamplingWeights() {}
    package func assembleState() {}
    package func shareWeights() {}
}

/// Writes and shows what a run does.
package protocol StepObserver: Sendable {
    /// A part of the step has begun.
    func began(_ phase: StepPhase, step: Int) async
    /// A step is done.
    ///
    /// - Returns: The step's numbers as they are recorded, those that the observer has added among them: checkpoints can
    ///   be ranked by each.
    /// - Throws: `NotFinite` when the run has diverged: nothing of it is saved any more.
    func completed(_ report: StepReport) async throws -> Metrics
    /// Controllers have learned from an evaluation.
    func noted(_ metrics: Metrics, _ notes: [String], step: Int) async throws
}

extension StepObserver {
    package func noted(_ metrics: Metrics, _ notes: [String], step: Int) {}
}

/// The part of a step a live display names.
package enum StepPhase: String, Sendable, Equatable {
    case generating, scoring, inferring, updating, evaluating, saving
}

/// Everything a finished step leaves behind for files and displays.
package struct StepReport: Sendable {
    /// Optimizer steps taken so far, this step's included.
    package var step: Int
    package var metrics: Metrics
    /// The scored groups of the step; empty for a method that does not generate.
    package var groups: [ScoredGroup]
    /// What each completion got, `[group][completion]`.
    package var credits: [[CompletionCredit]]
    /// What controllers have to say, a line each.
    package var notes: [String]

    package init(
        step: Int, metrics: Metrics, groups: [ScoredGroup], credits: [[CompletionCredit]], notes: [String] = []
    ) {
        self.notes = notes
        self.step = step
        self.metrics = metrics
        self.groups = groups
        self.credits = credits
    }
}

/// Measures the policy on held-out rows between two steps.
package protocol Evaluating: Sendable {
    /// Measures what is due.
    ///
    /// - Parameter before: Optimizer steps at the last chance to measure; `nil` before the first step, when everything
    ///   is due.
    /// - Returns: Metrics with the prefix `eval_`.
    func evaluate(since before: Int?, step: Int, stop: StopSignal) async throws -> Metrics
}

/// Saves every owner of state in one folder.
package protocol Saving: Sendable {
    /// Writes a checkpoint of the present state; returns when it is safe on disk.
    func save(_ progress: RunProgress, metrics: Metrics) async throws
}
