/// A completion as a row of tokens, of which the policy chose some.
///
/// What the policy did not choose (a tool's answer, a word that a rule set) is read and never trained: it stands in the
/// forward pass and counts as a position, and has no log-prob, advantage, return or value. Arrays "per action" have one
/// element for each token that was chosen, in order.
package protocol ActionRow {
    /// Tokens of the completion, whoever wrote them.
    var tokenCount: Int { get }
    /// Whether the policy chose each token, one element a token; `nil` when it chose all of them.
    var isAction: [Bool]? { get }
}

extension ActionRow {
    /// Tokens that the policy chose.
    package var actionCount: Int { isAction.map { $0.count(where: \.self) } ?? tokenCount }

    /// The positions of the chosen tokens among the completion's, ascending.
    package var actionPositions: [Int] {
        guard let isAction else { return Array(0..<tokenCount) }
        return isAction.indices.filter { isAction[$0] }
    }

    /// Numbers per action beside the tokens they belong to, one element a token; `nil` where the policy chose none.
    ///
    /// - Parameter values: One an action.
    package func perToken<Value>(_ values: [Value]) -> [Value?] {
        var placed = [Value?](repeating: nil, count: tokenCount)
        for (index, value) in zip(actionPositions, values) { placed[index] = value }
        return placed
    }
}
