import Foundation
import Testing

@Suite("Runs that train adapters, and their folders", .serialized)
struct LoRARunTests {
    private static let adapters =
        "num_generations: 4\nbeta: 0.1\nuse_peft: true\nlora_r: 4\nlora_target_modules: all-linear"

    private func logProbabilities(_ model: String, _ place: Workplace) throws -> [Double] {
        try place.write("text.jsonl", #"{"prompt": "1+2=", "completion": "345"}"# + "\n")
        return try place.logProbabilities(model, of: "text.jsonl")[0]
    }

    private func difference(_ left: [Double], _ right: [Double]) -> Double {
        left.count == right.count && !left.isEmpty ? zip(left, right).map { abs($0 - $1) }.max() ?? 0 : .infinity
    }

    @Test func anAdapterIsAModelWhereverOneIsNamed() throws {
        let place = try Workplace()
        let job = try place.job("grpo", Self.adapters + "\nlearning_rate: 1e-2")
        let before = try place.bytes("model/model.safetensors")
        #expect(try place.train(job).status == 0)
        #expect(try place.bytes("model/model.safetensors") == before)
        for file in ["adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "trainer_state.json"] {
            #expect(place.exists("run/\(file)") && place.exists("run/checkpoint-4/\(file)"), "\(file)")
        }
        #expect(!place.exists("run/config.json") && !place.exists("run/checkpoint-4/model.safetensors"))
        let gaps = try place.metrics("run").compactMap { $0["sampling/sampling_logp_difference/max"] }
        print("gap of sampled and scored log-probs in a run with adapters: \(gaps.max() ?? .infinity)")
        #expect(gaps.count == 4 && gaps.allSatisfy { $0 < 1e-4 })

        // Merged, it is the same model.
        try Command.succeed(["convert", "--merge", "--model", "run", "--output", "merged"], in: place.folder)
        let (own, merged) = (try logProbabilities("run", place), try logProbabilities("merged", place))
        #expect(difference(own, merged) < 1e-5)
        #expect(difference(own, try logProbabilities("model", place)) > 1e-3)  // and another than the base
        let twice = try Command.run(["convert", "--merge", "--model", "run", "--output", "merged"], in: place.folder)
        #expect(twice.status == 65 && twice.progress.contains("there is a model already"))
        let whole = try Command.run(["convert", "--merge", "--model", "model", "--output", "x"], in: place.folder)
        #expect(whole.status == 65 && whole.progress.contains("it is a whole model already"))

        // Other commands read it, training goes on with it, and its reference is what it was.
        try Command.succeed(
            ["generate", "--model", "run", "--prompts", "prompts.jsonl", "--limit", "2", "--json"], in: place.folder)
        let on = try place.train(job, "model_name_or_path=run", "output_dir=on", "lora_r=8")
        #expect(on.status == 0, "\(on.progress)")
        #expect(
            on.progress.contains("adapters of rank 4") && on.progress.contains("continue as they are"), "\(on.progress)"
        )
        #expect(try abs(#require(place.metrics("on").first?["kl"])) < 1e-6)

        // What is dropped is the job's to say, which is told where the adapter says something else.
        let note = "note: run has lora_dropout 0.3; the job's 0.0 is used. lora_dropout=0.3 keeps the old one"
        let config = String(decoding: try place.bytes("run/adapter_config.json"), as: UTF8.self)
        let dropping = config.replacing("\"lora_dropout\": 0.0", with: "\"lora_dropout\": 0.3")
        try #require(dropping != config)
        try place.write("run/adapter_config.json", dropping)
        let plan = [job, "model_name_or_path=run", "output_dir=next", "--dry-run"]
        #expect(try Command.succeed(["train"] + plan, in: place.folder).output.contains(note))
        let same = try Command.succeed(["train"] + plan + ["lora_dropout=0.3"], in: place.folder)
        #expect(!same.output.contains("note: run has"), "\(same.output)")
        let full = try place.train(job, "model_name_or_path=run", "output_dir=full", "use_peft=false")
        #expect(full.status == 0 && place.exists("full/model.safetensors"), "\(full.progress)")
    }

    @Test func aRunSaysWhatItTrains() throws {
        let place = try Workplace()
        let job = try place.job("grpo", Self.adapters)
        let plan = try place.train(job, "--dry-run")
        #expect(plan.output.contains("parameters are trained: adapters of rank 4, scaled by 8.0"), "\(plan.output)")
        #expect(!plan.output.contains("reference 1"), "\(plan.output)")
        #expect(plan.output.contains(", the base under adapters "), "\(plan.output)")
        let packed = try place.train(job, "--dry-run", "load_in_8bit=true")
        #expect(packed.output.contains("load_in_8bit: true") && packed.output.contains("generation_layout: shared"))
        let part = try place.train(job, "--dry-run", "use_peft=false", "trainable=layers.1.mlp")
        let half = try place.train(job, "--dry-run", "use_peft=false", "trainable=half")
        #expect(half.output.contains(" tensors, from model.embed_tokens.weight"), "\(half.output)")
        #expect(part.output.contains("3 tensors, from model.layers.1.mlp.gate_proj.weight"), "\(part.output)")
    }

    @Test func whatMatchesNothingOrIsAnotherJobsIsNamed() throws {
        let place = try Workplace()
        let job = try place.job("grpo", Self.adapters)
        func refused(_ overrides: String..., says: String) throws {
            let outcome = try Command.run(["train", job] + overrides, in: place.folder)
            #expect(outcome.status == 65 && outcome.progress.contains(says), "\(outcome.progress)")
        }
        try refused("lora_target_modules=[query]", says: "'query' matches none of the model's projections")
        try refused("lora_target_modules=[lm_head]", says: "'lm_head' cannot have an adapter here")
        try refused("use_peft=false", "trainable=layers.7", says: "'layers.7' is found in no parameter's name")
        #expect(try place.train(job).status == 0)
        try place.copy("run", to: "kept")
        let resumed = "resume_from_checkpoint=kept/checkpoint-2"
        try refused(resumed, "use_peft=false", "output_dir=other", says: "the checkpoint holds adapters")
        try refused(resumed, "lora_alpha=64", "output_dir=other", says: "its adapters are scaled by 8.0")
        try refused(resumed, "lora_r=8", "lora_alpha=64", "output_dir=other", says: "its adapters have rank 4")
        try refused(
            resumed, "lora_target_modules=[q_proj]", "output_dir=other", says: "set lora_target_modules as it was")
        try refused("model_name_or_path=kept", "output_dir=other", "use_dora=true", says: "DoRA is not built")
        let whole = try place.job("grpo", "num_generations: 4\nbeta: 0.1\noutput_dir: whole")
        #expect(try place.train(whole).status == 0)
        try refused(
            "resume_from_checkpoint=whole/checkpoint-2", "output_dir=other", says: "the checkpoint holds a whole model")
    }

    /// A reward model of adapters brings its head along; it is read as a reward and as a critic, and is the same
    /// merged.
    @Test func aRewardModelMayBeAnAdapter() throws {
        let place = try Workplace()
        let job = try place.job(
            "reward_model",
            "use_peft: true\nlora_r: 4\nlora_target_modules: all-linear\nlearning_rate: 2e-2\nmax_steps: 40\nsave_steps: 40\noutput_dir: rm"
        )
        let run = try place.train(job)
        #expect(run.status == 0, "\(run.progress)")
        #expect(try place.metrics("rm").last?["loss"] ?? 1 < 0.6)
        #expect(place.exists("rm/adapter_config.json") && place.exists("rm/config.json"))
        try place.write(
            "completions.jsonl",
            #"{"prompt": "2+3=", "completion": "5"}"# + "\n" + #"{"prompt": "9+3=", "completion": "20"}"# + "\n")
        func scores(_ model: String) throws -> [Double] {
            let own = try Command.succeed(
                ["reward", "check", "--reward", "{model: \(model)}", "--file", "completions.jsonl", "--json"],
                in: place.folder)
            return own.output.split(separator: "\n").compactMap {
                (try? JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any])?["score"] as? Double
            }
        }
        try Command.succeed(["convert", "--merge", "--model", "rm", "--output", "merged"], in: place.folder)
        let own = try scores("rm")
        #expect(own.count == 2 && own[0] > own[1])
        #expect(try difference(own, scores("merged")) < 1e-5)
        let ppo = try place.job(
            "ppo", "critic_model_name_or_path: rm\nreward_funcs: [{model: rm}]\noutput_dir: ppo\nmax_steps: 2")
        let trained = try place.train(ppo, "use_peft=true")
        #expect(trained.status == 0, "\(trained.progress)")
    }

    /// Policy and critic of `ppo` have one base in memory, and a checkpoint has neither's: their adapters alone. The whole
    /// critic is a model more.
    @Test func aCriticHasAdaptersOverThePolicysBase() throws {
        let place = try Workplace()
        let adapters = "use_peft: true\nlora_r: 2\nlora_target_modules: all-linear\nmax_steps: 2"
        let job = try place.job("ppo", adapters)
        let plan = try place.train(job, "--dry-run")
        let own = "the critic trains its value head and adapters of its own over "
        #expect(plan.output.contains(own + "the policy's base") && plan.output.contains(", the critic "))
        let other = try place.train(job, "--dry-run", "critic_model_name_or_path=teacher")
        #expect(other.output.contains(own + "a base of its own, "), "\(other.output)")

        let base = try place.bytes("model/model.safetensors")
        for (name, overrides) in [("shared", [String]()), ("apart", ["critic_model_name_or_path=copy"])] {
            if name == "apart" { try place.copy("model", to: "copy") }
            let run = try Command.run(["train", job, "output_dir=\(name)"] + overrides, in: place.folder)
            #expect(run.status == 0, "\(run.progress)")
        }
        #expect(try place.bytes("model/model.safetensors") == base)
        let (shared, apart) = (try weightsInMemory("shared", place), try weightsInMemory("apart", place))
        #expect(shared > 0.9 * Double(base.count) && shared < 1.6 * Double(base.count), "\(shared), \(base.count)")
        #expect(abs(apart - shared - Double(base.count)) < 0.1 * Double(base.count), "\(apart), \(shared)")
        let state = try place.bytes("shared/checkpoint-2/plumbline_state/critic/weights.safetensors")
        #expect(state.count < base.count / 2, "\(state.count)")
        #expect(try place.metrics("shared") == place.metrics("apart"))  // the same base, in one memory or two
    }

    /// Bytes of weights at most, `memory/weights_gb`.
    private func weightsInMemory(_ run: String, _ place: Workplace) throws -> Double {
        let rows = try String(decoding: place.bytes("\(run)/metrics.jsonl"), as: UTF8.self).split(separator: "\n")
        return try rows.compactMap {
            let row = try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any]
            return (row?["memory/weights_gb"] as? NSNumber)?.doubleValue
        }.max().map { $0 * 1e9 } ?? 0
    }
}
