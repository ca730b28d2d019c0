import Foundation
import JSON
import Records
import RewardHosts
import RewardInterface
import Synchronization
import TestSupport
import Testing

@Suite("Python rewards as written for TRL, verl and OpenRLHF")
struct PythonRewardTests {
    @Test func textAndChatComeInTRLsForm() async throws {
        let texts = try await zoo("lengths")
        #expect(texts.names == ["lengths"] && texts.style == .trl)
        let scores = try await texts.scores(["a", "bb", "ccc"], greedy: "dddd")
        #expect(scores.values == [1, 2, 3])
        #expect(scores.greedyScores?.map(\.score) == [4])
        await texts.close()
        let chats = try await zoo("chat_lengths")
        #expect(try await chats.scores(["a", "é\"\n\u{1}"], isChat: true).values == [1, 4])
        await chats.close()
    }

    @Test func columnsSettingsLogsAndTrainerStateArrive() async throws {
        let reward = try await zoo("everything") { $0.settings = ["scale": .number(0.5)] }
        let scores = try await reward.scores(["abcd", ""], columns: ["answer": .number(7), "scale2": .null], step: 4)
        #expect(scores.values == [2, nil])
        #expect(scores.states == ["scored", "abstained"])
        #expect(scores.extraColumns["seen"] == [.string("How many?|7"), .string("How many?|7")])
        #expect(scores.metrics == ["step": 4])
        await reward.close()
    }

    /// Four sampled completions in one call, the greedy one in another. With the label 'a' two of the four are right
    /// and the greedy one is not.
    @Test func whatIsLoggedOfTheGreedyCompletionStaysOut() async throws {
        let counts = try await zoo("counts")
        let counted = try await counts.scores(["a", "b", "c", "d"], greedy: "e")
        #expect(counted.metrics == ["seen_completions": 4])
        #expect(counted.extraColumns == ["seen": [.string("4"), .string("4"), .string("4"), .string("4")]])
        #expect(counted.greedyScores?.map(\.score) == [1])
        await counts.close()
        let means = try await zoo("reward_func")
        let scores = try await means.scores(
            ["a", "b", "a", "b"], greedy: "b", columns: ["label": .string("a<eos>")])
        #expect(scores.metrics == ["mean": 0.5])
        #expect(scores.greedyScores?.map(\.score) == [0])
        await means.close()
    }

    @Test(arguments: [9_007_199_254_740_993, 18_446_744_073_709_551_615] as [Int128])
    func wholeNumbersArriveAndComeBackToTheDigit(_ number: Int128) async throws {
        let reward = try await zoo("digits")
        let scores = try await reward.scores(["a"], columns: ["number": .number(number)])
        #expect(scores.extraColumns["written"] == [.string("int \(number)")])
        #expect(scores.extraColumns["back"] == [.number(number - 1)])
        await reward.close()
    }

    @Test func asyncFunctionsMadeFunctionsAndNarrowOnes() async throws {
        let waits = try await zoo("waits")
        #expect(try await waits.scores(["a", "b"]).values == [1, 1])
        let scaled = try await zoo("get_scaled") { $0.settings = ["factor": .number(3)] }
        #expect(scaled.names == ["scaled"])
        #expect(try await scaled.scores(["a", "bb"]).values == [3, 6])
        let narrow = try await zoo("only_completions")
        #expect(try await narrow.scores(["a"], columns: ["x": .number(1)]).values == [0.5])
        let forced = try await zoo("anything") { $0.style = .trl }
        #expect(try await forced.scores(["a"]).values == [2])
        for reward in [waits, scaled, narrow, forced] { await reward.close() }
    }

    /// TRL's trainer makes NaN of None, and a function may return it itself; what is infinite is a score to nobody, and in
    /// verl's form so is NaN.
    @Test func notANumberIsNoScoreInTRLsForm() async throws {
        let reward = try await zoo("partly")
        let scores = try await reward.scores(["nan", "1", "-nan", "inf"])
        #expect(scores.states == ["abstained", "scored", "abstained", "failed"])
        #expect(scores.values == [nil, 1, nil, nil])
        #expect(scores.notes[0].contains("nan") && scores.notes[3].contains("inf"), "\(scores.notes)")
        #expect(try await reward.scores(["nan", "nan", "nan"]).states == ["abstained", "abstained", "abstained"])
        await reward.close()
        let verl = try await zoo("compute_score")
        let other = try await verl.scores(["nan", "7"], columns: ["answer": .string("7")])
        #expect(other.states == ["failed", "scored"] && other.notes[0].contains("returned nan"), "\(other.notes)")
        await verl.close()
    }

    @Test func verlScoresSampleBySample() async throws {
        let reward = try await zoo("compute_score", timeoutSeconds: 1, workers: 2)
        #expect(reward.style == .verl)
        let columns: [String: JSONValue] = [
            "data_source": .string("gsm8k"), "reward_model": .object(["ground_truth": .string("7")]),
            "extra_info": .object(["index": .number(12)]),
        ]
        let scores = try await reward.scores(["7", "hang", "8", "raise", "none", "7"], greedy: "7", columns: columns)
        #expect(scores.states == ["scored", "timedOut", "scored", "failed", "abstained", "scored"])
        #expect(scores.values == [1, nil, 0, nil, nil, 1])
        #expect(scores.notes[3].contains("ValueError: cannot read raise"))
        #expect(scores.greedyScores?.map(\.score) == [1])
        #expect(scores.extraColumns["source"]?[0] == .string("gsm8k"))
        #expect(scores.extraColumns["index"]?[5] == .number(12))
        let error = await #expect(throws: RewardError.self) { try await reward.scores(["7"], columns: ["gold": .null]) }
        #expect(error?.description.contains("set row 3: no column") == true)
        await reward.close()
        let other = try await zoo("compute_score_async") { $0.settings = ["bonus": .number(2)] }
        #expect(try await other.scores(["7", "8"], columns: ["answer": .string("7")]).values == [3, 2])
        await other.close()
    }

    /// A text prompt is a chat of one message there.
    @Test func whatAVerifiersFunctionChangesIsItsOwn() async throws {
        let reward = try await zoo("changing")
        let scores = try await reward.scores(["a", "b"], columns: ["answer": .array([.string("3")])])
        #expect(scores.values == [3, 3])
        await reward.close()
    }

    @Test(arguments: [true, false]) func verifiersFunctionsGetMessages(_ isChat: Bool) async throws {
        let reward = try await zoo("talks", workers: 2)
        #expect(reward.style == .verifiers)
        let columns: [String: JSONValue] = ["answer": .string("7"), "info": .object(["bonus": .number(4)])]
        #expect(try await reward.scores(["7", "8", "7"], columns: columns, isChat: isChat).values == [7, 6, 7])
        #expect(try await reward.scores(["", "8"], isChat: isChat).values == [3, 2])
        let arguments = try reward.arguments(for: group(["7"], columns: columns).prompt)
        #expect(arguments?.map(\.name) == ["answer", "task", "info"])
        await reward.close()
        let narrow = try await zoo("talks_little")
        #expect(try await narrow.scores(["a", "bb"], greedy: "ccc", isChat: isChat).values == [1, 2])
        await narrow.close()
    }

    /// Rows of a mixture have null in the columns of the other sets.
    @Test func nullIsNoReference() async throws {
        let mixed: [String: JSONValue] = [
            "label": .null, "answer": .string("7"), "data_source": .null, "extra_info": .null, "reward_model": .null,
        ]
        let verl = try await zoo("compute_score")
        let scores = try await verl.scores(["7", "8"], columns: mixed)
        #expect(scores.values == [1, 0])
        #expect(scores.extraColumns["source"]?[0] == .string("set"))
        let arguments = try verl.arguments(for: group(["7"], columns: mixed).prompt)
        #expect(arguments?.map(\.name) == ["data_source", "ground_truth", "extra_info"])
        let added: JSONValue = .object(["num_turns": .number(2), "rollout_reward_scores": .object([:])])
        #expect(arguments?.map(\.value) == [.string("set"), .string("7"), added])
        await verl.close()
        let openRLHF = try await zoo("reward_func")
        #expect(try await openRLHF.scores(["a"], columns: ["label": .null, "answer": .string("a<eos>")]).values == [1])
        await openRLHF.close()
    }

    /// As verl's own managers do before they call: of one turn, two messages, and no rewards of the rollout's.
    @Test(arguments: ["compute_turns", "compute_turns_batched"])
    func whatVerlAddsToExtraInfoIsThere(_ function: String) async throws {
        let reward = try await zoo(function)
        #expect(try await reward.scores(["a", "b"], columns: ["answer": .string("7")]).values == [2, 2])
        let given: [String: JSONValue] = ["answer": .string("7"), "extra_info": .object(["num_turns": .number(5)])]
        #expect(try await reward.scores(["a", "b"], columns: given).values == [5, 5])
        await reward.close()
    }

    @Test func whatIsPrintedIsInTheLogAtOnce() async throws {
        let folder = try TemporaryFolder()
        let script = try folder.file(
            "talks.py",
            """
            import os
            print("loading")
            def f(completions, **kwargs):
                print("judging", completions[0])
                if completions[0] == "exit": os._exit(3)
                return [1.0] * len(completions)
            """)
        var settings = PythonRewardSettings(target: "\(script.path):f")
        let run = folder.url.appending(path: "run")
        settings.process.log = .folder(run.appending(path: "reward_logs").path)
        let reward = try await PythonReward.start(settings)
        #expect(try await reward.scores(["one"]).values == [1])
        #expect(!FileManager.default.fileExists(atPath: run.path), "the run's folder is the run's to make")
        try FileManager.default.createDirectory(at: run, withIntermediateDirectories: false)
        #expect(try await reward.scores(["exit"]).states == ["failed"])
        #expect(try await reward.scores(["two"]).values == [1])
        await reward.close()
        let text = try String(contentsOf: run.appending(path: "reward_logs/talks.py.f.log"), encoding: .utf8)
        #expect(text == "loading\njudging one\njudging exit\nloading\njudging two\n")
    }

    /// The time of a loaded machine varies: the best of three counts, and only the long run looks.
    @Test(.enabled(if: runsLongTests)) func tenThousandTrivialScoresTakeLessThanTwoSeconds() async throws {
        let reward = try await zoo("lengths")
        let texts = (0..<50).map { String(repeating: "x", count: $0 % 17) }
        var best = Duration.seconds(1_000)
        for _ in 0..<3 where best > .seconds(2) {
            let start = ContinuousClock.now
            for _ in 0..<200 { #expect(try await reward.scores(texts).values.count == 50) }
            best = min(best, .now - start)
        }
        #expect(best < .seconds(2), "10,000 scores by one worker in \(best)")
        await reward.close()
    }

    @Test func openRLHFSeesTheSpecialTokens() async throws {
        let reward = try await zoo("reward_func")
        #expect(reward.style == .openrlhf)
        let scores = try await reward.scores(["a", "b"], columns: ["label": .string("a<eos>")])
        #expect(scores.values == [1, 0])
        #expect(scores.metrics == ["mean": 0.5])
        #expect(scores.extraColumns["scores"] == [.number(1), .number(0)])
        await reward.close()
    }

    @Test func aChatComesInItsTemplateInOpenRLHFsForm() async throws {
        let reward = try await zoo("echo")
        let chat = try await reward.scores(["a", "b"], isChat: true)
        #expect(
            chat.extraColumns["query"] == [
                .string("<user>How many?<answer>a<eos>"), .string("<user>How many?<answer>b<eos>"),
            ])
        #expect(chat.extraColumns["prompt"]?[0] == .string("<user>How many?<answer>"))
        #expect(try await reward.scores(["a", "b"]).extraColumns["query"]?[0] == .string("How many?a<eos>"))
        let arguments = try reward.arguments(for: group(["a"], isChat: true).prompt)
        #expect(arguments?[0].value == .string("<user>How many?<answer>"))
        await reward.close()
    }

    @Test func whatCannotWorkIsSaidAtTheStart() async throws {
        func problem(_ target: String) async -> String {
            var settings = PythonRewardSettings(target: target)
            settings.process.startSeconds = 30
            do {
                await (try PythonReward.start(settings)).close()
                return "it started"
            } catch {
                return "\(error)"
            }
        }
        #expect(await problem("\(testFolder)/zoo.py:lenghts").contains("did you mean lengths"))
        #expect(await problem("\(testFolder)/none.py:f").contains("there is no file"))
        #expect(await problem("no_such_package.f").contains("ModuleNotFoundError"))
        #expect(await problem("no_such_package.f").contains("'python:' names another one"))
        #expect(await problem("f").contains("neither path/file.py:function nor"))
        #expect(await problem("\(testFolder)/zoo.py:unknown").contains("its parameters (text)"))
        let ofAReaL = await problem("\(testFolder)/zoo.py:of_areal")
        #expect(ofAReaL.contains("AReaL's, whose") && ofAReaL.contains("of a prompt: f(prompts, "), "\(ofAReaL)")
        #expect(await problem("\(testFolder)/zoo.py:of_slime").contains("(args, sample) are slime's, whose"))
        #expect(await problem("\(testFolder)/zoo.py:parsed").contains("nothing fills its parameters parser"))
        #expect(await problem("\(testFolder)/zoo.py:os").contains("is a module, not a function"))
        #expect(
            await problem("\(testFolder)/zoo.py:singular").contains(
                "its parameter 'prompt' is neither an argument of TRL's form (did you mean prompts?) nor a column"))
        var missing = PythonRewardSettings(target: "math.sqrt")
        missing.python = "/no/such/python"
        await #expect(throws: RewardError.self) { try await PythonReward.start(missing) }
    }

    @Test func secretsStayOutside() async throws {
        setenv("SECRET_TOKEN", "x", 1)
        let shut = try await zoo("secrets")
        #expect(try await shut.scores(["a"]).values == [0])
        let opened = try await zoo("secrets") { $0.process.passedVariables = ["SECRET_TOKEN"] }
        #expect(try await opened.scores(["a"]).values == [1])
        await shut.close()
        await opened.close()
    }

    @Test func onlyNamedVariablesArrive() async throws {
        let secrets = ["OPENAI_API_KEY", "DB_PASSWORD", "GITHUB_TOKEN", "MY_SECRET", "LC_API_KEY", "FTP_PROXY"]
        for name in secrets + ["PLUMBLINE_LET_THROUGH"] { setenv(name, "x", 1) }
        // In either case of letters; in both at once nothing else that runs beside this reads them.
        setenv("Https_Proxy", "http://proxy.invalid:3128", 1)
        setenv("Http_Proxy", "http://me:word@proxy.invalid:3128", 1)
        let reward = try await zoo("environment") { $0.process.passedVariables = ["PLUMBLINE_LET_THROUGH"] }
        let names = try await reward.scores(["a"]).extraColumns["names"]?[0].text ?? ""
        let found = Set(names.split(separator: ",").map(String.init))
        #expect(found.isDisjoint(with: secrets + ["Http_Proxy"]), "\(names)")
        #expect(found.isSuperset(of: ["PATH", "PLUMBLINE_LET_THROUGH", "Https_Proxy"]))
        await reward.close()
    }

    /// A key that is set and does not arrive is the first thing to go wrong with a judge behind an API.
    @Test func variablesThatAFileReadsAndDoesNotGetAreNamed() async throws {
        for name in ["PLUMBLINE_KEY", "PLUMBLINE_TOKEN", "PLUMBLINE_WRITTEN"] { setenv(name, "x", 1) }
        let notes = Mutex<[String]>([])
        var settings = PythonRewardSettings(target: "\(testFolder)/zoo.py:judge")
        for passed in [[], ["PLUMBLINE_TOKEN"], ["PLUMBLINE_KEY", "PLUMBLINE_TOKEN"]] {
            settings.process.passedVariables = passed
            let reward = try await PythonReward.start(settings) { note in notes.withLock { $0.append(note) } }
            #expect(try await reward.scores(["a"]).values == [passed.count == 2 ? 1 : 0])
            await reward.close()
        }
        let said = notes.withLock { $0.map { $0.replacing("\(testFolder)/", with: "") } }
        #expect(
            said == [
                "reward zoo.py:judge: PLUMBLINE_KEY, PLUMBLINE_TOKEN are set here but not handed to the reward; "
                    + "pass_environment: [PLUMBLINE_KEY, PLUMBLINE_TOKEN] hands them over",
                "reward zoo.py:judge: PLUMBLINE_KEY is set here but not handed to the reward; "
                    + "pass_environment: [PLUMBLINE_KEY] hands it over",
            ])
        let folder = try TemporaryFolder()
        let script = try folder.file(
            "needs.py", "import os\nkey = os.environ['PLUMBLINE_KEY']\ndef f(completions, **kwargs): pass\n")
        let error = await #expect(throws: RewardError.self) {
            try await PythonReward.start(PythonRewardSettings(target: "\(script.path):f"))
        }
        let words = error?.description ?? "it started"
        #expect(words.contains("pass_environment: [PLUMBLINE_KEY] hands it over"), "\(words)")
    }

    @Test(
        .enabled(
            if: ProcessInfo.processInfo.environment["PEERS_PYTHON"] != nil,
            "PEERS_PYTHON names no Python with trl installed"))
    func functionsOfTRLRunUnchanged() async throws {
        func trl(_ name: String, _ settings: [String: JSONValue] = [:]) async throws -> PythonReward {
            var reward = PythonRewardSettings(target: "trl.rewards.\(name)")
            reward.python = ProcessInfo.processInfo.environment["PEERS_PYTHON"] ?? ""
            reward.settings = settings
            return try await PythonReward.start(reward)
        }
        // The examples of the functions' own documentation, with the values stated there.
        let think = try await trl("think_format_reward")
        let texts = ["<think>\nreasoning\n</think>\nanswer", "<think>\nreasoning\nanswer"]
        #expect(try await think.scores(texts, isChat: true).values == [1, 0])
        let overlong = try await trl(
            "get_soft_overlong_punishment", ["max_completion_len": .number(100), "soft_punish_cache": .number(20)])
        #expect(overlong.names == ["soft_overlong_punishment_reward"])
        #expect(try await overlong.scores([String(repeating: "x", count: 90)]).values == [-0.5])
        // Token ids 0, 1, 2, 3: no pair comes twice.
        let repetition = try await trl("get_repetition_penalty_reward", ["ngram_size": .number(2)])
        #expect(try await repetition.scores(["abcd"]).values == [0])
        for reward in [think, overlong, repetition] { await reward.close() }
    }
}
