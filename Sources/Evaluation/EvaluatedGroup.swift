package import Records

/// A scored group with the answers that the scores judged.
package struct EvaluatedGroup: Sendable, Equatable {
    package var scored: ScoredGroup
    /// `[reward][completion]`; `nil` in place of a reward that judges no single answer, and for a completion that gives
    /// none.
    package var answers: [[String?]?]

    /// - Parameter answers: Empty when no reward was asked.
    package init(_ scored: ScoredGroup, answers: [[String?]?] = []) {
        self.scored = scored
        self.answers = answers
    }

    var completions: [Completion] { scored.group.rollouts.map(\.completion) }

    func scores(ofReward index: Int) -> [RewardScore] { scored.scores.map { $0[index] } }
    func answers(ofReward index: Int) -> [String?]? { answers.indices.contains(index) ? answers[index] : nil }
}
