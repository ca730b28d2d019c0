import Benchmarks
import Foundation
import Testing

@Suite("bench learning: the table and what it reads")
struct LearningTableTests {
    private func curve(_ lines: [String]) throws -> LearningCurve {
        let file = FileManager.default.temporaryDirectory.appending(path: "curve-\(UUID().uuidString).jsonl")
        defer { try? FileManager.default.removeItem(at: file) }  // a leftover in /tmp harms no test
        try Data(lines.joined(separator: "\n").utf8).write(to: file)
        return try LearningCurve(file, completionsPerStep: 10)
    }

    /// Means of two: 0.25, 0.5, 0.75, so that the target 0.5 is met with the third row: 30 completions and 1 + 2 + 3
    /// seconds.
    @Test func theTargetIsMetByTheMeanOfAWindow() throws {
        let rewards = [0.0, 0.5, 0.5, 1.0]
        let found = try curve(
            rewards.enumerated().map { #"{"step_time": \#($0 + 1), "reward": \#($1), "entropy": 0.\#(9 - $0)}"# })
        #expect(found.reaching(0.5, window: 2)?.completions == 30)
        #expect(found.reaching(0.5, window: 2)?.seconds == 6)
        #expect(found.reaching(0.8, window: 2) == nil)
        #expect(found.reaching(0.1, window: 5) == nil)
        #expect(found.lastEntropy == 0.6)
    }

    /// Two waves are twice the completions, and what they earned before any were left out.
    @Test func wavesOfDynamicSamplingCount() throws {
        let row = #"{"step_time": 1, "reward": 0.5, "dynamic_sampling/reward": 0.9, "dynamic_sampling/waves": 2}"#
        #expect(try curve([row]).reaching(0.9, window: 1)?.completions == 20)
    }

    private let setting = LearningTable.Setting(
        model: "m", job: "j", prompts: "p", reward: "r", steps: 5, samples: 4, target: 0.5, overrides: [])

    /// Rows of another version, or a file that is none, are named by their line.
    @Test func aFileThatIsNoTableIsNamed() throws {
        let file = FileManager.default.temporaryDirectory.appending(path: "table-\(UUID().uuidString).jsonl")
        defer { try? FileManager.default.removeItem(at: file) }  // a leftover in /tmp harms no test
        try Data(#"{"method": "grpo"}"#.utf8).write(to: file)
        let error = #expect(throws: (any Error).self) {
            try LearningTable(setting, output: file.path).run(methods: [], seeds: []) { _ in }
        }
        #expect("\(try #require(error))".contains(":1: no row of this version"))
    }

    @Test func seedsOfAMethodBecomeOneLine() {
        func row(_ seed: Int, after: Double, reached: Double?, beta: Double? = 0.05) -> LearningRow {
            LearningRow(
                commit: "c", date: "d", setting: setting, method: "grpo", seed: seed, klCoefficient: beta,
                reduction: "token_mean", trainSeconds: 4,
                scores: LearningScores(before: 0.5, after: after, gain: after - 0.5, low: after - 0.625, high: after),
                target: reached.map { ($0, $0 / 50) }, entropy: 0.25)
        }
        let both = LearningRow.table([row(1, after: 0.75, reached: 100), row(2, after: 0.25, reached: 300)])
        #expect(
            both[1] == [
                "grpo", "0.05", "token_mean", "2", "0.5", "0.5", "0.25–0.75", "0", "-0.375", "0.25", "4", "200", "4",
            ],
            "\(both[1])")
        let one = LearningRow.table([row(1, after: 0.75, reached: 100), row(2, after: 0.25, reached: nil)])
        #expect(one[1].suffix(2) == ["reached by 1 of 2", "–"])
        // Runs of one method that differ show both; a method without a KL term has no β.
        let mixed = LearningRow.table([
            row(1, after: 0.75, reached: nil), row(2, after: 0.25, reached: nil, beta: nil),
            row(3, after: 0.25, reached: nil),
        ])
        #expect(mixed[1][1] == "0.05, –")
    }

    /// The rows that the page's tables are made from say it of every run.
    @Test func theKeptRowsSayWhatTheyRanWith() throws {
        let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../Miniatures/learning.jsonl")
        let rows = try String(contentsOf: file, encoding: .utf8).split(separator: "\n").map {
            try JSONDecoder().decode(LearningRow.self, from: Data($0.utf8))
        }
        let page = try String(
            contentsOf: file.deletingLastPathComponent().appending(path: "README.md"), encoding: .utf8)
        for row in rows {
            let beta = row.klCoefficient.map { $0 == 0 ? "0" : "\($0)" } ?? "–"
            #expect(page.contains("| `\(row.method)` | \(beta) | `\(row.reduction)` | "), "\(row.method)")
        }
    }

    @Test func scoresAreReadFromTwoEvaluations() throws {
        let start = #"{"results": [{"rewards": [{"mean": 0.25}]}]}"#
        let after =
            #"{"results": [{"rewards": [{"mean": 0.75}]}], "comparisons": [{"difference": 0.5, "interval": [0.375, 0.625]}]}"#
        let found = try LearningScores(evaluation: Data(after.utf8), ofStart: Data(start.utf8))
        #expect(found == LearningScores(before: 0.25, after: 0.75, gain: 0.5, low: 0.375, high: 0.625))
        #expect(throws: (any Error).self) {
            try LearningScores(evaluation: Data(start.utf8), ofStart: Data(start.utf8))
        }
    }
}
