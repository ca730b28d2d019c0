public import Records
public import RewardInterface

/// A penalty that sets in before the length limit (Yu et al. 2025, DAPO, arXiv:2503.14476, equation 13).
///
///     R = 0                                          length ≤ max_completion_len − soft_punish_cache
///         (max_completion_len − soft_punish_cache − length) / soft_punish_cache    up to max_completion_len
///         −1                                         beyond
///
/// Length in tokens. Without settings it is what TRL's command line means by the name: 1280 and 256.
public struct SoftOverlongPunishment: RewardFunction {
    public static let name = "get_soft_overlong_punishment"
    public static let range = -1.0...0.0
    public static let isDeterministic = true
    private let maxLength: Int
    private let cache: Int

    public init(reading settings: inout SettingsReader) {
        maxLength = settings.read(
            "max_completion_len", default: 1280, .from(1, to: 100_000_000),
            "The length from which the score is −1.")
        cache = settings.read(
            "soft_punish_cache", default: min(256, maxLength), .from(0, to: 100_000_000),
            "How many tokens earlier the penalty sets in.")
        settings.check(cache <= maxLength, "soft_punish_cache", "at most max_completion_len, \(maxLength)")
    }

    public var readsTokenIDs: Bool { true }

    public func score(_ completion: Completion, for prompt: Prompt) throws(RewardError) -> RewardScore {
        let length = completion.tokenIDs.count
        let free = maxLength - cache
        if length <= free { return .value(0) }
        return .value(length <= maxLength ? Double(free - length) / Double(cache) : -1)
    }
}
