import JSON
public import Records
public import RewardInterface

/// The share of the row's tests that the completion's Python code passes, each test run in a sandbox of its own.
///
/// The code is the last fenced block of the completion that is marked as Python, or where none is the last without a
/// mark (setting `whole_text: true` takes a completion without either as code). The tests are in column `tests` (setting `column` names another; `test_list`, `test`, `test_cases`,
/// `reward_model.ground_truth` and `ground_truth` are looked at too): a list of Python texts with assertions, or of
/// `{input, output}` for programs that read and write, or `{"inputs": […], "outputs": […]}` with `fn_name` for a
/// function, also as a JSON text. `scoring: all` gives 1 for all tests and else 0. A test that fails, hangs, or breaks
/// a limit is not passed; after two that hang the others count as not passed.
///
/// Assertions run in another program than the completion's code, which is asked for values only. So what ends a test
/// well is out of the code's reach: leaving early, printing, or objects that say yes to every comparison gain nothing.
public struct CodeExecution: ProgramReward {
    public static let name = "code_execution"
    public static let range = 0.0...1.0
    public static let isDeterministic = true
    private let column: String?
    private let needsAll: Bool
    private let readsWholeText: Bool
    private let testLimit: Int
    private let python: String

    private enum Scoring: String, SettingsChoice { case share, all }

    /// A longer text is no program's argument.
    private static let codeLimit = 100_000
    /// Tests that may hang before the rest is given up.
    private static let patience = 2

    public init(reading settings: inout SettingsReader) {
        let column = settings.read("column", default: "", "The column with the tests; found by its name unless set.")
        self.column = column.isEmpty ? nil : column
        needsAll =
            settings.read(
                "scoring", default: Scoring.share, "share: share of tests passed. all: 1 only when all pass.")
            == .all
        readsWholeText = settings.read(
            "whole_text", default: false, "Whether a completion without a fenced block is all code.")
        testLimit = settings.read("max_tests", default: 50, .from(1, to: 10_000), "Most tests run per row.")
        python = settings.read("python", default: "python3", "The interpreter.")
    }

    public var programs: [String] { [python] }

    public func prepare(with runner: any ProgramRunner) async throws {
        var problem = try await trial(with: runner)
        // A short limit and a busy machine keep nobody out: only what always takes too long does.
        for _ in 0..<2 where problem?.isHung == true { problem = try await trial(with: runner) }
        if let words = problem?.note {
            throw RewardError.unusable(
                reward: Self.name,
                problem:
                    "'\(python)' does not run in the sandbox: \(words) (what root starts runs as nobody, who must be able to read it)"
            )
        }
    }

    /// What keeps code that does as it should from passing its tests; `nil` for nothing.
    private func trial(with runner: any ProgramRunner) async throws -> TestOutcome? {
        let tried = try await outcome(of: .assertions("assert one() == 1"), code: "def one(): return 1", runner)
        let other = try await outcome(of: .run(input: "1\n", output: "1"), code: "print(input())", runner)
        if tried.isPassed, other.isPassed { return nil }
        return TestOutcome(
            isHung: tried.isHung || other.isHung,
            note: [tried.note, other.note].compactMap(\.self).joined(separator: "; "))
    }

    public func check(_ prompt: Prompt) throws(RewardError) { _ = try CodeTest.all(of: prompt, column: column) }

    public func score(
        _ completion: Completion, for prompt: Prompt, with runner: any ProgramRunner
    ) async throws -> RewardScore {
        let tests = Array(try CodeTest.all(of: prompt, column: column).prefix(testLimit))
        guard let code = CodeBlock.last(in: completion.text) ?? (readsWholeText ? completion.text : nil) else {
            return .value(0, note: "no fenced code block")
        }
        guard code.utf8.count <= Self.codeLimit else {
            return .value(0, note: "the code is over \(Self.codeLimit) bytes")
        }
        guard !code.utf8.contains(0) else { return .value(0, note: "the code holds a NUL character") }
        var passed = 0
        var hung = 0
        var firstProblem: String?
        for (number, test) in tests.enumerated() {
            let outcome = try await outcome(of: test, code: code, runner)
            if let words = outcome.noPython { throw try CodeTest.noPython(words, in: prompt, column: column) }
            // Code can end as a program does that cannot be run: whether others still run tells the two apart.
            if let broken = outcome.broken, try await trial(with: runner) != nil { return .failed(message: broken) }
            if outcome.isPassed {
                passed += 1
            } else {
                firstProblem = firstProblem ?? "test \(number + 1): \(outcome.note ?? "")"
            }
            hung += outcome.isHung ? 1 : 0
            if hung == Self.patience || (needsAll && firstProblem != nil) { break }
        }
        let count = "\(passed) of \(tests.count) tests passed"
        let note = firstProblem.map { "\(count); \($0)" } ?? count
        if needsAll { return .value(passed == tests.count ? 1 : 0, note: note) }
        return .value(Double(passed) / Double(tests.count), note: note)
    }

    /// How one test went.
    private struct TestOutcome {
        var isPassed = false
        var isHung = false
        /// Why it was not passed.
        var note: String?
        /// Why the test could not be held: no fault of the code.
        var broken: String?
        /// Why the test is none.
        var noPython: String?
    }

    private func outcome(
        of test: CodeTest, code: String, _ runner: any ProgramRunner
    ) async throws -> TestOutcome {
        switch test {
        case .run(let input, let wanted):
            let call = ProgramCall([python, "-s", "-c", code], input: Array(input.utf8))
            let outcome = try await runner.run(call)
            return Self.judged(outcome, isRight: CodeTest.agree(outcome.output, wanted), "wrong output")
        case .assertions(let text):
            let job = JSONValue.object(["code": .string(code), "test": .string(text)])
            let judge = ProgramCall([python, "-s", "-c", CodePrograms.judge], input: Array(job.serialized.utf8))
            let outcome = try await runner.run(judge, beside: [python, "-s", "-c", CodePrograms.subject])
            if outcome.end == .exited(CodePrograms.noPython) {
                return TestOutcome(noPython: outcome.lastErrors.split(separator: "\n").last.map(String.init) ?? "")
            }
            return Self.judged(outcome, isRight: true, "")
        }
    }

    private static func judged(_ outcome: ProgramOutcome, isRight: Bool, _ wrong: String) -> TestOutcome {
        let lines = outcome.lastErrors.split(separator: "\n")
        let last = lines.last.map { String($0.prefix(300)) } ?? ""
        switch outcome.end {
        case .exited(0): return isRight ? TestOutcome(isPassed: true) : TestOutcome(note: wrong)
        case .exited(126), .exited(127):
            // A shell's word for a program that cannot be run; Python code may end so too, then it has failed.
            return lines.contains { $0.hasPrefix("sh: ") || $0.hasPrefix("/bin/sh: ") }
                ? TestOutcome(note: last, broken: "the program could not be run: \(last)") : TestOutcome(note: last)
        case .exited(let code): return TestOutcome(note: last.isEmpty ? "exit code \(code)" : last)
        case .killed(let signal): return TestOutcome(note: "killed by signal \(signal)")
        case .timedOut(let seconds): return TestOutcome(isHung: true, note: "no end within \(seconds) s")
        case .tooMuchOutput(let bytes): return TestOutcome(note: "more than \(bytes) bytes of output")
        }
    }
}
