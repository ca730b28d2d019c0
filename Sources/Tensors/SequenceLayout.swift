/// How prompts and their completions stand in one flat run of tokens.
///
/// Each group is its prompt followed by its completions; groups follow each other without padding:
///
///     prompt₀ completion₀₀ completion₀₁ … prompt₁ completion₁₀ …
///
/// A completion attends to its prompt and to itself, and its positions continue from the prompt, as if it stood alone
/// behind it.
package struct SequenceLayout: Sendable, Equatable {
    /// Where one group's tokens are in the packed run.
    package struct Group: Sendable, Equatable {
        package let prompt: Range<Int>
        /// One range a completion, in order; an empty completion has an empty range.
        package let completions: [Range<Int>]
        /// The whole group.
        package var tokens: Range<Int> { prompt.lowerBound..<(completions.last?.upperBound ?? prompt.upperBound) }
    }

    package let groups: [Group]
    /// Tokens of the packed run.
    package let tokenCount: Int
    /// Position of every packed token in its own sequence, from 0.
    package let positions: [Int]
    /// The packed index of every completion token, in packed order.
    package let completionTokenIndices: [Int]
    /// For every completion token, in packed order, the packed index whose hidden state predicts it: the prompt's last
    /// token for the first token of each completion, the token before it for the others.
    package let predictionIndices: [Int]
    package let attentionPlan: AttentionPlan

    /// - Parameter groups: lengths in tokens. A group without completions is a plain sequence; a completion may be
    ///   empty. A prompt holds at least one token, because something must predict the first token of a completion.
    /// - Throws: ``TensorError/layout(_:)`` naming the first group that does not fit, or that there is none.
    package init(groups: [(promptLength: Int, completionLengths: [Int])]) throws(TensorError) {
        guard !groups.isEmpty else { throw .layout("a layout needs at least one group") }
        var placed: [Group] = []
        var positions: [Int] = []
        var targets: [Int] = []
        var predictions: [Int] = []
        for (index, group) in groups.enumerated() {
            guard group.promptLength >= 1 else {
                throw .layout("group \(index) has a prompt of \(group.promptLength) tokens, at least 1 is needed")
            }
            if let length = group.completionLengths.first(where: { $0 < 0 }) {
                throw .layout("group \(index) has a completion of \(length) tokens, at least 0 is needed")
            }
            let prompt = positions.count..<positions.count + group.promptLength
            positions += 0..<group.promptLength
            let completions = group.completionLengths.map { length in
                let completion = positions.count..<positions.count + length
                positions += group.promptLength..<group.promptLength + length
                targets += completion
                predictions += completion.map { $0 == completion.lowerBound ? prompt.upperBound - 1 : $0 - 1 }
                return completion
            }
            placed.append(Group(prompt: prompt, completions: completions))
        }
        self.groups = placed
        self.positions = positions
        tokenCount = positions.count
        completionTokenIndices = targets
        predictionIndices = predictions
        attentionPlan = AttentionPlan(groups: placed)
    }

    /// Plain sequences side by side: groups of one prompt each and no completion.
    package init(sequenceLengths: [Int]) throws(TensorError) {
        try self.init(groups: sequenceLengths.map { ($0, []) })
    }
}
