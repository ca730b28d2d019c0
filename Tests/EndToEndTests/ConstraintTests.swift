import Foundation
import Testing

@Suite("Constraints in runs of the command", .serialized)
struct ConstraintTests {
    /// Completions of at most four tokens, to be held at two on average while the first reward grows.
    static let held = """
        reward_funcs: [{name: regular_expression, pattern: '[0-9a-zA-Z]'}, completion_length]
        constraints: [{reward: completion_length, limit: 2, kind: at_most}]
        """
    static let methods: [(algorithm: String, lines: String)] = [
        ("grpo", "num_generations: 4\nbeta: 0.05"), ("rloo", "num_generations: 4"), ("remax", "beta: 0.05"),
        ("reinforce", ""), ("reinforce_pp", "num_generations: 4\nbeta: 0.05"),
        ("ppo", "num_iterations: 2"), ("ppo", "critic_shares_trunk: true\nbeta: 0\nstream_normalization: none"),
        ("soft_grpo", "num_generations: 4\nsoft_thinking: {think_end: e}\nmax_completion_length: 6"),
    ]

    @Test(arguments: methods)
    func everyMethodWithAdvantagesTakesThem(_ example: (algorithm: String, lines: String)) throws {
        let place = try Workplace()
        let job = try place.job(example.algorithm, "\(Self.held)\n\(example.lines)\nmax_steps: 8")
        let outcome = try place.train(job)
        #expect(outcome.status == 0, "\(outcome.progress)")
        let rows = try place.metrics("run")
        for row in rows {
            let value = try #require(row["constraints/completion_length/value"])
            #expect(value == row["rewards/completion_length/mean"])
            #expect(row["constraints/completion_length/limit"] == 2)
            #expect(row["constraints/completion_length/violation"] == value - 2)
            let multiplier = try #require(row["constraints/completion_length/lambda"])
            // The length weighs −λ/(1 + λ), what is left of the task 1/(1 + λ).
            let weight = try #require(row["reward_weights/completion_length"])
            let task = try #require(row["reward_weights/regular_expression"])
            #expect(abs(weight + multiplier / (1 + multiplier)) < 1e-12 && abs(task - 1 / (1 + multiplier)) < 1e-12)
        }
        // λ ← [λ + 0.1·(J − 2)/2]₊, from one row to the next.
        for (row, next) in zip(rows, rows.dropFirst()) {
            let moved =
                (row["constraints/completion_length/lambda"] ?? 9) + 0.1
                * ((row["constraints/completion_length/value"] ?? 9) - 2) / 2
            guard row["step"] != next["step"] else { continue }
            #expect(abs(max(0, moved) - (next["constraints/completion_length/lambda"] ?? -1)) < 1e-9)
        }
    }

    @Test func aRunSaysWhyItsWeightsMoved() throws {
        let place = try Workplace()
        let job = try place.job("grpo", "\(Self.held)\nnum_generations: 4\nmultipliers: {learning_rate: 2}")
        #expect(try place.train(job).status == 0)
        let notes = String(decoding: try place.bytes("run/notes.jsonl"), as: UTF8.self)
        #expect(notes.contains("the multiplier of completion_length went from 0 to"), "\(notes)")
        #expect(notes.contains("its limit at most 2") && notes.hasPrefix("{\"step\":"))
    }

    @Test func aCheckpointOfAnotherJobIsRefusedByName() throws {
        let place = try Workplace()
        let job = try place.job("grpo", "\(Self.held)\nnum_generations: 4")
        #expect(try place.train(job).status == 0)
        let from = "resume_from_checkpoint=run/checkpoint-2"
        let renamed = try place.train(job, "output_dir=other", "constraints.0.name=length", from)
        #expect(renamed.status == 65)
        #expect(
            renamed.progress.contains("the checkpoint has multipliers of completion_length; the job constrains length"),
            "\(renamed.progress)")
        let none = try place.train(try place.job("grpo", "num_generations: 4"), "output_dir=third", from)
        #expect(none.status == 65)
        #expect(
            none.progress.contains("the checkpoint has the controllers constraints; the job has none"),
            "\(none.progress)")
        let plain = try place.job("grpo", "num_generations: 4\noutput_dir: plain")
        #expect(try place.train(plain).status == 0)
        let missing = try place.train(job, "output_dir=fourth", "resume_from_checkpoint=plain/checkpoint-2")
        #expect(
            missing.status == 65 && missing.progress.contains("no saved state \"controllers\""), "\(missing.progress)")
    }

    /// Weights by step: 1 at first, 0 from the fourth step on, on a line between.
    @Test func weightsFollowTheirSchedule() throws {
        let place = try Workplace()
        let job = try place.job(
            "grpo",
            "reward_funcs: [{name: regular_expression, pattern: '[0-9a-zA-Z]'}, completion_length]\nreward_weights: {completion_length: {0: 1, 4: 0}}\nnum_generations: 4\nmax_steps: 6"
        )
        #expect(try place.train(job).status == 0)
        let rows = try place.metrics("run")
        #expect(rows.map { $0["reward_weights/completion_length"] } == [1, 0.75, 0.5, 0.25, 0, 0])
        for row in rows {
            let sum =
                (row["rewards/regular_expression/mean"] ?? 9)
                + (row["reward_weights/completion_length"] ?? 9) * (row["rewards/completion_length/mean"] ?? 9)
            #expect(abs(sum - (row["reward"] ?? -1)) < 1e-9)
        }
    }
}
