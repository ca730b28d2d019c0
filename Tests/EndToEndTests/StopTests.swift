import Foundation
import JSON
import Runs
import Testing

@Suite("SIGTERM in any part of a step ends with a checkpoint that goes on to the bit", .serialized)
struct StopTests {
    /// A reward that waits while the file `hold` is there, so that a test decides how long scoring takes.
    private static let reward = """
        import json, os, sys, time
        for line in sys.stdin:
            call = json.loads(line)
            while os.path.exists("hold"):
                time.sleep(0.005)
            print(json.dumps({"id": call["id"], "scores": [len(c) % 7 for c in call["completions"]]}), flush=True)
        """

    /// Long completions and small micro-batches: generating, updating and evaluating take long enough to be met.
    private static let lines = """
        model_name_or_path: long
        reward_funcs: [{command: python3 reward.py}]
        num_generations: 4
        per_device_train_batch_size: 8
        max_completion_length: 200
        max_tokens_per_micro_batch: 32
        eval_steps: 2
        eval_limit: 8
        save_steps: 2
        """

    @Test func whicheverPartItIs() throws {
        let place = try Workplace()
        try place.makeModel("long", contextLength: 256, hiddenSize: 128)
        try place.write("reward.py", Self.reward)
        let job = try place.job("grpo", Self.lines)
        let whole = try place.train(job, "output_dir=whole")
        try #require(whole.status == 0, "\(whole.progress)")
        // The part, and the optimizer step that is saved: a part that is abandoned leaves no trace.
        for (part, step) in [
            ("1/4 generating", 1), ("1/4 scoring", 1), ("1/4 updating", 1), ("2/4 evaluating", 2), ("2/4 saving", 2),
        ] {
            let run = "run-\(part.split(separator: " ")[1])"
            let shown = try stopped(in: part, saving: step, place, job, run)
            #expect(shown.contains("checkpoint-\(step) is saved, resume with resume_from_checkpoint=true"), "\(shown)")
            let newest = try #require(try CheckpointFolder.latest(in: place.folder.appending(path: run)).newest)
            #expect(newest.step == step, "\(part)")
            let resumed = try place.train(job, "output_dir=\(run)", "resume_from_checkpoint=true")
            #expect(resumed.status == 0, "\(part): \(resumed.progress)")
            #expect(try place.bytes("\(run)/model.safetensors") == place.bytes("whole/model.safetensors"), "\(part)")
            #expect(try place.metrics(run) == place.metrics("whole"), "\(part)")
        }
    }

    /// Runs the job and asks it to stop when the status line shows `part`; once more when it had gone on, or was done
    /// with it, by then.
    private func stopped(
        in part: String, saving step: Int, _ place: Workplace, _ job: String, _ run: String
    ) throws -> String {
        for _ in 0..<4 {
            let running = try TerminalRun(
                ["train", job, "output_dir=\(run)", "overwrite_output_dir=true"], in: place.folder)
            let holds = part.hasSuffix("scoring")
            if holds {
                // A part before it is generated: that may be over before anybody has looked.
                try #require(running.shows("0/4 updating"), "\(running.text)")
                try place.write("hold", "")
            }
            try #require(running.shows(part), "\(running.text)")
            running.process.terminate()
            try #require(running.shows("stopping:"), "\(running.text)")
            if holds { try place.remove("hold") }
            #expect(running.wait() == 75, "\(running.text)")
            let before = running.text.prefix(upTo: try #require(running.text.firstRange(of: "stopping:")).lowerBound)
            let isIn = before.matches(of: #/\d/4 [a-z]+ /#).last.map { $0.output == "\(part) " } == true
            if isIn, running.text.contains("checkpoint-\(step) is saved") {
                return running.text
            }
        }
        throw NotMet(part: part)
    }

    private struct NotMet: Error { var part: String }
}
