public import Records
public import RewardInterface

/// How close the completion's length is to a wanted one.
///
///     R = max(0, 1 − |length − target_length| / tolerance)
///
/// Settings: `target_length` (required), `tolerance` (the distance at which the reward reaches 0; the target itself by
/// default), `unit` (`tokens`, `words` or `characters`).
public struct LengthReward: RewardFunction {
    public static let name = "length_reward"
    public static let range = 0.0...1.0
    public static let isDeterministic = true
    private let target: Int
    private let tolerance: Double
    private let unit: LengthUnit

    public init(reading settings: inout SettingsReader) {
        target = settings.read(
            "target_length", standIn: 1, .from(1, to: 100_000_000), meaning: "The wanted length.")
        tolerance = settings.read(
            "tolerance", default: Double(target), .from(1e-9, to: 1e9),
            "The distance at which the reward reaches 0; the target itself unless set.")
        unit = settings.read("unit", default: .tokens, "What length is counted in.")
    }

    public var readsTokenIDs: Bool { unit == .tokens }

    public func score(_ completion: Completion, for prompt: Prompt) throws(RewardError) -> RewardScore {
        let length = unit.length(of: completion)
        return .value(max(0, 1 - Double(abs(length - target)) / tolerance), note: "\(length) \(unit.rawValue)")
    }
}
