import Foundation
import Job
import Placement
import Tensors
import Testing

private func job(_ lines: String, _ overrides: [String] = []) throws -> ResolvedJob {
    let text = """
        model_name_or_path: model
        dataset_name: prompts
        output_dir: runs/one
        reward_funcs: accuracy_reward
        """
    return try ResolvedJob(
        JobFile(text: text + "\n" + lines, name: "job.yaml", folder: URL(filePath: "/jobs"), overrides: overrides))
}

@Suite("residency, timeline and device in a job")
struct PlacementKeysTests {
    @Test func theirDefaultsAndWords() throws {
        let plain = try job("")
        #expect(plain.model.residency == .release && plain.model.device == .cpu && plain.run.timelineSteps == 0)
        #expect(plain["residency"] == "release" && plain["device"] == "cpu" && plain["timeline"] == "false")
        #expect(try job("residency: keep").model.residency == .keep)
        #expect(try job("timeline: true").run.timelineSteps == 20)
        #expect(try job("timeline: 3").run.timelineSteps == 3)
        #expect(try job("timeline: no").run.timelineSteps == 0)
    }

    /// In the run's folder unless another is named.
    @Test func momentsMayLieInAFile() throws {
        #expect(try job("").optimizerOffload.folder == nil)
        #expect(try job("offload_optimizer: true").optimizerOffload.folder?.relativePath == "runs/one")
        let named = try job("offload_optimizer: true\noffload_optimizer_path: /disk")
        #expect(named.optimizerOffload.folder?.path == "/disk")
        #expect(try job("offload_optimizer_path: /disk").notices.contains { $0.contains("offload_optimizer_path") })
    }

    @Test(arguments: [("cuda", Device.cuda(0)), ("cuda:3", .cuda(3)), ("cpu", .cpu)])
    func aDeviceReadsBackFromTheResolvedJob(_ word: String, _ device: Device) throws {
        let first = try job("device: \(word)")
        #expect(first.model.device == device)
        #expect(first.model.generationLayout == (device == .cpu ? .packed : .shared))
        let again = try ResolvedJob(
            JobFile(text: first.yaml, name: "config.yaml", folder: URL(filePath: "/jobs"), overrides: []))
        #expect(again.model.device == device && again.yaml == first.yaml)
        #expect(try job("", ["device=\(word)"]).model.device == device)
    }

    @Test(arguments: [
        ("device: gpu", "device is 'gpu'; expected cpu, cuda or cuda:N"), ("device: cuda:x", "expected cpu, cuda"),
        ("device: cuda:-1", "expected cpu, cuda"), ("device: cuda:128", "expected cpu, cuda"),
        ("device:", "device is empty; expected cpu, cuda or cuda:N"),
        ("device: cuda\ngeneration_layout: packed", "products of packed matrices are for the CPU"),
        ("device: cuda\ngeneration_layout: int8", "products of packed matrices are for the CPU"),
        ("timeline: 0", "expected true, false or a number of steps from 1 to 10000"),
        ("timeline: often", "expected true, false or a number of steps"),
        ("residency: offload", "release_always"), ("offload_optimizer: cpu", "offload_optimizer is 'cpu'"),
        ("offload_optimizer: true\ndevice: cuda", "offload_optimizer is true with device \"cuda:0\""),
    ])
    func whatIsWrongIsSaid(_ lines: String, _ words: String) throws {
        let error = #expect(throws: JobError.self) { try job(lines) }
        #expect("\(error as Any)".contains(words), "\(error as Any)")
    }
}
