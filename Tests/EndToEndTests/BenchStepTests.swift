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

    /// The same pairs, the same first step.
    @Test(
        .enabled(
            if: ProcessInfo.processInfo.environment["PEERS_PYTHON"] != nil,
            "PEERS_PYTHON names no Python with trl installed"))
    func theWeightsAreTRLs() throws {
        try step(epsilon: "1", to: "after")
        let process = Process()
        let output = Pipe()
        process.executableURL = URL(filePath: ProcessInfo.processInfo.environment["PEERS_PYTHON"] ?? "")
        process.arguments =
            [Command.root.appending(path: "Tests/References/trl_step.py").path, "model"] + Self.workload
            + ["--adam-epsilon", "1", "--compare", "after"]
        process.currentDirectoryURL = place.folder
        process.standardOutput = output
        try process.run()
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
        let last = try JSONValue(parsing: Array(try #require(text.split(separator: "\n").last).utf8))
        let (apart, moved) = (last["weight_difference"]?.double ?? 9, last["weight_move"]?.double ?? 0)
        #expect(apart <= 1e-6 && moved > 1e-4, "\(text)")
    }
}
