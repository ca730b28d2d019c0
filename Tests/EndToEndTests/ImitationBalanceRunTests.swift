import Foundation
import JSON
import Testing

@Suite("Imitation and reward in one step, from a job file", .serialized)
struct ImitationBalanceRunTests {
    private func train(_ place: Workplace, _ algorithm: String, _ lines: String, _ run: String) throws -> Data {
        let outcome = try place.train(place.job(algorithm, lines), "output_dir=\(run)")
        #expect(outcome.status == 0, "\(outcome.progress)")
        return try place.bytes("\(run)/model.safetensors")
    }

    /// Steps of one half without weight are those of the other method, to the bit.
    @Test func theEndsOfAFixedMixAreTheTwoMethods() throws {
        let place = try Workplace()
        let fixed = "num_generations: 2\namft: {controller: fixed, warmup_steps: 0, mu: "
        let reward = try train(place, "amft", fixed + "0}", "rewarded")
        #expect(reward == (try train(place, "grpo", "num_generations: 2", "grpo")))
        let imitation = try train(place, "amft", fixed + "1}", "imitated")
        #expect(imitation == (try train(place, "sft", "per_device_train_batch_size: 8", "sft")))
        #expect(reward != imitation)
    }

    /// A meta-gradient that moves nothing changes nothing: its rows and draws are its own.
    @Test func ratesOfZeroAreAFixedMix() throws {
        let place = try Workplace()
        let fixed = try train(
            place, "amft", "num_generations: 4\namft: {controller: fixed, warmup_steps: 1, mu: 0.4}", "fixed")
        let still = try train(
            place, "amft",
            "num_generations: 4\namft: {warmup_steps: 1, mu: 0.4, meta_every: 1, mu_learning_rate: 0, entropy_learning_rate: 0, validation: held.jsonl, validation_prompts: 3, validation_generations: 2}",
            "still")
        #expect(fixed == still)
        let metrics = try place.metrics("still")
        #expect(metrics.count == 4 && metrics[0]["amft/mu"] == nil)
        #expect(metrics.dropFirst().allSatisfy { $0["amft/mu"] == 0.4 && $0["amft/meta_gradient"] != nil })
        #expect(
            metrics.allSatisfy { $0["sft/loss"] != nil } && metrics[0]["reward"] == nil && metrics[1]["reward"] != nil)
    }

    @Test func theWeightMovesAndTheRunSaysWhatMovedIt() throws {
        let place = try Workplace()
        let job = try place.job(
            "amft",
            "num_generations: 4\namft: {warmup_steps: 2, mu: 0.5, meta_every: 2, utility: loss, validation: held.jsonl, validation_prompts: 4}\nmax_steps: 6"
        )
        let outcome = try place.train(job)
        #expect(outcome.status == 0, "\(outcome.progress)")
        #expect(outcome.progress.contains("amft: the entropy target is"))
        let metrics = try place.metrics("run")
        let weights = metrics.compactMap { $0["amft/mu"] }
        #expect(weights.count == 4 && Set(weights).count > 1)
        #expect(metrics.map { $0["amft/meta_gradient"] != nil } == [false, false, true, false, true, false])
        let meta = try #require(metrics[2]["amft/cosine"])
        #expect(abs(weights[0] - (0.5 + 0.02 * meta)) < 1e-12)
    }

    /// 1 of 40 prompts has a demonstration; the others are learned from their completions alone.
    @Test func aPromptMayLackItsDemonstration() throws {
        let place = try Workplace()
        try place.write("few.jsonl", #"{"prompt": "3+2=", "completion": "5"}"# + "\n")
        let lines =
            "num_generations: 4\namft: {controller: fixed, mu: 0.5, warmup_steps: 0}\ndemonstrations: {path: few.jsonl"
        let refused = try place.train(place.job("amft", lines + "}"))
        #expect(refused.status == 65)
        #expect(
            refused.progress.contains(
                "prompts.jsonl, line 1: the prompt has no demonstration in few.jsonl: 1 rows, 38 bytes, like 39 of 40 prompts"
            ),
            "\(refused.progress)")
        let allowed = try place.train(place.job("amft", lines + ", missing: skip}"))
        #expect(allowed.status == 0, "\(allowed.progress)")
        #expect(allowed.progress.contains("demonstrations: 1 of 40 prompts have one"))
    }

    @Test(arguments: [
        (
            "amft: {validation: prompts.jsonl}",
            [
                "amft.validation: 40 of its prompts stand in prompts, which is trained on",
                "prompts.jsonl, line 1 is", "; …",
            ]
        ),
        (
            "amft: {validation: held.jsonl, validation_prompts: 7}",
            ["held.jsonl: 6 rows", "a meta-gradient takes 7 rows (amft.validation_prompts), and there are 6"]
        ),
        ("amft: {validation: nothing.jsonl}", ["nothing.jsonl"]),
        ("amft: {mu: 0.99}", ["amft.mu is 0.99; expected from amft.mu_min 0.05 to amft.mu_max 0.95"]),
        ("amft: {rl: sft}", ["amft.rl is 'sft'; expected one of grpo"]),
        ("amft: {utility_reward: style, validation: held.jsonl}", ["amft.utility_reward is style; expected one of"]),
        ("max_completion_length: 1", ["its demonstration has 2 tokens", "max_completion_length is 1"]),
        (
            "per_device_train_batch_size: 64\ndemonstrations: {order: own, per_step: 41}",
            ["a step asks for 41 of them, and prompts has 40; set demonstrations.per_step"]
        ),
        ("amft: {entropy_sign: 2}", ["amft.entropy_sign is '2'; expected a whole number 1 or -1"]),
    ])
    func whatCannotBeIsRefused(_ lines: String, _ says: [String]) throws {
        let place = try Workplace()
        let outcome = try place.train(place.job("amft", "num_generations: 4\n" + lines))
        #expect(outcome.status == 65, "\(outcome.progress)")
        for text in says { #expect(outcome.progress.contains(text), "\(outcome.progress)") }
        #expect(!place.exists("run"))
    }

    @Test func withoutHeldOutRowsItSaysSoOnce() throws {
        let place = try Workplace()
        let outcome = try place.train(place.job("amft", "num_generations: 4\namft: {warmup_steps: 1}"))
        #expect(outcome.status == 0, "\(outcome.progress)")
        #expect(outcome.progress.components(separatedBy: "no validation rows (amft.validation)").count == 2)
        #expect(try place.metrics("run").allSatisfy { $0["amft/meta_gradient"] == nil })
    }

    /// Three completions and the demonstration make a group of four. What is reported of completions is the policy's.
    @Test(arguments: ["luffy", "srft"])
    func aDemonstrationStandsInTheGroup(_ algorithm: String) throws {
        let place = try Workplace()
        let job = try place.job(
            algorithm,
            "num_generations: 4\nper_device_train_batch_size: 64\nreward_funcs: [exact_number]\nmax_steps: 40\nlearning_rate: 1e-2\nsave_steps: 40"
        )
        let outcome = try place.train(job)
        #expect(outcome.status == 0, "\(outcome.progress)")
        let metrics = try place.metrics("run")
        #expect(metrics.allSatisfy { $0["demonstrations/reward"] == 1 && $0["demonstrations/coverage"] == 1 })
        #expect(metrics.allSatisfy { ($0["sampling/sampling_logp_difference/max"] ?? 1) < 1e-3 })
        #expect(metrics.count == 40)
        switch algorithm {
        case "luffy":
            // Of 48 completions a step one step's mean says little.
            let shares = metrics.map { $0["demonstrations/probability"] ?? .nan }
            #expect(shares.suffix(10).reduce(0, +) > shares.prefix(10).reduce(0, +))
        default:
            // Nats of the right answers, behind prompts of four one-byte tokens: half a nat an answer on one machine.
            func nats(_ model: String) throws -> Double {
                try place.logProbabilities(model, of: "prompts.jsonl").map { $0.dropFirst(3).reduce(0, +) }
                    .reduce(0, +) / 40
            }
            let (before, after) = try (nats("model"), nats("run"))
            #expect(after > before + 0.1, "\(before) to \(after)")
        }
        let rows = try String(
            contentsOf: place.folder.appending(path: "run/completions/completions_00001.jsonl"), encoding: .utf8
        ).split(separator: "\n")
        #expect(rows.count == 48)
        let bad = try place.train(job, "demonstrations.order=own", "output_dir=bad")
        #expect(bad.status == 65 && bad.progress.contains("demonstrations.order is own"), "\(bad.progress)")
    }
}
