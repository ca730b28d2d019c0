import Foundation
import JSON
import Records
import RewardHosts
import RewardInterface
import TestSupport
import Testing

/// Functions as TRL and verl have them in their own trees: in packages, with relative imports, under several
/// signatures.
@Suite("Functions in a package's files")
struct PackagedRewardTests {
    private let folder: TemporaryFolder
    init() throws { folder = try TemporaryFolder() }

    private func put(_ name: String, _ text: String) throws -> String {
        let file = folder.url.appending(path: name)
        try FileManager.default.createDirectory(
            at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(text.utf8).write(to: file)
        return file.path
    }

    private func values(
        _ target: String, _ texts: [String], _ columns: [String: JSONValue] = ["ground_truth": .string("7")],
        settings: [String: JSONValue] = [:]
    ) async throws -> [Double?] {
        var reward = PythonRewardSettings(target: target)
        reward.settings = settings
        let source = try await PythonReward.start(reward)
        let scores = try await source.scores(texts, columns: columns)
        await source.close()
        return scores.values
    }

    private func problem(_ target: String, settings: [String: JSONValue] = [:]) async -> String {
        do { return "\(try await values(target, ["7"], settings: settings))" } catch { return "\(error)" }
    }

    /// `trl/rewards/accuracy_rewards.py`: `from ..import_utils import …`.
    @Test func relativeImportsFindThePackage() async throws {
        _ = try put("lib/__init__.py", "")
        _ = try put("lib/rewards/__init__.py", "")
        _ = try put("lib/import_utils.py", "def weight(): return 2.0\n")
        _ = try put("lib/rewards/beside.py", "bonus = 0.5\n")
        let script = try put(
            "lib/rewards/accuracy.py",
            """
            from ..import_utils import weight
            from .beside import bonus
            import beside
            def accuracy(completions, ground_truth, **kwargs):
                assert __name__ == "lib.rewards.accuracy" and beside.bonus == bonus
                return [weight() * (c == t) + bonus for c, t in zip(completions, ground_truth)]
            """)
        #expect(try await values("\(script):accuracy", ["7", "8"]) == [2.5, 0.5])
    }

    /// verl's `__init__.py` imports ray and more: where that is not installed its functions still load.
    @Test func aPackageWhoseOwnFileFailsIsStoodInFor() async throws {
        _ = try put("verl/__init__.py", "import no_such_library\n")
        _ = try put("verl/utils/__init__.py", "from .missing import nothing\n")
        _ = try put("verl/utils/reward_score/__init__.py", "")
        _ = try put("verl/utils/reward_score/math_reward.py", "def is_right(a, b): return float(a == b)\n")
        let batch = try put(
            "verl/utils/reward_score/math_batch.py",
            """
            from .math_reward import is_right
            def compute_score_batched(data_sources, solution_strs, ground_truths, extra_infos):
                assert len(data_sources) == len(extra_infos) == len(solution_strs)
                return [{"score": is_right(s, g), "length": len(s)} for s, g in zip(solution_strs, ground_truths)]
            """)
        var settings = PythonRewardSettings(target: "\(batch):compute_score_batched")
        settings.process.startSeconds = 60
        let reward = try await PythonReward.start(settings)
        #expect(reward.style == .verlBatch)
        let scores = try await reward.scores(["7", "18"], columns: ["ground_truth": .string("7")])
        #expect(scores.values == [1, 0] && scores.extraColumns["length"] == [.number(1), .number(2)])
        await reward.close()
        // prime_code is a package of its own, its function in __init__.py.
        _ = try put(
            "verl/utils/reward_score/prime_code/utils.py", "def share(a, b): return (float(a == b), 'metadata')\n")
        let code = try put(
            "verl/utils/reward_score/prime_code/__init__.py",
            """
            from .utils import share as check
            def compute_score(completion, test_cases, continuous=False): return check(completion, test_cases)
            """)
        #expect(try await values("\(code):compute_score", ["7", "8"]) == [1, 0])
    }

    @Test func olderNamesOfVerlsParametersAreKnown() async throws {
        let script = try put(
            "r.py",
            """
            def math_verify(model_output, ground_truth, timeout_score=0): return model_output == ground_truth
            def geo3k(predict_str, ground_truth, use_boxed=True): return 2.0 * (predict_str == ground_truth)
            def fusion(sandbox_url, solution_str, ground_truth): return float(sandbox_url == "u")
            """)
        #expect(try await values("\(script):math_verify", ["7", "8"]) == [1, 0])
        #expect(try await values("\(script):geo3k", ["7", "8"]) == [2, 0])
        let unfilled = await problem("\(script):fusion")
        #expect(unfilled.contains("nothing fills its parameters sandbox_url"), "\(unfilled)")
        #expect(unfilled.contains("what a row has comes as ground_truth and extra_info"), "\(unfilled)")
        #expect(try await values("\(script):fusion", ["7"], settings: ["sandbox_url": .string("u")]) == [1])
    }

    @Test func aFunctionThatMakesTheRewardSaysHowItIsNamed() async throws {
        let script = try put(
            "r.py",
            """
            def get_soft_overlong_punishment(max_completion_len: int, soft_punish_cache: int):
                def reward(completion_ids, **kwargs):
                    return [float(len(ids) > max_completion_len) for ids in completion_ids]
                return reward
            """)
        let target = "\(script):get_soft_overlong_punishment"
        let line = "{path: \"\(target)\", settings: {max_completion_len: 1280, soft_punish_cache: 256}}"
        let words = await problem(target)
        #expect(words.contains(line), "\(words)")
        let settings: [String: JSONValue] = ["max_completion_len": .number(2), "soft_punish_cache": .number(1)]
        #expect(try await values(target, ["a", "abc"], settings: settings) == [0, 1])
        let catalogue = RewardCatalogue([])
        let unnamed = #expect(throws: RewardError.self) { try RewardOpening.kind(of: script, in: catalogue) }
        #expect(unnamed?.description.contains("it has get_soft_overlong_punishment") == true)
    }

    @Test func aFileWithoutAFunctionListsThoseItHas() throws {
        let script = try put(
            "rewards.py", "import os\n\ndef accuracy(completions): pass\nasync def judge(x): pass\ndef _own(): pass\n")
        let error = #expect(throws: RewardError.self) {
            try RewardOpening.kind(of: "rewards.py", in: RewardCatalogue([]), folder: folder.url.path)
        }
        let words = error?.description ?? ""
        #expect(words.contains("it has accuracy, judge. Write rewards.py:accuracy"), "\(words) \(script)")
    }

    @Test func whatIsLoggedIsWholeOrAnError() async throws {
        let script = try put(
            "r.py",
            """
            def f(completions, log_extra, log_metric, **kwargs):
                for c in completions:
                    log_extra("seen", [c])
                    log_metric("length", len(c))
                if completions[0] == "short": log_extra("other", [1])
                return [1.0] * len(completions)
            def escapes(completions, **kwargs): raise ValueError("\\x1b]0;title\\x07\\x9b31m" + completions[0])
            """)
        let reward = try await PythonReward.start(PythonRewardSettings(target: "\(script):f"))
        let scores = try await reward.scores(["a", "bbb"])
        #expect(scores.extraColumns == ["seen": [.string("a"), .string("bbb")]] && scores.metrics == ["length": 2])
        #expect(try await reward.scores(["short", "b"]).notes[0].contains("log_extra('other', …) got 1 values for 2"))
        await reward.close()
        let loud = try await PythonReward.start(PythonRewardSettings(target: "\(script):escapes"))
        let note = try await loud.scores(["a\u{1b}[2J", "b"]).notes[0]
        #expect(note.contains(#"ValueError: \x1b]0;title\x07\x9b31ma\x1b[2J"#) && !note.contains("\u{1b}"), "\(note)")
        await loud.close()
    }
}
