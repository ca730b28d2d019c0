import Foundation
import Testing

@Suite("What a run must not lose is measured on the way", .serialized)
struct GuardTests {
    /// A place with a model that has learned to answer `0+7=` and seven like it with `zebra`, and a job that teaches it
    /// sums in its place: of the zebra less is left with every step.
    private static func forgetful(_ guards: String) throws -> (place: Workplace, job: String) {
        let place = try Workplace()
        let rows = (0..<8).map { #"{"prompt": "\#($0)+7=", "completion": "zebra"}"# }
        try place.write("zebra.jsonl", rows.joined(separator: "\n") + "\n")
        let first = try place.train(
            place.job("sft", "learning_rate: 1e-2\nmax_steps: 40\nsave_steps: 40\nmax_completion_length: 6"),
            "dataset_name=zebra.jsonl", "per_device_train_batch_size=8", "output_dir=known")
        try #require(first.status == 0, "\(first.progress)")
        let job = try place.job(
            "sft", "model_name_or_path: known\nlearning_rate: 3e-3\nmax_steps: 8\neval_guard: [\(guards)]")
        return (place, job)
    }

    /// Token ids of texts, special tokens among them.
    private func ids(of texts: [String], in place: Workplace) throws -> [[Int]] {
        try place.write("texts.jsonl", texts.map { #"{"text": "\#($0)"}"# + "\n" }.joined())
        let outcome = try Command.succeed(
            ["tokenizer", "encode", "--tokenizer", "model", "--input", "texts.jsonl", "--json"], in: place.folder)
        return try outcome.output.split(separator: "\n").map {
            let row = try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any]
            return try #require(row?["ids"] as? [Int])
        }
    }

    /// Against the log-probs of the same tokens by another command: those of the completions with the token that ends
    /// them.
    @Test func theLogLikelihoodIsTheMeanOverTheCompletionsTokens() throws {
        let place = try Workplace()
        // Two prompts of one length, completions of two.
        try place.write(
            "held.jsonl",
            #"{"prompt": "1+2=", "completion": "345"}"# + "\n" + #"{"prompt": "5+4=", "completion": "9"}"# + "\n")
        let job = try place.job("grpo", "num_generations: 4\neval_guard: [{texts: held.jsonl, every: 2}]\nmax_steps: 2")
        let outcome = try place.train(job)
        #expect(outcome.status == 0, "\(outcome.progress)")
        let guarded = try place.metrics("run").filter { $0["eval_guard/held/log_likelihood"] != nil }
        #expect(guarded.map { $0["step"] } == [0, 2])

        let encoded = try ids(of: ["1+2=", "345", "5+4=", "9", "<|endoftext|>"], in: place)
        let rows = [encoded[0] + encoded[1] + encoded[4], encoded[2] + encoded[3] + encoded[4]]
        try place.write("ids.jsonl", rows.map { #"{"token_ids": \#($0)}"# + "\n" }.joined())
        for (model, row) in [("model", 0), ("run", 1)] {
            let listing = try Command.succeed(
                ["logprobs", "--model", model, "--input", "ids.jsonl", "--json"], in: place.folder)
            var logProbabilities: [Double] = []
            for (line, count) in zip(listing.output.split(separator: "\n"), [4, 2]) {
                let found = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
                let values = try #require(found?["log_probs"] as? [Any]).compactMap { ($0 as? NSNumber)?.doubleValue }
                logProbabilities += values.suffix(count)
            }
            #expect(logProbabilities.count == 6)
            let expected = logProbabilities.reduce(0, +) / 6
            let measured = try #require(guarded[row]["eval_guard/held/log_likelihood"])
            #expect(abs(measured - expected) < 1e-5 * abs(expected), "\(measured) and \(expected) under \(model)")
        }
    }

    /// Neither the weights nor the draws of training know of it.
    @Test func aGuardChangesNothingOfTheRun() throws {
        let place = try Workplace()
        let job = try place.job("grpo", "num_generations: 4\neval_steps: 2")
        let sampled =
            "eval_guard=[{prompts: held.jsonl, name: sums, every: 1, limit: 4, reward_funcs: [exact_number]}, {texts: held.jsonl}]"
        #expect(try place.train(job, "output_dir=plain").status == 0)
        let outcome = try place.train(job, sampled, "output_dir=guarded")
        #expect(outcome.status == 0, "\(outcome.progress)")
        #expect(try place.bytes("plain/model.safetensors") == place.bytes("guarded/model.safetensors"))
        let rows = try place.metrics("guarded")
        let trained = rows.filter { $0["loss"] != nil }
        #expect(try trained == place.metrics("plain").filter { $0["loss"] != nil })
        // The evaluation and the texts every second step, the sums after each; all before the first.
        func steps(_ name: String) -> [Double] { rows.filter { $0[name] != nil }.compactMap { $0["step"] } }
        #expect(steps("eval_guard/sums/reward") == [0, 1, 2, 3, 4])
        #expect(steps("eval_guard/held/log_likelihood") == [0, 2, 4] && steps("eval_reward") == [0, 2, 4])
        #expect(steps("eval_guard/sums/worst") == [0, 1, 2, 3, 4] && steps("eval_guard/held/change") == [0, 2, 4])
        let reward = try #require(rows.first?["eval_guard/sums/reward"])
        #expect((0...1).contains(reward) && rows.first?["eval_guard/sums/rewards/exact_number/mean"] == reward)
        #expect(rows.first?["eval_guard/sums/first"] == nil)  // what is kept stands in a row behind it
    }

    /// The rows of an earlier start's step 0 are not those of the run that takes its place.
    @Test func aRunThatBeginsAnewShowsItsBeginningOnce() throws {
        let place = try Workplace()
        let job = try place.job("grpo", "num_generations: 4\neval_guard: [{texts: held.jsonl, every: 2}]\nmax_steps: 2")
        for _ in 0..<2 {
            let outcome = try place.train(job, "overwrite_output_dir=true")
            #expect(outcome.status == 0, "\(outcome.progress)")
            let guarded = try place.metrics("run").filter { $0["eval_guard/held/log_likelihood"] != nil }
            #expect(guarded.map { $0["step"] } == [0, 2])
        }
    }

    @Test func whatIsForgottenIsAnAlarm() throws {
        let (place, job) = try Self.forgetful("{texts: zebra.jsonl, every: 2, tolerance: 0.3}")
        let outcome = try place.train(job)
        #expect(outcome.status == 0, "\(outcome.progress)")
        #expect(outcome.progress.components(separatedBy: "eval_guard zebra has fallen by").count == 2)
        let rows = try place.metrics("run")
        let alarms = rows.filter { $0["alarms/eval_guard/zebra"] == 1 }
        #expect(!alarms.isEmpty && rows.contains { $0["step"] == 8 && $0["loss"] != nil })
        let found = rows.compactMap { $0["eval_guard/zebra/log_likelihood"] }
        #expect(found.count == 5 && found[0] > -0.5 && found[4] < found[0] - 0.3)
        let last = try #require(rows.last { $0["eval_guard/zebra/worst"] != nil })
        #expect(last["eval_guard/zebra/worst"] == found.min() && last["eval_guard/zebra/first"] == found[0])
        #expect(abs((last["eval_guard/zebra/change"] ?? .nan) - (found[4] - found[0])) < 1e-12)
        // The table of the run's end, and the record of what was said.
        let table = outcome.progress.split(separator: "\n").filter {
            $0.drop { $0 == " " }.hasPrefix("zebra ") && $0.contains("log_likelihood")
        }
        #expect(table.count == 1, "\(outcome.progress)")
        #expect(
            String(decoding: try place.bytes("run/notes.jsonl"), as: UTF8.self).contains("eval_guard zebra has fallen"))
    }

    @Test func aGuardThatStopsEndsTheRunAndItsSuccessors() throws {
        let (place, job) = try Self.forgetful("{texts: zebra.jsonl, every: 1, tolerance: 0.3, stop: true}")
        let outcome = try place.train(job)
        #expect(outcome.status == 0, "\(outcome.progress)")
        let step = Int(try #require(place.metrics("run").last?["step"]))
        #expect((1..<8).contains(step))
        #expect(outcome.progress.contains("ended at step \(step) of 8: eval_guard zebra has fallen by"))
        #expect(place.exists("run/checkpoint-\(step)/model.safetensors"))
        let model = try place.bytes("run/model.safetensors")
        #expect(try place.bytes("run/checkpoint-\(step)/model.safetensors") == model)

        // Resumed, it ends again where it is.
        let again = try place.train(job, "resume_from_checkpoint=true")
        #expect(again.status == 0 && again.progress.contains("ended at step \(step) of 8"), "\(again.progress)")
        #expect(try place.bytes("run/model.safetensors") == model)

        // With more patience it goes on, and is the run that nobody guards.
        let patient = try place.train(job, "resume_from_checkpoint=true", "eval_guard.0.tolerance=100")
        #expect(patient.status == 0 && !patient.progress.contains("ended at step"), "\(patient.progress)")
        let free = try place.train(job, "eval_guard=[]", "output_dir=free")
        #expect(free.status == 0, "\(free.progress)")
        #expect(try place.bytes("run/model.safetensors") == place.bytes("free/model.safetensors"))
    }
}
