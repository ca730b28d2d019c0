import Foundation
import JSON
import Runs
import Testing

@Suite("A signal, or a reader that goes away, ends a command at once with what it has done", .serialized)
struct SignalTests {
    /// A reward that writes down that it was called, and sleeps for a minute where the file `slow` says so.
    private static let reward = """
        import json, os, sys, time
        for line in sys.stdin:
            call = json.loads(line)
            open("called", "a").write("x")
            if os.path.exists("slow"):
                time.sleep(60)
            print(json.dumps({"id": call["id"], "scores": [len(c) % 7 for c in call["completions"]]}), flush=True)
        """

    private static let lines = """
        model_name_or_path: long
        reward_funcs: [{command: python3 reward.py}]
        num_generations: 4
        per_device_train_batch_size: 8
        max_completion_length: 200
        save_steps: 1
        max_steps: 1000
        """

    private enum Way: CaseIterable { case interrupt, twoInterrupts, terminate, hangUp, closedPipe }

    private func workplace() throws -> Workplace {
        let place = try Workplace()
        try place.makeModel("long", contextLength: 256, hiddenSize: 64)
        try place.write("reward.py", Self.reward)
        return place
    }

    /// While completions are sampled, scored or learned from, wherever it is met; the second try meets a reward that
    /// sleeps.
    @Test(arguments: [false, true]) func aRunSavesAndEnds(_ isScoring: Bool) throws {
        let place = try workplace()
        let job = try place.job("grpo", Self.lines)
        for way in Way.allCases {
            let run = "run-\(way)"
            if !isScoring { try? place.remove("slow") }  // not there at first
            let running = try PipedRun(["train", job, "output_dir=\(run)"], in: place.folder)
            try #require(running.waits { place.exists("\(run)/checkpoint-1/manifest.json") }, "\(running.text)")
            if isScoring {
                try place.write("slow", "")
                try? place.remove("called")  // called before
                try #require(running.waits { place.exists("called") }, "\(running.text)")
            }
            let start = ContinuousClock.now
            end(running, way)
            let status = running.wait()
            let seconds = (ContinuousClock.now - start) / .seconds(1)
            #expect(status == 75, "\(way): \(running.text)")
            #expect(seconds < 10, "\(way) took \(seconds) s")  // 2 s on a quiet machine
            let found = try CheckpointFolder.latest(in: place.folder.appending(path: run))
            let newest = try #require(found.newest)
            #expect(found.passedOver.isEmpty)
            let steps = try place.metrics(run).compactMap { $0["step"] }
            #expect(Double(newest.step) == steps.last, "\(way): no finished step is lost")
            if way != .closedPipe {
                #expect(running.text.contains("checkpoint-\(newest.step) is saved"), "\(way): \(running.text)")
            }
            try? place.remove("slow")
        }
    }

    /// The run's folder has another run's checkpoint of the step that it goes on from; the first step is stopped.
    @Test func aStopBehindACheckpointOfAnotherFolderSavesThatOne() throws {
        let place = try workplace()
        let lines = Self.lines.replacing("max_completion_length: 200", with: "max_completion_length: 16")
        let job = try place.job("grpo", lines)
        for (run, seed) in [("first", 1), ("second", 2)] {
            let outcome = try place.train(job, "output_dir=\(run)", "seed=\(seed)", "max_steps=1")
            try #require(outcome.status == 0, "\(outcome.progress)")
        }
        let weights = "checkpoint-1/model.safetensors"
        let second = try place.bytes("second/\(weights)")
        try #require(try place.bytes("first/\(weights)") != second)
        try place.write("slow", "")
        try place.remove("called")
        let running = try PipedRun(
            [
                "train", job, "output_dir=first", "seed=2", "resume_from_checkpoint=second/checkpoint-1",
                "overwrite_output_dir=true",
            ],
            in: place.folder)
        try #require(running.waits { place.exists("called") }, "\(running.text)")
        end(running, .terminate)
        #expect(running.wait() == 75, "\(running.text)")
        #expect(running.text.contains("checkpoint-1 is saved"), "\(running.text)")
        #expect(try place.bytes("first/\(weights)") == second)
    }

    private func end(_ running: PipedRun, _ way: Way) {
        switch way {
        case .interrupt: kill(running.process.processIdentifier, SIGINT)
        case .twoInterrupts:
            kill(running.process.processIdentifier, SIGINT)
            usleep(20_000)
            kill(running.process.processIdentifier, SIGINT)
        case .terminate: kill(running.process.processIdentifier, SIGTERM)
        case .hangUp: kill(running.process.processIdentifier, SIGHUP)
        case .closedPipe: running.closePipe()
        }
    }

    /// Nothing is done yet while prompts are read: there is nothing to save, and no folder is left.
    @Test func aStartEndsToo() throws {
        let place = try workplace()
        let row = #"{"prompt": "1+1=", "answer": "2"}"# + "\n"
        try place.write("many.jsonl", String(repeating: row, count: 400_000))
        let job = try place.job("grpo", Self.lines + "\ndataset_name: many.jsonl")
        for way in [Way.interrupt, .hangUp, .closedPipe] {
            let running = try PipedRun(["train", job], in: place.folder)
            usleep(1_500_000)  // signals before the program has begun end it as they do any
            let start = ContinuousClock.now
            end(running, way)
            #expect(running.wait() == 75, "\(way): \(running.text)")
            #expect(ContinuousClock.now - start < .seconds(10), "\(way)")
            #expect(!place.exists("run/checkpoint-0"))
        }
    }

    /// `nohup` means it.
    @Test func aHangUpThatIsIgnoredStaysSo() throws {
        let place = try workplace()
        let lines = Self.lines.replacing("max_completion_length: 200", with: "max_completion_length: 4")
        let job = try place.job("grpo", lines)
        signal(SIGHUP, SIG_IGN)
        let running = try PipedRun(["train", job], in: place.folder)
        signal(SIGHUP, SIG_DFL)
        try #require(running.waits { place.exists("run/metrics.jsonl") }, "\(running.text)")
        kill(running.process.processIdentifier, SIGHUP)
        usleep(300_000)
        #expect(running.process.isRunning)
        kill(running.process.processIdentifier, SIGTERM)
        #expect(running.wait() == 75, "\(running.text)")
    }

    /// What was scored by then is reported, said to be partial, and in the files.
    @Test func anEvaluationKeepsWhatIsDone() throws {
        let place = try workplace()
        let rows = (0..<4000).map { #"{"prompt": "\#($0)+1=", "answer": "\#($0 + 1)"}"# + "\n" }.joined()
        try place.write("many.jsonl", rows)
        let running = try Command.start(
            [
                "eval", "--model", "long", "--prompts", "many.jsonl", "--rewards", "{command: python3 reward.py}",
                "--max-completion-length", "40", "--output", "result.json", "--completions", "rows.jsonl", "--json",
            ], in: place.folder)
        for _ in 0..<60_000 where running.process.isRunning {
            if let calls = try? place.bytes("called"), calls.count > 20 { break }
            usleep(1_000)
        }
        kill(running.process.processIdentifier, SIGINT)
        let outcome = try running.wait()
        #expect(outcome.status == 75, "\(outcome.progress)")
        let printed = try JSONValue(parsing: Array(outcome.output.utf8))
        #expect(printed == (try JSONValue(parsing: Array(place.bytes("result.json")))))
        #expect(printed["partial"]?.text?.contains("of 4000 prompts of many.jsonl") == true)
        let count = try #require(printed["results"]?.elements?.first?["n"]?.integer)
        #expect(count > 0 && count < 4000)
        let kept = try String(decoding: place.bytes("rows.jsonl"), as: UTF8.self).split(separator: "\n")
        #expect(kept.count == count)
        #expect(try kept.enumerated().allSatisfy { try JSONValue(parsing: Array($1.utf8))["row"]?.integer == $0 })
    }

    @Test(.enabled(if: FileManager.default.fileExists(atPath: "/dev/full"), "no /dev/full on this system"))
    func resultsThatCannotBeWrittenAreAnError() throws {
        let full = try FileHandle(forWritingTo: URL(filePath: "/dev/full"))
        for arguments in [["explain", "seed"], ["explain"], ["reward", "list", "--json"], ["env"]] {
            let process = Process()
            process.executableURL = Command.executable
            process.arguments = arguments
            process.standardOutput = full
            process.standardError = FileHandle.nullDevice
            try process.run()
            process.waitUntilExit()
            #expect(process.terminationStatus == 65, "\(arguments)")
        }
    }

    @Test(.enabled(if: FileManager.default.fileExists(atPath: "/dev/full"), "no /dev/full on this system"))
    func anEvaluationThatCannotBeWrittenIsStillPrinted() throws {
        let place = try Workplace()
        let outcome = try Command.run(
            [
                "eval", "--model", "model", "--prompts", "held.jsonl", "--rewards", "exact_number",
                "--max-completion-length", "4", "--output", "/dev/full",
            ], in: place.folder)
        #expect(outcome.status == 65 && outcome.output.contains("policy: model"), "\(outcome.output)")
        let expected = "cannot write the result to /dev/full: No space left on device; make room, or"
        #expect(outcome.progress.contains(expected), "\(outcome.progress)")
    }

    /// A prompt that clears the screen, in a table, in an error and in a completion's place.
    @Test func foreignTextsDoNotReachTheTerminalAsTheyAre() throws {
        let place = try Workplace()
        try place.write("rows.jsonl", #"{"prompt": "a\u001b[2J", "answer": "1"}"# + "\n")
        let shown = try Command.succeed(["data", "check", "rows.jsonl"], in: place.folder)
        #expect(!shown.output.contains("\u{1B}") && shown.output.contains("\\u{1B}[2J"), "\(shown.output)")
        try place.write("rows.jsonl", #"{"promt": "a", "\u001b[2J": "1"}"# + "\n")
        let refused = try place.train(try place.job("grpo"), "dataset_name=rows.jsonl")
        #expect(refused.status == 65 && !refused.progress.contains("\u{1B}"), "\(refused.progress)")
    }
}
