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

extension SequenceLayout {
    /// The part of a packed run that some tokens' states depend on.
    package struct Part {
        package let layout: SequenceLayout
        /// The packed indices, in the whole run, of the part's tokens.
        package let tokens: [Int]
        /// The tokens asked for, as they are numbered in the part.
        package let indices: [Int]
    }

    /// What the states of the tokens at `indices` depend on: of each text no token behind the last one that is asked for,
    /// and of a prompt all of it where a completion needs it. `nil` where that is everything, and for no indices.
    ///
    /// - Throws: ``TensorError/layout(_:)`` for an index that is no token's.
    package func part(for indices: [Int]) throws(TensorError) -> Part? {
        if let index = indices.first(where: { !(0..<tokenCount).contains($0) }) {
            throw .layout("token \(index) is outside the layout; expected 0 to \(tokenCount - 1)")
        }
        var isWanted = [Bool](repeating: false, count: tokenCount)
        for index in indices { isWanted[index] = true }
        func needed(_ text: Range<Int>) -> Range<Int> {
            text.lowerBound..<(text.last { isWanted[$0] }.map { $0 + 1 } ?? text.lowerBound)
        }
        let texts = groups.map { group in
            let completions = group.completions.map(needed)
            let isRead = completions.contains { !$0.isEmpty }
            return (prompt: isRead ? group.prompt : needed(group.prompt), completions: completions)
        }.filter { !$0.prompt.isEmpty }
        let tokens = texts.flatMap { $0.prompt + $0.completions.flatMap(\.self) }
        guard !tokens.isEmpty, tokens.count < tokenCount else { return nil }
        var numbers = [Int](repeating: 0, count: tokenCount)
        for (number, token) in tokens.enumerated() { numbers[token] = number }
        return Part(
            layout: try SequenceLayout(groups: texts.map { ($0.prompt.count, $0.completions.map(\.count)) }),
            tokens: tokens, indices: indices.map { numbers[$0] })
    }
}
