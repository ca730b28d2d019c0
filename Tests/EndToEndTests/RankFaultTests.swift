import Foundation
import Runs
import TestSupport
import Testing

@Suite("A process that fails, is stopped or is gone, and the others", .serialized)
struct RankFaultTests {
    /// All ranks do everything, or one trains while the other samples, or both compute each layer together: to train, to
    /// sample, or for both.
    static let duties = [
        "", "\nmax_staleness: 1\ngeneration_ranks: 1", "\ntensor_parallel_size: 2",
        "\ngeneration_tensor_parallel_size: 2", "\ntensor_parallel_size: 2\ngeneration_tensor_parallel_size: 2",
    ]

    /// Who is gone, of which duty: of the plain run either, else the last where layers are shared in training, the first
    /// where they are whole. With PLUMBLINE_LONG_TESTS=1 both of all.
    static let losses: [(rank: Int, lines: String)] = duties.flatMap { lines in
        [0, 1].filter { runsLongTests || lines.isEmpty || ($0 == 1) == lines.contains("\ntensor_parallel_size") }
            .map { ($0, lines) }
    }

    /// Both begin, then one rank's process is gone from one moment to the next.
    @Test(arguments: losses) func aKilledRankEndsTheOther(_ killed: Int, _ lines: String) throws {
        let place = try Workplace()
        let job = try place.job(
            "grpo", "num_generations: 4\nmax_steps: 100000\nsave_steps: 2\nlog_completions: false" + lines)
        let ranks = try start(2, job, "output_dir=run", in: place)
        let folder = try waitForACheckpoint(of: ranks, in: place)
        let killedAt = ContinuousClock.now
        #expect(try ranks[killed].killed().status == SIGKILL)
        let other = try ranks[1 - killed].wait()
        #expect(ContinuousClock.now - killedAt < .seconds(30))
        #expect(other.status == 65, "\(other.progress)")
        #expect(
            other.progress.contains("rank \(1 - killed) of 2: another process of the run has ended"),
            "\(other.progress)")
        let newest = try #require(try CheckpointFolder.latest(in: folder).newest)
        try newest.verify()
        let resumed = try Command.run(
            ["launch", "train", job, "output_dir=run", "resume_from_checkpoint=true", "max_steps=\(newest.step + 1)"],
            in: place.folder)
        #expect(resumed.status == 0, "\(resumed.progress)")
    }

    /// The one that waits for it cannot know; `launch` does.
    @Test func aRankThatIsGoneBeforeTheyMeetEndsTheOther() throws {
        let place = try Workplace()
        let job = try place.job("grpo", "num_generations: 4\nmax_steps: 100000\nsave_steps: 100000")
        let began = ContinuousClock.now
        let launched = try Command.start(["launch", "-n", "2", "train", job, "output_dir=run"], in: place.folder)
        let tasks = URL(filePath: "/proc/\(launched.process.processIdentifier)/task")
        var children: [pid_t] = []
        while children.count < 2, launched.process.isRunning {
            let threads = try FileManager.default.contentsOfDirectory(at: tasks, includingPropertiesForKeys: nil)
            children = threads.compactMap { FileManager.default.contents(atPath: $0.appending(path: "children").path) }
                .flatMap { String(decoding: $0, as: UTF8.self).split(separator: " ").compactMap { pid_t($0) } }
            usleep(1000)
        }
        try #require(children.count == 2)
        kill(children[1], SIGKILL)
        let outcome = try launched.wait()
        #expect(outcome.status == 137 && outcome.progress.contains("was killed by signal 9"), "\(outcome.progress)")
        #expect(ContinuousClock.now - began < .seconds(60))
    }

    /// The prompt that breaks the reward is in the share of one rank alone.
    @Test(arguments: duties) func aRewardThatFailsOnOneRankEndsBoth(_ lines: String) throws {
        let place = try Workplace()
        try place.write(
            "r.py",
            """
            def score(prompts, completions, **kwargs):
                if any(p.startswith("7+1") for p in prompts):
                    raise ValueError("cannot score 7+1")
                return [1.0 for c in completions]
            """)
        let job = try place.job(
            "grpo",
            "num_generations: 4\nreward_funcs: r.py:score\nreward_error_budget: 0\nmax_steps: 40\nsave_steps: 40"
                + lines)
        let ranks = try start(2, job, "output_dir=run", in: place)
        let outcomes = try ranks.map { try $0.wait() }
        #expect(outcomes.map(\.status) == [65, 65], "\(outcomes.map(\.progress))")
        for outcome in outcomes { #expect(outcome.progress.contains("cannot score 7+1"), "\(outcome.progress)") }
    }

    /// Each rank scores completions of held-out rows for itself, amid a step: what breaks there on one is told to nobody,
    /// and the other waits for it in the gradients that both add up.
    @Test func aRankThatBreaksAmidAStepEndsTheOther() throws {
        let place = try Workplace()
        try place.write(
            "r.py",
            """
            import os

            def score(prompts, completions, **kwargs):
                held = any(p.endswith("+7=") for p in prompts)
                if held and os.environ["RANK"] == "1" and os.path.exists("\(place.folder.path)/broken"):
                    raise ValueError("cannot score held-out rows")
                return [float(len(c) % 3) for c in completions]
            """)
        let job = try place.job(
            "amft",
            """
            num_generations: 4
            reward_funcs: [{path: 'r.py:score', pass_environment: [RANK]}]
            reward_error_budget: 0
            max_steps: 100000
            save_steps: 2
            ddp_timeout: 60
            amft: {warmup_steps: 0, meta_every: 1, validation: held.jsonl, validation_prompts: 3, validation_generations: 2, look_ahead: first_order, step_model: plain}
            """)
        let ranks = try start(2, job, "output_dir=run", in: place)
        let folder = try waitForACheckpoint(of: ranks, in: place)
        let brokenAt = ContinuousClock.now
        try place.write("broken", "")
        let outcomes = try ranks.map { try $0.wait() }
        #expect(ContinuousClock.now - brokenAt < .seconds(30))
        #expect(outcomes.map(\.status) == [65, 65], "\(outcomes.map(\.progress))")
        #expect(outcomes[1].progress.contains("cannot score held-out rows"), "\(outcomes[1].progress)")
        #expect(
            outcomes[0].progress.contains("rank 0 of 2: another process of the run has ended"),
            "\(outcomes[0].progress)")
        try #require(try CheckpointFolder.latest(in: folder).newest).verify()
    }

    /// The first alone writes what the steps came to; both end with the reason, and with what was reached.
    @Test func aRecordThatCannotBeWrittenEndsBoth() throws {
        let place = try Workplace()
        let job = try place.job("grpo", "num_generations: 4\nmax_steps: 100000\nsave_steps: 2\nddp_timeout: 60")
        let ranks = try start(2, job, "output_dir=run", in: place)
        let folder = try waitForACheckpoint(of: ranks, in: place)
        let brokenAt = ContinuousClock.now
        let completions = folder.appending(path: "completions")
        var isInTheWay = false
        while !isInTheWay, ranks[0].process.isRunning {
            try? FileManager.default.removeItem(at: completions)  // a step may write into it meanwhile
            isInTheWay = FileManager.default.createFile(atPath: completions.path, contents: nil)
        }
        let outcomes = try ranks.map { try $0.wait() }
        #expect(ContinuousClock.now - brokenAt < .seconds(30))
        #expect(outcomes.map(\.status) == [65, 65], "\(outcomes.map(\.progress))")
        for outcome in outcomes { #expect(outcome.progress.contains("run/completions"), "\(outcome.progress)") }
        try #require(try CheckpointFolder.latest(in: folder).newest).verify()
    }

    /// A reward that takes longer for the evaluation's row than a rank is waited for, and says when it begins.
    private func slowEvaluation(seconds: Int, timeout: Int, in place: Workplace) throws -> String {
        try place.write("set/train.jsonl", try place.bytes("prompts.jsonl"))
        try place.write("set/eval.jsonl", try place.bytes("held.jsonl"))
        try place.write(
            "r.py",
            """
            import time

            def score(prompts, completions, **kwargs):
                if any(p.endswith("+7=") for p in prompts):
                    open("\(place.folder.path)/begun", "w").close()
                    time.sleep(\(seconds))
                return [float(len(c) % 3) for c in completions]
            """)
        return try place.job(
            "grpo",
            """
            num_generations: 4
            dataset_name: set
            reward_funcs: r.py:score
            reward_timeout: 900
            max_steps: 1
            save_steps: 1
            eval_steps: 1
            eval_limit: 1
            ddp_timeout: \(timeout)
            """)
    }

    @Test func anEvaluationTakesAsLongAsItTakes() throws {
        let place = try Workplace()
        let job = try slowEvaluation(seconds: 15, timeout: 10, in: place)
        let outcomes = try start(2, job, "output_dir=run", in: place).map { try $0.wait() }
        #expect(outcomes.map(\.status) == [0, 0], "\(outcomes.map(\.progress))")
        #expect(try place.metrics("run").contains { $0["eval_reward"] != nil })
    }

    @Test func aRankThatIsGoneEndsTheEvaluation() throws {
        let place = try Workplace()
        let job = try slowEvaluation(seconds: 600, timeout: 40, in: place)
        let ranks = try start(2, job, "output_dir=run", in: place)
        while !place.exists("begun"), ranks[0].process.isRunning { usleep(20_000) }
        let killedAt = ContinuousClock.now
        #expect(try ranks[1].killed().status == SIGKILL)
        let first = try ranks[0].wait()
        #expect(ContinuousClock.now - killedAt < .seconds(30))
        #expect(first.status == 65, "\(first.progress)")
        #expect(
            first.progress.contains("rank 0 of 2: another process of the run has ended"), "\(first.progress)")
    }

    @Test(arguments: duties) func aStopOfOneRankIsEverybodys(_ lines: String) throws {
        let place = try Workplace()
        let job = try place.job(
            "grpo", "num_generations: 4\nmax_steps: 100000\nsave_steps: 100000\nlog_completions: false" + lines)
        let ranks = try start(2, job, "output_dir=run", in: place)
        let metrics = place.folder.appending(path: "run/metrics.jsonl").path
        while !FileManager.default.fileExists(atPath: metrics), ranks[0].process.isRunning { usleep(20_000) }
        ranks[1].process.terminate()
        let outcomes = try ranks.map { try $0.wait() }
        #expect(outcomes.map(\.status) == [75, 75], "\(outcomes.map(\.progress))")
        #expect(outcomes[0].progress.contains("is saved, resume with resume_from_checkpoint=true"))
        #expect(try CheckpointFolder.latest(in: place.folder.appending(path: "run")).newest != nil)
    }

    /// The first rank waits for another that never comes.
    @Test func aStopBeforeTheyMeetSaysThatNothingIsSaved() throws {
        let place = try Workplace()
        let job = try place.job("grpo", "num_generations: 4")
        let (ranks, port) = try start(1, of: 2, [job, "output_dir=run"], in: place)
        let isMeeting = {
            try ["/proc/net/tcp", "/proc/net/tcp6"].contains {
                try String(contentsOf: URL(filePath: $0), encoding: .utf8).contains(
                    String(format: ":%04X ", port))
            }
        }
        while try !isMeeting(), ranks[0].process.isRunning { usleep(20_000) }
        ranks[0].process.terminate()
        let outcome = try ranks[0].wait()
        #expect(outcome.status == 75)
        #expect(
            outcome.progress.contains(
                "stopped on request; the processes had not all begun, and nothing is saved"), "\(outcome.progress)")
        #expect(!place.exists("run"))
    }

    /// Waits for the first checkpoint.
    ///
    /// - Returns: The run's folder.
    private func waitForACheckpoint(of ranks: [Command.Running], in place: Workplace) throws -> URL {
        let folder = place.folder.appending(path: "run")
        while ranks[0].process.isRunning {
            if place.exists("run"), try CheckpointFolder.latest(in: folder).newest != nil { break }
            usleep(20_000)
        }
        return folder
    }

    /// Started as torchrun starts them, so that each has streams of its own.
    private func start(_ count: Int, _ job: String, _ overrides: String..., in place: Workplace) throws
        -> [Command.Running]
    {
        try start(count, of: count, [job] + overrides, in: place).ranks
    }

    /// The first ones of so many, and where they meet.
    private func start(
        _ count: Int, of size: Int, _ arguments: [String], in place: Workplace
    ) throws -> (ranks: [Command.Running], port: Int) {
        let port = 20_000 + Int(getpid()) % 10_000 + Int.random(in: 0..<2_000)
        let ranks = try (0..<count).map { rank in
            try Command.start(
                ["train"] + arguments, in: place.folder,
                environment: [
                    "RANK": "\(rank)", "WORLD_SIZE": "\(size)", "LOCAL_WORLD_SIZE": "\(size)",
                    "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "\(port)",
                ])
        }
        return (ranks, port)
    }
}
