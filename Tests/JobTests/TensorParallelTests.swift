import Foundation
import Job
import Testing

@Suite("tensor_parallel_size in a job")
struct TensorParallelTests {
    private func job(_ lines: String) throws -> ResolvedJob {
        let text = """
            model_name_or_path: m
            dataset_name: d
            output_dir: o
            reward_funcs: accuracy_reward

            """
        return try ResolvedJob(JobFile(text: text + lines, name: "job.yaml", folder: URL(filePath: "/jobs")))
    }

    @Test func unlessAskedForLayersAreWhole() throws {
        let plain = try job("")
        #expect(plain.tensorParallelism.size == 1 && plain.tensorParallelism.line == nil)
        #expect(plain["tensor_parallel_size"] == "1")
        let shared = try job("tensor_parallel_size: 2")
        #expect(shared.tensorParallelism.line?.contains("tensor_parallel_size: 2") == true)
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
    ])
    func whatGoesWithSharedLayersIsTaken(_ lines: String) throws {
        #expect(try job("tensor_parallel_size: 2\n" + lines).tensorParallelism.size == 2)
    }

    /// Each by the key that asks for it, else by this one.
    @Test(arguments: [
        ("dtype: bfloat16", "line 6: tensor_parallel_size is 2, and dtype is bfloat16"),
        ("use_peft: true", "line 6: tensor_parallel_size is 2, and use_peft trains adapters"),
        ("trainable: layers.1", "trainable leaves some of the weights as they are"),
        ("optim: adamw_8bit", "the step of adamw_8bit reads whole matrices or blocks of them"),
        ("optim: low_rank", "the step of low_rank reads whole matrices"),
        ("algorithm: ppo", "line 6: tensor_parallel_size is 2, and ppo has a critic"),
        ("algorithm: ppo\ncritic_shares_trunk: true", "ppo has a critic"),
        ("algorithm: reward_model", "reward_model trains the heads of a reward model"),
        ("algorithm: soft_grpo", "soft_grpo learns from mixtures of words"),
        ("beta: 0.1\nkl_estimator: full", "the loss reads a divergence over the whole vocabulary"),
        ("beta: 0.1\nsync_ref_model: true", "the reference follows the policy"),
        ("max_staleness: 1\ngeneration_ranks: 1", "generation_ranks is 1"),
    ])
    func whatReadsWholeLayersIsRefusedByName(_ lines: String, _ says: String) {
        let error = #expect(throws: JobError.self) { try job("tensor_parallel_size: 2\n" + lines) }
        let text = error.map { "\($0)" } ?? ""
        #expect(text.contains(says) && text.contains("not built for layers that processes share"), "\(text)")
    }
}
