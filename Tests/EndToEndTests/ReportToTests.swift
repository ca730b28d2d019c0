import Foundation
import JSON
import Testing

@Suite("A run's numbers go where report_to says", .serialized)
struct ReportToTests {
    /// A client that writes down how it is called, to a file beside the module.
    private static func client(_ name: String) -> String {
        """
        import json, os
        def note(*what):
            with open(os.path.join(os.path.dirname(__file__), "\(name).calls"), "a") as file:
                file.write(json.dumps(what) + "\\n")
        class Run:
            url = "http://there/run"
        def init(**members):
            print("printed by the client")
            config = members.pop("config")
            note("init", {key: members[key] for key in ("project", "name", "resume")}, config["learning_rate"])
            return Run()
        def define_metric(*names, **rest): pass
        def log(row, step=None): note("log", row.get("step", step), row.get("reward"), "grad_norm" in row)
        def finish(): note("finish")
        """
    }

    /// A workplace with both clients where Python looks first.
    private static func place() throws -> Workplace {
        let place = try Workplace()
        for name in ["wandb", "trackio"] { try place.write("\(name).py", client(name)) }
        return place
    }

    private func calls(_ tracker: String, _ place: Workplace) throws -> [String] {
        try String(contentsOf: place.folder.appending(path: "\(tracker).calls"), encoding: .utf8)
            .split(separator: "\n").map(String.init)
    }

    @Test(arguments: ["wandb", "trackio"])
    func aTrackersClientGetsEveryRowOnceAlsoOfAResumedRun(_ tracker: String) throws {
        let place = try Self.place()
        let job = try place.job("grpo", "num_generations: 4\nreport_to: \(tracker)\nrun_name: mine")
        let first = try place.train(job)
        #expect(first.status == 0, "\(first.progress)")
        // What a run leaves that was killed after its second step's checkpoint, with four rows sent.
        try place.remove("run/checkpoint-4")
        let second = try place.train(job, "resume_from_checkpoint=true")
        #expect(second.status == 0, "\(second.progress)")
        // Longer than before, and from the end: two rows more.
        let third = try place.train(job, "resume_from_checkpoint=true", "max_steps=6")
        #expect(third.status == 0, "\(third.progress)")
        let rewards = try place.metrics("run").map { $0["reward"] ?? .nan }
        var calls = try calls(tracker, place)
        let resumes = tracker == "wandb" ? ["allow", "allow"] : ["never", "allow"]
        let opening = { (resume: String) in
            "[\"init\", {\"project\": \"plumbline\", \"name\": \"mine\", \"resume\": \"\(resume)\"}, 0.001]"
        }
        #expect(calls.removeFirst() == opening(resumes[0]))
        func expectRows(_ steps: ClosedRange<Int>) {
            for step in steps {
                let call = calls.removeFirst()
                let value = call.split(separator: ", ").dropFirst(2).first.flatMap { Double($0) }
                #expect(call.hasPrefix("[\"log\", \(step), ") && call.hasSuffix("true]"), "\(call)")
                #expect(value == rewards[step - 1])
            }
        }
        expectRows(1...4)
        #expect(calls.removeFirst() == "[\"finish\"]")
        #expect(calls.prefix(2) == [opening(resumes[1]), "[\"finish\"]"])  // steps 3 and 4 again: sent before
        calls.removeFirst(2)
        #expect(calls.removeFirst() == opening(resumes[1]))
        expectRows(5...6)
        #expect(calls == ["[\"finish\"]"])
        #expect(
            try String(contentsOf: place.folder.appending(path: "run/tracker_logs/\(tracker).log"), encoding: .utf8)
                .contains("printed by the client"))
    }

    @Test func severalAtOnceAndTensorBoardsFileBesideThem() throws {
        let place = try Self.place()
        let job = try place.job("sft", "report_to: [wandb, tensorboard, trackio]")
        let result = try place.train(job)
        #expect(result.status == 0, "\(result.progress)")
        #expect(
            result.progress.contains("wandb: http://there/run") && result.progress.contains("tensorboard --logdir run"))
        #expect(try calls("wandb", place).count == 6 && calls("trackio", place).count == 6)
        let files = try FileManager.default.contentsOfDirectory(
            atPath: place.folder.appending(path: "run/tensorboard").path)
        #expect(files.count == 1 && files[0].hasPrefix("events.out.tfevents."))
        // Each number as its tag and float32; `entropy` of the last row for one.
        let bytes = try place.bytes("run/tensorboard/\(files[0])")
        let loss = try #require(place.metrics("run").last?["loss"])
        let value = withUnsafeBytes(of: Float(loss).bitPattern.littleEndian, Array.init)
        #expect(bytes.range(of: Data([0x0a, 4] + Array("loss".utf8) + [0x15] + value)) != nil)
    }

    @Test func aClientThatEndsEarlyIsSaidAndTheRunGoesOn() throws {
        let place = try Self.place()
        try place.write(
            "wandb.py", ReportToTests.client("wandb") + "\ndef log(row): raise OSError('no network')\n")
        let job = try place.job("sft", "report_to: wandb\nmax_steps: 400\nsave_steps: 1000")
        let result = try place.train(job)
        #expect(result.status == 0)
        #expect(result.progress.contains("wandb has ended early: OSError: no network (tracker_logs/wandb.log)"))
        #expect(try place.metrics("run").count == 400)
    }

    @Test func aMissingClientIsAnErrorUnlessAllAreAskedFor() throws {
        let work = try Workplace()
        try work.write("wandb.py", "raise ImportError('not here')")
        try work.write("trackio.py", "raise ImportError('not here')")
        let job = try work.job("sft")
        let named = try Command.run(["train", job, "report_to=wandb"], in: work.folder)
        #expect(named.status == 65)
        #expect(
            named.progress.contains(
                "report_to: python3 on the PATH has no wandb (not here); pip install wandb, or leave"))
        let all = try Command.run(
            ["train", job, "report_to=all", "overwrite_output_dir=true"], in: work.folder)
        #expect(all.status == 0, "\(all.progress)")
        #expect(work.exists("run/tensorboard") && !work.exists("run/wandb_run.json"))
    }

    @Test(arguments: [
        ("report_to=mlflow", "expected a list, each one of none, all, tensorboard, trackio, wandb"),
        ("report_to=[wandb, mlflow]", "report_to is a list of 2 with 'mlflow'; expected a list, each one of none"),
        ("report_to=[none, wandb]", "expected none or all alone"),
    ])
    func anotherWordIsRefused(_ override: String, _ message: String) throws {
        let work = try Workplace()
        let result = try work.train(work.job("sft"), override)
        #expect(result.status == 65 && result.progress.contains(message), "\(result.progress)")
    }
}
