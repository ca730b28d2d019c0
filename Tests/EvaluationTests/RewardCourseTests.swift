import Evaluation
import Foundation
import Testing

@Suite("How a run weighed its rewards")
struct RewardCourseTests {
    private func course(_ series: [String: [Double]]) -> RewardCourse {
        RewardCourse(
            "run<1>",
            series: series.mapValues { values in values.enumerated().map { (x: Double($0.offset), y: $0.element) } })
    }

    private var example: RewardCourse {
        course([
            "rewards/accuracy/mean": [0.1, 0.2, 0.3, 0.4, 0.5], "rewards/accuracy/std": [1, 1, 1, 1, 1],
            "rewards/length/mean": [9, 8, 7, 6, 5], "rewards/length/std": [1, 1, 1, 1, 1],
            "rewards/length/advantage_share": [0.5, 0.4, 0.3, 0.2, 0.1],
            "reward_weights/length": [0, -0.1, -0.2, -0.3, -0.4],
            "constraints/length/limit": [4, 4, 4, 4, 4], "constraints/length/value": [9, 8, 7, 6, 5],
            "constraints/length/violation": [5, 4, 3, 2, 1], "constraints/length/lambda": [0, 0.5, 1, 1.5, 2],
            "eval_rewards/accuracy/mean": [0.1, 0.3, 0.2], "eval_rewards/length/mean": [1, 2, 5],
        ])
    }

    @Test func theTableHasFirstAndLate() {
        let lines = example.text.split(separator: "\n").map { $0.split(separator: " ").joined(separator: " ") }
        // The last fifth of five rows is the last one.
        #expect(lines.contains("length 9 5 0 -0.4 0.1"))
        #expect(lines.contains("accuracy 0.1 0.5"))
        #expect(lines.contains("length 4 5 1 2"))
        // Of the length less is better: step 2 is behind step 1 in both, steps 0 and 1 are each ahead in one.
        #expect(lines.contains("0 0.1 1") && lines.contains("1 0.3 2") && !lines.contains("2 0.2 5"))
        #expect(lines.contains { $0.hasSuffix("length, less is better") })
    }

    @Test func thePageShowsTheSameAndTrustsNoName() {
        let page = RewardCourse.page(of: [example])
        for text in [
            "Weight of each reward", "Multipliers", "length and its limit", "Share of the advantage", "run&lt;1&gt;",
        ] {
            #expect(page.contains(text), "\(text)")
        }
        #expect(!page.contains("run<1>"))
        #expect(page.components(separatedBy: "<svg").count == 6)
    }

    @Test func thePageHasTheNotesOfARun() {
        let noted = RewardCourse(
            "run", series: ["reward": [(x: 1, y: 0.5)]], notes: [(step: 3, text: "ends <b> are cut off")])
        let page = RewardCourse.page(of: [noted])
        #expect(page.contains("<tr><td>3</td><td>ends &lt;b&gt; are cut off</td></tr>"))
        #expect(!RewardCourse.page(of: [example]).contains("<th>note</th>"))
    }

    @Test func whatIsGuardedHasALineOfItsOwn() {
        let guarded = course([
            "eval_guard/texts/log_likelihood": [-1.5, -2, -1.75], "eval_guard/texts/first": [-1.5, -1.5, -1.5],
            "eval_guard/texts/worst": [-1.5, -2, -2], "eval_guard/sums/reward": [1, 0.5, 0.25],
            "eval_guard/sums/first": [1, 1, 1], "eval_guard/sums/worst": [1, 0.5, 0.25],
        ])
        let lines = guarded.text.split(separator: "\n").map { $0.split(separator: " ").joined(separator: " ") }
        #expect(guarded.hasSomething && !lines.contains { $0.hasPrefix("reward ") })
        #expect(lines.contains("texts log_likelihood -1.5 -2 -1.75") && lines.contains("sums reward 1 0.25 0.25"))
        #expect(RewardCourse.page(of: [guarded]).contains("The guard texts"))
    }

    @Test func aRunOfOneRewardHasNothingToWeigh() {
        let plain = course(["rewards/accuracy/mean": [1], "rewards/accuracy/std": [0], "reward": [1]])
        #expect(!plain.hasSomething && example.hasSomething)
    }

    @Test func ofRewardsWithoutANegativeWeightMoreIsBetter() {
        let text = course([
            "rewards/a/mean": [1, 1], "rewards/a/std": [1, 1], "rewards/b/mean": [1, 1], "rewards/b/std": [1, 1],
            "reward_weights/a": [1, 1], "reward_weights/b": [-1, 1],
            "eval_rewards/a/mean": [0.25, 0.5], "eval_rewards/b/mean": [3, 4],
        ]).text
        let lines = text.split(separator: "\n").map { $0.split(separator: " ").joined(separator: " ") }
        #expect(lines.contains("1 0.5 4") && !lines.contains("0 0.25 3"))
    }

    @Test func aWeightThatNothingMovesIsTheJobs() {
        let metrics: [String: Double] = [
            "rewards/a/mean": 0.5, "rewards/a/std": 1, "rewards/b/mean": 3, "rewards/b/std": 1, "reward_weights/a": 2,
            "eval_rewards/a/mean": 0.25, "eval_rewards/b/mean": 4,
        ]
        let text = RewardCourse(
            "run", series: metrics.mapValues { [(x: 1, y: $0)] }, fixedWeights: ["a": 1, "b": -0.5]
        ).text
        let lines = text.split(separator: "\n").map { $0.split(separator: " ").joined(separator: " ") }
        #expect(lines.contains("a 0.5 0.5 2 2") && lines.contains("b 3 3 -0.5 -0.5"), "\(text)")
        #expect(lines.contains { $0.hasSuffix("b, less is better") })
    }

    @Test func equalPointsAreBothUndominated() {
        #expect(RewardCourse.undominated([[1, 1], [1, 1], [0, 2], [0, 1]]) == [0, 1, 2])
        #expect(RewardCourse.undominated([]).isEmpty)
    }
}
