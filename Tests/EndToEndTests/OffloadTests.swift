import Foundation
import Testing

@Suite("What an optimizer keeps, in a file", .serialized)
struct OffloadTests {
    /// A policy with a critic, bytes, subspaces: every number, the weights and the checkpoints are those of moments in
    /// memory.
    @Test(arguments: [
        ("ppo", "num_iterations: 2"), ("grpo", "num_generations: 4\noptim: adamw_8bit"),
        ("sft", "optim: low_rank\nlow_rank: {rank: 4, update_every: 2}"),
    ])
    func noNumberDependsOnIt(_ algorithm: String, _ lines: String) throws {
        let place = try Workplace()
        let job = try place.job(algorithm, lines)
        for (name, offloads) in [("memory", false), ("file", true)] {
            let run = try place.train(job, "offload_optimizer=\(offloads)", "output_dir=\(name)")
            #expect(run.status == 0, "\(run.progress)")
        }
        #expect(try place.metrics("file") == place.metrics("memory"))
        for name in ["model.safetensors", "checkpoint-2/plumbline_state/policy_updater/moments.safetensors"] {
            #expect(try place.bytes("file/\(name)") == place.bytes("memory/\(name)"), "\(name)")
        }
        #expect(
            try FileManager.default.contentsOfDirectory(atPath: place.folder.appending(path: "file").path)
                .allSatisfy { !$0.hasPrefix(".spill") })
        // Each goes on from the other's checkpoint.
        for (from, offloads) in [("file", false), ("memory", true)] {
            let run = try place.train(
                job, "offload_optimizer=\(offloads)", "output_dir=from_\(from)",
                "resume_from_checkpoint=\(from)/checkpoint-2")
            #expect(run.status == 0, "\(run.progress)")
            #expect(try place.bytes("from_\(from)/model.safetensors") == place.bytes("memory/model.safetensors"))
        }
    }

    /// Two processes have a file each, with a half of the moments, or with those of their parts of the layers.
    @Test(arguments: [1, 2]) func processesHaveAFileEach(_ shards: Int) throws {
        let place = try Workplace()
        let job = try place.job("grpo", "num_generations: 4\ntensor_parallel_size: \(shards)")
        for (name, offloads) in [("memory", false), ("file", true)] {
            let run = try Command.run(
                ["launch", "-n", "2", "train", job, "offload_optimizer=\(offloads)", "output_dir=\(name)"],
                in: place.folder)
            #expect(run.status == 0, "\(run.progress)")
        }
        #expect(try place.metrics("file") == place.metrics("memory"))
        for name in ["model.safetensors", "checkpoint-2/plumbline_state/policy_updater/moments.safetensors"] {
            #expect(try place.bytes("file/\(name)") == place.bytes("memory/\(name)"), "\(name)")
        }
    }

    @Test func itIsPlannedForAndRefusedBeforeTraining() throws {
        let place = try Workplace()
        let job = try place.job("grpo", "num_generations: 4\noffload_optimizer: true")
        let plan = try Command.succeed(["train", job, "--dry-run"], in: place.folder)
        #expect(plan.output.contains("weights and gradients ") && plan.output.contains(" beside that in a file"))
        let lost = try place.train(job, "offload_optimizer_path=nowhere")
        #expect(lost.status == 65 && !place.exists("run"))
        #expect(lost.progress.contains("nowhere") && lost.progress.contains("No such file"), "\(lost.progress)")
        // An earlier run is as it was.
        #expect(try place.train(job).status == 0)
        let (weights, rows) = (try place.bytes("run/model.safetensors"), try place.bytes("run/metrics.jsonl"))
        let again = try place.train(job, "offload_optimizer_path=nowhere", "overwrite_output_dir=true")
        #expect(again.status == 65)
        #expect(try place.bytes("run/model.safetensors") == weights && place.bytes("run/metrics.jsonl") == rows)
        #expect(place.exists("run/checkpoint-4"))
    }
}
