package import JSON
package import Records

/// Where a run stands, for rewards that change with it (`trainer_state` in Python).
package struct TrainingProgress: Sendable, Equatable {
    /// Optimizer steps taken.
    package var step: Int
    /// Optimizer steps planned; 0 when the number is not known.
    package var maxSteps: Int
    /// Passes over the prompt set, with fraction.
    package var epoch: Double

    package init(step: Int = 0, maxSteps: Int = 0, epoch: Double = 0) {
        self.step = step
        self.maxSteps = maxSteps
        self.epoch = epoch
    }
}

/// What one source says of one group.
package struct GroupScores: Sendable, Equatable {
    /// `[completion][name]`, in the order of the group's rollouts and of the source's `names`.
    package var scores: [[RewardScore]]
    /// One score per name for the greedy completion, when the group has one.
    package var greedyScores: [RewardScore]?
    /// More columns for the completions file, one value per rollout (`log_extra` in Python).
    package var extraColumns: [String: [JSONValue]]
    /// Numbers for the step's metrics (`log_metric` in Python); a step reports their mean over its groups.
    package var metrics: [String: Double]

    package init(
        scores: [[RewardScore]], greedyScores: [RewardScore]? = nil, extraColumns: [String: [JSONValue]] = [:],
        metrics: [String: Double] = [:]
    ) {
        self.scores = scores
        self.greedyScores = greedyScores
        self.extraColumns = extraColumns
        self.metrics = metrics
    }
}

/// Gives scores to whole groups: the only form of a reward that the Coordinator sees.
///
/// Groups are scored concurrently and while other groups are still decoded. Every completion gets a score in one of the
/// four states; none is left out, whatever breaks.
package protocol RewardSource: Sendable {
    /// Names of the rewards it gives, one per score of a completion.
    var names: [String] { get }

    /// Whether any of them reads the token ids of a completion.
    var readsTokenIDs: Bool { get }

    /// Whether any of them reads a prompt as the model does, in its chat template.
    var readsRenderedPrompts: Bool { get }

    /// Whether its answers may have numbers of their own beside the scores, whose names are not known before.
    var reportsMetrics: Bool { get }

    /// Whether the prompt's row has what scoring reads, found out before anything is sampled for it.
    ///
    /// - Throws: ``RewardError`` naming the row and the column that is missing or unfit.
    func check(_ prompt: Prompt) throws(RewardError)

    /// What a call hands over of the prompt's row beside the completions, by argument.
    ///
    /// - Returns: `nil` when that is every column by its own name.
    /// - Throws: ``RewardError`` as ``check(_:)`` does.
    func arguments(for prompt: TokenizedPrompt) throws(RewardError) -> [(name: String, value: JSONValue)]?

    /// Scores every rollout of the group, and its greedy completion when there is one.
    ///
    /// - Throws: ``RewardError`` for a row that cannot be scored as it stands; the run stops.
    func score(_ group: RolloutGroup, at progress: TrainingProgress) async throws -> GroupScores

    /// The answers that the scores judge, for votes.
    ///
    /// - Returns: `[name][completion]`; `nil` in place of a reward that judges no single answer, and for a completion
    ///   that gives none.
    func answers(in group: RolloutGroup) throws(RewardError) -> [[String?]?]

    /// Ends what the source keeps running. Scoring after it is an error.
    func close() async
}

extension RewardSource {
    package var readsTokenIDs: Bool { false }

    package var readsRenderedPrompts: Bool { false }

    package var reportsMetrics: Bool { true }

    package func check(_ prompt: Prompt) throws(RewardError) {}

    package func arguments(
        for prompt: TokenizedPrompt
    ) throws(RewardError) -> [(name: String, value: JSONValue)]? { nil }

    package func answers(in group: RolloutGroup) throws(RewardError) -> [[String?]?] { names.map { _ in nil } }

    package func close() async {}
}
