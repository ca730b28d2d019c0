import Foundation
import JSON
import Testing

@Suite("What a step was at, and what lay in memory", .serialized)
struct TimelineTests {
    private func trace(_ place: Workplace) throws -> [JSONValue] {
        try JSONValue(parsing: Array(place.bytes("run/timeline.json")))["traceEvents"]?.elements ?? []
    }

    @Test func aRunWritesTheStepsThatWereAskedFor() throws {
        let place = try Workplace()
        let job = try place.job(
            "grpo",
            "num_generations: 4\nbeta: 0.1\ntimeline: 3\neval_steps: 2\nresidency: release_always"
        )
        let run = try place.train(job)
        #expect(run.status == 0, "\(run.progress)")
        let events = try trace(place)
        let spans = events.filter { $0["ph"]?.text == "X" }
        let lanes = Set(spans.compactMap { $0["cat"]?.text })
        #expect(
            lanes == [
                "sampling", "scoring by rewards", "scoring by models", "making a view", "training", "evaluating",
                "saving",
            ])
        #expect(Set(spans.compactMap { $0["args"]?["step"]?.double }) == [1, 2, 3])
        let training = spans.filter { $0["cat"]?.text == "training" }
        #expect(training.compactMap { $0["args"]?["version"]?.double } == [0, 1, 2])
        // A span ends before the next of its row begins.
        for row in Set(spans.compactMap { $0["tid"]?.double }) {
            let own = spans.filter { $0["tid"]?.double == row }.map { ($0["ts"]?.double ?? 0, $0["dur"]?.double ?? 0) }
                .sorted { $0.0 < $1.0 }
            for (first, second) in zip(own, own.dropFirst()) { #expect(first.0 + first.1 <= second.0 + 0.001) }
        }
        let memory = events.filter { $0["name"]?.text == "memory" }.compactMap { $0["args"] }
        func most(_ tag: String) -> Double { memory.compactMap { $0[tag]?.double }.max() ?? 0 }
        let weights = most("weights")
        #expect(weights > 0 && most("gradients") == weights && most("optimizer") == 2 * weights)
        #expect(most("reference") == weights && most("packed") > 0 && most("kv_cache") > 0)
        #expect(memory.allSatisfy { ($0["gradients"]?.double ?? 0) == 0 || ($0["kv_cache"]?.double ?? 0) == 0 })
        let rows = try String(decoding: place.bytes("run/metrics.jsonl"), as: UTF8.self).split(separator: "\n")
        for name in ["weights", "gradients", "optimizer", "view", "kv_cache", "reference", "rss"] {
            #expect(rows.contains { $0.contains("\"memory/\(name)_gb\"") }, "\(name)")
        }
        let page = try Command.succeed(["report", "run", "--html", "page.html"], in: place.folder)
        #expect(!page.output.isEmpty)
        #expect(try String(decoding: place.bytes("page.html"), as: UTF8.self).contains("phases and memory"))
        // A start that is resumed has a timeline of its own.
        let more = try place.train(job, "resume_from_checkpoint=true", "max_steps=6")
        #expect(more.status == 0, "\(more.progress)")
        #expect(Set(try trace(place).compactMap { $0["args"]?["step"]?.double }) == [5, 6])
        // Another run in its place, which writes none, does not leave that of the first behind.
        let other = try place.train(job, "overwrite_output_dir=true", "timeline=false", "max_steps=1")
        #expect(other.status == 0, "\(other.progress)")
        #expect(!place.exists("run/timeline.json"))
    }

    @Test func oneOfSeveralProcessesIsShownAndNamed() throws {
        let place = try Workplace()
        let job = try place.job("grpo", "num_generations: 4\ntimeline: 1\nmax_steps: 1")
        let run = try Command.run(["launch", "-n", "2", "train", job], in: place.folder)
        #expect(run.status == 0, "\(run.progress)")
        let events = try trace(place)
        #expect(Set(events.compactMap { $0["pid"]?.double }) == [0])
        #expect(
            events.filter { $0["name"]?.text == "process_name" }.compactMap { $0["args"]?["name"]?.text }
                == ["rank 0 of 2, the only one that is shown"])
    }

    @Test func residencyChangesNoNumber() throws {
        let place = try Workplace()
        var weights: [Data] = []
        var metrics: [[[String: Double]]] = []
        for residency in ["release", "release_always", "keep"] {
            let job = try place.job("ppo", "num_iterations: 2\nresidency: \(residency)\noutput_dir: \(residency)")
            let run = try place.train(job)
            #expect(run.status == 0, "\(run.progress)")
            weights.append(try place.bytes("\(residency)/model.safetensors"))
            metrics.append(try place.metrics(residency))
            #expect(!place.exists("\(residency)/timeline.json"))
        }
        #expect(weights[0] == weights[1] && weights[0] == weights[2])
        #expect(metrics[0] == metrics[1] && metrics[0] == metrics[2])
    }

    /// A reference is read over the pages of its file; where the elements stand a byte further they cannot be, and are
    /// copied.
    @Test func aMappedReferenceChangesNoNumber() throws {
        let place = try Workplace()
        let job = try place.job("grpo", "num_generations: 4\nbeta: 0.1")
        try FileManager.default.copyItem(
            at: place.folder.appending(path: "model"), to: place.folder.appending(path: "shifted"))
        var bytes = try place.bytes("model/model.safetensors")
        let length = bytes.prefix(8).enumerated().reduce(0) { $0 | Int($1.element) << (8 * $1.offset) }
        bytes.insert(0x20, at: 8 + length)
        bytes.replaceSubrange(0..<8, with: withUnsafeBytes(of: UInt64(length + 1).littleEndian) { Data($0) })
        try place.write("shifted/model.safetensors", bytes)
        let words = "(its file's own pages, while it scores)"
        for (model, isMapped) in [("model", true), ("shifted", false)] {
            let plan = try Command.run(["train", job, "model_name_or_path=\(model)", "--dry-run"], in: place.folder)
            #expect(plan.output.contains(words) == isMapped, "\(plan.output)\(plan.progress)")
            let run = try place.train(job, "model_name_or_path=\(model)", "output_dir=of_\(model)")
            #expect(run.status == 0, "\(run.progress)")
        }
        #expect(try place.metrics("of_model") == place.metrics("of_shifted"))
        #expect(try place.bytes("of_model/model.safetensors") == place.bytes("of_shifted/model.safetensors"))
        let kept = try Command.succeed(["train", job, "residency=keep", "--dry-run"], in: place.folder)
        #expect(!kept.output.contains(words) && kept.output.contains(", reference "))
        let moved = try Command.succeed(["train", job, "sync_ref_model=true", "--dry-run"], in: place.folder)
        #expect(!moved.output.contains(words))
    }

    /// On a machine with a GPU and a libtorch that has CUDA the run is one; elsewhere it is refused with what is missing.
    @Test func aDeviceIsUsedOrRefused() throws {
        let place = try Workplace()
        let run = try place.train(try place.job("grpo", "num_generations: 4\ndevice: cuda"))
        let sampled = try Command.run(
            ["generate", "--model", "model", "--prompt", "1+1=", "--device", "cuda"], in: place.folder)
        guard run.status != 0 else {
            #expect(sampled.status == 0, "\(sampled.progress)")
            return
        }
        for outcome in [run, sampled] {
            #expect(outcome.status == 65, "\(outcome.progress)")
            #expect(
                outcome.progress.contains("built without CUDA") || outcome.progress.contains("finds no GPU"),
                "\(outcome.progress)")
        }
    }
}
