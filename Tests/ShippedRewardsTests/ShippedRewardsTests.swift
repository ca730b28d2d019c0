import Foundation
import JSON
import Records
import RewardInterface
import ShippedRewards
import Testing

@Suite("The catalogue and the smaller rewards")
struct ShippedRewardsTests {
    @Test func theCatalogueListsEveryFileOfTheFolder() throws {
        let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("../../rewards").standardizedFileURL
        let files = try FileManager.default.contentsOfDirectory(atPath: folder.path)
            .filter { $0.hasSuffix(".swift") && $0 != "Catalogue.swift" }
        let types = ShippedRewards.catalogue.types.map { "\($0).swift" }
        #expect(types.sorted() == files.sorted())
        #expect(Set(ShippedRewards.catalogue.names).count == types.count)
        let readMe = try String(contentsOf: folder.appendingPathComponent("README.md"), encoding: .utf8)
        for name in ShippedRewards.catalogue.names { #expect(readMe.contains("`\(name)`"), "\(name) in the README") }
    }

    @Test func exactNumber() throws {
        let cases: [(String, JSONValue, Double)] = [
            ("it is 42", .number(42), 1), ("42.0", .string("42"), 1), ("1,000", .number(1000), 1),
            ("-7", .number(-7), 1), ("答案是42。", .number(42), 1), ("H2O and x2", .number(2), 0),
            ("12 cm^2", .number(12), 1),
            ("0.1", .number(0.1), 1), ("43", .number(42), 0), ("none", .number(42), 0), ("42 then 43", .number(42), 0),
            ("", .number(0), 0), ("0.10000001", .number(0.1), 0), (String(repeating: "9", count: 4000), .number(9), 0),
        ]
        for (text, answer, expected) in cases {
            #expect(try score("exact_number", text, ["answer": answer]).score == expected, "\(text)")
        }
        #expect(throws: RewardError.self) { try score("exact_number", "42", ["answer": .string("forty")]) }
        #expect(throws: RewardError.self) { try score("exact_number", "42", ["solution": .number(42)]) }
    }

    @Test func countdown() throws {
        let columns: [String: JSONValue] = [
            "numbers": .array([3, 5, 7, 2].map { .number($0) }), "target": .number(24),
        ]
        let right = [
            "3*5+7+2", "(3*5)+7+2", "7 + 2 + 5 * 3", "3×5+7+2", "3*5+7+2 = 24", "I try.\n<answer>2+7+3*5</answer>",
            "<answer>1</answer> no: <answer> (3 * 5) + 2 + 7 </answer>", "\\boxed{3 \\times 5 + 7 + 2}", "3*5--7+2",
        ]
        for text in right { #expect(try score("countdown", text, columns).score == 1, "\(text)") }
        let wrong = [
            "24", "3*5+7", "3*5+7+2+0", "3*5+7*2", "3*5+7+2 or so", "", "3*5+7+2)", "(3*5+7+2", "35+7+2", "3*5+7+2/0",
            "2**3*3",
            "3*8", "__import__('os')", String(repeating: "(", count: 100_000), "3*5+7+2+3-3", "12+12", "1e9",
            "3.0*5+7+2",
            "<answer>3*5+7</answer>", "9223372036854775807*9223372036854775807",
        ]
        for text in wrong { #expect(try score("countdown", text, columns).score == 0, "\(text.prefix(40))") }
        // 8/(3−8/3) = 24: only exact fractions reach it.
        let eights: [String: JSONValue] = ["numbers": .array([3, 3, 8, 8].map { .number($0) }), "target": .number(24)]
        #expect(try score("countdown", "8/(3-8/3)", eights).score == 1)
        // 2^53 + 1, which as a Double would be 2^53.
        let wide: [String: JSONValue] = [
            "numbers": .array([.number(9_007_199_254_740_992), .number(1)]), "target": .number(9_007_199_254_740_993),
        ]
        #expect(try score("countdown", "9007199254740992+1", wide).score == 1)
        #expect(try score("countdown", "9007199254740992*1", wide).score == 0)
        #expect(throws: RewardError.self) {
            try score("countdown", "1", ["numbers": .string("x"), "target": .number(1)])
        }
        #expect(throws: RewardError.self) { try score("countdown", "1", ["numbers": .array([.number(1)])]) }
    }

    @Test func lengthFallsWithTheDistance() throws {
        let settings: [String: JSONValue] = ["target_length": .number(100)]
        for (tokens, expected) in [(100, 1.0), (50, 0.5), (150, 0.5), (0, 0), (400, 0)] {
            #expect(try score("length_reward", "", tokens: tokens, settings: settings).score == expected)
        }
        let words: [String: JSONValue] = [
            "target_length": .number(4), "tolerance": .number(2), "unit": .string("words"),
        ]
        #expect(try score("length_reward", "one two three", settings: words).score == 0.5)
        #expect(throws: RewardError.self) { try score("length_reward", "", settings: [:]) }
        #expect(throws: RewardError.self) { try score("length_reward", "", settings: ["target_length": .number(1.5)]) }
        let error = #expect(throws: RewardError.self) {
            try score("length_reward", "", settings: ["target_length": .number(5), "tolerence": .number(1)])
        }
        #expect(error?.description.contains("did you mean 'tolerance'?") == true)
    }

    @Test func regularExpression() throws {
        let pattern: [String: JSONValue] = ["pattern": .string("^<a>\\d+</a>$")]
        #expect(try score("regular_expression", "<a>12</a>", settings: pattern).score == 1)
        #expect(try score("regular_expression", "<a>x</a>", settings: pattern).score == 0)
        let part: [String: JSONValue] = ["pattern": .string("b+"), "match": .string("full")]
        #expect(try score("regular_expression", "bbb", settings: part).score == 1)
        #expect(try score("regular_expression", "abbb", settings: part).score == 0)
        #expect(throws: RewardError.self) { try score("regular_expression", "", settings: ["pattern": .string("(")]) }
    }

    @Test func aPatternThatBacktracksForAgesTimesOut() throws {
        let settings: [String: JSONValue] = ["pattern": .string("^(a+)+$"), "timeout_seconds": .number(0.05)]
        let text = String(repeating: "a", count: 60) + "b"
        let start = ContinuousClock.now
        let result = try score("regular_expression", text, settings: settings)
        #expect(result == .timedOut(seconds: 0.05))
        #expect(ContinuousClock.now - start < .seconds(20))
    }

    /// `trl_rewards.json` comes from Tests/References/trl_rewards.py: TRL's own functions, called directly.
    @Test func equalsTRL() throws {
        struct Golden: Decodable {
            struct Row: Decodable {
                let reward: String
                let settings: [String: JSONValue]
                let text: String?
                let tokens: [Int]?
                let correct: Bool?
                let score: Double
            }
            let rows: [Row]
        }
        let golden = try JSONDecoder().decode(Golden.self, from: fileBesideTests("trl_rewards.json"))
        #expect(golden.rows.count > 100)
        for row in golden.rows {
            let function = try ShippedRewards.catalogue.function(named: row.reward, settings: row.settings)
            let text = row.text ?? (row.correct == true ? "\\boxed{1}" : "\\boxed{2}")
            let completion = Completion(text: text, tokenIDs: row.tokens ?? [])
            let result = try function.score(completion, for: prompt(["solution": .string("1")]))
            let difference = abs((result.score ?? .nan) - row.score)
            #expect(difference <= 1e-12, "\(row.reward) \(text.prefix(60)): \(result), TRL \(row.score)")
        }
    }
}
