import JSON
import Records
import RewardInterface
import ShippedRewards
import Testing

/// The answer that the shipped reward `name` judges in a text.
private func answer(
    _ name: String, _ text: String, _ columns: [String: JSONValue], settings: [String: JSONValue] = [:]
) throws -> String? {
    let function = try ShippedRewards.catalogue.function(named: name, settings: settings)
    let reader = try #require(function as? any AnswerReading)
    return try reader.answer(in: Completion(text: text), for: prompt(columns))
}

@Suite("Rewards that judge an answer say which")
struct AnswerReadingTests {
    private let half: [String: JSONValue] = ["answer": .string("1/2")]

    @Test(arguments: ["It is 0.5", "\\boxed{\\frac{1}{2}}", "#### 1/2", "$\\frac{2}{4}$", "so 0.50."])
    func oneNumberHasOneSpelling(_ text: String) throws {
        #expect(try answer("accuracy_reward", text, half) == "1/2")
    }

    @Test func whatDiffersIsSpelledDifferently() throws {
        #expect(try answer("accuracy_reward", "3", half) == "3")
        #expect(
            try answer("accuracy_reward", "\\boxed{(1, 2)}", half) != answer("accuracy_reward", "\\boxed{(2, 1)}", half)
        )
        #expect(try answer("accuracy_reward", "50%", half) == "50%")
    }

    @Test(arguments: ["nothing to see", "", "\\boxed{}"])
    func aTextWithoutAnAnswerHasNone(_ text: String) throws {
        #expect(try answer("accuracy_reward", text, half) == nil)
        #expect(try answer("get_cosine_scaled_reward", text, half, settings: ["max_len": .number(100)]) == nil)
    }

    @Test func answersInWords() throws {
        let columns: [String: JSONValue] = ["answer": .string("Paris")]
        #expect(try answer("accuracy_reward", "The answer is: PARIS.", columns) == "paris")
        #expect(try answer("accuracy_reward", "\\boxed{Paris}", columns) == "paris")
        #expect(try answer("accuracy_reward", "\\boxed{}", columns) == nil)
        #expect(try answer("accuracy_reward", "", columns) == nil)
    }

    @Test func answersAreReadAsTheReferenceAsks() throws {
        let number: [String: JSONValue] = ["answer": .string("113")]
        #expect(try answer("accuracy_reward", "\\boxed{m + n = 113}", number) == "113")
        let equation: [String: JSONValue] = ["answer": .string("m + n = 112")]
        #expect(try answer("accuracy_reward", "\\boxed{m + n = 113}", equation) == "m+n=113")
        let relation: [String: JSONValue] = ["answer": .string("x < 7")]
        #expect(try answer("accuracy_reward", "\\boxed{x \\le 5}", relation) == "x<=5")
        #expect(try answer("accuracy_reward", "So $x ≤ 5$.", relation) == "x<=5")
        let solution: [String: JSONValue] = ["answer": .string("Add 40 and 2 and you have 42")]
        #expect(try answer("accuracy_reward", "It is 42.", solution) == "42")
    }

    @Test func theReasoningIsNoAnswer() throws {
        #expect(try answer("reasoning_accuracy_reward", "<think>7</think>It is 4", half) == "4")
        #expect(try answer("reasoning_accuracy_reward", "<think>7, no, 4", half) == nil)
    }

    @Test func exactNumbersAndExpressions() throws {
        #expect(try answer("exact_number", "3 then 1,024.0", half) == "1024")
        #expect(try answer("exact_number", "none", half) == nil)
        let columns: [String: JSONValue] = ["numbers": .array([.number(2), .number(3)]), "target": .number(6)]
        #expect(try answer("countdown", "<answer> 2 * 3 = 6</answer>", columns) == "2*3")
        #expect(try answer("countdown", "two times three", columns) == nil)
    }

    @Test func panelsLineTheAnswersUpWithTheScores() throws {
        let functions = try ["think_format_reward", "exact_number"].map {
            FunctionSource(try ShippedRewards.catalogue.function(named: $0))
        }
        let rollouts = ["a 1", "b"].enumerated().map { index, text in
            Rollout(
                completion: Completion(text: text), samplingLogProbabilities: [], policyLogProbabilities: [],
                sample: index)
        }
        let group = RolloutGroup(
            prompt: TokenizedPrompt(prompt: prompt(half), tokenIDs: [0]), rollouts: rollouts,
            policyVersion: PolicyVersion(0))
        #expect(try RewardPanel(functions).answers(in: group) == [nil, ["1", nil]])
    }

}
