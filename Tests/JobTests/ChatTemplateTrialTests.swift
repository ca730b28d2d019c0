import Foundation
import JSON
import Job
import Records
import TestSupport
import Testing
import Tokenization

@Suite("A chat template is tried before a run, and prompts are encoded by it")
struct ChatTemplateTrialTests {
    /// Every rule kept: the turns of a chat in order, each closed by the end of text.
    static let plain = """
        {{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}\
        {% if add_generation_prompt %}<assistant>{% endif %}
        """

    private func encoder(
        _ template: String?, limit: Int = 100, variables: [NamedValue] = [], applies: Bool? = nil, splits: Bool = false,
        maxLength: Int = .max
    ) throws -> PromptEncoder {
        let trainer = try BPETrainer(vocabularySize: 258, specialTokens: ["<s>", "</s>"])
        let roles = BPETrainer.Roles(endOfText: "</s>", beginningOfText: "<s>", chatTemplate: template)
        let tokenizer = try Self.adding("<s>", to: try trainer.train(["a"], roles: roles))
        return PromptEncoder(
            tokenizer: tokenizer, template: try ChatTemplateRenderer(tokenizer: tokenizer, variables: variables),
            maxPromptLength: limit, maxLength: maxLength,
            reading: PromptReading(appliesChatTemplate: applies, splitsSpecialTokens: splits))
    }

    /// The tokenizer with a post-processor that puts a special token before every text, as Llama's does.
    private static func adding(_ token: String, to tokenizer: Tokenizer) throws -> Tokenizer {
        let folder = try TemporaryFolder()
        try tokenizer.save(to: folder.url)
        let file = folder.url.appending(path: "tokenizer.json")
        var root = try #require(JSONSerialization.jsonObject(with: Data(contentsOf: file)) as? [String: Any])
        let special: [String: Any] = ["SpecialToken": ["id": token, "type_id": 0]]
        let text: [String: Any] = ["Sequence": ["id": "A", "type_id": 0]]
        root["post_processor"] = [
            "type": "TemplateProcessing", "single": [special, text], "pair": [special, text],
            "special_tokens": [token: ["id": token, "ids": [tokenizer.id(of: token) ?? 0], "tokens": [token]]],
        ]
        try JSONSerialization.data(withJSONObject: root).write(to: file)
        return try Tokenizer(folder: folder.url)
    }

    private func chat(_ text: String) -> Prompt {
        Prompt(
            row: 0, source: "set", content: .messages([ChatMessage(role: "user", content: text)]),
            place: "set.jsonl, line 7")
    }

    /// The ids of a text as it stands, special tokens in it included.
    private func ids(_ encoder: PromptEncoder, _ text: String) -> [Int] { encoder.tokenizer.encode(text) }

    @Test func oneThatKeepsEveryRuleIsNotRemarkedOn() throws {
        #expect(try encoder(Self.plain).templateNotices(for: chat("?")) == [])
        #expect(try encoder(nil).templateNotices(for: chat("?")) == [])
        let text = Prompt(row: 0, source: "set", content: .text("?"))
        #expect(try encoder("{{ 1 / 0 }}", applies: false).templateNotices(for: text) == [])  // it meets no template
    }

    /// The warning shows what the model reads, the beginning-of-text token of the tokenizer included.
    @Test func aPlainPromptForAChatModelIsWarnedAbout() throws {
        let text = Prompt(row: 0, source: "set", content: .text("1+1=\n"))
        let notices = try encoder(Self.plain).templateNotices(for: text)
        #expect(notices.count == 1 && notices[0].contains(#"as the model reads it: "<s>1+1=\n""#), "\(notices)")
        #expect(notices[0].contains("apply_chat_template: true"))
        #expect(try encoder(nil).templateNotices(for: text) == [])
        #expect(try encoder(Self.plain, applies: true).templateNotices(for: text) == [])
    }

    @Test func aPlainPromptIsReadAsAMessageWhereTheJobSaysSo() throws {
        let encoder = try encoder(Self.plain, applies: true)
        let text = Prompt(row: 0, source: "set", content: .text("?"))
        #expect(try encoder.tokens(of: text) == encoder.tokens(of: chat("?")))
        #expect(try encoder.tokens(of: text) == ids(encoder, "<s><user>?</s><assistant>"))
        let demonstration = try encoder.encode(demonstration: "!", of: text)
        #expect(demonstration.promptTokenIDs == ids(encoder, "<s><user>?</s><assistant>"))
        #expect(demonstration.completions.map(\.tokenIDs) == [ids(encoder, "!</s>")])
        #expect(throws: JobError.self) { try self.encoder(nil, applies: true).tokens(of: text) }
    }

    /// A message that spells the end of a message does not end it; what the template writes does.
    @Test func spelledTokensAreTextWhereTheJobSaysSo() throws {
        let encoder = try encoder(Self.plain, splits: true)
        let end = try #require(encoder.tokenizer.endOfTextID)
        func plain(_ text: String) -> [Int] { Array(text.utf8).flatMap { ids(encoder, String(UnicodeScalar($0))) } }
        let read = try encoder.tokens(of: chat("a</s>b"))
        #expect(read == ids(encoder, "<s><user>a") + plain("</s>") + ids(encoder, "b</s><assistant>"))
        #expect(read.count { $0 == end } == 1)
        #expect(try self.encoder(Self.plain).tokens(of: chat("a</s>b")).count { $0 == end } == 2)
        let demonstration = try encoder.encode(demonstration: "c</s>d", of: chat("?"))
        #expect(demonstration.completions[0].tokenIDs == ids(encoder, "c") + plain("</s>") + ids(encoder, "d</s>"))
        let text = Prompt(row: 0, source: "set", content: .text("<s>x"))
        #expect(try encoder.tokens(of: text) == ids(encoder, "<s>") + plain("<s>x"))
    }

    /// All of a text is learned but its first token, which nothing stands before.
    @Test func aWholeTextIsLearnedFromItsFirstTokenOn() throws {
        let nothing = Prompt(row: 0, source: "set", content: .text(""), place: "set.jsonl, line 7")
        let encoder = try encoder(Self.plain, applies: true)
        let whole = try encoder.encode(demonstration: "abc", of: nothing)
        #expect(whole.promptTokenIDs == ids(encoder, "<s>"))
        #expect(whole.completions.map(\.tokenIDs) == [ids(encoder, "abc</s>")])
        #expect(try encoder.templateNotices(for: nothing) == [])
    }

    @Test func aDemonstrationOverTheLengthIsAnErrorThatNamesItsRow() throws {
        // "<s>??" and "!!!</s>": three and four tokens.
        let text = Prompt(row: 0, source: "set", content: .text("??"), place: "set.jsonl, line 7")
        #expect(try encoder(nil, maxLength: 7).encode(demonstration: "!!!", of: text).promptTokenIDs.count == 3)
        let error = try #require(throws: JobError.self) {
            try self.encoder(nil, maxLength: 6).encode(demonstration: "!!!", of: text)
        }
        #expect("\(error)".contains("set.jsonl, line 7: prompt and completion have 7 tokens, and 6 are allowed"))
    }

    /// A variant's variables win over the job's, and its suffix stands behind the opening of the answer.
    @Test func aVariantPicksItsFormOfTheTemplate() throws {
        let template = Self.plain.replacing("<assistant>", with: "<assistant>{% if thinking %}<think>{% endif %}")
        let encoder = try encoder(template, variables: [NamedValue(name: "thinking", value: .bool(true))])
        let bare = PromptVariant(
            name: "bare", templateVariables: ["thinking": .bool(false)], suffix: "<think></think>")
        func text(_ prompt: Prompt, _ variant: PromptVariant) throws -> [Int] {
            try encoder.encode(prompt, as: variant).tokenIDs
        }
        #expect(try text(chat("?"), .plain) == ids(encoder, "<s><user>?</s><assistant><think>"))
        #expect(try text(chat("?"), .plain) == encoder.encode(chat("?")).tokenIDs)
        #expect(try text(chat("?"), bare) == ids(encoder, "<s><user>?</s><assistant><think></think>"))
        let plain = Prompt(row: 0, source: "set", content: .text("?"))
        #expect(try text(plain, bare) == encoder.tokenizer.encode("?<think></think>", addSpecialTokens: true))
    }

    /// A template and what its one notice must say.
    static let departures: [(change: @Sendable (String) -> String, says: [String])] = [
        (  // the opening of an answer is not how the finished chat goes on: the prompt ends in a thinking tag
            { $0.replacing("<assistant>{% endif", with: "<assistant><think>{% endif") },
            [
                "fails the prefix test", "the answer in message 2", "differ from character 38",
                "prompt \"<think>\"", "chat \"First answer</s>\"",
            ]
        ),
        (  // thoughts of earlier turns are dropped: only the second answer's chat shows it
            { $0.replacing("{{ m.content }}", with: "{{ m.content if loop.last or m.role == 'user' else '' }}") },
            []
        ),
        (
            { $0.replacing("{{ bos_token }}", with: "{{ bos_token }}{{ bos_token }}") },
            ["writes the beginning-of-text token 2 times"]
        ),
        (
            { $0.replacing("{{ bos_token }}", with: "") },
            ["writes no beginning-of-text token", "without the one that texts get"]
        ),
        (
            { $0.replacing("{{ eos_token }}", with: "<end>") },
            ["closes an answer with \"<end>\"", "does not end a completion (</s> does)"]
        ),
        (
            { _ in "{% for m in messages %}{{ raise_exception('no ' ~ m.role) }}{% endfor %}" },
            ["could not be tried", "no user"]
        ),
    ]

    @Test(arguments: departures.indices)
    func aDepartureIsNamed(_ index: Int) throws {
        let (change, says) = Self.departures[index]
        let notices = try encoder(change(Self.plain)).templateNotices(for: chat("?"))
        #expect(notices.count == (says.isEmpty ? 0 : 1), "\(notices)")
        for piece in says { #expect(notices.first?.contains(piece) == true, "'\(piece)' in \(notices)") }
    }

    @Test func aChatIsEncodedAsItComesOut() throws {
        let encoder = try encoder(Self.plain)
        let prompt = try encoder.encode(chat("Hi"))
        #expect(prompt.tokenIDs == ids(encoder, "<s><user>Hi</s><assistant>"))
        #expect(prompt.tokenIDs.count == 1 + 6 + 2 + 1 + 11)  // one token a byte, one for each special
    }

    @Test func aTextGetsTheTokenizersOwnSpecialsOnce() throws {
        let encoder = try encoder(nil)
        func tokens(_ text: String) throws -> [Int] {
            try encoder.encode(Prompt(row: 2, source: "set", content: .text(text))).tokenIDs
        }
        #expect(try tokens("Hi") == ids(encoder, "<s>Hi"))
        let error = #expect(throws: JobError.self) { try tokens("<s>Hi") }
        #expect(error?.description.contains("set row 2: the text begins with the beginning-of-text token") == true)
    }

    @Test func aPromptThatCannotBeUsedNamesItsPlace() throws {
        let long = #expect(throws: JobError.self) { try encoder(Self.plain, limit: 20).encode(chat("Hi")) }
        #expect(
            long?.description.contains("set.jsonl, line 7: the prompt has 21 tokens, and 20 fit beside the completion")
                == true)
        let bare = #expect(throws: JobError.self) { try encoder(nil).encode(chat("Hi")) }
        #expect(bare?.description.contains("set.jsonl, line 7: ") == true)
        #expect(bare?.description.contains("has no chat template") == true)
    }

    @Test(arguments: [9_007_199_254_740_993, 18_446_744_073_709_551_615] as [Int128])
    func wholeNumbersReachTheTemplateToTheDigit(_ number: Int128) throws {
        let encoder = try encoder("{{ n }}", variables: [NamedValue(name: "n", value: .number(number))])
        #expect(try encoder.encode(chat("?")).tokenIDs == ids(encoder, "\(number)"))
    }

    /// What a template may read of a row: the names and thoughts in its messages, and the tools it offers.
    private static let reading = """
        {% for t in tools or [] %}[{{ t.function.name }}]{% endfor %}{% for m in messages %}\
        <{{ m.role }}{% if m.name is defined %} {{ m.name }}{% endif %}>\
        {% if m.reasoning_content %}({{ m.reasoning_content }}){% endif %}{{ m.content }}{{ eos_token }}{% endfor %}\
        {% if add_generation_prompt %}<assistant>{% endif %}
        """
    private static let tools = #"[{"type": "function", "function": {"name": "add"}}]"#

    private func row(tools: JSONValue = .null) -> Prompt {
        let messages = [
            ChatMessage(role: "user", content: "a", others: [.init("name", "Ann")]),
            ChatMessage(role: "assistant", content: "b", others: [.init("reasoning_content", "why")]),
            ChatMessage(role: "user", content: "c", others: [.init("id", 7)]),
        ]
        return Prompt(
            row: 0, source: "set", content: .messages(messages), columns: ["tools": tools], place: "set.jsonl, line 7")
    }

    /// The texts are transformers' own for this template (`apply_chat_template` of 5.24).
    @Test func whatARowSaysOfItsMessagesAndToolsReachesTheTemplate() throws {
        let chat = "<user Ann>a</s><assistant>(why)b</s><user>c</s><assistant>"
        let tools = try JSONValue(parsing: Self.tools)
        let encoder = try encoder(Self.reading)
        #expect(try encoder.tokens(of: row()) == ids(encoder, chat))
        #expect(try encoder.tokens(of: row(tools: [])) == ids(encoder, chat))
        #expect(try encoder.tokens(of: row(tools: tools)) == ids(encoder, "[add]" + chat))
        #expect(try encoder.tokens(of: row(tools: .string(Self.tools))) == ids(encoder, "[add]" + chat))
        let demonstration = try encoder.encode(demonstration: "d", of: row(tools: tools))
        #expect(demonstration.promptTokenIDs == ids(encoder, "[add]" + chat))
        #expect(demonstration.completions.map(\.tokenIDs) == [ids(encoder, "d</s>")])
        let given = try self.encoder(Self.reading, variables: [NamedValue(name: "tools", value: tools)])
        #expect(try given.tokens(of: row()) == ids(given, "[add]" + chat))
    }

    /// A special token that is spelled in a tool or in thoughts is text there as in a message's content.
    @Test func spelledTokensAreTextEverywhereInAChat() throws {
        let encoder = try encoder(Self.reading, splits: true)
        let end = try #require(encoder.tokenizer.endOfTextID)
        let thoughts = ChatMessage(role: "assistant", content: "b", others: [.init("reasoning_content", "</s>")])
        let tool = JSONValue.object(["function": .object(["name": "</s>"])])
        let prompt = Prompt(row: 0, source: "set", content: .messages([thoughts]), columns: ["tools": [tool]])
        #expect(try encoder.tokens(of: prompt).count { $0 == end } == 1)  // the template's own
    }

    @Test(arguments: [JSONValue.string("calculator"), ["calculator"], 3])
    func toolsOfAnotherKindAreNamed(_ tools: JSONValue) throws {
        let error = #expect(throws: JobError.self) { try encoder(Self.reading).tokens(of: row(tools: tools)) }
        #expect(error?.description.contains("set.jsonl, line 7, column tools: ") == true)
    }

    @Test(arguments: ["messages", "add_generation_prompt"])
    func whatTheRunGivesIsNoVariable(_ name: String) throws {
        let error = #expect(throws: JobError.self) {
            try encoder(Self.reading, variables: [NamedValue(name: name, value: [])])
        }
        #expect(error?.description.contains("chat_template_kwargs: \(name)") == true)
        let variant = PromptVariant(name: "x", templateVariables: [name: []])
        #expect(throws: JobError.self) { try encoder(Self.reading).encode(row(), as: variant) }
    }

    /// As transformers picks it of named templates; its faults are those of chats with tools.
    @Test func aChatWithToolsHasItsOwnTemplate() throws {
        let folder = try TemporaryFolder()
        try encoder("usual").tokenizer.save(to: folder.url)
        let more = folder.url.appending(path: "additional_chat_templates")
        try FileManager.default.createDirectory(at: more, withIntermediateDirectories: true)
        func tokens(_ template: String, _ prompt: Prompt) throws -> [Int] {
            try Data(template.utf8).write(to: more.appending(path: "tool_use.jinja"))
            let tokenizer = try Tokenizer(folder: folder.url)
            return try PromptEncoder(
                tokenizer: tokenizer, template: ChatTemplateRenderer(tokenizer: tokenizer, variables: []),
                maxPromptLength: 100
            ).tokens(of: prompt)
        }
        let (plain, offering) = (row(), row(tools: try JSONValue(parsing: Self.tools)))
        let usual = try encoder("usual")
        #expect(try tokens("{{ tools | length }} tool", plain) == ids(usual, "usual"))
        #expect(try tokens("{{ tools | length }} tool", offering) == ids(usual, "1 tool"))
        #expect(try tokens("{% include 'x' %}", plain) == ids(usual, "usual"))
        #expect(throws: JobError.self) { try tokens("{% include 'x' %}", offering) }
    }

    /// transformers gives a template every role, those that a model of its own kind has among them.
    @Test func everyRoleReachesTheTemplate() throws {
        let folder = try TemporaryFolder()
        try encoder(nil).tokenizer.save(to: folder.url)
        let configuration = #"{"eos_token": "</s>", "unk_token": "<s>", "image_token": "</s>"}"#
        _ = try folder.file("tokenizer_config.json", configuration)
        _ = try folder.file("chat_template.jinja", "{{ unk_token }}{{ image_token }}{{ mask_token }}")
        let tokenizer = try Tokenizer(folder: folder.url)
        let encoder = PromptEncoder(
            tokenizer: tokenizer, template: try ChatTemplateRenderer(tokenizer: tokenizer, variables: []),
            maxPromptLength: 10)
        #expect(try encoder.tokens(of: chat("?")) == tokenizer.encode("<s></s>"))
    }

    @Test func variablesReachTheTemplate() throws {
        let template = "{% if enable_thinking %}<think>{% endif %}{{ messages[0].content }}"
        let on = try encoder(template, variables: [NamedValue(name: "enable_thinking", value: .bool(true))])
        #expect(try on.encode(chat("Hi")).tokenIDs == ids(on, "<think>Hi"))
        #expect(try on.encode(chat("Hi")).text == "<think>Hi")
        #expect(try on.encode(Prompt(row: 0, source: "set", content: .text("Hi"))).rendered == nil)
        #expect(try encoder(template).encode(chat("Hi")).tokenIDs == ids(on, "Hi"))
    }

    /// A demonstration ends as a sampled completion would: at the first token of the closing that ends one.
    @Test(arguments: [
        ("{{ eos_token }}", "Yes</s>"), ("{{ eos_token }}\n", "Yes</s>"), ("<end>", "Yes<end></s>"),
    ])
    func aDemonstrationIsClosedAsACompletionEnds(_ closing: String, _ expected: String) throws {
        let encoder = try encoder(Self.plain.replacing("{{ eos_token }}", with: closing))
        let group = try encoder.encode(demonstration: "Yes", of: chat("Hi"))
        #expect(group.completions.map(\.tokenIDs) == [ids(encoder, expected)])
        #expect(group.promptTokenIDs == (try encoder.encode(chat("Hi")).tokenIDs))
    }

    @Test func aDemonstrationOfATextEndsInTheEndOfTextOnce() throws {
        let encoder = try encoder(nil)
        let prompt = Prompt(row: 0, source: "set", content: .text("Hi"))
        for text in ["Yes", "Yes</s>"] {
            let group = try encoder.encode(demonstration: text, of: prompt)
            #expect(group.completions.map(\.tokenIDs) == [ids(encoder, "Yes</s>")])
        }
    }
}
