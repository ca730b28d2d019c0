import Foundation
import Job
import TestSupport
import Testing

@Suite("plumbline reward check")
struct RewardCheckTests {
    private let folder: TemporaryFolder
    init() throws { folder = try TemporaryFolder() }

    private func report(
        _ reward: String, _ rows: String, file: String = "c.jsonl", settings: [String] = [], tokenizer: String? = nil
    ) async throws -> RewardCheck.Report {
        let path = try folder.file(file, rows).path
        return try await RewardCheck(reward: reward, file: path, settings: settings, tokenizer: tokenizer).run()
    }

    private func script(_ text: String) throws -> String { try folder.file("r.py", text).path }

    /// Six completions: three scores, a None, two exceptions of one kind. The numbers are plain to see.
    @Test func theSummaryTellsSpreadFailuresAndSurprises() async throws {
        let script = try script(
            """
            def inner(text):
                raise ValueError("cannot read it")
            def f(completions, **kwargs):
                if "bad" in completions[0]: inner(completions[0])
                return [None if c == "none" else float(len(c)) for c in completions]
            """)
        let rows = ["a", "bb", "bb", "none", "bad one", "bad two"].enumerated().map { index, text in
            "{\"prompt\": \"\(index)\", \"completion\": \"\(text)\", \"expected\": \(index < 2 ? index + 1 : 7)}\n"
        }
        let report = try await report("\(script):f", rows.joined())
        let lines = report.summary.split(separator: "\n").map(String.init)
        let bar = { (length: Int) in String(repeating: "█", count: length) + String(repeating: " ", count: 30 - length)
        }
        for line in [
            "f: 6 completions, 3 scored, 1 abstained, 2 failed", "  mean 1.6667, min 1, median 2, max 2",
            "    1  \(bar(15))  1", "    2  \(bar(30))  2", "  equal to 'expected': 2 of 6",
            "    line 3: 2, expected 7; completion: \"bb\"", "    line 5: failed, expected 7; completion: \"bad one\"",
            "  2 × ValueError: cannot read it", "    lines 5, 6; first completion: \"bad one\"",
        ] { #expect(lines.contains(line), "\(line)\n\(report.summary)") }
        // The user's own frames and no others.
        #expect(report.summary.contains("r.py\", line 2, in inner") && !report.summary.contains("<string>"))
        #expect(report.verdict == "f: 2 of 6 scores failed or timed out, 4 scores are not as expected")
        #expect(report.lines.count == 6)
    }

    @Test func manyValuesComeInTenRanges() async throws {
        let rows = (0..<40).map { "{\"completion\": \"\(String(repeating: "x", count: $0 / 2))\"}\n" }.joined()
        let script = try script("def f(completions, **kwargs): return [float(len(c)) for c in completions]\n")
        let lines = try await report("\(script):f", rows).summary.split(separator: "\n")
        // 0, 0, 1, 1, … 19, 19: ranges of width 1.9 hold two values each.
        #expect(lines.count { $0.contains(" – ") && $0.hasSuffix("█  4") } == 10, "\(lines)")
        #expect(lines.contains { $0.hasPrefix("        0 – 1.9") }, "\(lines)")
    }

    @Test func theSameRowsInEveryFormatGetTheSameScores() async throws {
        let files = [
            ("c.jsonl", "{\"completion\": \"so 7\", \"answer\": \"7\"}\n{\"completion\": \"9\", \"answer\": \"7\"}\n"),
            ("c.json", "[{\"completion\": \"so 7\", \"answer\": \"7\"}, {\"completion\": \"9\", \"answer\": \"7\"}]"),
            ("c.csv", "completion,answer\nso 7,7\n9,7\n"), ("c.tsv", "completion\tanswer\nso 7\t7\n9\t7\n"),
        ]
        for (name, text) in files {
            let lines = try await report("exact_number", text, file: name).lines
            #expect(lines.map { $0.prefix(11) } == ["{\"score\": 1", "{\"score\": 0"], "\(name)")
        }
        let empty = await #expect(throws: (any Error).self) { try await report("exact_number", "", file: "e.jsonl") }
        #expect("\(try #require(empty))".contains("the file has no rows"))
    }

    /// The function compares as one does that was written for TRL, where `datasets` gives it an `int`. An answer that
    /// is read as a text is the same either way.
    @Test func numbersOfATableAreNumbersToAFunction() async throws {
        let script = try script(
            """
            def f(completions, answer, **kwargs):
                return [None if a is None else float(int(c) == a) for c, a in zip(completions, answer)]
            """)
        let rows = "prompt,completion,answer\na,42,42\nb,7,8\nc,9,\n"
        let lines = try await report("\(script):f", rows, file: "c.csv").lines
        #expect(lines.map { $0.prefix(11) } == ["{\"score\": 1", "{\"score\": 0", "{\"score\": n"], "\(lines)")
        #expect(lines[2].contains("abstained"))
        let texts = [rows, rows.replacing(",9,\n", with: ",9,x\n")]
        for text in texts {
            let graded = try await report("accuracy_reward", text, file: "c.csv").lines
            #expect(graded.prefix(2).map { $0.prefix(11) } == ["{\"score\": 1", "{\"score\": 0"], "\(graded)")
        }
    }

    /// What a training step would refuse is refused here: its calls have all completions of a prompt, and never one
    /// alone.
    @Test(arguments: [
        ("return 1.0", "not a list of 2 scores"), ("return [1.0]", "1 scores for 2 completions"),
        ("return [float(completions[2] == '')] * len(completions)", "IndexError"),
    ])
    func callsAreThoseOfTraining(_ body: String, _ words: String) async throws {
        let script = try script("def f(completions, **kwargs): \(body)\n")
        let rows = (0..<3).map { "{\"prompt\": \"\($0)\", \"completion\": \"x\"}\n" }.joined()
        let report = try await report("\(script):f", rows)
        #expect(report.lines.count == 3 && report.lines.allSatisfy { $0.contains("\"failed\"") }, "\(report.lines)")
        #expect(report.summary.contains(words), "\(report.summary)")
    }

    @Test func completionsOfAPromptAreInOneCall() async throws {
        let script = try script("def f(completions, **kwargs): return [float(len(completions))] * len(completions)\n")
        // Ten of one prompt: eight and two. One of another: twice.
        let rows = (0..<11).map {
            "{\"prompt\": \"\($0 == 4 ? "b" : "a")\", \"completion\": \"\($0)\", \"expected\": \($0)}\n"
        }
        var told: [Int] = []
        let path = try folder.file("c.jsonl", rows.joined()).path
        let report = try await RewardCheck(reward: "\(script):f", file: path, settings: []).run { done, of in
            told.append(done)
            #expect(of == 11)
        }
        #expect(report.lines.map { $0.dropFirst(10).prefix(1) }.joined() == "88882888822")
        #expect(told == [8, 9, 11])
    }

    @Test func aBadRowCostsItsOwnScoreAlone() async throws {
        let rows = [
            #"{"prompt": "a", "completion": "7", "answer": "7"}"#, #"{"prompt": "b", "answer": "7"}"#,
            #"{"prompt": "c", "completion": "7"}"#, #"{"prompt": "d", "completion": "7", "answer": "7"}"#,
        ]
        let report = try await report("exact_number", rows.joined(separator: "\n"))
        #expect(report.lines.map { $0.contains("\"scored\"") } == [true, false, false, true], "\(report.lines)")
        #expect(report.lines[1].contains("line 2") && report.lines[1].contains("completion"), "\(report.lines[1])")
        #expect(report.lines[2].contains("no column 'answer'"), "\(report.lines[2])")
        #expect(report.summary.contains("4 completions, 2 scored, 2 failed"), "\(report.summary)")
        #expect(report.verdict == "exact_number: 2 of 4 scores failed or timed out")
    }

    /// A file without token ids does not hold completions of no tokens.
    @Test(arguments: [
        "completion_length", "{name: length_reward, target_length: 4}", "get_soft_overlong_punishment",
        "get_repetition_penalty_reward", "{name: get_cosine_scaled_reward, max_len: 8}", "{path: 'r.py:f'}",
        "{name: completion_length, cache: true}",
    ])
    func aRewardThatReadsTokenIDsNeedsThem(_ reward: String) async throws {
        let script = try script("def f(completion_ids, **kwargs): return [float(len(ids)) for ids in completion_ids]\n")
        let reward = reward.replacing("r.py", with: script)
        let rows = [
            #"{"prompt": "a", "completion": "1234", "answer": "1"}"#,
            #"{"prompt": "a", "completion": "1234", "answer": "1", "completion_ids": null}"#,
            #"{"prompt": "a", "completion": "1234", "answer": "1", "completion_ids": [5, 5, 5]}"#,
            #"{"prompt": "a", "completion": "", "answer": "1", "completion_ids": []}"#,
        ].joined(separator: "\n")
        let bare = try await report(reward, rows)
        #expect(bare.lines.map { $0.contains("\"scored\"") } == [false, false, true, true], "\(bare.lines)")
        #expect(bare.summary.contains("2 × no 'completion_ids', and the reward reads token ids"), "\(bare.summary)")
        #expect(bare.lines[0].contains("--tokenizer") && bare.verdict != nil)
        // A token a digit.
        let digits = (0..<10).map { "\"\($0)\": \($0)" }.joined(separator: ", ")
        let tokenizer = try folder.file("tokenizer.json", "{\"model\":{\"vocab\":{\(digits)},\"merges\":[]}}").path
        let whole = try await report(reward, rows, tokenizer: tokenizer)
        #expect(whole.lines.allSatisfy { $0.contains("\"scored\"") }, "\(whole.lines)")
        guard reward.contains("completion_length") || reward.contains(script) else { return }
        #expect(whole.lines.map { $0.dropFirst(10).prefix(1) }.joined() == "4430")
    }

    @Test func aRewardThatReadsNoTokenIDsNeedsNone() async throws {
        let rows = "{\"completion\": \"a b c\", \"answer\": \"1\"}\n"
        for (reward, score) in [
            ("{name: completion_length, unit: words}", "3"),
            ("{name: length_reward, target_length: 3, unit: words}", "1"),
            ("accuracy_reward", "0"),
        ] {
            let lines = try await report(reward, rows).lines
            #expect(lines.map { $0.hasPrefix("{\"score\": \(score)") } == [true], "\(lines)")
        }
    }

    /// Rows differ in their place, not in what is wrong with them.
    @Test func theSameFaultInEveryRowIsOneKind() async throws {
        let unscored = (1...7).map { "{\"prompt\": \"\($0)\", \"completion\": \"7\"}\n" }.joined()
        let report = try await report("exact_number", unscored + "{\"prompt\": \"8\"}\n{\"prompt\": \"9\"}\n")
        let lines = report.summary.split(separator: "\n").map(String.init)
        #expect(lines.contains { $0.hasPrefix("  7 × no column 'answer'") }, "\(report.summary)")
        #expect(lines.contains { $0.hasPrefix("    lines 1, 2, 3, 4, 5 …; first completion: ") }, "\(report.summary)")
        #expect(lines.contains("  2 × no 'completion'; it has prompt"), "\(report.summary)")
        #expect(report.lines[6].contains("c.jsonl line 7: no column"), "\(report.lines[6])")
    }

    @Test func settingsComeDottedOrInBraces() async throws {
        let script = try script("def f(completions, factor, **kwargs): return [factor * len(c) for c in completions]\n")
        let rows = "{\"completion\": \"abc\"}\n"
        let dotted = try await report("\(script):f", rows, settings: ["settings.factor=2", "timeout=20"])
        #expect(dotted.lines[0].hasPrefix("{\"score\": 6"))
        let braces = try await report("{path: '\(script):f', metric_name: twice, settings: {factor: 2}}", rows)
        #expect(braces.lines == dotted.lines && braces.summary.hasPrefix("twice: 1 completions"))
        let named = try await report("{path: '\(script):f', name: twice, settings: {factor: 2}}", rows)
        #expect(named.lines == braces.lines && named.summary.hasPrefix("twice: 1 completions"))
        let error = await #expect(throws: JobError.self) { try await report("{timeout: 3}", rows) }
        #expect(error?.description.contains("exactly one of name, path, command, url, model") == true)
    }

    /// What a function calls itself is known once it is open.
    @Test func openRewardsOfOneNameAreRefusedWithWhatToWrite() async throws {
        let text = "def f(completions, **kwargs): return [1.0 for _ in completions]\n"
        let (one, other) = (try folder.file("r.py", text).path, try folder.file("s.py", text).path)
        let assembly = RewardAssembly(folder: folder.url, timeoutSeconds: 60)
        var entries = [JobReward(reference: "\(one):f"), JobReward(reference: "\(other):f")]
        let error = await #expect(throws: JobError.self) { try await assembly.panel(entries, errorRate: 0).close() }
        #expect(
            error?.description.contains(
                "2 rewards are named 'f': \(one):f and \(other):f; metrics need one name each. Give all but one a name of their own, as {name: "
            ) == true && error?.description.hasSuffix("metric_name: f_2}") == true, "\(String(describing: error))")
        entries[1] = try JobReward(argument: "{path: '\(other):f', name: g}")
        let panel = try await assembly.panel(entries, errorRate: 0)
        #expect(panel.names == ["f", "g"])
        await panel.close()
    }

    @Test func listNamesEverySettingAndWhatIsRequired() throws {
        let rows = try RewardListing.rows()
        let settings = Dictionary(uniqueKeysWithValues: rows.map { ($0.name, ($0.settings, $0.required)) })
        let length = try #require(settings["length_reward"])
        #expect(length.0.prefix(3) == ["target_length", "tolerance", "unit"] && length.1 == ["target_length"])
        #expect(settings["get_cosine_scaled_reward"]?.1 == ["max_len"])
        #expect(settings["get_soft_overlong_punishment"]?.1.isEmpty == true, "TRL's command line takes it bare")
        #expect(settings["regular_expression"]?.0.contains("timeout_seconds") == true)
        #expect(settings["accuracy_reward"]?.0 == ["column", "metric_name", "cache_file", "cache"])
    }

    /// Functions of TRL and one in verl's form through this command, against calls of the same functions in Python.
    @Test(
        .enabled(
            if: ProcessInfo.processInfo.environment["PEERS_PYTHON"] != nil,
            "PEERS_PYTHON names no Python with trl installed"))
    func scoresEqualDirectCallsInPython() async throws {
        let python = ProcessInfo.processInfo.environment["PEERS_PYTHON"] ?? ""
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let reference = root.appending(path: "Tests/References/reward_calls.py").path
        let rows = try folder.file("rows.jsonl", "")
        let process = Process()
        let output = folder.url.appending(path: "scores.json")
        process.executableURL = URL(filePath: python)
        process.arguments = [reference, rows.path, output.path]
        try process.run()
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
        struct Call: Decodable {
            let reward: String
            let settings: [String]
            let scores: [Double?]
        }
        let calls = try JSONDecoder().decode([Call].self, from: Data(contentsOf: output))
        #expect(calls.count == 4)
        struct Line: Decodable { let score: Double? }
        for call in calls {
            let target = call.reward.replacing("ROOT", with: root.path)
            let report = try await RewardCheck(
                reward: target, file: rows.path, settings: ["python=\(python)", "timeout=60"] + call.settings
            ).run()
            let scores = try report.lines.map { try JSONDecoder().decode(Line.self, from: Data($0.utf8)).score }
            #expect(scores == call.scores && Set(scores).count > 1, "\(call.reward)")
        }
    }
}
