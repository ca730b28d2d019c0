import Foundation
import Job
import Methods
import PromptSets
import TestSupport
import Testing
import Tokenization

@Suite("Pairs with thinking and without, by prompt")
struct PairFormsTests {
    private let folder = try! TemporaryFolder()

    private func rows(_ lines: [String]) throws -> PairRows {
        let tokenizer = try BPETrainer(vocabularySize: 257, specialTokens: ["</s>"]).train(
            ["a"], roles: BPETrainer.Roles(endOfText: "</s>"))
        let encoder = PromptEncoder(
            tokenizer: tokenizer, template: try ChatTemplateRenderer(tokenizer: tokenizer, variables: []),
            maxPromptLength: 1000)
        let set = try PromptSet(folder.file("rows.jsonl", lines.joined(separator: "\n")))
        return try PairRows(
            set, encoder: encoder, maxLength: 100, truncation: .drop, forms: PairForms(ThinkingSettings()))
    }

    private func row(_ prompt: String, _ variant: String?, _ chosen: String, _ rejected: String) -> String {
        "{\"prompt\": \"\(prompt)\", \"chosen\": \"\(chosen)\", \"rejected\": \"\(rejected)\""
            + (variant.map { ", \"variant\": \"\($0)\"" } ?? "") + "}"
    }

    @Test func pairsOfAPromptStandTogether() throws {
        let pairs = try rows([
            row("p", "thinking", "<think>a</think>1", "<think>b</think>2"), row("q", "empty", "1", "2"),
            row("p", "empty", "3", "4"), row("q", "thinking", "a</think>1", "b</think>2"),
            row("r", "empty", "1", "2"), row("p", "thinking", "<think>c</think>1", "<think>d</think>2"),
        ])
        #expect(pairs.count == 4)  // p, q, r without thinking, and p's second thinking pair
        #expect(try (0..<4).map { try pairs.prompt(at: $0).text } == ["p", "q", "r", "p"])
        #expect(
            pairs.lines == ["pairs: 3 thinking, 3 empty, of 4 prompts, 2 of which have one of the two"])
    }

    @Test func thinkingThatIsNeverClosedIsLeftOutAndThinkingWhereNoneShouldBeIsTold() throws {
        let pairs = try rows([
            row("p", "thinking", "<think>a</think>1", "<think>b2"), row("p", "thinking", "</think>1", "</think>2"),
            row("p", "empty", "<think>3", "4"), row("q", "empty", "3", "4"),
        ])
        #expect(
            pairs.lines == [
                "left out: 1 of 4 pairs, whose thinking is never closed",
                "pairs: 1 thinking, 2 empty, of 2 prompts, 1 of which have one of the two",
                "note: 1 of 4 empty answers (25 %) hold a marker of thinking: it was not suppressed when they were sampled",
            ])
    }

    @Test func whatIsNeitherOrAllOfOneFormIsAnError() throws {
        func message(_ lines: [String]) -> String {
            do { return "accepted \(try rows(lines).count)" } catch { return "\(error)" }
        }
        #expect(message([row("p", nil, "1", "2")]).contains("no column `variant`; expected thinking or empty"))
        #expect(message([row("p", "both", "1", "2")]).contains("variant is both; expected thinking or empty"))
        #expect(message([row("p", "empty", "1", "2")]).contains("no pair with variant thinking is left"))
    }
}
