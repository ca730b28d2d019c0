import Foundation
import Job
import TestSupport
import Testing

@Suite("plumbline data check")
struct PromptSetCheckTests {
    private let folder: TemporaryFolder
    init() throws { folder = try TemporaryFolder() }

    private func check(_ name: String = "", _ change: (inout PromptSetCheck) throws -> Void = { _ in }) async throws
        -> PromptSetReport
    {
        var check = PromptSetCheck(path: name.isEmpty ? folder.url.path : folder.url.appending(path: name).path)
        try change(&check)
        return try await check.run()
    }

    private func write(_ name: String, _ rows: [String]) throws {
        _ = try folder.file(name, rows.joined(separator: "\n") + "\n")
    }

    @Test func aGoodSetIsShownAsModelAndRewardsSeeIt() async throws {
        try write(
            "train.jsonl", (1...20).map { "{\"prompt\": \"\($0)+1=\", \"answer\": \"\($0 + 1)\", \"note\": [1]}" })
        try write("eval.jsonl", ["{\"prompt\": \"3+1=\"}", "{\"prompt\": \"new\"}", "{\"prompt\": \"4+1=\"}"])
        let report = try await check {
            $0.rewards = ["accuracy_reward", "think_format_reward"].map { JobReward(reference: $0) }
            $0.shownRows = 1
        }
        #expect(report.verdict == nil)
        let text = report.text
        for line in [
            "form: TRL form, prompt from `prompt`", "columns: prompt, answer, note",
            // Nine prompts of four characters, eleven of five.
            "prompt length in characters: min 4, median 5, p90 5, p99 5, max 5",
            "prompts that stand more than once: 0", "prompts of eval.jsonl that stand here too: 2 of 3",
            "  accuracy_reward: every row can be scored; reads answer",
            "  think_format_reward: every row can be scored; reads no column", "    │ 1+1=", "    answer = \"2\"",
            "    note   = [1]",
        ] { #expect(text.split(separator: "\n").contains { $0 == line }, "\(line)\n\(text)") }
        #expect(text.contains("line 1, source") && !text.contains("line 2, source"))
    }

    @Test func wholeNumbersAreShownToTheDigit() async throws {
        try write("x.jsonl", [#"{"prompt": "a", "answer": 9007199254740993, "more": [18446744073709551615]}"#])
        let text = try await check("x.jsonl") { $0.shownRows = 1 }.text
        #expect(text.contains("    answer = 9007199254740993\n    more   = [18446744073709551615]"), "\(text)")
    }

    @Test func whatWouldStopARunIsNamedAndIsTheVerdict() async throws {
        try write(
            "x.jsonl",
            [
                #"{"prompt": "a", "answer": 1}"#, #"{"prompt": 5, "answer": 1}"#, #"{"prompt": "b", "anser": 1}"#,
                #"{"prompt": "a", "answer": 2}"#, #"{"prompt": "long prompt", "answer": "one"}"#,
            ])
        let report = try await check("x.jsonl") {
            $0.rewards = [JobReward(reference: "exact_number")]
            $0.maxPromptLength = 8
        }
        #expect(
            report.verdict
                == "1 of 5 rows cannot be used; exact_number cannot score every row; 1 prompts are over the limit of 8 characters"
        )
        let text = report.text
        #expect(text.contains("x.jsonl, line 2, column prompt: a number; a text or a list of messages is expected"))
        #expect(text.contains("exact_number: 2 of 4 rows cannot be scored"))
        #expect(text.contains("no column 'answer'; it has 'anser'; did you mean 'anser'?"))
        #expect(text.contains("column 'answer' is the text \"one\", expected a number"))
        #expect(text.contains("prompts that stand more than once: 1"))
        let json = try JSONSerialization.jsonObject(with: Data(report.json.utf8)) as? [String: Any]
        #expect(json?["unusable"] as? Int == 1 && json?["duplicates"] as? Int == 1 && json?["rows"] as? Int == 5)
        #expect(((json?["rewards"] as? [[String: Any]])?.first?["refused"] as? Int) == 2)
    }

    @Test func columnsAreMappedAndOneOfSeveralAnswersIsFound() async throws {
        try write(
            "v.jsonl",
            [
                #"{"data_source": "s", "q": "1+1?", "reward_model": {"ground_truth": "2"}}"#,
                #"{"data_source": "s", "q": "1+2?", "reward_model": {"ground_truth": "3"}}"#,
            ])
        let report = try await check("v.jsonl") {
            try $0.mapColumns(["prompt=q"])
            $0.rewards = [JobReward(reference: "accuracy_reward")]
        }
        #expect(report.text.contains("accuracy_reward: every row can be scored; reads answer"), "\(report.text)")
        await #expect(throws: JobError.self) { try await check("v.jsonl") { try $0.mapColumns(["prompt"]) } }
    }

    @Test func rowsWithTheSameFaultShareALineAndARewardWithoutRowsIsNotTried() async throws {
        try write("x.jsonl", [#"{"prompt": "a"}"#] + (0..<30).map { _ in #"{"prompt": 5}"# } + [#"{"prompt": " "}"#])
        let report = try await check("x.jsonl") { $0.rewards = [JobReward(reference: "think_format_reward")] }
        #expect(report.verdict == "31 of 32 rows cannot be used")
        let problems = report.text.split(separator: "\n").filter { $0.hasPrefix("problem:") }
        #expect(problems.count == 2, "\(report.text)")
        #expect(problems.first?.contains("line 2, column prompt") == true)
        #expect(problems.first?.hasSuffix("(and the same in 29 more rows)") == true)
        try write("y.jsonl", [#"{"prompt": "a"}"#, #"{"prompt": 5}"#])
        let none = try await check("y.jsonl") {
            $0.rewards = [JobReward(reference: "think_format_reward")]
            $0.asDemonstrations = true
        }
        #expect(none.text.contains("think_format_reward: not tried, no row can be used"), "\(none.text)")
    }

    @Test func aRowIsShownAsEachRewardIsCalled() async throws {
        try write("v.jsonl", [#"{"prompt": "1+1?", "label": "2", "extra_info": {"index": 4}}"#])
        let script = try folder.file(
            "r.py",
            """
            def compute_score(data_source, solution_str, ground_truth, extra_info=None): return 0.0
            def reward_func(queries, prompts, labels): return [0.0] * len(queries)
            """
        ).path
        let report = try await check("v.jsonl") {
            $0.rewards = ["compute_score", "reward_func"].map { JobReward(reference: "\(script):\($0)") }
        }
        let wanted = [
            "  as compute_score is called:", "    data_source  = \"v\"", "    ground_truth = \"2\"",
            "    extra_info   = {\"index\": 4, \"num_turns\": 2, \"rollout_reward_scores\": {}}",
            "  as reward_func is called:", "    prompts = \"1+1?\"",
            "    labels  = \"2\"",
        ]
        #expect(report.text.contains(wanted.joined(separator: "\n")), "\(report.text)")
    }

    /// Nearest rank, worked by hand: of 1…10, half are at most 5 and nine in ten at most 9.
    @Test func percentilesAndTheHistogram() {
        let even = LengthDistribution(Array((1...10).reversed()))
        #expect([0, 50, 90, 99, 100].map(even.percentile) == [1, 5, 9, 10, 10])
        #expect(even.count(over: 7) == 3 && even.count(over: 0) == 10 && even.count(over: 10) == 0)
        let bar = { (length: Int) in String(repeating: "█", count: length) + String(repeating: " ", count: 30 - length)
        }
        // Widths are 1, 2 or 5 times a power of ten, at most ten of them, and one ends at the limit.
        #expect(
            LengthDistribution([3, 3, 3, 14, 25, 26, 30]).histogram(limit: 25) == [
                "  1–5  \(bar(30))  3", " 6–10  \(bar(0))  0", "11–15  \(bar(10))  1", "16–20  \(bar(0))  0",
                "21–25  \(bar(10))  1", "26–30  \(bar(20))  2  over the limit",
            ])
        // 200 of length 10 and one of 9,000: the long one shares the last line and hides nothing.
        #expect(
            LengthDistribution([9_000] + [Int](repeating: 10, count: 200)).histogram() == ["10–9000  \(bar(30))  201"])
        #expect(LengthDistribution([7]).histogram(limit: 3) == ["7  \(bar(30))  1  over the limit"])
    }
}
