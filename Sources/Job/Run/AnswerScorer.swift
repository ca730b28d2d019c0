internal import Coordinator
internal import Foundation
internal import Methods
internal import Records
internal import Tokenization

/// Shows rewards the answer behind a block of thinking and not the thinking. A completion whose thinking never ends is
/// shown whole.
struct AnswerScorer: Scoring {
    private let scorer: any Scoring
    private let thinkEnd: String
    private let specials: [String]

    init(_ scorer: any Scoring, _ thinking: ThinkingSettings, _ tokenizer: Tokenizer) {
        self.scorer = scorer
        thinkEnd = thinking.end
        specials = tokenizer.addedTokens.filter(\.isSpecial).map(\.content)
    }

    var rewardNames: [String] { scorer.rewardNames }

    func score(_ group: RolloutGroup) async throws -> ScoredGroup {
        var scored = try await scorer.score(judged(group))
        scored.group = group
        return scored
    }

    func scoreUncounted(_ group: RolloutGroup) async throws -> ScoredGroup {
        var scored = try await scorer.scoreUncounted(judged(group))
        scored.group = group
        return scored
    }

    func count(_ groups: [ScoredGroup]) throws {
        try scorer.count(
            groups.map { scored in
                var shown = scored
                shown.group = judged(scored.group)
                return shown
            })
    }

    /// The group as rewards see it.
    private func judged(_ group: RolloutGroup) -> RolloutGroup {
        var judged = group
        for index in judged.rollouts.indices {
            judged.rollouts[index].completion.text = answer(in: group.rollouts[index].completion)
        }
        return judged
    }

    func sealRemarks() throws -> Data { try scorer.sealRemarks() }
    func unseal(_ remarks: Data) throws { try scorer.unseal(remarks) }

    private func answer(in completion: Completion) -> String {
        if let end = completion.text.range(of: thinkEnd) { return Self.trimmed(completion.text[end.upperBound...]) }
        // A closing that is a special token stands in no plain text.
        let written = completion.textWithInnerSpecials
        guard let end = written.range(of: thinkEnd) else { return completion.text }
        return Self.trimmed(
            specials.reduce(String(written[end.upperBound...])) { $0.replacing($1, with: "") }[...])
    }

    private static func trimmed(_ text: Substring) -> String { String(text.drop(while: \.isWhitespace)) }
}
