import Foundation
import JSON
import Job
import Methods
import PromptSets
import Records
import TestSupport
import Testing
import Tokenization

@Suite("Pairs as token ids")
struct PairRowsTests {
    private let folder = try! TemporaryFolder()

    /// One token a byte but for `merged`, with an end of text.
    private func encoder(_ template: String? = nil, merged: String = "a") throws -> PromptEncoder {
        let trainer = try BPETrainer(vocabularySize: merged == "a" ? 257 : 260, specialTokens: ["</s>"])
        let tokenizer = try trainer.train(
            [merged], roles: BPETrainer.Roles(endOfText: "</s>", chatTemplate: template))
        return PromptEncoder(
            tokenizer: tokenizer, template: try ChatTemplateRenderer(tokenizer: tokenizer, variables: []),
            maxPromptLength: 1000)
    }

    private func pair(
        _ prompt: PromptContent, _ chosen: String, _ rejected: String, columns: [String: JSONValue] = [:]
    ) -> Preference {
        Preference(
            prompt: Prompt(row: 0, source: "set", content: prompt, columns: columns, place: "set.jsonl, line 1"),
            chosen: chosen, rejected: rejected)
    }

    @Test func textsShareTheirPromptAndEndWithTheEndOfText() throws {
        let encoder = try encoder()
        let encoded = try encoder.encode(pair(.text("2+2="), "4", "22"))
        let end = try #require(encoder.tokenizer.endOfTextID)
        #expect(encoded.prompt == encoder.tokenizer.encode("2+2="))
        #expect(encoded.chosen == encoder.tokenizer.encode("4") + [end])
        #expect(encoded.rejected == encoder.tokenizer.encode("22") + [end])
        // A text that ends with it already has it once.
        #expect(try encoder.encode(pair(.text("2+2="), "4</s>", "22")).chosen == encoded.chosen)
    }

    /// `xyxy` merges into fewer tokens than its halves: what merges across the border belongs to the completion, and
    /// the sides still share one prompt.
    @Test func tokensThatMergeAcrossTheBorderAreTheCompletions() throws {
        let encoder = try encoder(merged: "xy xy xy xyxy xyxy xyxy")
        let whole = encoder.tokenizer.encode("qx" + "y")
        try #require(whole.count == 2)  // q and xy
        let encoded = try encoder.encode(pair(.text("qx"), "y", "z"))
        #expect(encoded.prompt == encoder.tokenizer.encode("q"))
        #expect(encoded.chosen.first == whole[1] && encoded.rejected.dropLast() == encoder.tokenizer.encode("xz")[...])
        // Nothing of a prompt would be left: then each is encoded for itself.
        let bare = try encoder.encode(pair(.text("x"), "y", "z"))
        #expect(
            bare.prompt == encoder.tokenizer.encode("x") && bare.chosen.dropLast() == encoder.tokenizer.encode("y")[...]
        )
    }

    private static let plain =
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}</s>\n{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"

    @Test func chatsGoThroughTheTemplateUpToTheEndOfTheAnswer() throws {
        let encoder = try encoder(Self.plain)
        let content = PromptContent.messages([ChatMessage(role: "user", content: "q")])
        let encoded = try encoder.encode(pair(content, "yes", "no"))
        #expect(encoded.prompt == encoder.tokenizer.encode("[user]q</s>\n[assistant]"))
        #expect(
            encoded.chosen == encoder.tokenizer.encode("yes</s>")
                && encoded.rejected == encoder.tokenizer.encode("no</s>"))
    }

    /// A template that drops thinking from finished answers, as those of reasoning models do, would drop what is to be
    /// learned.
    @Test func anAnswerThatTheTemplateRewritesStandsAsItIsGiven() throws {
        let template = Self.plain.replacing("{{ m.content }}", with: "{{ m.content.split('</think>')[-1] }}")
        let encoder = try encoder(template)
        let content = PromptContent.messages([ChatMessage(role: "user", content: "q")])
        let encoded = try encoder.encode(pair(content, "<think>a</think>b", "c"))
        #expect(encoded.chosen == encoder.tokenizer.encode("<think>a</think>b</s>"))
    }

    @Test func aRowsSuffixAndVariablesBelongToThePrompt() throws {
        let encoder = try encoder(
            Self.plain.replacing("[assistant]{% endif", with: "[assistant]{% if deep %}!{% endif %}{% endif"))
        let content = PromptContent.messages([ChatMessage(role: "user", content: "q")])
        let columns: [String: JSONValue] = [
            "prompt_suffix": .string("<think></think>"), "chat_template_kwargs": .object(["deep": .bool(true)]),
        ]
        let encoded = try encoder.encode(pair(content, "yes", "no", columns: columns))
        #expect(encoded.prompt == encoder.tokenizer.encode("[user]q</s>\n[assistant]!<think></think>"))
        #expect(encoded.chosen == encoder.tokenizer.encode("yes</s>"))
        let text = try encoder.encode(pair(.text("q"), "yes", "no", columns: ["prompt_suffix": .string("()")]))
        #expect(text.prompt == encoder.tokenizer.encode("q()"))
        #expect(throws: JobError.self) {
            try encoder.encode(pair(content, "a", "b", columns: ["prompt_suffix": .bool(true)]))
        }
    }

    /// Of `p` + `ab</s>`: 4 tokens. Cut to 3 the first pair loses its end; the second's sides are then the same.
    @Test func pairsAreCutOrLeftOutAndCounted() throws {
        let rows = [("p", "ab", "c"), ("p", "aab", "aac"), ("ppp", "a", "b"), ("p", "a", "a"), ("p", "a", "c")]
        let text = rows.map { "{\"prompt\": \"\($0)\", \"chosen\": \"\($1)\", \"rejected\": \"\($2)\"}" }
        let set = try PromptSet(folder.file("rows.jsonl", text.joined(separator: "\n")))
        let cut = try PairRows(set, encoder: encoder(), maxLength: 3, truncation: .keepStart)
        #expect(cut.count == 2)
        #expect(
            cut.lines == [
                "left out: 2 of 5 pairs, whose sides are the same",
                "left out: 1 of 5 pairs, whose prompt fills max_length, 3 tokens",
                "cut to max_length, 3 tokens: 1 pairs",
            ])
        let dropped = try PairRows(set, encoder: encoder(), maxLength: 3, truncation: .drop)
        #expect(try dropped.count == 1 && dropped.preference(at: 0).rejected == "c")
        #expect(dropped.lines.contains("left out: 2 of 5 pairs, longer than max_length, 3 tokens"))
        let all = try PairRows(set, encoder: encoder(), maxLength: 100, truncation: .keepStart)
        #expect(all.count == 4 && all.lines == ["left out: 1 of 5 pairs, whose sides are the same"])
    }
}
