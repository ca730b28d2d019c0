import Foundation
import Testing

/// Two processes, each started in a folder of its own, as on two hosts.
@Suite("Ranks begin with one job and one model", .serialized)
struct RankStartTests {
    private func start(
        _ first: (place: Workplace, arguments: [String]), _ second: (place: Workplace, arguments: [String])
    ) throws -> [Command.Outcome] {
        let port = 20_000 + Int(getpid()) % 10_000 + Int.random(in: 0..<2_000)
        return try [first, second].enumerated().map { rank, host in
            try Command.start(
                ["train"] + host.arguments, in: host.place.folder,
                environment: [
                    "RANK": "\(rank)", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1",
                    "MASTER_PORT": "\(port)",
                ])
        }.map { try $0.wait() }
    }

    @Test func otherWeightsAreRefused() throws {
        let places = (try Workplace(), try Workplace())
        try Command.succeed(
            [
                "init-model", "--output", "other", "--tokenizer", "model", "--hidden-size", "32", "--layers", "2",
                "--heads", "2", "--context-length", "64", "--seed", "7",
            ], in: places.1.folder)
        let outcomes = try start(
            (places.0, [try places.0.job("sft")]), (places.1, [try places.1.job("sft", "model_name_or_path: other")]))
        #expect(outcomes.map(\.status) == [65, 65], "\(outcomes.map(\.progress))")
        for outcome in outcomes {
            #expect(
                outcome.progress.contains(
                    "rank 1 begins with other weights than rank 0: model.embed_tokens.weight of the actor differs"),
                "\(outcome.progress)")
        }
        #expect(!places.0.exists("run/checkpoint-2"))
    }

    /// One bit of a tensor that each rank has whole, and of two that it has a part of, by columns and by rows. What they
    /// share of those is nowhere twice, so that it can be compared only before.
    @Test(arguments: [
        "model.norm.weight", "model.layers.1.self_attn.o_proj.weight", "model.layers.0.mlp.gate_proj.weight",
    ])
    func anotherBitIsRefusedWhereLayersAreShared(_ name: String) throws {
        let places = (try Workplace(), try Workplace())
        let file = "model/model.safetensors"
        var bytes = [UInt8](try places.1.bytes(file))
        let length = bytes.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
        let header = try JSONSerialization.jsonObject(with: Data(bytes[8..<8 + length])) as? [String: Any]
        let tensor = try #require(header?[name] as? [String: Any])
        let first = try #require((tensor["data_offsets"] as? [Int])?.first)
        bytes[8 + length + first] ^= 1  // the lowest bit of its first number
        try places.1.write(file, Data(bytes))
        let lines = "tensor_parallel_size: 2"
        let outcomes = try start(
            (places.0, [try places.0.job("sft", lines)]), (places.1, [try places.1.job("sft", lines)]))
        #expect(outcomes.map(\.status) == [65, 65], "\(outcomes.map(\.progress))")
        for outcome in outcomes {
            let says = "rank 1 begins with other weights than rank 0: \(name) of the actor differs"
            #expect(outcome.progress.contains(says), "\(outcome.progress)")
        }
        #expect(!places.0.exists("run/checkpoint-2"))
    }

    /// The bases differ in what nobody trains; the adapters of both begin alike.
    @Test func otherFrozenWeightsAreRefused() throws {
        let places = (try Workplace(), try Workplace())
        let lines = "use_peft: true\nlora_r: 4\nlora_target_modules: all-linear"
        try Command.succeed(
            [
                "init-model", "--output", "other", "--tokenizer", "model", "--hidden-size", "32", "--layers", "2",
                "--heads", "2", "--context-length", "64", "--seed", "7",
            ], in: places.1.folder)
        let outcomes = try start(
            (places.0, [try places.0.job("sft", lines)]),
            (places.1, [try places.1.job("sft", lines + "\nmodel_name_or_path: other")]))
        #expect(outcomes.map(\.status) == [65, 65], "\(outcomes.map(\.progress))")
        for outcome in outcomes {
            #expect(outcome.progress.contains("model.embed_tokens.weight of the actor differs"), "\(outcome.progress)")
        }
    }

    @Test func anotherSettingIsRefusedBeforeAnythingIsMade() throws {
        let places = (try Workplace(), try Workplace())
        let outcomes = try start(
            (places.0, [try places.0.job("sft")]), (places.1, [try places.1.job("sft"), "learning_rate=1e-1"]))
        #expect(outcomes.map(\.status) == [65, 65], "\(outcomes.map(\.progress))")
        for outcome in outcomes {
            #expect(
                outcome.progress.contains("learning_rate: rank 1 has 0.1, rank 0 has 0.001; expected one job for all"),
                "\(outcome.progress)")
        }
        #expect(!places.0.exists("run") && !places.1.exists("run"))
    }

    @Test func anotherSettingOfARewardIsRefused() throws {
        let places = (try Workplace(), try Workplace())
        let job = { (place: Workplace, length: Int) in
            try place.job("grpo", "num_generations: 4\nreward_funcs: [{name: length_reward, target_length: \(length)}]")
        }
        let outcomes = try start((places.0, [try job(places.0, 2)]), (places.1, [try job(places.1, 3)]))
        #expect(outcomes.map(\.status) == [65, 65], "\(outcomes.map(\.progress))")
        for outcome in outcomes { #expect(outcome.progress.contains("plumbline: reward_funcs: rank 1 has")) }
    }

    /// Hosts may have the same things in other places, and other numbers of processors.
    @Test func otherPlacesAreNoOtherJob() throws {
        let places = (try Workplace(), try Workplace())
        let reward = "def f(completions, **kwargs):\n    return [float(len(c) % 3) for c in completions]\n"
        try places.0.write("r.py", reward)
        try places.1.write("elsewhere/r.py", reward)
        try places.1.copy("model", to: "elsewhere/policy")
        try places.1.copy("prompts.jsonl", to: "elsewhere/rows.jsonl")
        let elsewhere = places.1.folder.appending(path: "elsewhere").path
        let outcomes = try start(
            (places.0, [try places.0.job("grpo", "num_generations: 4\nreward_funcs: r.py:f\nmax_steps: 2")]),
            (
                places.1,
                [
                    try places.1.job(
                        "grpo",
                        "num_generations: 4\nreward_funcs: \(elsewhere)/r.py:f\nmax_steps: 2\noutput_dir: other\n"
                            + "model_name_or_path: \(elsewhere)/policy\ndataset_name: \(elsewhere)/rows.jsonl"),
                    "threads=2", "report_to=none", "log_completions=false",
                ]
            ))
        #expect(outcomes.map(\.status) == [0, 0], "\(outcomes.map(\.progress))")
    }
}
