import Coordinator
import Foundation
import Job
import Records
import Testing

@Suite("Signs that a run learns nothing")
struct RunWatchTests {
    /// A method that learns from completions of equal rewards has no such step.
    @Test(arguments: [(true, 1.0, ["dead"]), (true, 0.5, []), (false, 1.0, [])] as [(Bool, Double, [String])])
    func aStepOfEqualRewardsIsDeadWhereDifferencesTeach(
        _ needsDifferences: Bool, _ share: Double, _ expected: [String]
    ) {
        var metrics = Metrics()
        metrics["frac_reward_zero_std"] = share
        let watch = RunWatch(gapLimit: nil, needsDifferences: needsDifferences)
        #expect(watch.warnings(metrics).map(\.name) == expected)
    }

    /// One of two rewards abstains; a step in which it scores again begins the count anew.
    @Test func aRewardThatScoresNothingIsNamedWithItsReason() {
        var watch = RunWatch(gapLimit: nil)
        func step(coverage: Double) -> Metrics {
            var metrics = Metrics()
            metrics["rewards/a/coverage"] = 1
            metrics["rewards/b/c/coverage"] = coverage
            return metrics
        }
        let prompt = TokenizedPrompt(prompt: Prompt(row: 0, source: "test", content: .text("?")), tokenIDs: [1])
        let scored = ScoredGroup(
            group: RolloutGroup(prompt: prompt, rollouts: [], policyVersion: PolicyVersion(0)),
            scores: [[.value(1), .abstained(reason: "no `tests` in this row\nnor elsewhere")]])
        let report = StepReport(step: 9, metrics: Metrics(), groups: [scored], credits: [])
        for coverage in [0, 0, 0, 0, 0.5, 0, 0, 0, 0] {
            watch.note(step(coverage: coverage), step: 1)
            #expect(watch.silent(of: ["a", "b/c"], in: report).isEmpty)
        }
        watch.note(step(coverage: 0), step: 1)
        let found = watch.silent(of: ["a", "b/c"], in: report)
        #expect(found.map(\.name) == ["silent b/c"])
        #expect(found.first?.text.contains("in 5 steps in a row (no `tests` in this row): nothing") == true)
    }

    /// A rollout step whose completions were all cut off.
    private func clipped(_ numbers: [String: Double]) -> Metrics {
        var metrics = Metrics()
        metrics["completions/clipped_ratio"] = 1
        for (name, value) in numbers { metrics[name] = value }
        return metrics
    }

    @Test func aRunWhoseCompletionsAreAllCutOffAndUnrewardedEnds() throws {
        var watch = RunWatch(gapLimit: nil, clippedLimit: 3)
        var ended = Metrics()
        ended["completions/clipped_ratio"] = 0.5
        ended["completions/max_terminated_length"] = 37
        let lost = clipped(["reward": 0, "frac_reward_zero_std/all_wrong": 1])
        for (step, metrics) in [lost, lost, ended, lost, lost].enumerated() {
            watch.note(metrics, step: step, groups: 8)
            try watch.check(metrics, step: step)
        }
        let warning = watch.warnings(lost).first
        #expect(warning?.name == "clipped" && warning?.text.contains("by itself so far has 37 tokens") == true)
        watch.note(lost, step: 9, groups: 8)
        let error = #expect(throws: JobError.self) { try watch.check(lost, step: 9) }
        #expect(error?.description.hasPrefix("step 9: for 3 rollout steps every completion hit") == true)
        #expect(error?.description.contains("(clipped_steps_limit: 0 goes on all the same); the longest") == true)
    }

    /// One prompt that is too hard is no broken run: as many groups must be lost as eight prompts a step have.
    @Test(arguments: [(1, 24), (5, 5), (8, 3), (64, 3)]) func fewPromptsAStepAreLostForLonger(
        _ groups: Int, _ steps: Int
    ) throws {
        var watch = RunWatch(gapLimit: nil, clippedLimit: 3)
        let lost = clipped(["reward": 0, "frac_reward_zero_std/all_wrong": 1])
        for step in 1..<steps {
            watch.note(lost, step: step, groups: groups)
            try watch.check(lost, step: step)
        }
        watch.note(lost, step: steps, groups: groups)
        #expect(throws: JobError.self) { try watch.check(lost, step: steps) }
        watch.note(clipped(["reward": 1]), step: steps, groups: groups)
        for step in 1..<steps {
            watch.note(lost, step: step, groups: groups)
            try watch.check(lost, step: step)
        }
    }

    /// Completions of one length that are the task, or that were all left out of the loss.
    @Test(
        arguments: [
            (["reward": 1, "frac_reward_zero_std": 1, "frac_reward_zero_std/all_wrong": 0], false, false),
            (["reward": 0.1, "frac_reward_zero_std/all_wrong": 0.75], false, false),
            (["reward": 0.5, "empty_steps": 1], true, true), (["empty_steps": 1], false, true),
            (["reward": 0.5, "empty_steps": 1], false, false),
        ] as [([String: Double], Bool, Bool)])
    func cutOffCompletionsThatTeachEndNothing(_ numbers: [String: Double], _ masks: Bool, _ ends: Bool) {
        var watch = RunWatch(gapLimit: nil, masksTruncated: masks, clippedLimit: 2)
        let metrics = clipped(numbers)
        for _ in 0..<2 { watch.note(metrics, step: 2) }
        let goesOn = (try? watch.check(metrics, step: 2)) != nil
        #expect(goesOn != ends)
        var never = RunWatch(gapLimit: nil, masksTruncated: masks)
        for _ in 0..<100 { never.note(metrics, step: 100) }
        #expect((try? never.check(metrics, step: 100)) != nil)
    }

    /// A metric beyond its bound: a warning, or the end of the run after as many steps in a row as the guard says.
    @Test func aGuardedMetricWarnsOrEndsTheRun() throws {
        let job = try guarded(
            "[{metric: kl, above: 0.5, steps: 2, stop: true}, {metric: entropy, below: 0.1}, {metric: kll, above: 1}]")
        var watch = RunWatch(gapLimit: nil, guards: job.run.metricGuards)
        func see(_ step: Int, kl: Double?, entropy: Double) -> [String] {
            var metrics = Metrics()
            metrics["kl"] = kl
            metrics["entropy"] = entropy
            watch.note(metrics, step: step)
            return watch.warnings(metrics).map(\.text)
        }
        let unseen = "metric_guard: no step so far has a metric 'kll', so this guard watches nothing; did"
        #expect(see(1, kl: 0.5, entropy: 1).map { $0.hasPrefix(unseen) } == [true])
        #expect(see(2, kl: 0.6, entropy: 1).count == 1)
        let low = see(3, kl: nil, entropy: 0.05)
        #expect(low[0] == "metric_guard: entropy has been below 0.1 since step 3; it is now 0.05")
        try watch.check(Metrics(), step: 3)
        #expect(see(4, kl: .nan, entropy: 1)[0] == "metric_guard: kl has been above 0.5 since step 2; it is now nan")
        let error = #expect(throws: JobError.self) { try watch.check(Metrics(), step: 4) }
        #expect(error?.description == "step 4: metric_guard: kl has been above 0.5 since step 2; it is now nan")
        #expect(see(5, kl: 0.1, entropy: 1).count == 1)
        try watch.check(Metrics(), step: 5)
    }

    /// Alarms and empty steps are noted only where there are any: a step without them has none.
    @Test func aStepWithoutAnAlarmEndsItsRow() throws {
        let name = "alarms/reward_follows_length"
        let job = try guarded("[{metric: \(name), above: 0, steps: 2}, {metric: empty_steps, above: 0, steps: 2}]")
        var watch = RunWatch(gapLimit: nil, guards: job.run.metricGuards)
        func see(_ step: Int, _ alarm: Double?) -> [String] {
            var metrics = Metrics()
            metrics["loss"] = 0
            metrics[name] = alarm
            metrics["empty_steps"] = alarm
            watch.note(metrics, step: step)
            return watch.warnings(metrics).map(\.text).filter { $0.hasPrefix("metric_guard") }
        }
        for (step, alarm) in ([nil, 1, nil, 1, nil, 1] as [Double?]).enumerated() {
            #expect(see(step, alarm).isEmpty)
        }
        let found = [name, "empty_steps"].map { "metric_guard: \($0) has been above 0.0 since step 5; it is now 1.0" }
        #expect(see(6, 1) == found)
        #expect(see(7, nil).isEmpty)
    }

    private func guarded(_ yaml: String) throws -> ResolvedJob {
        let text = """
            model_name_or_path: m
            dataset_name: p
            output_dir: o
            reward_funcs: accuracy_reward
            metric_guard: \(yaml)
            """
        return try ResolvedJob(JobFile(text: text, name: "job.yaml", folder: URL(filePath: "/jobs")))
    }

    @Test func guardsAreReadAndWrittenAgain() throws {
        let job = try guarded("{metric: kl, below: 0, above: 1e-2}")
        #expect(job["metric_guard"] == "[{metric: kl, above: 0.01, below: 0.0, steps: 1, stop: false}]")
        let written = try #require(job["metric_guard"])
        #expect(try guarded(written).run.metricGuards == job.run.metricGuards)
        for (yaml, message) in [
            ("[{metric: kl}]", "expected a section with metric, and above or below"),
            ("[{above: 1}]", "expected a section with metric, and above or below"),
            ("[kl]", "expected a list, each a section"),
            ("[{metric: kl, below: 2, above: 1}]", "below is 2.0 and above is 1.0; expected below to be at most above"),
            ("[{metric: eval_reward, below: 1}]", "metric is 'eval_reward'; expected a metric of training steps"),
            ("[{metric: kl, over: 1}]", "unknown key 'over'"), ("[{metric: kl, above: 1, steps: 0}]", "at least 1"),
        ] {
            let error = #expect(throws: JobError.self) { try guarded(yaml) }
            #expect(error?.description.contains(message) == true, "\(String(describing: error))")
        }
    }
}
