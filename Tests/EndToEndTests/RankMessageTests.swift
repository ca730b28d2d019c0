import Foundation
import Testing

@Suite("What a run of several processes says", .serialized)
struct RankMessageTests {
    @Test func aDryRunSaysWhoDoesWhat() throws {
        let place = try Workplace()
        let job = try place.job("grpo", "num_generations: 4\nmax_staleness: 1")
        let plain = try Command.succeed(["train", job, "--dry-run"], in: place.folder).output
        #expect(plain.contains("# each step learns from the batch that was sampled before the last update"), "\(plain)")
        #expect(plain.contains("importance_sampling_correction: token_truncate\n"))
        let apart = try Command.succeed(["train", job, "generation_ranks=1", "--dry-run"], in: place.folder).output
        #expect(apart.contains("; the last 1 of the run's processes sample and score, the others learn\n"), "\(apart)")
    }

    /// The processes read one job: what it comes to, and what is wrong with it, is said once.
    @Test func whatAllRanksSayIsReadOnce() throws {
        let place = try Workplace()
        let job = try place.job("grpo", "num_generations: 4")
        func launch(_ arguments: String...) throws -> Command.Outcome {
            try Command.run(["launch", "-n", "3", "train"] + arguments, in: place.folder)
        }
        func count(_ words: String, _ text: String) -> Int { text.components(separatedBy: words).count - 1 }
        let plan = try launch(job, "--dry-run")
        #expect(plan.status == 0, "\(plan.progress)")
        #expect(count("\nnum_generations: 4\n", plan.output) == 1, "\(plan.output)")
        #expect(count("# 3 processes, each with its share of every step", plan.output) == 1, "\(plan.output)")
        let refused = try launch(job, "num_generations=x")
        #expect(refused.status == 65 && count("plumbline: ", refused.progress) == 1, "\(refused.progress)")
        #expect(refused.progress.contains("num_generations is 'x'"))
        // The first alone opens the model before the others do, which find it gone.
        let lost = try launch(job, "model_name_or_path=nowhere")
        #expect(lost.status == 65 && count("plumbline: ", lost.progress) == 1, "\(lost.progress)")
        #expect(lost.progress.contains("nowhere") && !lost.progress.contains("another process"), "\(lost.progress)")
        let usage = try launch()
        #expect(usage.status == 64 && count("Usage:", usage.progress) == 1, "\(usage.progress)")
        let split = try launch(job, "max_staleness=1", "generation_ranks=3", "--dry-run")
        #expect(split.status == 65)
        #expect(count("plumbline: generation_ranks: is 3", split.progress) == 1, "\(split.progress)")
        let device = try Command.run(["train", job, "device=cuda:77", "--dry-run"], in: place.folder)
        #expect(device.status == 65 && device.progress.contains("plumbline: device: "), "\(device.progress)")
    }

    @Test func whatIsWrongIsSaid() throws {
        let place = try Workplace()
        let job = try place.job("grpo", "num_generations: 4\nddp_timeout: 1")
        func alone(_ environment: [String: String]) throws -> Command.Outcome {
            try Command.start(["train", job], in: place.folder, environment: environment).wait()
        }
        let nobody = try alone(["RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "9"])
        #expect(nobody.status == 65)
        #expect(nobody.progress.contains("rank 1 of 2: the others were not met at 127.0.0.1:9"), "\(nobody.progress)")
        // In one line, without what the store's own log has of it: a C++ stack trace for every try.
        #expect(nobody.progress.contains("ddp_timeout is 1 s\n"), "\(nobody.progress)")
        #expect(!nobody.progress.contains("frame #") && !nobody.progress.contains("[c10d]"), "\(nobody.progress)")
        let number = try alone(["RANK": "x", "WORLD_SIZE": "2"])
        #expect(number.status == 65)
        #expect(
            number.progress.contains(
                "the environment variable RANK: is 'x'; expected a whole number from 0 to 1"), "\(number.progress)")
        let missing = try alone(["RANK": "0", "WORLD_SIZE": "2"])
        #expect(missing.progress.contains("MASTER_ADDR: is missing"), "\(missing.progress)")
        #expect(try alone(["RANK": "0", "WORLD_SIZE": "1"]).status == 0)
        let idle = try Command.run(
            ["launch", "-n", "2", "train", job, "max_staleness=1", "generation_ranks=2"], in: place.folder)
        #expect(idle.status == 65)
        #expect(
            idle.progress.contains("generation_ranks: is 2, and the run has 2 processes; expected at most 1"),
            "\(idle.progress)")
        #expect(try Command.run(["launch", "-n", "0", "train", job], in: place.folder).status == 64)
        #expect(try Command.run(["launch", "eval", job], in: place.folder).status == 64)
    }
}
