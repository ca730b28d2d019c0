import Foundation
import Testing

@Suite("Scores of several processes are judged as those of one", .serialized)
struct RankScoreTests {
    /// Four completions of each prompt; of some prompts one has no score.
    ///
    /// - Parameter lost: A Python expression of a prompt.
    private func job(_ lost: String, prompts: Int, in place: Workplace) throws -> String {
        try place.write(
            "r.py",
            """
            def f(prompts, completions, **kwargs):
                return [float("inf") if i == 0 and (\(lost)) else 1.0 for i, p in enumerate(prompts)]
            """)
        return try place.job(
            "grpo",
            """
            num_generations: 4
            per_device_train_batch_size: \(4 * prompts)
            max_steps: 1
            shuffle_dataset: false
            reward_funcs: r.py:f
            """)
    }

    /// 2 of 8 scores are lost, one in each process, for which one would be an accident.
    @Test func oneLostScoreInEachIsTwoOfAll() throws {
        let place = try Workplace()
        let job = try job("True", prompts: 2, in: place)
        let says = "reward f: 2 of the last 8 scores failed or timed out"
        let alone = try place.train(job, "output_dir=alone")
        #expect(alone.status == 65 && alone.progress.contains(says), "\(alone.progress)")
        let two = try Command.run(["launch", "-n", "2", "train", job, "output_dir=two"], in: place.folder)
        #expect(two.status == 65, "\(two.progress)")
        #expect(two.progress.components(separatedBy: says).count == 2, "\(two.progress)")
        #expect(place.exists("two/model.safetensors") && place.exists("two/manifest.json"))
    }

    /// The second process samples and scores, and the first, which learns, judges its scores when the run has ended.
    @Test func whatTheSamplingRankLosesIsJudgedByTheFirst() throws {
        let place = try Workplace()
        let job = try job("True", prompts: 2, in: place)
        let two = try Command.run(
            ["launch", "-n", "2", "train", job, "output_dir=two", "max_staleness=1", "generation_ranks=1"],
            in: place.folder)
        #expect(two.status == 65, "\(two.progress)")
        let says = "reward f: 2 of the last 8 scores failed or timed out"
        #expect(two.progress.components(separatedBy: says).count == 2, "\(two.progress)")
        #expect(place.exists("two/model.safetensors") && place.exists("two/manifest.json"))
    }

    /// 3 of 80 scores are lost, which the budget of 5 % allows, all of them among the 40 of the second process.
    @Test func lostScoresOfOneAreAShareOfAll() throws {
        let place = try Workplace()
        let job = try job("p in ('1+0=', '3+0=', '5+0=')", prompts: 20, in: place)
        let alone = try place.train(job, "output_dir=alone")
        #expect(alone.status == 0, "\(alone.progress)")
        let two = try Command.run(["launch", "-n", "2", "train", job, "output_dir=two"], in: place.folder)
        #expect(two.status == 0, "\(two.progress)")
    }

    /// launch ends the others fifteen seconds behind the first that fails. The first rank is busy for longer than that
    /// when all have taken their steps, here with a tracker that is still sending.
    @Test func noneEndsBeforeTheFirstHasLeftEverything() throws {
        let place = try Workplace()
        try place.write(
            "wandb.py",
            """
            import time
            class Run:
                url = "http://there/run"
            def init(**members): return Run()
            def define_metric(*names, **rest): pass
            def log(row): pass
            def finish(): time.sleep(19)
            """)
        let job = try job("True", prompts: 2, in: place)
        let two = try Command.run(["launch", "-n", "2", "train", job, "report_to=wandb"], in: place.folder)
        #expect(two.status == 65, "\(two.progress)")
        #expect(two.progress.contains("final model: run\n"), "\(two.progress)")
        #expect(two.progress.contains("reward f: 2 of the last 8 scores failed or timed out"), "\(two.progress)")
    }
}
