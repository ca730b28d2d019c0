import Foundation
import Job
import Testing

@Suite("tensor_parallel_size in a job")
struct TensorParallelTests {
    @Test func unlessAskedForLayersAreWhole() throws {
        let plain = try plainJob("")
        #expect(plain.tensorParallelism.size == 1 && plain.tensorParallelism.lines.isEmpty)
        #expect(plain["tensor_parallel_size"] == "1" && plain["generation_tensor_parallel_size"] == "1")
        let shared = try plainJob("tensor_parallel_size: 2")
        #expect(shared.tensorParallelism.lines.map { $0.contains("sampling and scoring read whole weights") } == [true])
        for ranks in [2, 4] { try shared.require(ranks: ranks) }
        for (ranks, words) in [(1, "the run is one process"), (3, "the run has 3 processes")] {
            let error = #expect(throws: JobError.self) { try shared.require(ranks: ranks) }
            #expect("\(error!)".contains("tensor_parallel_size: is 2, and \(words)"), "\(error!)")
        }
    }

    @Test(arguments: [
        "algorithm: grpo\nbeta: 0.1", "algorithm: rloo", "algorithm: remax", "algorithm: reinforce_pp",
        "algorithm: sft", "optim: lion", "max_staleness: 1",
        "generation_layout: int8", "gradient_checkpointing: true",
        "use_peft: true\nlora_target_modules: all-linear\nlora_dropout: 0.05",
        "algorithm: ppo", "algorithm: ppo\ncritic_shares_trunk: true", "trainable: layers.1", "trainable: half",
    ])
    func whatGoesWithSharedLayersIsTaken(_ lines: String) throws {
        #expect(try plainJob("tensor_parallel_size: 2\n" + lines).tensorParallelism.size == 2)
    }

    /// Each by the key that asks for it, else by this one.
    @Test(arguments: [
        ("dtype: bfloat16", "line 6: tensor_parallel_size is 2, and dtype is bfloat16"),
        (
            "use_peft: true\nload_in_8bit: true",
            "line 7: tensor_parallel_size is 2, and load_in_8bit keeps the model under adapters in eight bits"
        ),
        ("optim: adamw_8bit", "the step of adamw_8bit reads whole matrices or blocks of them"),
        ("optim: low_rank", "the step of low_rank reads whole matrices"),
        ("algorithm: reward_model", "reward_model trains the heads of a reward model"),
        ("algorithm: soft_grpo", "soft_grpo learns from mixtures of words"),
        ("beta: 0.1\nkl_estimator: full", "the loss reads a divergence over the whole vocabulary"),
        ("beta: 0.1\nsync_ref_model: true", "the reference follows the policy"),
        ("max_staleness: 1\ngeneration_ranks: 1", "generation_ranks is 1"),
    ])
    func whatReadsWholeLayersIsRefusedByName(_ lines: String, _ says: String) {
        let error = #expect(throws: JobError.self) { try plainJob("tensor_parallel_size: 2\n" + lines) }
        let text = error.map { "\($0)" } ?? ""
        #expect(text.contains(says) && text.contains("not built for layers that processes share"), "\(text)")
    }

    // MARK: Sampling

    @Test func samplingIsSharedWhereItIsAskedFor() throws {
        let sampled = try plainJob("generation_tensor_parallel_size: 2")
        #expect(sampled.tensorParallelism.size == 1 && sampled.tensorParallelism.generationSize == 2)
        #expect(sampled.tensorParallelism.lines.map { $0.hasPrefix("2 processes sample together") } == [true])
        let both = try plainJob("tensor_parallel_size: 2\ngeneration_tensor_parallel_size: 2")
        #expect(both.tensorParallelism.lines.count == 2)
        #expect(both.tensorParallelism.lines[0].hasSuffix("scoring reads whole weights"))
        for job in [sampled, both] {
            try job.require(ranks: 4)
            let error = #expect(throws: JobError.self) { try job.require(ranks: 3) }
            #expect("\(error!)".contains("tensor_parallel_size: is 2, and the run has 3 processes"), "\(error!)")
        }
        // What samples nothing has no such key.
        #expect(try plainJob("algorithm: sft")["generation_tensor_parallel_size"] == nil)
    }

    /// Two numbers may differ; both divide the number of processes.
    @Test func partsMayBeOthersThanThoseThatAreTrained() throws {
        for (trained, sampled) in [(4, 2), (2, 4)] {
            let job = try plainJob(
                "tensor_parallel_size: \(trained)\ngeneration_tensor_parallel_size: \(sampled)")
            #expect(job.tensorParallelism.size == trained && job.tensorParallelism.generationSize == sampled)
            for ranks in [4, 8] { try job.require(ranks: ranks) }
            let error = #expect(throws: JobError.self) { try job.require(ranks: 2) }
            let key = trained == 4 ? "tensor_parallel_size" : "generation_tensor_parallel_size"
            #expect("\(error!)".hasPrefix("\(key): is 4, and the run has 2 processes"), "\(error!)")
        }
    }

    /// Where each process trains whole layers, nothing of training stands against it.
    @Test(arguments: [
        "tensor_parallel_size: 2", "algorithm: ppo", "optim: low_rank", "trainable: layers.1", "beta: 0.1",
        "max_staleness: 1", "generation_layout: shared", "beta: 0.1\nkl_estimator: full", "use_peft: true",
    ])
    func whatGoesWithSharedSamplingIsTaken(_ lines: String) throws {
        #expect(try plainJob("generation_tensor_parallel_size: 2\n" + lines).tensorParallelism.generationSize == 2)
    }

    @Test(arguments: [
        ("dtype: bfloat16", "generation_tensor_parallel_size is 2, and dtype is bfloat16"),
        ("generation_layout: int8", "and generation_layout is int8"),
        ("use_peft: true\nload_in_8bit: true", "and load_in_8bit keeps the model under adapters in eight bits"),
        ("algorithm: soft_grpo", "and completions think in mixtures of words"),
        ("max_staleness: 1\ngeneration_ranks: 1", "and generation_ranks is 1"),
    ])
    func whatIsNotSampledInPartsIsRefusedByName(_ lines: String, _ says: String) {
        let error = #expect(throws: JobError.self) { try plainJob("generation_tensor_parallel_size: 2\n" + lines) }
        #expect(error.map { "\($0)" }?.contains(says) == true, "\(error.map { "\($0)" } ?? "taken")")
    }
}
