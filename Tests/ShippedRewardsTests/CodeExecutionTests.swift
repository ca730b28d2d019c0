import Foundation
import JSON
import Records
import RewardInterface
import ShippedRewards
import Synchronization
import Testing

/// Runs nothing: notes what it is asked for and answers as it is told to.
private final class NotingRunner: ProgramRunner {
    struct Asked: Equatable {
        /// The code of a program, or the tests of a judge.
        var code: String
        var input: String
    }

    private let calls = Mutex<[Asked]>([])
    private let answer: @Sendable (Int) -> ProgramOutcome
    var asked: [Asked] { calls.withLock { $0 } }

    init(_ answer: @escaping @Sendable (Int) -> ProgramOutcome) { self.answer = answer }

    convenience init(output: String = "") {
        self.init { _ in ProgramOutcome(end: .exited(0), output: output, lastErrors: "") }
    }

    private func note(_ asked: Asked) -> ProgramOutcome {
        answer(
            calls.withLock { calls in
                calls.append(asked)
                return calls.count
            })
    }

    func run(_ call: ProgramCall) async throws(RewardError) -> ProgramOutcome {
        note(Asked(code: call.arguments.last ?? "", input: String(decoding: call.input, as: UTF8.self)))
    }

    func run(_ judge: ProgramCall, beside subject: [String]) async throws(RewardError) -> ProgramOutcome {
        let job = try? JSONDecoder().decode([String: String].self, from: Data(judge.input))
        return note(Asked(code: job?["code"] ?? "no job", input: job?["test"] ?? ""))
    }
}

private func score(
    _ text: String, _ columns: [String: JSONValue], _ runner: NotingRunner, _ settings: [String: JSONValue] = [:]
) async throws -> RewardScore {
    var values = SettingsReader("reward code_execution", values: settings)
    let reward = CodeExecution(reading: &values)
    try values.finishReward()
    return try await reward.score(Completion(text: text), for: prompt(columns), with: runner)
}

private func json(_ text: String) throws -> JSONValue {
    try JSONValue(parsing: text)
}

@Suite("What code_execution takes as code and as tests, and what it makes of outcomes")
struct CodeExecutionTests {
    /// The judge's word for tests that Python cannot read: the row is at fault, no completion of it is worth 0.
    @Test func aTestThatIsNoPythonIsABadRow() async throws {
        let runner = NotingRunner { _ in
            ProgramOutcome(end: .exited(11), output: "", lastErrors: "SyntaxError: invalid syntax (tests.py, line 1)\n")
        }
        let error = await #expect(throws: RewardError.self) {
            _ = try await score("```\nA\n```", ["tests": .array([.string("assert f(")])], runner)
        }
        let text = error?.description ?? ""
        #expect(text.contains("column 'tests'") && text.contains("SyntaxError: invalid syntax"), "\(text)")
    }

    @Test(arguments: [
        ("```python\nA\n```", "A"), ("```\nA\n```\ntext\n```py\nB\nC\n```", "B\nC"),
        ("~~~~\nA\n~~~\nB\n~~~~", "A\n~~~\nB"),
        ("so: ```A```\n  ```python3 title=x\n  A\n  ```  ", "  A"), ("```python\nA\n```\n```json\nB\n```", "A"),
        ("```python\nA\nand then", "A\nand then"), ("````\n```\nA\n```\n````", "```\nA\n```"),
        ("```python\r\nA\r\n```", "A"),
        ("```python\n```", ""), ("```python\nA\n```\nExample output:\n```\n3\n```", "A"),
        ("```python\nA\n```\n```\n3", "A"), ("```\nA\n```\n```\nB\n```\n```text\n3\n```", "B"),
    ])
    func theLastPythonBlockIsTheCode(_ text: String, _ code: String) async throws {
        let runner = NotingRunner()
        #expect(try await score(text, ["tests": .array([.string("t")])], runner).score == 1)
        #expect(runner.asked == [.init(code: code, input: "t")])
    }

    @Test(arguments: ["", "print(1)", "``\nA\n``", "    ```\n    A\n    ```", "```json\n{}\n```"])
    func withoutABlockTheScoreIsZero(_ text: String) async throws {
        let runner = NotingRunner()
        let tests: [String: JSONValue] = ["tests": .array([.string("t")])]
        #expect(try await score(text, tests, runner) == .scored(0, note: "no fenced code block"))
        #expect(runner.asked.isEmpty)
        #expect(try await score(text, tests, runner, ["whole_text": .bool(true)]).score == 1)
        #expect(runner.asked == [.init(code: text, input: "t")])
    }

    /// Columns of a row as JSON, and the inputs that they come to.
    static let forms: [(String, [String])] = [
        (#"{"tests": ["a", "b"]}"#, ["a", "b"]), (#"{"test_list": ["a"]}"#, ["a"]), (#"{"tests": "a\nb"}"#, ["a\nb"]),
        (#"{"test": "def check(f): pass", "entry_point": "g"}"#, ["def check(f): pass\ncheck(g)\n"]),
        (#"{"tests": ["a"], "test_setup_code": "import x"}"#, ["import x\na"]),
        // Sanitized MBPP and MBPP+.
        (#"{"test_list": ["a"], "test_imports": ["import x", "import y"]}"#, ["import x\nimport y\na"]),
        (#"{"test_list": ["a"], "test_imports": []}"#, ["a"]),
        (#"{"test_list": ["a"], "test_imports": "[\"import x\"]", "test_setup_code": "y"}"#, ["import x\ny\na"]),
        (#"{"tests": [{"input": "1", "output": "o"}]}"#, ["1"]), (#"{"tests": "[\"a\", \"b\"]"}"#, ["a", "b"]),
        (#"{"tests": [{"input": ["1", "2"], "output": ["o"]}]}"#, ["1\n2"]),
        (#"{"ground_truth": "{\"inputs\": [\"1\", \"2\"], \"outputs\": [\"o\", \"o\"]}"}"#, ["1", "2"]),
        (#"{"reward_model": {"ground_truth": {"inputs": [1], "outputs": ["o"]}}}"#, ["1"]),
        (#"{"ground_truth": {"assert_case": ["a", "b"]}}"#, ["a", "b"]),
    ]

    @Test(arguments: forms)
    func testsComeInTheUsualForms(_ columns: String, _ inputs: [String]) async throws {
        let members = try #require(try json(columns).dictionary)
        let runner = NotingRunner(output: "o  \n\n")
        #expect(try await score("```\nA\n```", members, runner).score == 1)
        #expect(runner.asked.map(\.input) == inputs)
    }

    @Test func rowsWithoutTestsStopTheRun() async throws {
        func problem(_ columns: [String: JSONValue], _ settings: [String: JSONValue] = [:]) async -> String {
            do {
                return "\(try await score("```\nA\n```", columns, NotingRunner(), settings))"
            } catch {
                return "\(error)"
            }
        }
        #expect(await problem(["testz": .string("a")]).contains("did you mean 'testz'?"))
        #expect(
            await problem(["tests": .array([])]).contains("column 'tests' is a list of 0, expected a list of Python"))
        #expect(await problem(["tests": .array([.number(1)])]).contains("expected a list of Python tests"))
        #expect(await problem(["tests": .string("a")], ["column": .string("mine")]).contains("no column 'mine'"))
        let uneven: [String: JSONValue] = ["inputs": .array([.string("1")]), "outputs": .array([])]
        #expect(await problem(["ground_truth": .object(sorting: uneven)]).contains("expected a list of Python tests"))
    }

    @Test func theScoreIsTheShareOrAllOrNothing() async throws {
        let ends: [ProgramOutcome.End] = [.exited(0), .exited(10), .exited(0), .killed(signal: 9)]
        let tests: [String: JSONValue] = ["tests": .array(["a", "b", "c", "d"].map(JSONValue.string))]
        func runner() -> NotingRunner {
            NotingRunner { ProgramOutcome(end: ends[$0 - 1], output: "", lastErrors: "x\nAssertionError: no\n") }
        }
        let share = try await score("```\nA\n```", tests, runner())
        #expect(share == .scored(0.5, note: "2 of 4 tests passed; test 2: AssertionError: no"))
        let strict = runner()
        #expect(try await score("```\nA\n```", tests, strict, ["scoring": .string("all")]).score == 0)
        #expect(strict.asked.count == 2)  // one failure decides
        #expect(
            try await score("```\nA\n```", tests, runner(), ["max_tests": .number(1), "scoring": .string("all")]).score
                == 1)
        // Two that hang: the rest counts as not passed.
        let hanging = NotingRunner {
            ProgramOutcome(end: $0 == 1 ? .exited(0) : .timedOut(seconds: 6), output: "", lastErrors: "")
        }
        #expect(try await score("```\nA\n```", tests, hanging).score == 0.25)
        #expect(hanging.asked.count == 3)
        // A program that cannot be run is no fault of the code.
        let broken = NotingRunner { _ in
            ProgramOutcome(end: .exited(127), output: "", lastErrors: "sh: 1: exec: python3: not found\n")
        }
        #expect(try await score("```\nA\n```", tests, broken).state == "failed")
    }

    @Test(arguments: [
        ("o", 1.0), ("o\n", 1), ("o \t\n\n", 1), ("o\r\n", 1), (" o", 0), ("o o", 0), ("\no", 0), ("", 0),
    ])
    func outputsAgreeButForWhiteSpaceAtLineEnds(_ output: String, _ expected: Double) async throws {
        let tests = JSONValue.array([.object(["input": .string(""), "output": .string("o\n")])])
        #expect(try await score("```\nA\n```", ["tests": tests], NotingRunner(output: output)).score == expected)
    }
}
