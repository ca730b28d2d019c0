package import Records

/// A ``RewardFunction`` as a ``RewardSource``: the one adapter between the two.
package struct FunctionSource: RewardSource {
    package let names: [String]
    package var readsTokenIDs: Bool { function.readsTokenIDs }
    package var reportsMetrics: Bool { false }
    private let function: any RewardFunction
    private let range: ClosedRange<Double>

    /// - Parameter name: What metrics call it; its own name unless given.
    package init(_ function: any RewardFunction, name: String? = nil) {
        self.function = function
        names = [name ?? type(of: function).name]
        range = type(of: function).range
    }

    /// Scores an empty completion: a function throws for a bad row, whatever the completion.
    package func check(_ prompt: Prompt) throws(RewardError) {
        _ = try function.score(Completion(text: ""), for: prompt)
    }

    package func score(_ group: RolloutGroup, at progress: TrainingProgress) async throws -> GroupScores {
        let prompt = group.prompt.prompt
        let scores = try group.rollouts.map { rollout in
            try Task.checkCancellation()
            return [try score(rollout.completion, for: prompt)]
        }
        let greedy = try group.greedy.map { [try score($0.completion, for: prompt)] }
        return GroupScores(scores: scores, greedyScores: greedy)
    }

    package func answers(in group: RolloutGroup) throws(RewardError) -> [[String?]?] {
        guard let reader = function as? any AnswerReading else { return [nil] }
        var answers: [String?] = []
        for rollout in group.rollouts {
            answers.append(try reader.answer(in: rollout.completion, for: group.prompt.prompt))
        }
        return [answers]
    }

    /// One completion's score; a number outside the function's range is its failure.
    package func score(_ completion: Completion, for prompt: Prompt) throws(RewardError) -> RewardScore {
        try function.score(completion, for: prompt).within(range)
    }
}

extension RewardScore {
    /// The score, or a failure when its number lies outside the range that the reward states.
    package func within(_ range: ClosedRange<Double>) -> RewardScore {
        guard case .scored(let value, _) = self else { return self }
        guard case .scored = RewardScore.value(value) else { return .value(value) }
        guard range.contains(value) else {
            let bounds = "\(range.lowerBound)…\(range.upperBound)"
            return .failed(message: "the reward returned \(value), outside its range \(bounds)")
        }
        return self
    }
}
