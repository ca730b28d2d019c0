import Foundation
import Runs
import TestSupport
import Testing

@Suite("TensorBoard event files")
struct EventFileTests {
    private let folder: TemporaryFolder
    private var events: URL { folder.url.appending(path: "tensorboard") }
    private var rows: URL { folder.url.appending(path: "metrics.jsonl") }

    init() throws { folder = try TemporaryFolder() }

    /// Written by the `tensorboard` package 2.21.0: `RecordWriter` over the three events of this test (wall_time 12.25
    /// with file_version "brain.Event:2"; 12.25 with session_log START; 13.5, step 300, reward 0.1 and rewards/a/mean
    /// −2).
    private static let written =
        "1800000000000000a37f4b220900000000008028401a0d627261696e2e4576656e743a322237b3610d000000000000003c37b834"
        + "0900000000008028403a0208016fe9710e34000000000000005e33175c090000000000002b4010ac022a260a0d0a067265776172"
        + "6415cdcccc3d0a150a0e726577617264732f612f6d65616e15000000c0f7365fff"

    private static func hexadecimal(_ file: URL) throws -> String {
        try Data(contentsOf: file).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    @Test func theBytesAreThoseOfTensorBoardsOwnWriter() throws {
        let file = try EventFile(in: events, repeating: rows, start: Date(timeIntervalSince1970: 12.25))
        try file.append(
            step: 300, time: Date(timeIntervalSince1970: 13.5), [("reward", 0.1), ("rewards/a/mean", -2)])
        #expect(try Self.hexadecimal(file.url) == Self.written)
    }

    @Test func aNewStartRepeatsTheRowsAndTakesTheOldFilesPlace() throws {
        let first = try EventFile(in: events, repeating: rows, start: Date(timeIntervalSince1970: 12.25))
        try first.append(step: 1, time: Date(timeIntervalSince1970: 99), [("reward", 7)])
        _ = try folder.file(
            "metrics.jsonl", #"{"step": 300, "time": 13.5, "reward": 0.1, "rewards/a/mean": -2}"# + "\n")
        let second = try EventFile(in: events, repeating: rows, start: Date(timeIntervalSince1970: 12.25))
        #expect(try FileManager.default.contentsOfDirectory(atPath: events.path) == [second.url.lastPathComponent])
        #expect(first.url.lastPathComponent < second.url.lastPathComponent)
        #expect(try Self.hexadecimal(second.url) == Self.written)
    }

    @Test func aRowThatIsNoObjectIsNamed() throws {
        _ = try folder.file("metrics.jsonl", "{\"step\": 1}\n[2]\n")
        let error = #expect(throws: RunError.self) { try EventFile(in: events, repeating: rows) }
        #expect(error?.description == "\(rows.path), line 2: expected an object")
    }

    @Test(
        .enabled(
            if: ProcessInfo.processInfo.environment["PEERS_PYTHON"] != nil,
            "PEERS_PYTHON names no Python with tensorboard"))
    func tensorBoardReadsBackEveryNumber() throws {
        _ = try folder.file(
            "metrics.jsonl",
            """
            {"step": 1, "time": 10.5, "reward": 0.1, "num_tokens": 4096, "kl": null}
            {"step": 2, "time": 11.5, "reward": -1e-12}
            {"step": 2, "time": 12.5, "eval_reward": 0.75}

            """)
        let file = try EventFile(in: events, repeating: rows)
        try file.append(step: 128, time: Date(timeIntervalSince1970: 1e9 + 0.25), [("réward/ünicode", 3e30)])
        let program = """
            import sys
            from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
            events = EventAccumulator(sys.argv[1])
            events.Reload()
            for tag in sorted(events.Tags()["scalars"]):
                for each in events.Scalars(tag):
                    print(tag, each.step, each.wall_time, repr(each.value))
            """
        let process = Process()
        process.executableURL = URL(filePath: ProcessInfo.processInfo.environment["PEERS_PYTHON"] ?? "")
        process.arguments = ["-c", program, events.path]
        let output = Pipe()
        process.standardOutput = output
        try process.run()
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        #expect(
            text == """
                eval_reward 2 12.5 0.75
                kl 1 10.5 nan
                num_tokens 1 10.5 4096.0
                reward 1 10.5 0.10000000149011612
                reward 2 11.5 -9.999999960041972e-13
                réward/ünicode 128 1000000000.25 2.999999894026671e+30

                """)
    }
}
