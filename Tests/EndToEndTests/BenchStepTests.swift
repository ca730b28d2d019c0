import Foundation
import JSON
import Tensors
import Testing

@TensorActor @Suite("bench step: what a first step of dpo leaves behind", .serialized)
struct BenchStepTests {
    private let place: Workplace
    private static let workload = [
        "--algorithm", "dpo", "--prompts", "3", "--completions", "2", "--prompt-tokens", "5", "--completion-tokens",
        "4",
        "--steps", "1", "--threads", "1", "--learning-rate", "0.1",
    ]

    init() throws { place = try Workplace() }

    private func weights(_ folder: String) throws -> [Float] {
        let file = try TensorFile(url: place.folder.appending(path: "\(folder)/model.safetensors"))
        return try file.names.sorted().flatMap { try file.tensor(named: $0).floats() }
    }

    private func step(epsilon: String, to folder: String) throws {
        try Command.succeed(
            ["bench", "step", "--json", "--model", "model", "--adam-epsilon", epsilon, "--save-first-step", folder]
                + Self.workload, in: place.folder)
    }

    /// −η·g/(|g| + ε): the gradient that follows from the step with ε = 1 gives the step with ε = 2.
    @Test func aLargeEpsilonMakesItAStepAlongTheGradient() throws {
        try step(epsilon: "1", to: "one")
        try step(epsilon: "2", to: "two")
        let (before, one, two) = (try weights("model"), try weights("one"), try weights("two"))
        try #require(before.count == one.count && one.count == two.count)
        var farthest = 0.0
        for index in before.indices {
            let (first, second) = (Double(one[index] - before[index]), Double(two[index] - before[index]))
            let gradient = -first / (0.1 - abs(first))
            #expect(abs(second + 0.1 * gradient / (abs(gradient) + 2)) < 1e-6)
            farthest = max(farthest, abs(first))
        }
        #expect(farthest > 1e-4)
        let refused = try Command.run(
            ["bench", "step", "--model", "model", "--adam-epsilon", "0"], in: place.folder)
        #expect(refused.status == 64 && refused.progress.contains("--adam-epsilon"))
    }

    private static let adapters = ["--lora-rank", "4"]

    /// Two steps: B moves with the first, in which A's gradient is 0 as B was; A with the second.
    @Test func theLastStepOfAdaptersIsLeftBehindToo() throws {
        try Command.succeed(
            ["bench", "step", "--json", "--model", "model", "--save-first-step", "first", "--save-last-step", "last"]
                + Self.adapters + Self.workload, in: place.folder)
        func tensors(_ folder: String, _ kind: String) throws -> [[Float]] {
            let file = try TensorFile(url: place.folder.appending(path: "\(folder)/adapter_model.safetensors"))
            return try file.names.sorted().filter { $0.contains(kind) }.map { try file.tensor(named: $0).floats() }
        }
        let (first, last) = (try tensors("first", "lora_B"), try tensors("last", "lora_B"))
        #expect(first.count == 14 && last.count == 14 && first != last)  // two blocks of seven projections
        #expect(first.allSatisfy { $0.contains { $0 != 0 } })
        #expect(try tensors("first", "lora_A") != tensors("last", "lora_A"))
    }

    private nonisolated static let python = ProcessInfo.processInfo.environment["PEERS_PYTHON"]

    /// The object that `trl_step.py` prints last.
    private func peer(_ arguments: [String]) throws -> JSONValue {
        let process = Process()
        let output = Pipe()
        process.executableURL = URL(filePath: Self.python ?? "")
        process.arguments = [Command.root.appending(path: "Tests/References/trl_step.py").path] + arguments
        process.currentDirectoryURL = place.folder
        process.standardOutput = output
        try process.run()
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        try #require(process.terminationStatus == 0)
        return try JSONValue(parsing: Array(try #require(text.split(separator: "\n").last).utf8))
    }

    private func expectEqual(_ object: JSONValue) {
        let (apart, moved) = (object["weight_difference"]?.double ?? 9, object["weight_move"]?.double ?? 0)
        #expect(apart <= 1e-6 && moved > 1e-4, "\(object)")
    }

    /// The script itself requires that each optimizer step had one rollout of its own.
    @Test(.enabled(if: python != nil, "PEERS_PYTHON names no Python with trl installed"))
    func passesOfTRLsAreOneStep() throws {
        let work = ["--prompts", "2", "--completions", "2", "--prompt-tokens", "5", "--completion-tokens", "4"]
        let object = try peer(["model", "--steps", "1", "--threads", "1", "--passes-of", "2"] + work)
        #expect(object["passes_of"]?.int == 2)
        let seconds = try ["p10", "median", "p90"].map { try #require(object["step_s"]?[$0]?.double) }
        #expect(seconds[0] > 0 && seconds[0] <= seconds[1] && seconds[1] <= seconds[2])
    }

    /// The same pairs, the same first step.
    @Test(.enabled(if: python != nil, "PEERS_PYTHON names no Python with trl installed"))
    func theWeightsAreTRLs() throws {
        try step(epsilon: "1", to: "after")
        expectEqual(try peer(["model"] + Self.workload + ["--adam-epsilon", "1", "--compare", "after"]))
    }

    /// The same pairs from the same adapter, whose A and B are random: the same adapter after three steps.
    @Test(.enabled(if: python != nil, "PEERS_PYTHON names no Python with trl and peft installed"))
    func theAdaptersAreTRLs() throws {
        let model = place.folder.appending(path: "model").path
        let work = Self.workload.map { $0 == "1" ? "2" : $0 } + ["--adam-epsilon", "1"]  // steps, and threads
        _ = try peer([model] + work + Self.adapters + ["--make-adapter", "start"])
        try Command.succeed(
            ["bench", "step", "--json", "--model", "start", "--save-last-step", "after"] + work + Self.adapters,
            in: place.folder)
        expectEqual(try peer(["start"] + work + ["--compare", "after", "--compared-step", "3"]))
    }
}
