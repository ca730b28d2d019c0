import Foundation
import JSON
import Runs
import TestSupport
import Testing

@Suite("A run that is killed loses nothing that it had saved", .serialized)
struct KillTests {
    /// 15 kills, 200 with PLUMBLINE_LONG_TESTS=1.
    private static let kills = ProcessInfo.processInfo.environment["PLUMBLINE_LONG_TESTS"] == "1" ? 200 : 15

    /// A run that saves after every step is killed again and again, somewhere between two checkpoints; every start goes
    /// on from the newest one, and in the end the weights are those of a run that nobody disturbed.
    @Test func atAnyMomentOfSaving() throws {
        let place = try Workplace()
        let job = try place.job(
            "sft", "save_steps: 1\nsave_total_limit: 3\nlr_scheduler_type: constant\nmax_steps: 1000000")
        let folder = place.folder.appending(path: "run")
        var random = TestRandom(seed: 9)
        var saved = 0
        var whileSaving = 0
        for _ in 0..<Self.kills {
            let running = try Command.start(["train", job, "resume_from_checkpoint=true"], in: place.folder)
            while try newest(folder) <= saved && running.process.isRunning { usleep(1_000) }
            usleep(UInt32.random(in: 0..<40_000, using: &random))
            let seen = try newest(folder)
            let outcome = try running.killed()
            try #require(running.process.terminationReason == .uncaughtSignal, "\(outcome.progress)")
            #expect(seen > saved, "the start went on from checkpoint-\(saved) and saved the next: \(outcome.progress)")
            let search = try CheckpointFolder.latest(in: folder)  // reads every byte
            let found = try #require(search.newest, "no whole checkpoint is left: \(search.passedOver)")
            #expect(search.passedOver.isEmpty && found.step >= seen)
            saved = found.step
            if try leftovers(folder).isEmpty == false { whileSaving += 1 }
        }
        print(
            "\(Self.kills) kills, \(whileSaving) of them while a checkpoint was written or removed, up to step \(saved)"
        )
        #expect(whileSaving > 0, "no kill met a save")
        #expect(place.exists("run/.lock"))  // a dead run's lock stops nobody
        let last = "max_steps=\(saved + 2)"
        #expect(try place.train(job, last, "resume_from_checkpoint=true").status == 0)
        #expect(try leftovers(folder).isEmpty)
        #expect(try place.train(job, last, "output_dir=whole", "save_steps=1000000").status == 0)
        #expect(try place.bytes("run/model.safetensors") == place.bytes("whole/model.safetensors"))
        #expect(try place.metrics("run") == place.metrics("whole"))
    }

    private func newest(_ folder: URL) throws -> Int {
        guard FileManager.default.fileExists(atPath: folder.path) else { return 0 }
        return try CheckpointFolder.all(in: folder).first?.step ?? 0
    }

    /// Folders that a save was in the middle of.
    private func leftovers(_ folder: URL) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: folder.path).filter { $0.hasPrefix(".checkpoint-") }
    }

    /// The learning rate falls: as a metric it makes the first checkpoint the best, or the last one.
    @Test(arguments: [(true, [1, 6]), (false, [5, 6])])
    func theNewestAndTheBestCheckpointAreKept(_ isGreaterBetter: Bool, _ kept: [Int]) throws {
        let place = try Workplace()
        let job = try place.job(
            "sft",
            """
            save_steps: 1
            max_steps: 6
            save_total_limit: 2
            metric_for_best_model: learning_rate
            greater_is_better: \(isGreaterBetter)
            """)
        #expect(try place.train(job).status == 0)
        let left = try CheckpointFolder.all(in: place.folder.appending(path: "run"))
        #expect(left.map(\.step).sorted() == kept)
        let state = try JSONValue(parsing: Array(place.bytes("run/trainer_state.json")))
        #expect(state["best_global_step"]?.int == (isGreaterBetter ? 1 : 6))
        let rates = try place.metrics("run").compactMap { $0["learning_rate"] }
        #expect(state["best_metric"]?.double == (isGreaterBetter ? rates.max() : rates.min()))
    }

    /// Steps so long that the weights after the first of them give no finite loss: what is kept is from before,
    /// whatever the limit.
    @Test func aDivergedRunKeepsItsLastGoodCheckpoint() throws {
        let place = try Workplace()
        let job = try place.job(
            "grpo", "num_generations: 4\nsave_steps: 1\nmax_steps: 2\nsave_total_limit: 1\nlr_scheduler_type: constant")
        #expect(try place.train(job, "lr_scheduler_type=constant").status == 0)
        #expect(try CheckpointFolder.all(in: place.folder.appending(path: "run")).map(\.step) == [2])
        let diverged = try place.train(
            job, "resume_from_checkpoint=true", "max_steps=40", "learning_rate=1e6", "weight_decay=1e6")
        #expect(diverged.status == 65, "\(diverged.progress)")
        #expect(diverged.progress.contains("diverged at step "), "\(diverged.progress)")
        let named = try #require(diverged.progress.firstMatch(of: #/the last good checkpoint is (checkpoint-\d+)/#))
            .output.1
        try Command.succeed(
            ["generate", "--model", "run/\(named)", "--prompt", "1+1=", "--max-completion-length", "4"],
            in: place.folder)
        let resumed = try place.train(job, "resume_from_checkpoint=run/\(named)", "max_steps=6", "output_dir=again")
        #expect(resumed.status == 0, "\(resumed.progress)")
    }

    @Test func theBestByAnEvaluationIsKeptAndPlaced() throws {
        let place = try Workplace()
        let job = try place.job(
            "grpo",
            """
            num_generations: 4
            save_steps: 1
            max_steps: 6
            eval_steps: 1
            save_total_limit: 1
            load_best_model_at_end: true
            """)
        #expect(try place.train(job).status == 0)
        let rows = try place.metrics("run").filter { $0["eval_reward"] != nil }
        let best = try #require(rows.max { $0["eval_reward"]! < $1["eval_reward"]! })  // the first of equal ones
        let first = try #require(rows.first { $0["eval_reward"] == best["eval_reward"] }?["step"])
        let left = try CheckpointFolder.all(in: place.folder.appending(path: "run")).map(\.step)
        #expect(Set(left) == [Int(first), 6])
        let weights = "model.safetensors"
        #expect(try place.bytes("run/\(weights)") == place.bytes("run/checkpoint-\(Int(first))/\(weights)"))
        let misspelt = try place.train(job, "metric_for_best_model=eval_rewrd", "output_dir=other")
        #expect(misspelt.status == 65 && !place.exists("other"))  // before anything is trained
        #expect(misspelt.progress.contains("no metric 'eval_rewrd' in the evaluations; did you mean eval_reward?"))
    }

    /// The learning rate falls: the best checkpoint is the first. A run that goes on in another folder, from it or from
    /// the next one, ends with its model, also where that folder has another run's; without it the best of the rest is
    /// taken, and that is said.
    @Test func theBestComesAlongIntoAnotherFolder() throws {
        let place = try Workplace()
        let job = try place.job(
            "sft",
            """
            save_steps: 1
            max_steps: 4
            load_best_model_at_end: true
            metric_for_best_model: learning_rate
            greater_is_better: true
            """)
        let weights = "model.safetensors"
        #expect(try place.train(job, "output_dir=whole").status == 0)
        #expect(try place.bytes("whole/\(weights)") == place.bytes("whole/checkpoint-1/\(weights)"))
        #expect(try place.train(job, "output_dir=foreign", "learning_rate=3e-3", "max_steps=1").status == 0)
        #expect(try place.bytes("foreign/\(weights)") != place.bytes("whole/\(weights)"))
        for (run, step) in [("one", 1), ("two", 2), ("foreign", 2)] {
            let outcome = try place.train(
                job, "output_dir=\(run)", "resume_from_checkpoint=whole/checkpoint-\(step)", "save_total_limit=1",
                "overwrite_output_dir=\(run == "foreign")")
            #expect(outcome.status == 0 && !outcome.progress.contains("chosen anew"), "\(outcome.progress)")
            #expect(outcome.progress.contains("\(run)/checkpoint-1, learning_rate"), "\(outcome.progress)")
            #expect(try place.bytes("\(run)/\(weights)") == place.bytes("whole/\(weights)"))
            let left = try CheckpointFolder.all(in: place.folder.appending(path: run))
            try #require(left.map(\.step) == [4, 1])
            try left[1].verify()
        }
        try place.write("alone/note", "")
        try place.copy("whole/checkpoint-2", to: "alone/checkpoint-2")
        let outcome = try place.train(job, "output_dir=rest", "resume_from_checkpoint=alone/checkpoint-2")
        #expect(outcome.status == 0, "\(outcome.progress)")
        #expect(outcome.progress.contains("checkpoint-1, the best so far, is missing beside"), "\(outcome.progress)")
        #expect(outcome.progress.contains("rest/checkpoint-3, learning_rate"), "\(outcome.progress)")
        #expect(try place.bytes("rest/\(weights)") == place.bytes("rest/checkpoint-3/\(weights)"))
    }

    @Test func aBestMetricThatNoStepHasIsNamed() throws {
        let place = try Workplace()
        let job = try place.job("grpo", "num_generations: 4\nsave_steps: 2\nmax_steps: 4")
        let misspelt = try place.train(job, "metric_for_best_model=lossy")
        #expect(misspelt.status == 65, "\(misspelt.progress)")
        #expect(misspelt.progress.contains("metric_for_best_model: no metric 'lossy' in step 2; did you mean loss?"))
        #expect(try CheckpointFolder.all(in: place.folder.appending(path: "run")).map(\.step) == [2])
        // It may be measured later, so that the run goes on, and says at its end that nothing came.
        let never = try place.train(job, "metric_for_best_model=nonsense", "output_dir=other")
        #expect(never.status == 0, "\(never.progress)")
        #expect(never.progress.contains("best: none, no checkpoint has a value of nonsense"), "\(never.progress)")
        // A run that evaluates ranks by that, and its names are known before anything is trained: this reward logs nothing.
        let evaluated = try place.train(job, "metric_for_best_model=lossy", "eval_steps=2", "output_dir=third")
        #expect(evaluated.status == 65 && !place.exists("third"), "\(evaluated.progress)")
        #expect(
            evaluated.progress.contains("no metric 'eval_lossy' in the evaluations; there are eval_reward,"),
            "\(evaluated.progress)")
    }
}
