import Foundation
import PromptSets
import Records
import Runs
import TestSupport
import Testing

@Suite("Forms of prompt files")
struct PromptFormTests {
    private let folder: TemporaryFolder
    init() throws { folder = try TemporaryFolder() }

    private func set(_ text: String, _ name: String = "rows.jsonl", columns: ColumnMap = ColumnMap()) throws
        -> PromptSet
    {
        try PromptSet(folder.file(name, text), columns: columns)
    }

    @Test func trlText() throws {
        let set = try set("{\"prompt\": \"1+1=\", \"answer\": 2, \"tags\": [\"a\", null]}\n")
        #expect(set.detectedForm.convention == .trl)
        #expect(set.detectedForm.description == "TRL form, prompt from `prompt`")
        #expect(set.columnNames == ["prompt", "answer", "tags"])
        #expect(
            try set.prompt(at: 0)
                == Prompt(
                    row: 0, source: "rows", content: .text("1+1="),
                    columns: ["answer": .number(2), "tags": .array([.string("a"), .null])],
                    place: "\(set.url.path), line 1"))
    }

    @Test func trlMessages() throws {
        let set = try set(
            #"{"prompt": [{"role": "system", "content": "Be short."}, {"role": "user", "content": [{"type": "text", "text": "1+"}, {"type": "text", "text": "1?"}]}], "solution": "2"}"#
        )
        let messages = [ChatMessage(role: "system", content: "Be short."), ChatMessage(role: "user", content: "1+1?")]
        #expect(try set.prompt(at: 0).content == .messages(messages))
        #expect(try set.prompt(at: 0).columns == ["solution": .string("2")])
    }

    /// The prompt stays as it is: only its writer knows whether the column is meant for the model.
    @Test(arguments: ["system", "system_prompt"])
    func aSystemColumnIsNotedUnlessThePromptHasTheMessage(_ column: String) throws {
        let text = #"{"prompt": "1+1?", "answer": "2", "\#(column)": "Be short."}"#
        let beside = try set(text)
        let notice = try #require(beside.systemNotice())
        #expect(notice.hasPrefix("rows.jsonl: the model does not read the column `\(column)`"), "\(notice)")
        #expect(try beside.prompt(at: 0).content == .text("1+1?"))
        var map = ColumnMap()
        map.kept = ["prompt", "answer"]
        #expect(try set(text, "kept.jsonl", columns: map).systemNotice() == nil)
        let user = #"{"role": "user", "content": "1+1?"}"#
        let alone = #"{"prompt": [\#(user)], "\#(column)": "Be short."}"#
        #expect(try set(alone, "alone.jsonl").systemNotice() != nil)
        let whole = #"{"prompt": [{"role": "system", "content": "Be brief."}, \#(user)], "\#(column)": "Be short."}"#
        #expect(try set(whole, "whole.jsonl").systemNotice() == nil)
    }

    @Test func verl() throws {
        let set = try set(
            #"{"data_source": "openai/gsm8k", "prompt": [{"role": "user", "content": "1+1?"}], "ability": "math", "reward_model": {"style": "rule", "ground_truth": "2"}, "extra_info": {"split": "train", "index": 0}}"#
        )
        #expect(set.detectedForm.convention == .verl)
        let prompt = try set.prompt(at: 0)
        #expect(prompt.source == "openai/gsm8k")
        #expect(prompt.columns["ground_truth"] == .string("2"))
        #expect(prompt.columns["answer"] == .string("2"))
        #expect(prompt.columns["extra_info"]?["index"] == .number(0))
        #expect(prompt.columns["reward_model"]?["style"] == .string("rule"))
        #expect(prompt.columns["data_source"] == .string("openai/gsm8k"))
    }

    @Test(arguments: ["prompt", "input"])
    func openRLHF(_ key: String) throws {
        let set = try set("{\"\(key)\": \"1+1?\", \"label\": \"2\", \"metadata\": {\"k\": 1}}")
        #expect(set.detectedForm.convention == .openRLHF)
        let prompt = try set.prompt(at: 0)
        #expect(prompt.text == "1+1?")
        #expect(prompt.columns["label"] == .string("2") && prompt.columns["answer"] == .string("2"))
    }

    @Test func questionAndAnswer() throws {
        let set = try set(#"{"question": "How many?", "answer": "Two.\n#### 2"}"#)
        #expect(set.detectedForm.convention == .questionAnswer)
        #expect(try set.prompt(at: 0).text == "How many?")
        #expect(try set.prompt(at: 0).columns == ["answer": .string("Two.\n#### 2")])
    }

    @Test func alpaca() throws {
        let set = try set(
            #"{"instruction": "Add.", "input": "1 and 2", "output": "3", "id": 7}"# + "\n"
                + #"{"instruction": "Greet.", "input": "", "output": "Hello."}"# + "\n"
                + #"{"instruction": "Leave.", "input": null, "output": "Bye."}"# + "\n"
                + #"{"instruction": "Stay.", "output": "Fine."}"# + "\n"
                + #"{"instruction": "Go.", "input": 3, "output": "No."}"#)
        #expect(
            set.detectedForm.description
                == "Alpaca form, prompt from `instruction` and `input`, completion from `output`")
        let first = try set.demonstration(at: 0)
        #expect(first.prompt.content == .text("Add.\n\n1 and 2") && first.completion == "3")
        #expect(first.prompt.columns == ["id": .number(7)])
        #expect(try (1...3).map { try set.prompt(at: $0).text } == ["Greet.", "Leave.", "Stay."])
        #expect(throws: PromptSetError.self) { try set.prompt(at: 4) }
        // Without an output its rows are prompts alone.
        let prompts = try self.set(#"{"instruction": "Add 1 and 2.", "answer": "3"}"#, "prompts.jsonl")
        #expect(prompts.detectedForm.convention == .alpaca && prompts.detectedForm.completionColumn == nil)
        #expect(try prompts.prompt(at: 0).columns == ["answer": .string("3")])
    }

    @Test func shareGPT() throws {
        let set = try set(
            #"{"id": "a", "conversations": [{"from": "system", "value": "Be short."}, {"from": "human", "value": "1+1?"}, {"from": "gpt", "value": "2"}]}"#
                + "\n" + #"{"id": "b", "conversations": [{"role": "user", "content": "Hm?"}]}"# + "\n"
                + #"{"id": "c", "conversations": [{"from": "human", "value": "x"}, {"from": "observation", "value": "y"}]}"#
        )
        #expect(set.detectedForm.description == "ShareGPT form, prompt from `conversations`")
        let first = try set.demonstration(at: 0)
        let messages = [ChatMessage(role: "system", content: "Be short."), ChatMessage(role: "user", content: "1+1?")]
        #expect(first.prompt.content == .messages(messages) && first.completion == "2")
        #expect(first.prompt.columns == ["id": .string("a")])
        #expect(try set.prompt(at: 1).content == .messages([ChatMessage(role: "user", content: "Hm?")]))
        let error = try #require(throws: PromptSetError.self) { try set.prompt(at: 2) }
        #expect(
            "\(error)".hasSuffix(
                "line 3, column conversations[1]: from is \"observation\"; system, human or gpt is expected (tools are not supported)"
            ))
    }

    @Test(arguments: [("text", ColumnMap()), ("body", ColumnMap(["text": "body"]))])
    func wholeTexts(_ column: String, _ map: ColumnMap) throws {
        let set = try set("{\"\(column)\": \"Once upon a time.\", \"source_url\": \"x\"}", columns: map)
        #expect(set.detectedForm.description == "plain text form, all of it learned, text from `\(column)`")
        let whole = try set.demonstration(at: 0)
        #expect(whole.prompt.content == .text("") && whole.completion == "Once upon a time.")
        #expect(whole.prompt.columns == ["source_url": .string("x")])
        #expect(try set.prompt(at: 0).text == "Once upon a time.")
        // Rows with a label are for a classifier; what they are here the user has to say.
        #expect(throws: PromptSetError.self) { try self.set(#"{"text": "good", "label": 1}"#, "labels.jsonl") }
    }

    @Test func promptAndCompletion() throws {
        let set = try set(
            #"{"prompt": "1+1=", "completion": "2", "answer": "2"}"# + "\n"
                + #"{"prompt": "1+2=", "completion": [{"role": "assistant", "content": "3"}], "answer": "3"}"#)
        let demonstration = try set.demonstration(at: 1)
        #expect(demonstration.completion == "3" && demonstration.prompt.text == "1+2=")
        #expect(demonstration.prompt.columns == ["answer": .string("3")])
    }

    @Test func aConversationEndsWithItsDemonstration() throws {
        let set = try set(
            #"{"messages": [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "2"}], "dataset": "sums"}"#
                + "\n"
                + #"{"messages": [{"role": "user", "content": "1+2?"}], "dataset": "sums"}"#)
        let demonstration = try set.demonstration(at: 0)
        #expect(demonstration.prompt.content == .messages([ChatMessage(role: "user", content: "1+1?")]))
        #expect(demonstration.completion == "2" && demonstration.prompt.source == "sums")
        #expect(try set.prompt(at: 1).content == .messages([ChatMessage(role: "user", content: "1+2?")]))
        #expect(throws: PromptSetError.self) { try set.demonstration(at: 1) }
    }

    /// Templates read more of a message than its content; null says nothing, as in transformers, nor does a list of no
    /// tool calls, which Llama's templates refuse.
    @Test func whatElseAMessageSaysIsKept() throws {
        let set = try set(
            #"{"messages": [{"role": "user", "name": "Ann", "content": "q", "weight": null}, {"role": "assistant", "content": "a", "reasoning_content": "t", "tool_calls": []}, {"role": "user", "content": "r"}, {"role": "assistant", "content": "b", "name": "Bot", "reasoning_content": ""}]}"#
                + "\n" + #"{"messages": [{"from": "human", "value": "q", "id": 7}, {"from": "gpt", "value": "a"}]}"#)
        let first = try set.demonstration(at: 0)
        let messages = [
            ChatMessage(role: "user", content: "q", others: [.init("name", "Ann")]),
            ChatMessage(role: "assistant", content: "a", others: [.init("reasoning_content", "t")]),
            ChatMessage(role: "user", content: "r"),
        ]
        #expect(first.prompt.content == .messages(messages) && first.completion == "b")
        #expect(messages[0].json == .object(["role": "user", "content": "q", "name": "Ann"]))
        let second = [ChatMessage(role: "user", content: "q", others: [.init("id", 7)])]
        #expect(try set.demonstration(at: 1).prompt.content == .messages(second))
    }

    /// A template would write them, and what is learned is the content alone. A prompt does not need the answer.
    @Test(arguments: ["reasoning_content", "reasoning", "thinking"])
    func thoughtsOfALearnedAnswerAreRefused(_ key: String) throws {
        let answer = #"{"role": "assistant", "content": "a", "\#(key)": "t"}"#
        let question = #"{"role": "user", "content": "q"}"#
        let set = try set(#"{"messages": [\#(question), \#(answer)]}"#)
        let error = #expect(throws: PromptSetError.self) { try set.demonstration(at: 0) }
        #expect(
            error?.description.contains("line 1, column messages: the answer has \(key), which would not be learned")
                == true, "\(String(describing: error))")
        #expect(try set.prompt(at: 0).text == "q")
        let completions = try self.set(#"{"prompt": [\#(question)], "completion": [\#(answer)]}"#, "completions.jsonl")
        #expect(throws: PromptSetError.self) { try completions.demonstration(at: 0) }
        let sides = #""chosen": [\#(answer)], "rejected": [{"role": "assistant", "content": "b"}]"#
        let pairs = try self.set(#"{"prompt": [\#(question)], \#(sides)}"#, "pairs.jsonl")
        #expect(throws: PromptSetError.self) { try pairs.preference(at: 0) }
    }

    @Test func aColumnMapWins() throws {
        let text = #"{"prompt": "unused", "task": "1+1?", "final": "2", "gold": "two", "origin": "web"}"#
        let map = ColumnMap(["prompt": "task", "answer": "final", "completion": "gold", "source": "origin"])
        let set = try set(text, columns: map)
        #expect(
            set.detectedForm.description
                == "column map form, prompt from `task`, completion from `gold`, source from `origin`, `answer` from `final`"
        )
        let demonstration = try set.demonstration(at: 0)
        #expect(demonstration.prompt.text == "1+1?" && demonstration.completion == "two")
        #expect(demonstration.prompt.columns["answer"] == .string("2") && demonstration.prompt.source == "web")
    }

    @Test func aMapToNoColumnNamesNearOnes() throws {
        let error = #expect(throws: PromptSetError.self) {
            try set(#"{"question": "a", "answer": "b"}"#, columns: ColumnMap(prompt: "questoin"))
        }
        #expect(
            error?.description.hasSuffix(
                "rows.jsonl, line 1: no column `questoin`; the row has `question`, `answer`; did you mean `question`?")
                == true)
    }

    @Test(arguments: [
        (
            #"{"promt": "a", "answer": 1}"#,
            "line 1: no column `prompt`; the row has `promt`, `answer`; did you mean `promt`? name the column with column_map: {prompt: NAME}"
        ),
        (#"{"a": 1}"#, "line 1: no column `prompt`; the row has `a`; name the column with column_map: {prompt: NAME}"),
        (#"{}"#, "line 1: no column `prompt`; the row has no columns; name the column with column_map: {prompt: NAME}"),
        (
            #"{"chosen": "a", "rejcted": "b"}"#,
            "line 1: a preference has both: no column `rejected`; the row has `chosen`, `rejcted`; did you mean `rejcted`?"
        ),
        ("\n\n5\n{}", "line 3: the row is a number; an object such as {\"prompt\": \"...\"} is expected"),
        (#"{"prompt": 5}"#, "line 1, column prompt: a number; a text or a list of messages is expected"),
        (#"{"prompt": null}"#, "line 1, column prompt: null; a text or a list of messages is expected"),
        (#"{"prompt": " \n"}"#, "line 1, column prompt: the text is empty"),
        (#"{"prompt": []}"#, "line 1, column prompt: an empty list of messages"),
        (
            #"{"prompt": ["a"]}"#,
            "line 1, column prompt[0]: a text; a message such as {\"role\": \"user\", \"content\": \"...\"} is expected"
        ),
        (#"{"prompt": [{"role": "user"}]}"#, "line 1, column prompt[0]: no key content; the message has `role`"),
        (
            #"{"prompt": [{"role": 1, "content": "a"}]}"#,
            "line 1, column prompt[0]: role is a number; a text is expected"
        ),
        (#"{"prompt": [{"role": "user", "content": ""}]}"#, "line 1, column prompt: every message is empty"),
        (
            #"{"prompt": [{"role": "user", "content": [{"type": "image"}]}]}"#,
            "line 1, column prompt[0]: a part of type \"image\"; only texts are supported"
        ),
        (
            #"{"prompt": [{"role": "assistant", "content": "", "tool_calls": [{}]}]}"#,
            "line 1, column prompt[0]: tool calls are not supported"
        ),
        (
            #"{"messages": [{"role": "assistant", "content": "a"}]}"#,
            "line 1, column messages: only an answer of the assistant, nothing it answers to"
        ),
        (
            #"{"prompt": "a", "data_source": 3}"#,
            "line 1, column data_source: a number; the name of the source is expected"
        ),
        (
            "{\n \"prompt\": \"a\"\n}",
            "line 1, column 2: found the end where a key in quotes should stand; one whole object a line is expected"
        ),
        (#"{"prompt": "a}"#, "line 1, column 12: the text has no closing quote"),
        ("", "the file has no rows"),
        (" \n\n", "the file has no rows"),
        ("PAR1xyz", "as a Parquet file: it does not end as a Parquet file does; it seems cut off"),
        ("[]", "the file has no rows"),
        ("[{\"prompt\": \"a\"}", "line 1: the array is not closed; the file seems cut off"),
        ("[{\"prompt\": \"a\"}]]", "line 1: something stands behind the end of the array"),
        ("[,]", "line 1: found \",\" where a row should stand"),
    ])
    func aBadFileIsAnErrorThatSaysWhere(_ text: String, _ message: String) throws {
        do {
            _ = try set(text)
            Issue.record("accepted \(text)")
        } catch {
            #expect("\(error)".hasSuffix(message), "\(error)")
        }
    }

    @Test func badRowsAreFoundWhereverTheyAre() throws {
        let set = try set("{\"prompt\": \"a\"}\n\n{\"prompt\": 1}\n{\"prompt\": \"b\"}\n{\"promt\": \"c\"}\n{\n")
        #expect(set.count == 5)
        let problems = set.problems().map { "\($0)".components(separatedBy: "rows.jsonl").last ?? "" }
        #expect(
            problems == [
                ", line 3, column prompt: a number; a text or a list of messages is expected",
                ", line 5: no column `prompt`; the row has `promt`; did you mean `promt`?",
                ": line 6, column 2: found the end where a key in quotes should stand; one whole object a line is expected",
            ])
        #expect(set.problems(limit: 1).count == 1)
        #expect(set.problems(asDemonstrations: true).count == 5)
    }

    @Test func foldersHoldSplits() throws {
        _ = try folder.file("train.jsonl", "{\"prompt\": \"a\"}\n{\"prompt\": \"b\"}")
        _ = try folder.file("test.csv", "prompt,answer\nx,1\n")
        #expect(try PromptSet(folder.url).count == 2)
        #expect(try PromptSet(folder.url, split: "eval").url.lastPathComponent == "test.csv")
        #expect(try PromptSet(folder.url).name == folder.url.lastPathComponent)
        #expect(try PromptSet(folder.url.appending(path: "train.jsonl")).name == folder.url.lastPathComponent)
        let error = #expect(throws: PromptSetError.self) { try PromptSet(folder.url, split: "hard") }
        #expect(
            error?.description.hasSuffix(
                "no file of the split \"hard\" (hard.jsonl); the folder holds test.csv, train.jsonl") == true)
        let missing = #expect(throws: PromptSetError.self) { try PromptSet(folder.url.appending(path: "trian.jsonl")) }
        #expect(missing?.description.hasSuffix("no such prompt file or folder; did you mean train.jsonl?") == true)
    }

    /// As sets of the Hub's are cut: the parts are one set, in their order and not in that of the listing.
    @Test func aSplitInPartsIsOneSet() throws {
        try makeFolder("data")
        let names = (0..<3).map { "data/train-0000\($0)-of-00003.jsonl" }
        for (index, rows) in [["a", "b"], ["c"], ["d", "e"]].enumerated() {
            _ = try folder.file(names[index], rows.map { "{\"prompt\": \"\($0)\"}\n" }.joined())
        }
        _ = try folder.file("data/test-00000-of-00001-a09b74b3ef9c3b56.csv", "prompt\nx\n")
        let set = try PromptSet(folder.url)
        #expect(try (0..<set.count).map { try set.prompt(at: $0).text } == ["a", "b", "c", "d", "e"])
        #expect(try (0..<set.count).map { try set.prompt(at: $0).row } == [0, 1, 2, 3, 4])
        #expect(set.name == folder.url.lastPathComponent && set.urls.count == 3)
        #expect(set.identity == "train-00000-of-00003.jsonl and the other 2 of its parts: 5 rows, 80 bytes")
        #expect(set.place(of: 3) == "line 1 of train-00002-of-00003.jsonl" && set.line(of: 4) == 2)
        #expect(try PromptSet(folder.url, split: "eval").count == 1)
        #expect(try PromptSet(folder.url.appending(path: names[0])).count == 2)
        _ = try folder.file(names[2], "{\"prompt\": \"d\"}\n{\"prompt\": 1}\n")
        let wrong = #expect(throws: PromptSetError.self) { try PromptSet(folder.url).prompt(at: 4) }
        #expect(wrong?.description.contains("train-00002-of-00003.jsonl, line 2, column prompt") == true)
    }

    @discardableResult private func makeFolder(_ name: String) throws -> URL {
        let made = folder.url.appending(path: name)
        try FileManager.default.createDirectory(at: made, withIntermediateDirectories: true)
        return made
    }

    @Test func partsThatAreMissingOrThereTwiceAreNamed() throws {
        let row = "{\"prompt\": \"a\"}\n"
        _ = try folder.file("train-00001-of-00008.jsonl", row)
        func message() -> String {
            let error = #expect(throws: PromptSetError.self) { try PromptSet(folder.url) }
            return error?.description ?? ""
        }
        #expect(message().contains("7 of the 8 parts of the split \"train\" are missing: train-00000-of-00008.jsonl, "))
        #expect(message().contains("train-00005-of-00008.jsonl …; download them too"))
        _ = try folder.file("train-00000-of-00002.jsonl", row)
        #expect(message().contains("has parts \"of 2\" and parts \"of 8\" in this folder; keep only one of these sets"))
        let twice = try makeFolder("twice")
        for name in ["train-00000-of-00001.jsonl", "train-00000-of-00001-0123456789abcdef.jsonl"] {
            _ = try folder.file("twice/\(name)", row)
        }
        let error = #expect(throws: PromptSetError.self) { try PromptSet(twice) }
        #expect(error?.description.contains("one part of the split \"train\" is there twice: ") == true)
    }

    @Test func aFileChangedUnderARunIsAnError() throws {
        let set = try set("{\"prompt\": \"a\"}\n{\"prompt\": \"b\"}\n")
        _ = try folder.file("rows.jsonl", "{\"prompt\": \"a\"}\n{\"prompt\": \"bc\"}\n")
        #expect(throws: PromptSetError.file(path: set.url.path, message: "the file was changed while in use")) {
            try set.prompt(at: 1)
        }
    }
}
