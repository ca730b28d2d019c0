public import Records

/// What every reward of a catalogue says of itself.
public protocol Reward: Sendable {
    /// How `reward_funcs` names it and how metrics spell it.
    static var name: String { get }

    /// Every score lies in here, whatever the settings. A score outside counts as a failure of the reward.
    static var range: ClosedRange<Double> { get }

    /// Whether a score depends on nothing but the completion, the prompt with its columns, and the settings. Then
    /// `cache: true` may keep it. Not so unless declared.
    static var isDeterministic: Bool { get }

    /// Whether it reads ``Records/Completion/tokenIDs``, as set. Every completion of a run has them; a file of completions
    /// that has none is refused then instead of counting as no tokens. Not so unless declared.
    var readsTokenIDs: Bool { get }

    /// Reads what the job file sets for this reward.
    ///
    ///     public init(reading settings: inout SettingsReader) {
    ///         target = settings.read(
    ///             "target_length", standIn: 1, .from(1, to: 1_000_000), meaning: "The wanted length.")
    ///         scale = settings.read("scale", default: 1.0, .from(0, to: 100), "What the score is multiplied by.")
    ///     }
    ///
    /// A value that cannot be used is refused after this returns, and so is a setting that nobody asked for.
    init(reading settings: inout SettingsReader) throws(RewardError)
}

extension Reward {
    public static var isDeterministic: Bool { false }

    public var readsTokenIDs: Bool { false }
}

/// A reward written in Swift: one completion in, one score out.
///
///     public struct EndsPolitely: RewardFunction {
///         public static let name = "ends_politely"
///         public static let range = 0.0...1.0
///         public init(reading settings: inout SettingsReader) {}
///         public func score(_ completion: Completion, for prompt: Prompt) throws(RewardError) -> RewardScore {
///             .value(completion.text.hasSuffix("please.") ? 1 : 0)
///         }
///     }
///
/// A function is called from several tasks at once and must return quickly; it has no time limit of its own. Work that
/// can hang or crash belongs in a reward of another process.
public protocol RewardFunction: Reward {
    /// Scores one completion.
    ///
    /// - Throws: ``RewardError`` when the prompt's row is unfit (a column is missing or of another type). It stops the
    ///   run: a bad row is no zero. A bad completion is a low score, never an error.
    func score(_ completion: Completion, for prompt: Prompt) throws(RewardError) -> RewardScore
}

/// A reward that judges one answer within the completion, and can say which.
///
/// Evaluation lets the completions of a prompt vote with it (maj@k) and counts the completions without an answer.
public protocol AnswerReading: RewardFunction {
    /// The answer a completion gives, written such that answers that mean the same are the same text.
    ///
    /// - Returns: `nil` when the completion gives none: a parse failure.
    /// - Throws: ``RewardError`` as ``RewardFunction/score(_:for:)`` does.
    func answer(in completion: Completion, for prompt: Prompt) throws(RewardError) -> String?
}
