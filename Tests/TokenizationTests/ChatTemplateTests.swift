import Foundation
import JSON
import TestSupport
import Testing
import Tokenization

/// Data made by Tests/References/chat_template_reference.py with transformers' own template environment.
struct TemplateCases {
    let context: JSONValue
    let cases: [JSONValue]
    let families: [JSONValue]

    private static let folder = Reference.folder.deletingLastPathComponent().appendingPathComponent("ChatTemplates")

    init() throws {
        let data = try Data(contentsOf: Self.folder.appendingPathComponent("cases.json"))
        let root = try JSONValue(parsing: data)
        context = try #require(root["context"])
        cases = try #require(root["cases"]?.elements)
        families = try #require(root["families"]?.elements)
    }

    static func source(_ name: String) throws -> String {
        try String(contentsOf: folder.appendingPathComponent(name), encoding: .utf8)
    }

    /// 2024-07-26 09:05:03 local time, as in the script.
    static let now: Date = {
        var parts = tm()
        (parts.tm_year, parts.tm_mon, parts.tm_mday) = (124, 6, 26)
        (parts.tm_hour, parts.tm_min, parts.tm_sec, parts.tm_isdst) = (9, 5, 3, -1)
        return Date(timeIntervalSince1970: TimeInterval(mktime(&parts)))
    }()

    static func render(_ source: String, _ variables: JSONValue) throws -> String {
        guard case .object(let members) = variables else { return "" }
        let rest = members.filter { !["messages", "tools", "add_generation_prompt"].contains($0.key) }
        return try ChatTemplate(source: source, clock: { now }).render(
            messages: variables["messages"]?.elements ?? [], tools: variables["tools"]?.elements,
            addGenerationPrompt: variables["add_generation_prompt"] == .bool(true),
            variables: Dictionary(uniqueKeysWithValues: rest.map { ($0.key, $0.value) }))
    }
}

@Suite("Chat templates render as transformers renders them")
struct ChatTemplateTests {
    @Test func everyConstructIsEqual() throws {
        let cases = try TemplateCases()
        #expect(cases.cases.count > 110)
        for example in cases.cases { try compare(example["source"]?.string, cases.context, example["expected"]) }
    }

    @Test func everyFamilyIsEqual() throws {
        let cases = try TemplateCases()
        #expect(cases.families.count == 112)
        for example in cases.families {
            let source = try TemplateCases.source(try #require(example["template"]?.string))
            try compare(source, try #require(example["variables"]), example["expected"])
        }
    }

    /// A rendering that fails there fails here, with an error that has a line.
    private func compare(_ source: String?, _ variables: JSONValue, _ expected: JSONValue?) throws {
        let source = try #require(source)
        do {
            let text = try TemplateCases.render(source, variables)
            let wanted = expected?.text
            #expect(
                wanted.map { sameBytes(text, $0) } == true,
                "\(source.prefix(300)) gives \(text.debugDescription), not \(wanted.debugDescription)")
        } catch let error as ChatTemplateError {
            #expect(expected == .null, "\(source.prefix(300)): \(error)")
            #expect(error.line >= 1)
        }
    }

    @Test(arguments: [
        ("a\n{% include 'x' %}", 2, "include"), ("\n\n{{ x | nofilter }}", 3, "nofilter"),
        ("{{ x is nothing }}", 1, "nothing"),
        ("{% if x %}\n\n", 2, "endif"), ("{{ raise_exception('why') }}", 1, "why"),
        ("{% for i in l recursive %}", 1, "recursive"),
        ("\n{{ 'a'.strip('a', 'b') }}", 2, "strip() with 2 arguments; it takes 0 to 1"),
        ("{{ 'a'.upper(1) }}", 1, "takes 0"), ("{{ 'a b'.split(by=' ') }}", 1, "no argument \"by\""),
        ("{{ 'a'.find('a', 'b') }}", 1, "integers"), ("{{ nothing | int }}", 1, "int of undefined"),
        ("{{ '10' | int(0, 2) }}", 1, "base"), ("\n{{ '\\N{DIGIT ONE}' }}", 2, "\\N"),
        ("{{ f(*l) }}", 1, "unpacked"), ("{{ nothing.at.all }}", 1, "nothing"),
        ("{{ 9223372036854775807 + 1 }}", 1, "64 bits"),
        ("{{ 'x' * 999999999 }}", 1, "too long"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", 1, "macros inside"),
    ])
    func errorsNameLineAndConstruct(_ source: String, _ line: Int, _ word: String) throws {
        let error = #expect(throws: ChatTemplateError.self) {
            try ChatTemplate(source: source).render(messages: [], addGenerationPrompt: false)
        }
        #expect(error?.line == line)
        #expect(error?.message.contains(word) == true, "\(String(describing: error))")
    }

    @Test func deepAndEndlessTemplatesAreErrors() throws {
        let nested = String(repeating: "(", count: 5_000) + "1" + String(repeating: ")", count: 5_000)
        let chained = Array(repeating: "1", count: 5_000).joined(separator: "+")
        let blocks = String(repeating: "{% if 1 %}", count: 5_000)
        let loops =
            String(repeating: "{% for i in range(99999) %}", count: 3) + String(repeating: "{% endfor %}", count: 3)
        let minus = String(repeating: "- ", count: 5_000) + "1"
        let nots = String(repeating: "not ", count: 5_000) + "1"
        for source in ["{{ \(nested) }}", "{{ \(chained) }}", blocks, loops, "{{ \(minus) }}", "{{ \(nots) }}"] {
            #expect(throws: ChatTemplateError.self) {
                try ChatTemplate(source: source).render(messages: [], addGenerationPrompt: false)
            }
        }
    }

    /// Each would take gigabytes or hours; each ends within a second as an error with its line.
    @Test(
        .timeLimit(.minutes(1)),
        arguments: [
            "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
            "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}",
            "{% set ns = namespace(x=['a']) %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
            "{% set ns = namespace(x=['a']) %}{% for i in range(99999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
            "{% set ns = namespace(x=['a']) %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}",
            "{% set x = 'a' * 9999999 %}{{ x.replace('a', x) }}", "{% set x = 'a' * 9999999 %}{{ x.replace('', x) }}",
            "{% set x = 'a' * 9999999 %}{{ x | replace('a', x) }}",
            "{% set x = 'a' * 9999999 %}{{ x.join(range(9999) | map('string')) }}",
            "{% set x = 'a' * 9999999 %}{{ range(9999) | join(x) }}",
            "{% set x = 'a' * 9999999 %}{{ x.split('a') | length }}",
            "{% set x = ' a' * 4999999 %}{{ x.split() | length }}",
            "{% set x = 'a' * 9999999 %}{{ x | list | length }}",
            "{% set x = 'a\n' * 4999999 %}{{ x | indent(1000) }}", "{{ range(99999) | unique | list | length }}",
            "{% set x = [[['a'] * 99] * 99] * 99 %}{{ x | tojson(indent=64) }}",
            "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
            "{% set x = 'ab' * 4999999 %}{% for i in range(99999) %}{% set y = x | upper | lower | title %}{% endfor %}",
            "{% set x = ['a' * 999999] * 999 %}{{ x }}",
            "{% set x = range(99999) | list %}{% for i in x %}{% if -1 in x %}{% endif %}{% endfor %}",
        ])
    func bombsAreErrors(_ source: String) throws {
        let error = #expect(throws: ChatTemplateError.self) {
            try ChatTemplate(source: source).render(messages: [], addGenerationPrompt: false)
        }
        #expect(error?.line == (source.contains("\n") ? 2 : 1))
    }

    /// A chain of namespaces as long as the budget of steps is let go link by link; a macro does not keep its chat in
    /// memory.
    @Test func whatHoldsItselfIsLetGo() throws {
        let chain = """
            {% set ns = namespace(x=1) %}{% macro m(a) %}{{ a }}{% endmacro %}{% set ns.me = ns %}\
            {% for i in range(99999) %}{% set ns.x = namespace(x=ns.x) %}{% endfor %}{{ m('end') }}
            """
        let text = try ChatTemplate(source: chain).render(messages: [], addGenerationPrompt: false)
        #expect(text.hasSuffix("end"))
    }

    /// Long chats stay far from the budgets: 2,000 messages of 4 kB through the published templates.
    @Test(arguments: ["chatml", "llama3", "mistral"])
    func longChatsAreNoBombs(_ name: String) throws {
        let content = JSONValue.string(String(repeating: "Wörter und so ", count: 300))
        let chat = (0..<2_000).map {
            JSONValue.object(["role": $0 % 2 == 0 ? "user" : "assistant", "content": content])
        }
        let text = try ChatTemplate(source: TemplateCases.source("\(name).jinja")).render(
            messages: chat, addGenerationPrompt: false, variables: ["bos_token": "<s>", "eos_token": "</s>"])
        #expect(text.utf8.count > 8_000_000)
    }

    /// Every mutation of a template renders or is an error. 100,000 of them when PLUMBLINE_LONG_TESTS=1.
    @Test func mutationsNeverCrash() throws {
        let isLong = ProcessInfo.processInfo.environment["PLUMBLINE_LONG_TESTS"] == "1"
        let cases = try TemplateCases()
        var seeds = cases.cases.compactMap { $0["source"]?.string }
        for name in ["chatml", "llama2", "llama3", "mistral"] {
            seeds.append(try TemplateCases.source("\(name).jinja"))
        }
        var source = TestRandom(seed: 23)
        let parts = [
            "{%", "%}", "{{", "}}", "-", "(", ")", "[", "::-1]", "|", " is ", " not ", "'", "loop", "99999", "\n", "~",
            "x",
        ]
        var rendered = 0
        let count = isLong ? 100_000 : 5_000
        for _ in 0..<count {
            var text = Array((seeds.randomElement(using: &source) ?? "").unicodeScalars)
            for _ in 0..<Int.random(in: 1...3, using: &source) {
                let position = Int.random(in: 0...text.count, using: &source)
                let end = min(text.count, position + Int.random(in: 0...8, using: &source))
                let isCut = Bool.random(using: &source)
                let new = isCut ? "" : parts.randomElement(using: &source) ?? ""
                text.replaceSubrange(position..<end, with: Array(new.unicodeScalars))
            }
            do {
                var view = String.UnicodeScalarView()
                view.append(contentsOf: text)
                _ = try TemplateCases.render(String(view), cases.context)
                rendered += 1
            } catch is ChatTemplateError {
                continue
            }
        }
        #expect(rendered > count / 50 && rendered < count)
    }

    @Test func aTokenizerGivesItsTokensToTheTemplate() throws {
        let trainer = try BPETrainer(vocabularySize: 300, specialTokens: ["<s>", "</s>"])
        let roles = BPETrainer.Roles(
            endOfText: "</s>", beginningOfText: "<s>",
            chatTemplate: "{{ bos_token }}{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}")
        let tokenizer = try trainer.train(["hello"], roles: roles)
        let template = try ChatTemplate(source: try #require(tokenizer.chatTemplate))
        let text = try template.render(
            messages: [.object(["role": "user", "content": "hello"])], addGenerationPrompt: false,
            variables: tokenizer.specialTokenTexts.mapValues { .string($0) })
        #expect(text == "<s>hello</s>")
        #expect(tokenizer.encode(text).first == tokenizer.beginningOfTextID)
        #expect(tokenizer.encode(text).last == tokenizer.endOfTextID)
    }
}
