/// The answer most completions agree on.
package enum MajorityVote {
    /// - Parameter answers: The extracted answer of each completion, in order; `nil` where none was found.
    /// - Returns: The most frequent answer, ties to the earliest; `nil` when there is none.
    package static func winner(of answers: [String?]) -> String? {
        var counts: [String: (votes: Int, first: Int)] = [:]
        for (index, answer) in answers.enumerated() {
            guard let answer else { continue }
            counts[answer, default: (0, index)].votes += 1
        }
        return counts.max { ($0.value.votes, -$0.value.first) < ($1.value.votes, -$1.value.first) }?.key
    }

    /// maj@k of one prompt: how often the answer most of k completions give is right.
    ///
    /// The completions are cut in the order of sampling into as many votes of k as there are; the mean over the votes
    /// is unbiased, because no completion votes twice.
    ///
    /// - Parameters:
    ///   - answers: The answer of each completion, `nil` where none was found; a vote without any answer is wrong.
    ///   - scores: 0 or 1 for each completion. A vote scores as the first completion with the winning answer.
    /// - Returns: `nil` when there are fewer than k completions.
    package static func estimate(answers: [String?], scores: [Double], k: Int) -> Double? {
        guard k >= 1, answers.count == scores.count, answers.count >= k else { return nil }
        let votes = answers.count / k
        let right = (0..<votes).reduce(0.0) { sum, vote in
            let range = (vote * k)..<((vote + 1) * k)
            guard let winner = winner(of: Array(answers[range])),
                let first = range.first(where: { answers[$0] == winner })
            else { return sum }
            return sum + scores[first]
        }
        return right / Double(votes)
    }
}
