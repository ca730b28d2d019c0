import Foundation
import Job
import Records
import Testing

private func job(_ lines: String, _ overrides: [String] = []) throws -> ResolvedJob {
    let text = """
        model_name_or_path: m
        dataset_name: d
        output_dir: o

        """
    return try ResolvedJob(
        JobFile(text: text + lines, name: "job.yaml", folder: URL(filePath: "/jobs"), overrides: overrides))
}

private let rewarded = "reward_funcs: accuracy_reward\n"

@Suite("eval_guard: in a job")
struct GuardSettingsTests {
    @Test func aNameIsPromptsWhereThereAreRewardsAndElseTexts() throws {
        let guards = try job(rewarded + "eval_guard: [other, sets/math.jsonl.gz]\neval_steps: 7\neval_limit: 9").run
            .guards
        #expect(guards.map(\.kind) == [.prompts, .prompts] && guards.map(\.name) == ["other", "math"])
        #expect(guards.map(\.dataset.path) == ["other", "sets/math.jsonl.gz"])
        #expect(guards.allSatisfy { $0.every == 7 && $0.limit == 9 && $0.tolerance == 0.05 && !$0.stops })
        let texts = try job("algorithm: sft\neval_guard: other\nlogging_steps: 3").run.guards
        #expect(texts.map(\.kind) == [.texts] && texts[0].every == 3 && texts[0].limit == nil)
        let distilled = try job("algorithm: distill\nteacher_model_name_or_path: t\neval_guard: other").run.guards
        #expect(distilled.map(\.kind) == [.texts])
        #expect(try job(rewarded).run.guards.isEmpty)
    }

    private let whole = """
        eval_guard:
          - {prompts: sums, reward_funcs: [exact_number], every: 5, limit: 3, tolerance: 0, stop: true}
          - {texts: ., split: guard, column_map: {completion: answer}, tolerance: 0.2}
          - {texts: ., name: again}

        """

    @Test func everyValueIsReadAndWrittenAgain() throws {
        let resolved = try job(rewarded + whole)
        let guards = resolved.run.guards
        #expect(guards.map(\.name) == ["sums", "guard", "again"] && guards.map(\.kind) == [.prompts, .texts, .texts])
        #expect(guards[0].rewards == [JobReward(reference: "exact_number")] && guards[0].stops)
        #expect(guards[0].every == 5 && guards[0].limit == 3 && guards[0].tolerance == 0)
        #expect(guards[1].dataset.split == "guard" && guards[1].tolerance == 0.2 && guards[1].every == 10)
        #expect(guards[1].dataset.columnMap == [NamedValue(name: "completion", value: .string("answer"))])
        let again = try ResolvedJob(
            JobFile(text: resolved.yaml, name: "config.yaml", folder: URL(filePath: "/jobs")))
        #expect(again.run.guards == guards && again["eval_guard"] == resolved["eval_guard"])
        #expect(try job(rewarded + whole, ["eval_guard.1.tolerance=0.5"]).run.guards[1].tolerance == 0.5)
        // The evaluation has its own switch.
        #expect(try job(rewarded + whole + "eval_strategy: no").run.guards.count == 3)
    }

    @Test(
        arguments: [
            (
                rewarded + "eval_guard: [{tolerance: 1}]", "line 5",
                "one of prompts and texts; found a section with tolerance"
            ),
            (rewarded + "eval_guard: [{prompts: a, texts: b}]", "line 5", "one of prompts and texts"),
            (rewarded + "eval_guard: [[a]]", "line 5", "a guard is a list of 1; expected a prompt set, or a section"),
            (
                rewarded + "eval_guard: [{prompts: a, tolerance: -0.1}]", "line 5",
                "tolerance is '-0.1'; expected a number of at least 0"
            ),
            (
                rewarded + "eval_guard: [{prompts: a, every: 0}]", "line 5",
                "every is '0'; expected a whole number of at least 1"
            ),
            (rewarded + "eval_guard: [{prompts: a, limit: none}]", "line 5", "limit is 'none'"),
            (rewarded + "eval_guard: [{prompts: a, stop: maybe}]", "line 5", "stop is 'maybe'; expected true or false"),
            (rewarded + "eval_guard: [{prompts: a, name: b/c}]", "line 5", "name is 'b/c'; expected a text without /"),
            (
                rewarded + "eval_guard: [{prompts: a, tolerence: 1}]", "line 5",
                "unknown key 'tolerence'; did you mean tolerance?"
            ),
            (
                rewarded + "eval_guard: [{texts: a, reward_funcs: [exact_number]}]", "line 5",
                "texts have a log-likelihood"
            ),
            (rewarded + "eval_guard: [{prompts: a, reward_funcs: [x, x]}]", "line 5", "names a reward twice"),
            (rewarded + "eval_guard: [a, b/a.csv]", "line 5", "two sets called 'a'; give one of them another name"),
            ("algorithm: sft\neval_guard: [{prompts: a}]", "line 5", "sft samples none; name it under texts"),
            ("algorithm: dpo\neval_guard: [{prompts: a, reward_funcs: [exact_number]}]", "line 5", "dpo samples none"),
            (
                "algorithm: distill\nteacher_model_name_or_path: t\neval_guard: [{prompts: a}]", "line 6",
                "no reward for 'a'; give it reward_funcs, or name it under texts"
            ),
            ("algorithm: reward_model\neval_guard: [a]", "line 5", "reward_model trains no policy that generates text"),
        ] as [(String, String, String)])
    func whatCannotBeMeantIsNamed(_ lines: String, _ place: String, _ says: String) throws {
        let error = #expect(throws: JobError.self) { try job(lines) }
        let text = error.map { "\($0)" } ?? ""
        #expect(text.contains(says) && text.contains("job.yaml \(place)"), "\(text)")
    }

    @Test func typedPathsCountFromTheWorkingFolder() throws {
        let root = FileManager.default.temporaryDirectory.appending(path: "guard-\(UUID().uuidString)")
            .resolvingSymlinksInPath()
        defer { try? FileManager.default.removeItem(at: root) }  // a leftover in /tmp harms no test
        for name in ["jobs/one.jsonl", "here/set.jsonl", "here/r.py"] {
            let file = root.appending(path: name)
            try FileManager.default.createDirectory(
                at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
            try Data().write(to: file)
        }
        let typed =
            "eval_guard=[set.jsonl, {texts: one.jsonl}, {prompts: set.jsonl, name: p, reward_funcs: ['./r.py:score']}]"
        let resolved = try ResolvedJob(
            JobFile(
                text: "model_name_or_path: m\ndataset_name: d\noutput_dir: o\n" + rewarded, name: "job.yaml",
                folder: root.appending(path: "jobs"), overrides: [typed], workingFolder: root.appending(path: "here")))
        let here = root.path + "/here"
        #expect(resolved.run.guards.map(\.dataset.path) == ["set", "one", "set"].map { "\(here)/\($0).jsonl" })
        #expect(resolved.run.guards[2].rewards.map(\.reference) == ["\(here)/r.py:score"])
    }
}
