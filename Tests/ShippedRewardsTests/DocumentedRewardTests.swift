public import Records
public import RewardInterface
import Testing

// The rewards that the README and the article "Write a reward" show, letter for letter: Tests/PackageTests compares
// them.

/// 1 when the completion is polite.
public struct Politeness: RewardFunction {
    public static let name = "politeness"
    public static let range = 0.0...1.0
    public init(reading settings: inout SettingsReader) {}
    public func score(_ completion: Completion, for prompt: Prompt) -> RewardScore {
        .value(completion.text.contains("please") ? 1 : 0)
    }
}

/// 1 for at most so many words, falling to 0 at twice as many.
public struct Brevity: RewardFunction {
    public static let name = "brevity"
    public static let range = 0.0...1.0
    private let words: Int

    public init(reading settings: inout SettingsReader) {
        words = settings.read("words", default: 20, .from(1, to: 10_000), "Words that are still short.")
    }

    public func score(_ completion: Completion, for prompt: Prompt) -> RewardScore {
        let count = completion.text.split(whereSeparator: \.isWhitespace).count
        return .value(min(1, max(0, 2 - Double(count) / Double(words))), note: "\(count) words")
    }
}

@Suite("The rewards of the documentation")
struct DocumentedRewardTests {
    private let prompt = Prompt(row: 0, source: "set", content: .text("?"))

    private func score(_ reward: some RewardFunction, _ text: String) throws -> Double? {
        try reward.score(Completion(text: text, tokenIDs: [1], finishReason: .stopToken), for: prompt).score
    }

    @Test func theyScoreAsTheySay() throws {
        var settings = SettingsReader("reward")
        let polite = Politeness(reading: &settings)
        #expect(try score(polite, "Yes, please.") == 1 && score(polite, "Yes.") == 0)
        var two = SettingsReader("reward", values: ["words": .number(2)])
        let brief = Brevity(reading: &two)
        #expect(try ["a b", "a b c", "a b c d", "a b c d e"].map { try score(brief, $0) } == [1, 0.5, 0, 0])
        var none = SettingsReader("reward", values: ["words": .number(0)])
        _ = Brevity(reading: &none)
        #expect(throws: SettingsError.self) { try none.finish() }
    }
}
