import Foundation
import Testing

/// Something that is wrong with what a user brings, and what the command must say of it.
struct BadInput: Sendable, CustomTestStringConvertible {
    let what: String
    /// What goes after `plumbline`; by default the job is trained.
    var command = ["train", "job.yaml"]
    /// Added to the job from line 11 on.
    var lines = ""
    var overrides: [String] = []
    /// Pieces that standard error must hold: file, line or key, what was found, what would be right.
    let says: [String]
    var status: Int32 = 65
    /// Whether the run folder may be there afterwards, because the run had begun.
    var begins = false
    var prepare: @Sendable (Workplace) throws -> Void = { _ in }

    var testDescription: String { what }

    static let job = """
        algorithm: grpo
        model_name_or_path: model
        dataset_name: prompts.jsonl
        output_dir: out
        max_completion_length: 4
        per_device_train_batch_size: 16
        num_generations: 4
        max_steps: 1
        threads: 1
        reward_funcs: exact_number

        """
}

@Suite("Bad input is named with its place, what was found and what would be right")
struct BadInputTests {
    @Test(
        arguments: BadInput.jobs + BadInput.models + BadInput.prompts + BadInput.rewards + BadInput.outputs
            + BadInput.commands)
    func isNamed(_ input: BadInput) throws {
        let place = try Workplace()
        try place.write("job.yaml", BadInput.job + input.lines)
        try input.prepare(place)
        let outcome = try Command.run(input.command + input.overrides, in: place.folder)
        #expect(outcome.status == input.status, "\(outcome.progress)")
        for piece in input.says { #expect(outcome.progress.contains(piece), "'\(piece)' in: \(outcome.progress)") }
        #expect(outcome.output.isEmpty)
        if !input.begins { #expect(!place.exists("out"), "a start that failed left \(place.folder.path)/out") }
    }

    @Test func aByteOrderMarkAndWindowsLineEndsChangeNothing() throws {
        let place = try Workplace()
        func windows(_ text: String) -> String { "\u{feff}" + text.replacing("\n", with: "\r\n") }
        try place.write("job.yaml", BadInput.job)
        try place.write("windows.yaml", windows(BadInput.job))
        try place.write("windows.jsonl", windows(String(decoding: place.bytes("prompts.jsonl"), as: UTF8.self)))
        let plain = try place.train("job.yaml")
        #expect(plain.status == 0, "\(plain.progress)")
        let other = try place.train("windows.yaml", "dataset_name=windows.jsonl", "output_dir=other")
        #expect(other.status == 0, "\(other.progress)")
        #expect(try place.metrics("out") == place.metrics("other"))
    }

    /// The first start fails in its first step, after the run folder was made; the second, mended, takes the same
    /// folder.
    @Test func aFailedStartDoesNotStandInTheWayOfTheNext() throws {
        let place = try Workplace()
        try place.write("job.yaml", BadInput.job)
        try place.write("r.py", "def score(completions, **kwargs):\n    raise ValueError('boom')\n")
        let failed = try place.train("job.yaml", "reward_funcs=r.py:score")
        #expect(failed.status == 65 && place.exists("out/config.yaml"))
        try place.write("r.py", "def score(completions, **kwargs):\n    return [1.0 for c in completions]\n")
        let mended = try place.train("job.yaml", "reward_funcs=r.py:score")
        #expect(mended.status == 0, "\(mended.progress)")
        let third = try place.train("job.yaml")  // but a run that has steps is not written over
        #expect(third.status == 65 && third.progress.contains("resume_from_checkpoint=true goes on with it"))
    }

    @Test func aDamagedCheckpointIsPassedOverAndNamed() throws {
        let place = try Workplace()
        let job = try place.job("sft")
        #expect(try place.train(job).status == 0)
        let weights = try place.bytes("run/checkpoint-4/model.safetensors")
        try place.write("run/checkpoint-4/model.safetensors", weights.dropLast(1))
        let named = try place.train(job, "resume_from_checkpoint=run/checkpoint-4")
        #expect(named.status == 65)
        #expect(named.progress.contains("incomplete checkpoint: model.safetensors has \(weights.count - 1) bytes"))
        let resumed = try place.train(job, "resume_from_checkpoint=true")
        #expect(resumed.status == 0, "\(resumed.progress)")
        #expect(resumed.progress.contains("passed over: checkpoint-4 is incomplete: model.safetensors has"))
        #expect(try place.bytes("run/model.safetensors") == weights)  // from step 2 to the bit
    }
}
