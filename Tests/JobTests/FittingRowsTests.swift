import Foundation
import Job
import PromptSets
import Records
import Synchronization
import Testing
import Tokenization

/// Prompts of `1`, `22`, `333` … with a completion each, which count how often they are read.
private final class CountingRows: PromptRows {
    let name = "counted"
    let identity = "counted"
    let count: Int
    private let reads: Mutex<[Int]>
    /// By row, of either kind.
    var readCounts: [Int] { reads.withLock { $0 } }

    init(_ count: Int) {
        self.count = count
        reads = Mutex(Array(repeating: 0, count: count))
    }

    func prompt(at row: Int) throws -> Prompt {
        reads.withLock { $0[row] += 1 }
        let text = String(repeating: "\(row % 10)", count: row + 1)
        return Prompt(row: row, source: "set", content: .text(text), place: "line \(row + 1)")
    }

    func demonstration(at row: Int) throws -> Demonstration {
        Demonstration(prompt: try prompt(at: row), completion: "!")
    }

    func preference(at row: Int) throws -> Preference {
        Preference(prompt: try prompt(at: row), chosen: "!", rejected: "?")
    }
}

@Suite("The rows of a run are read once at its start")
struct FittingRowsTests {
    /// One token a byte.
    private func encoder(limit: Int) throws -> PromptEncoder {
        let tokenizer = try BPETrainer(vocabularySize: 257, specialTokens: ["<end>"]).train(["a"])
        return PromptEncoder(
            tokenizer: tokenizer, template: try ChatTemplateRenderer(tokenizer: tokenizer, variables: []),
            maxPromptLength: limit)
    }

    /// 40 rows of 1 to 40 tokens, of which 30 fit: some so short that nobody has to count, some counted.
    @Test(arguments: [false, true])
    func formLengthAndRewardsAreCheckedInOnePass(asDemonstrations: Bool) throws {
        let rows = CountingRows(40)
        var checked: [Int] = []
        let fitting = try FittingRows(
            rows, encoder: encoder(limit: 30), asDemonstrations: asDemonstrations, drops: true
        ) { checked.append($0.row) }
        #expect(rows.readCounts == Array(repeating: 1, count: 40))
        #expect(checked == Array(0..<30))
        #expect(fitting.count == 30 && fitting.droppedCount == 10)
        #expect(rows.readCounts.allSatisfy { $0 == 1 })  // nothing above reads a row again
    }

    /// Of rows of 0, 11, 222 … the vocabulary has 0 to 7.
    @Test func whatTheTokenizerLeavesOutIsSaid() throws {
        let digits = (0..<8).map { "\"\($0)\":\($0)" }.joined(separator: ",")
        let tokenizer = try Tokenizer(json: Data("{\"model\":{\"vocab\":{\(digits)},\"merges\":[]}}".utf8))
        let encoder = PromptEncoder(
            tokenizer: tokenizer, template: try ChatTemplateRenderer(tokenizer: tokenizer, variables: []),
            maxPromptLength: 100)
        let lacking = try FittingRows(CountingRows(20), encoder: encoder, drops: false)
        #expect(
            lacking.leftOutNotice
                == "4 of 20 rows of counted have characters that the tokenizer has no symbol for and leaves out, such as \"8\""
        )
        #expect(try FittingRows(CountingRows(20), encoder: self.encoder(limit: 100), drops: false).leftOutNotice == nil)
    }

    private struct Refusal: Error, Equatable { let row: Int }

    /// Rows that are too long come first, then the first one that is refused; nothing is asked after it.
    @Test func theFirstRowThatIsRefusedIsTheError() throws {
        let rows = CountingRows(40)
        var asked = 0
        func check(_ prompt: Prompt) throws {
            asked += 1
            if prompt.row >= 12 { throw Refusal(row: prompt.row) }
        }
        #expect(throws: Refusal(row: 12)) {
            try FittingRows(rows, encoder: encoder(limit: 100), drops: false, check: check)
        }
        #expect(asked == 13 && rows.readCounts == Array(repeating: 1, count: 40))
        #expect(throws: JobError.self) {
            try FittingRows(rows, encoder: encoder(limit: 30), drops: false, check: check)
        }
    }

    @Test func rowsThatAreTooLongAreAnErrorUnlessTheyAreDropped() throws {
        let error = #expect(throws: JobError.self) {
            try FittingRows(CountingRows(40), encoder: encoder(limit: 30), drops: false)
        }
        #expect("\(try #require(error))".contains("the prompt has 31 tokens, the limit is 30; 10 of 40 prompts"))
        #expect(try FittingRows(CountingRows(40), encoder: encoder(limit: 20), drops: true).count == 20)
    }
}
