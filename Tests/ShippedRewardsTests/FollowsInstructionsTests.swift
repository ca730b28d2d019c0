import JSON
import Records
import RewardInterface
import ShippedRewards
import Testing

@Suite("The reward for instructions")
struct FollowsInstructionsTests {
    /// One instruction, written as JSON, and a text.
    struct Case: Sendable, CustomTestStringConvertible {
        let instruction: String
        let text: String
        var testDescription: String { "\(instruction) · \(text.prefix(60))" }

        init(_ instruction: String, _ text: String) { (self.instruction, self.text) = (instruction, text) }
    }

    private func judged(
        _ instructions: String, _ text: String, finish: FinishReason = .stopToken,
        settings: [String: JSONValue] = [:]
    ) throws -> RewardScore {
        let function = try ShippedRewards.catalogue.function(named: "follows_instructions", settings: settings)
        let columns = ["instructions": try JSONValue(parsing: instructions)]
        return try function.score(Completion(text: text, finishReason: finish), for: prompt(columns))
    }

    // What keeps an instruction and what does not, counted by hand.

    @Test(
        arguments: [
            Case(#"{"kind": "word_count", "count": 4}"#, " One two\n\nthree  four. "),
            Case(#"{"kind": "word_count", "count": 3}"#, "A well-known — don't"),
            Case(#"{"kind": "word_count", "count": 2}"#, "5 apples - !"),
            Case(#"{"kind": "word_count", "at_most": 2}"#, "two words"),
            Case(#"{"kind": "word_count", "at_least": 2, "at_most": 3}"#, "a b c"),
            Case(#"{"kind": "sentence_count", "count": 2}"#, "It rains. The cat sleeps."),
            Case(#"{"kind": "sentence_count", "count": 2}"#, "It rains! The cat sleeps"),
            Case(#"{"kind": "sentence_count", "count": 1}"#, "It costs 3.5 francs at shop.example, or so"),
            Case(#"{"kind": "sentence_count", "count": 3}"#, "\"Really?!\" she said... (Nobody knew.)"),
            Case(#"{"kind": "sentence_count", "count": 2}"#, "1. Apples. 2. Pears."),
            Case(#"{"kind": "sentence_count", "count": 3}"#, "Wait… what? Mr. 5!"),
            Case(#"{"kind": "line_count", "count": 2}"#, "one\n\n---\ntwo\n"),
            Case(#"{"kind": "line_count", "count": 2}"#, "one\r\ntwo"),
            Case(#"{"kind": "character_count", "count": 5}"#, "\n a\nb c "),
            Case(#"{"kind": "character_count", "at_most": 4}"#, "cafe\u{301}"),
            Case(#"{"kind": "list", "count": 2, "marker": "-"}"#, "Here:\n- one\n  - two\nDone - really"),
            Case(#"{"kind": "list", "count": 1, "marker": "*"}"#, "* one\n- two\n**three**\n*"),
            Case(#"{"kind": "numbered_list", "count": 3}"#, "Yes:\n1. a\n2) b\n 3.\tc"),
            Case(#"{"kind": "numbered_list", "at_most": 3}"#, "no list at all"),
            Case(#"{"kind": "include", "words": ["river"]}"#, "The River's bank"),
            Case(#"{"kind": "include", "words": ["ice cream", "sun"]}"#, "Sun, and (ice cream)!"),
            Case(#"{"kind": "exclude", "words": ["river"]}"#, "rivers, 2river, riverbed"),
            Case(#"{"kind": "frequency", "word": "tea", "count": 2}"#, "Tea, tea; steam and teas."),
            Case(#"{"kind": "lower_case"}"#, "no capitals, 3 of them! été"),
            Case(#"{"kind": "upper_case"}"#, "ALL OF IT: 3 ÉTÉS"),
            Case(#"{"kind": "without", "character": ","}"#, "one; two"),
            Case(#"{"kind": "without", "character": "k"}"#, "no such letter"),
            Case(#"{"kind": "starts_with", "text": "Dear"}"#, "\n Dear Anna"),
            Case(#"{"kind": "starts_with", "text": "In short,"}"#, "In short,no space is needed"),
            Case(#"{"kind": "ends_with", "text": "The end."}"#, "So it was. The end.\n"),
            Case(#"{"kind": "ends_with", "text": "?"}"#, "Is it so?"),
            Case(#"{"kind": "json", "keys": ["name", "age"]}"#, #"{"age": 3, "name": "Rex"}"#),
            Case(#"{"kind": "json", "keys": ["a"]}"#, "```json\n{\"a\": [1, {\"b\": null}]}\n```"),
        ] as [Case])
    func kept(_ example: Case) throws {
        let score = try judged("[\(example.instruction)]", example.text)
        #expect(score == .value(1, note: nil), "\(score)")
    }

    @Test(
        arguments: [
            (Case(#"{"kind": "word_count", "count": 3}"#, "a b"), "word_count: 2 words, not exactly 3"),
            (Case(#"{"kind": "word_count", "at_most": 1}"#, "a b"), "word_count: 2 words, not at most 1"),
            (Case(#"{"kind": "word_count", "at_least": 2}"#, "a -"), "word_count: 1 word, not at least 2"),
            (
                Case(#"{"kind": "word_count", "at_least": 2, "at_most": 3}"#, "a b c d"),
                "word_count: 4 words, not 2 to 3"
            ),
            (
                Case(#"{"kind": "sentence_count", "count": 1}"#, "Mr. Smith."),
                "sentence_count: 2 sentences, not exactly 1"
            ),
            (
                Case(#"{"kind": "sentence_count", "count": 2}"#, "one.two. 3."),
                "sentence_count: 1 sentence, not exactly 2"
            ),
            (Case(#"{"kind": "line_count", "count": 1}"#, "a\nb"), "line_count: 2 lines, not exactly 1"),
            (
                Case(#"{"kind": "character_count", "at_most": 2}"#, "a b"),
                "character_count: 3 characters, not at most 2"
            ),
            (
                Case(#"{"kind": "list", "count": 2, "marker": "-"}"#, "- one\n-two\n* three\n- "),
                "list: 1 line with '-' in front, not exactly 2"
            ),
            (
                Case(#"{"kind": "numbered_list", "count": 2}"#, "1. a\n1. b"),
                "numbered_list: its numbers do not run from 1 to 2"
            ),
            (
                Case(#"{"kind": "numbered_list", "count": 2}"#, "1.a\n2. b"),
                "numbered_list: 1 numbered line, not exactly 2"
            ),
            (Case(#"{"kind": "include", "words": ["river", "sea"]}"#, "rivers"), "include: without 'river', 'sea'"),
            (Case(#"{"kind": "exclude", "words": ["sea", "river"]}"#, "A RIVER"), "exclude: with 'river'"),
            (
                Case(#"{"kind": "frequency", "word": "tea", "count": 2}"#, "tea"),
                "frequency: 1 time 'tea', not exactly 2"
            ),
            (Case(#"{"kind": "lower_case"}"#, "oh No"), "lower_case: has 'N'"),
            (Case(#"{"kind": "lower_case"}"#, "12"), "lower_case: has no letter of that case"),
            (Case(#"{"kind": "upper_case"}"#, "STRAßE"), "upper_case: has 'ß'"),
            (Case(#"{"kind": "upper_case"}"#, "灯"), "upper_case: has no letter of that case"),
            (Case(#"{"kind": "without", "character": ","}"#, "a, b"), "without: has ','"),
            (Case(#"{"kind": "without", "character": "e"}"#, "CAFE\u{301}"), "without: has 'e'"),
            (Case(#"{"kind": "starts_with", "text": "Dear"}"#, "Dearest"), "starts_with: begins 'Deare', not 'Dear'"),
            (Case(#"{"kind": "starts_with", "text": "Dear"}"#, "dear A"), "starts_with: begins 'dear', not 'Dear'"),
            (Case(#"{"kind": "ends_with", "text": "end"}"#, "legend"), "ends_with: ends 'gend', not 'end'"),
            (
                Case(#"{"kind": "ends_with", "text": "The end."}"#, "The end"),
                "ends_with: ends 'The end', not 'The end.'"
            ),
            (Case(#"{"kind": "json", "keys": ["a"]}"#, #"{"a": 1, "b": 2}"#), "json: has the keys 'a', 'b', not 'a'"),
            (
                Case(#"{"kind": "json", "keys": ["a"]}"#, #"{"a": 1, "a": 2}"#),
                "json: not one JSON object and nothing else"
            ),
            (
                Case(#"{"kind": "json", "keys": ["a"]}"#, #"Here: {"a": 1}"#),
                "json: not one JSON object and nothing else"
            ),
            (Case(#"{"kind": "json", "keys": ["a"]}"#, "[1]"), "json: not one JSON object and nothing else"),
            (
                Case(#"{"kind": "json", "keys": ["a"]}"#, "```\n{\"a\": 1}\n```\nThere."),
                "json: not one JSON object and nothing else"
            ),
        ] as [(Case, String)])
    func broken(_ example: Case, _ note: String) throws {
        let score = try judged("[\(example.instruction)]", example.text)
        #expect(score == .value(0, note: note), "\(score)")
    }

    private let two = #"[{"kind": "word_count", "count": 2}, {"kind": "include", "words": ["tea"]}]"#

    @Test func theScoreIsTheShareOrAll() throws {
        let all: [String: JSONValue] = ["scoring": "all"]
        #expect(try judged(two, "hot tea").score == 1 && judged(two, "hot tea", settings: all).score == 1)
        #expect(try judged(two, "hot milk").score == 0.5 && judged(two, "hot milk", settings: all).score == 0)
        #expect(try judged(two, "milk").score == 0)
        #expect(try judged(two, "milk").note == "word_count: 1 word, not exactly 2; include: without 'tea'")
    }

    @Test func whatWasCutOffKeepsNothingUnlessItIsJudged() throws {
        #expect(try judged(two, "hot tea", finish: .length) == .value(0, note: "cut off by the length limit"))
        #expect(try judged(two, "hot tea", finish: .length, settings: ["judge_truncated": true]).score == 1)
        #expect(try judged(two, "hot tea", finish: .stopString("\n")).score == 1)
    }

    /// Saying nothing avoids every word.
    @Test(arguments: ["", " \n", "...", "\"\"", "🙂"])
    func nothingIsNoAnswer(_ text: String) throws {
        #expect(
            try judged(#"[{"kind": "exclude", "words": ["sea"]}]"#, text)
                == .value(0, note: "no letter or digit in the text"))
    }

    @Test func longTextsAreJudged() throws {
        let text = String(repeating: "tea. ", count: 20_000)
        let instructions = """
            [{"kind": "word_count", "count": 20000}, {"kind": "sentence_count", "count": 20000},
             {"kind": "frequency", "word": "tea", "count": 20000}, {"kind": "line_count", "count": 1}]
            """
        #expect(try judged(instructions, text).score == 1)
        let deep = String(repeating: "[", count: 100_000)
        #expect(try judged(#"[{"kind": "json", "keys": ["a"]}]"#, "{\"a\": \(deep)").score == 0)
    }

    @Test(
        arguments: [
            ("3", "a list of objects with 'kind'"), ("[]", "a list of objects with 'kind'"),
            ("[3]", "an object with a text 'kind'"), (#"[{"count": 3}]"#, "an object with a text 'kind'"),
            (
                #"[{"kind": "lower_case"}, {"kind": "word_counts", "count": 1}]"#,
                "word_count in place of the kind 'word_counts' of instruction 2"
            ),
            (#"[{"kind": "zzzzzzzz"}]"#, "word_count, sentence_count"),
            (#"[{"kind": "word_count"}]"#, "'count', or 'at_least' up to 'at_most'"),
            (#"[{"kind": "word_count", "count": 0}]"#, "a whole number above 0 as 'count'"),
            (#"[{"kind": "word_count", "count": 2.5}]"#, "a whole number above 0 as 'count'"),
            (#"[{"kind": "word_count", "count": "3"}]"#, "a whole number above 0 as 'count'"),
            (#"[{"kind": "word_count", "count": 3, "at_most": 5}]"#, "'count', or 'at_least' up to 'at_most'"),
            (#"[{"kind": "word_count", "at_least": 5, "at_most": 3}]"#, "'count', or 'at_least' up to 'at_most'"),
            (#"[{"kind": "lower_case", "count": 3}]"#, "no 'count' among the members of instruction 1, lower_case"),
            (#"[{"kind": "include", "words": []}]"#, "a list of different texts as 'words'"),
            (#"[{"kind": "include", "words": ["a", "a"]}]"#, "a list of different texts as 'words'"),
            (#"[{"kind": "include", "words": ["a", 3]}]"#, "a list of different texts as 'words'"),
            (#"[{"kind": "include", "words": " a"}]"#, "a list of different texts as 'words'"),
            (#"[{"kind": "starts_with", "text": " a"}]"#, "a text without white space around it as 'text'"),
            (#"[{"kind": "ends_with", "text": ""}]"#, "a text without white space around it as 'text'"),
            (#"[{"kind": "without", "character": "ab"}]"#, "one character as 'character'"),
            (#"[{"kind": "list", "count": 1}]"#, "a text without white space around it as 'marker'"),
        ] as [(String, String)])
    func anInstructionThatMakesNoSenseIsAnError(_ instructions: String, _ says: String) {
        let error = #expect(throws: RewardError.self) { try judged(instructions, "text") }
        #expect(error?.description.contains(says) == true, "\(error.map(String.init(describing:)) ?? "")")
    }

    @Test func aMissingColumnIsAnError() throws {
        #expect(throws: RewardError.self) { try score("follows_instructions", "a", ["instruction": .array([])]) }
    }
}
