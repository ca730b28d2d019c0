import Foundation
import JSON
import Records
import RewardInterface
import ShippedRewards
import Testing

@Suite("The accuracy reward against a table made by hand")
struct AccuracyRewardTests {
    struct Case: Decodable, Sendable {
        let about: String
        let reference: String
        let completion: String
        let right: Bool
    }

    /// `accuracy_cases.jsonl`: every row was written, and its verdict decided, by hand.
    static func cases() throws -> [Case] {
        let lines = String(decoding: try fileBesideTests("accuracy_cases.jsonl"), as: UTF8.self).split(separator: "\n")
        return try lines.map { try JSONDecoder().decode(Case.self, from: Data($0.utf8)) }
    }

    @Test func everyRowOfTheTable() throws {
        let cases = try Self.cases()
        #expect(cases.count >= 200)
        #expect(cases.count { $0.right } >= 100 && cases.count { !$0.right } >= 100)
        for row in cases {
            let result = try score("accuracy_reward", row.completion, ["solution": .string(row.reference)])
            let about = "\(row.about): '\(row.completion.prefix(80))' for '\(row.reference.prefix(80))', \(result)"
            #expect(result.score == (row.right ? 1 : 0), "\(about)")
        }
    }

    @Test(
        .enabled(
            if: ProcessInfo.processInfo.environment["PLUMBLINE_GSM8K"] != nil,
            "PLUMBLINE_GSM8K names no folder with GSM8K's train.jsonl and test.jsonl"))
    func everyReferenceSolutionOfGSM8KIsRight() throws {
        struct Row: Decodable { let answer: String }
        let folder = URL(fileURLWithPath: ProcessInfo.processInfo.environment["PLUMBLINE_GSM8K"] ?? "")
        let function = try ShippedRewards.catalogue.function(named: "accuracy_reward")
        var counts = (rows: 0, right: 0, rightWithWrongReference: 0)
        for file in ["train.jsonl", "test.jsonl"] {
            let text = try String(contentsOf: folder.appendingPathComponent(file), encoding: .utf8)
            for line in text.split(separator: "\n") {
                let row = try JSONDecoder().decode(Row.self, from: Data(line.utf8))
                let completion = Completion(text: row.answer)
                counts.rows += 1
                let own = try function.score(completion, for: prompt(["answer": .string(row.answer)]))
                if own.score == 1 { counts.right += 1 }
                let other = try function.score(completion, for: prompt(["answer": .string(row.answer + "1")]))
                if other.score != 0 { counts.rightWithWrongReference += 1 }
            }
        }
        #expect(counts.rows >= 8_000)
        #expect(counts.right == counts.rows)
        #expect(counts.rightWithWrongReference == 0)
    }

    @Test func theReferenceMayStandInSeveralColumns() throws {
        #expect(try score("accuracy_reward", "7", ["answer": .number(7)]).score == 1)
        #expect(try score("accuracy_reward", "7", ["ground_truth": .string("7")]).score == 1)
        #expect(try score("accuracy_reward", "7", ["reward_model": .object(["ground_truth": .string("7")])]).score == 1)
        #expect(try score("accuracy_reward", "7", ["answer": .array([.string("8"), .string("7")])]).score == 1)
        #expect(try score("accuracy_reward", "7", ["solution": .string("8"), "answer": .string("7")]).score == 0)
        // Rows of a mixture have null in the columns of the other sets.
        #expect(try score("accuracy_reward", "7", ["solution": .null, "answer": .string("7")]).score == 1)
        let nested: [String: JSONValue] = ["answer": .null, "reward_model": .object(["ground_truth": .string("7")])]
        #expect(try score("accuracy_reward", "7", nested).score == 1)
        let named: [String: JSONValue] = ["column": .string("gold")]
        #expect(
            try score("accuracy_reward", "7", ["gold": .number(7), "answer": .number(8)], settings: named).score == 1)
    }

    @Test func aRowWithoutReferenceAbstainsAndARowWithoutColumnIsAnError() throws {
        #expect(try score("accuracy_reward", "7", ["solution": .null]).state == "abstained")
        #expect(try score("accuracy_reward", "7", ["solution": .string(" ")]).state == "abstained")
        let error = #expect(throws: RewardError.self) { try score("accuracy_reward", "7", ["anwser": .number(7)]) }
        #expect(error?.description.contains("cases row 17") == true)
        #expect(error?.description.contains("did you mean 'anwser'?") == true)
        #expect(throws: RewardError.self) { try score("accuracy_reward", "7", ["answer": .object([:])]) }
    }

    @Test func reasoningCountsOnlyWhenItEnds() throws {
        let columns: [String: JSONValue] = ["solution": .string("\\frac{1}{3}")]
        // The three examples of TRL's documentation of the function, and the values it states: 1, 0, 0.
        let examples = [
            ("<think> Reasoning </think> The final answer is \\boxed{\\frac{1}{3}}", 1.0),
            ("<think> Reasoning </think> The final answer is \\boxed{\\frac{1}{2}}", 0),
            ("<think> Reasoning with partial answers \\boxed{\\frac{1}{3}} but no final answer", 0),
            ("a </think> \\boxed{\\frac12} </think> \\boxed{\\frac13}", 1),
            ("\\boxed{\\frac13} </think> nothing", 0),
        ]
        for (text, expected) in examples {
            #expect(try score("reasoning_accuracy_reward", text, columns).score == expected, "\(text)")
        }
        let settings: [String: JSONValue] = ["reasoning_delimiters": .array([.string("[END]"), .string("</think>")])]
        #expect(try score("reasoning_accuracy_reward", "x [END] 1/3", columns, settings: settings).score == 1)
    }

    @Test func longAndNestedTextsTakeLittleTime() throws {
        let texts = [
            String(repeating: "\\frac{1}{", count: 20_000), String(repeating: "(", count: 100_000) + "1",
            String(repeating: "1 ", count: 50_000), String(repeating: "\\boxed{", count: 10_000),
            "\\boxed{" + String(repeating: "1\\frac{", count: 80) + "}", String(repeating: "#### a\n", count: 10_000),
        ]
        let start = ContinuousClock.now
        for text in texts { #expect(try score("accuracy_reward", text, ["answer": .number(42)]).score == 0) }
        #expect(ContinuousClock.now - start < .seconds(30))
    }
}
