import Job
import Records
import Testing
import Tokenization

@Suite("Stop strings that are special tokens")
struct StopTextsTests {
    private let tokenizer: Tokenizer
    init() throws { tokenizer = try BPETrainer(vocabularySize: 258, specialTokens: ["<s>", "</s>"]).train(["a"]) }

    /// Special tokens are no part of a completion's text, so that no text could ever match them.
    @Test func aSpecialTokenEndsByItsId() throws {
        let stops = try StopTexts(["</s>", "\n\n"], tokenizer)
        #expect(stops.tokenIDs == [1] && stops.texts == ["\n\n"])
    }

    @Test func aTextAroundASpecialTokenIsRefused() throws {
        let error = #expect(throws: SettingsError.self) { try StopTexts(["</s>\n"], tokenizer) }
        #expect("\(try #require(error))".contains("expected '</s>' alone, or a text without special tokens"))
    }
}
