public import Records
public import RewardInterface

/// A penalty for n-grams of tokens that come again (Yeo et al. 2025, arXiv:2502.03373, appendix C.2).
///
///     R = (1 − distinct n-grams / all n-grams) · max_penalty
///
/// Settings: `ngram_size` (3), `max_penalty` (−1, not above 0). A completion shorter than an n-gram gets 0.
public struct RepetitionPenaltyReward: RewardFunction {
    public static let name = "get_repetition_penalty_reward"
    public static let range = -Double.greatestFiniteMagnitude...0
    public static let isDeterministic = true
    private let size: Int
    private let maxPenalty: Double

    public init(reading settings: inout SettingsReader) {
        size = settings.read("ngram_size", default: 3, .from(1, to: 10_000), "Words per n-gram.")
        maxPenalty = settings.read("max_penalty", default: -1.0, .atMost(0), "The score of a text that only repeats.")
    }

    public var readsTokenIDs: Bool { true }

    public func score(_ completion: Completion, for prompt: Prompt) throws(RewardError) -> RewardScore {
        let tokens = completion.tokenIDs
        guard tokens.count >= size else { return .value(0) }
        let count = tokens.count - size + 1
        let distinct = Set((0..<count).map { tokens[$0..<($0 + size)] }).count
        let repeated = 1 - Double(distinct) / Double(count)
        return .value(repeated == 0 ? 0 : repeated * maxPenalty)
    }
}
