public import Records
public import RewardInterface

/// How long the completion is: a number to hold by a constraint, or to watch with the weight 0.
///
/// Setting: `unit` (`tokens`, `words` or `characters`).
public struct CompletionLength: RewardFunction {
    public static let name = "completion_length"
    public static let range = 0.0...1e9
    public static let isDeterministic = true
    private let unit: LengthUnit

    public init(reading settings: inout SettingsReader) {
        unit = settings.read("unit", default: .tokens, "What length is counted in.")
    }

    public var readsTokenIDs: Bool { unit == .tokens }

    public func score(_ completion: Completion, for prompt: Prompt) -> RewardScore {
        .value(Double(unit.length(of: completion)))
    }
}

/// What the length of a completion is counted in.
enum LengthUnit: String, SettingsChoice {
    case tokens, words, characters

    func length(of completion: Completion) -> Int {
        switch self {
        case .tokens: completion.tokenIDs.count
        case .words: completion.text.split(whereSeparator: \.isWhitespace).count
        case .characters: completion.text.count
        }
    }
}
