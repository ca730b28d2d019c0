import Foundation
import PromptSets
import Records
import TestSupport
import Testing

@Suite("Rows of preferences in TRL's forms")
struct PreferenceTests {
    private let folder = try! TemporaryFolder()

    private func set(_ text: String, columns: ColumnMap = ColumnMap(), name: String = "rows.jsonl") throws -> PromptSet
    {
        try PromptSet(folder.file(name, text), columns: columns)
    }

    private func user(_ text: String) -> ChatMessage { ChatMessage(role: "user", content: text) }

    @Test func anExplicitPromptOfText() throws {
        let set = try set(#"{"prompt": "2+2?", "chosen": " 4", "rejected": " 5", "answer": 4}"#)
        let pair = try set.preference(at: 0)
        #expect(pair.prompt.text == "2+2?" && pair.chosen == " 4" && pair.rejected == " 5")
        #expect(pair.prompt.columns == ["answer": .number(4)])
        #expect(set.detectedForm.hasPreferences)
        #expect("\(set.detectedForm)" == "TRL form, prompt from `prompt`, preferences from `chosen` and `rejected`")
    }

    /// As TRL's `extract_prompt`: the space before the first difference is the answers'. The prompt of an accent is cut
    /// between scalars.
    @Test(arguments: [
        ("The sky is blue.", "The sky is green.", "The sky is", " blue.", " green."),
        ("12 + 30 = 42", "12 + 30 = 43", "12 + 30 = 4", "2", "3"),
        ("ab", "abc", "ab", "", "c"), ("e\u{301}x", "e\u{301}y", "e\u{301}", "x", "y"),
        ("same", "same", "same", "", ""),
    ])
    func anImplicitPromptIsWhatBothBeginWith(
        _ chosen: String, _ rejected: String, _ prompt: String, _ a: String, _ b: String
    ) throws {
        let set = try set(#"{"chosen": "\#(chosen)", "rejected": "\#(rejected)"}"#)
        let pair = try set.preference(at: 0)
        #expect(pair.prompt.text == prompt && pair.chosen == a && pair.rejected == b)
        #expect(pair.hasEqualSides == (a == b))
        #expect(try set.prompt(at: 0).text == prompt)
        #expect("\(set.detectedForm)" == "TRL, implicit prompt form, preferences from `chosen` and `rejected`")
    }

    static let chats = [
        // explicit
        #"{"prompt": [{"role":"user","content":"q"}], "chosen": [{"role":"assistant","content":"a"}], "rejected": [{"role":"assistant","content":"b"}]}"#,
        // implicit
        #"{"chosen": [{"role":"user","content":"q"},{"role":"assistant","content":"a"}], "rejected": [{"role":"user","content":"q"},{"role":"assistant","content":"b"}]}"#,
        // a prompt in words beside whole chats, and beside answers
        #"{"prompt": "q", "chosen": [{"role":"user","content":"q"},{"role":"assistant","content":"a"}], "rejected": [{"role":"user","content":"q"},{"role":"assistant","content":"b"}]}"#,
        #"{"prompt": "q", "chosen": [{"role":"assistant","content":"a"}], "rejected": [{"role":"assistant","content":"b"}]}"#,
        // the same with a note in a message, which makes it no other
        #"{"chosen": [{"role":"user","content":"q"},{"role":"assistant","content":"a"}], "rejected": [{"role":"user","content":"q","id":2},{"role":"assistant","content":"b","score":3}]}"#,
        // the prompt's messages, repeated in the sides
        #"{"prompt": [{"role":"user","content":"q"}], "chosen": [{"role":"user","content":"q"},{"role":"assistant","content":"a"}], "rejected": [{"role":"user","content":"q"},{"role":"assistant","content":"b"}]}"#,
    ]

    @Test(arguments: chats)
    func chatsOfEveryFormAreTheSamePair(_ row: String) throws {
        let pair = try set(row).preference(at: 0)
        #expect(pair.prompt.content == .messages([user("q")]) && pair.chosen == "a" && pair.rejected == "b")
    }

    @Test func equalChatsAreEqualSidesAndNoPrompt() throws {
        let side = #"[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]"#
        let pair = try set("{\"chosen\": \(side), \"rejected\": \(side)}").preference(at: 0)
        #expect(pair.hasEqualSides && pair.prompt.content == .messages([user("q")]) && pair.chosen == "a")
    }

    @Test func otherFilesAndColumnNames() throws {
        let table = try set("prompt,chosen,rejected\n1+1?, 2, 3\n", name: "rows.csv").preference(at: 0)
        #expect(table.prompt.text == "1+1?" && table.chosen == " 2" && table.rejected == " 3")
        let array = try set(#"[{"prompt": "p", "chosen": "a", "rejected": "b"}]"#, name: "rows.json").preference(at: 0)
        #expect(array.chosen == "a")
        let mapped = try set(
            #"{"question": "q", "better": "a", "worse": "b"}"#,
            columns: ColumnMap(["prompt": "question", "chosen": "better", "rejected": "worse"]))
        #expect(try mapped.preference(at: 0).rejected == "b")
        #expect(try mapped.preference(at: 0).prompt.columns.isEmpty)
    }

    @Test func aMixtureNumbersItsPairs() throws {
        let one = try set("{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": \"b\"}\n", name: "one.jsonl")
        let other = try set("{\"prompt\": \"q\", \"chosen\": \"c\", \"rejected\": \"d\"}\n", name: "other.jsonl")
        let pair = try PromptMixture([.init(one), .init(other)]).preference(at: 1)
        #expect(pair.prompt.row == 1 && pair.chosen == "c")
    }

    @Test(arguments: [
        (
            #"{"prompt": "p", "chosen": "a"}"#,
            "line 1: no column `rejected`; the row has `prompt`, `chosen`; preferences need chosen and rejected"
        ),
        (
            #"{"prompt": "p", "chosen": "a", "rejected": 3}"#,
            "line 1, column rejected: a number; a text or a list of messages is expected"
        ),
        (
            #"{"prompt": "p", "chosen": "a", "rejected": [{"role":"assistant","content":"b"}]}"#,
            "line 1, column rejected: one of `chosen` and `rejected` is a text, the other a chat"
        ),
        (
            #"{"prompt": "p", "chosen": [{"role":"assistant","content":"a"}], "rejected": [{"role":"user","content":"b"}]}"#,
            "line 1, column rejected: behind the prompt messages of user; exactly one, of the assistant, is expected"
        ),
    ])
    func aRowThatIsNoPairIsAnErrorThatSaysWhy(_ row: String, _ message: String) throws {
        let set = try set(row)
        let error = #expect(throws: PromptSetError.self) { try set.preference(at: 0) }
        #expect(error?.description.hasSuffix(message) == true, "\(error?.description ?? "")")
    }

    @Test func sidesWithoutACommonBeginningNeedAPromptColumn() throws {
        let error = #expect(throws: PromptSetError.self) { try set(#"{"chosen": "a", "rejected": "b"}"#) }
        #expect(
            error?.description.hasSuffix(
                "line 1: `chosen` and `rejected` begin with nothing in common that could be the prompt; give it in a column `prompt`"
            ) == true)
    }
}
