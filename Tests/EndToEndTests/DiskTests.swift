import Foundation
import Runs
import Testing

/// A file system in memory, of a given size, mounted on a folder while the value lives.
final class MemoryDisk {
    let folder: URL

    init(_ folder: URL, kilobytes: Int) throws {
        self.folder = folder
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        try Self.mount("size=\(kilobytes)k", "-t", "tmpfs", "tmpfs", folder.path)
    }

    deinit { try? Self.run("/bin/umount", "-l", folder.path) }  // it goes with the machine at the latest

    func change(_ options: String) throws { try Self.mount("remount,\(options)", folder.path) }

    /// Whether this process may mount at all: root outside of most containers.
    static let isPossible: Bool = {
        let folder = FileManager.default.temporaryDirectory.appending(path: "plumbline-disk-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: folder) }  // as in deinit
        return (try? MemoryDisk(folder, kilobytes: 64)) != nil  // a refusal is the answer
    }()

    private static func mount(_ options: String, _ arguments: String...) throws {
        try run("/bin/mount", ["-o", options] + arguments)
    }

    private static func run(_ program: String, _ arguments: String...) throws { try run(program, arguments) }

    private static func run(_ program: String, _ arguments: [String]) throws {
        let outcome = try Command.Running(URL(filePath: program), arguments, in: URL(filePath: "/")).wait()
        guard outcome.status == 0 else { throw Refused(message: outcome.progress) }
    }

    private struct Refused: Error { var message: String }
}

@Suite("A disk that is full or read-only", .enabled(if: MemoryDisk.isPossible, "needs the right to mount tmpfs"))
struct DiskTests {
    @Test func aFullDiskIsNamedAndTheRunGoesOnOnceThereIsRoom() throws {
        let place = try Workplace()
        let job = try place.job("sft", "save_steps: 1\nmax_steps: 5")
        #expect(try place.train(job, "output_dir=whole").status == 0)
        // A checkpoint of this model takes 0.44 MB.
        let disk = try MemoryDisk(place.folder.appending(path: "run"), kilobytes: 1100)
        let full = try place.train(job)
        #expect(full.status == 65, "\(full.progress)")
        let message = try #require(full.progress.split(separator: "\n").last { $0.hasPrefix("plumbline: ") })
        #expect(message.contains(".checkpoint-3.partial-") && message.contains("No space left on device"), "\(message)")
        #expect(message.contains("make room") && message.contains("last complete checkpoint is untouched"))
        #expect(try CheckpointFolder.latest(in: disk.folder).newest?.step == 2)
        try disk.change("size=8m")
        let resumed = try place.train(job, "resume_from_checkpoint=true")
        #expect(resumed.status == 0, "\(resumed.progress)")
        #expect(try place.bytes("run/model.safetensors") == place.bytes("whole/model.safetensors"))
        #expect(try place.metrics("run") == place.metrics("whole"))
    }

    @Test func aReadOnlyFolderIsNamedBeforeAnythingRuns() throws {
        let place = try Workplace()
        let disk = try MemoryDisk(place.folder.appending(path: "run"), kilobytes: 1000)
        try disk.change("ro")
        for output in ["run", "run/below/it"] {
            let outcome = try place.train(try place.job("sft"), "output_dir=\(output)")
            #expect(outcome.status == 65)
            #expect(outcome.progress.contains("/run") && outcome.progress.contains("Read-only file system"))
            #expect(outcome.progress.contains("choose a folder this user may write to"), "\(outcome.progress)")
        }
    }
}

@Suite("A run folder that is in use")
struct LockTests {
    @Test func aSecondRunIsRefusedAndTheFirstOneIsUnharmed() throws {
        let place = try Workplace()
        try place.write("hold", "")
        try place.write(
            "reward.py",
            """
            import json, os, sys, time
            for line in sys.stdin:
                while os.path.exists("hold"):
                    time.sleep(0.005)
                print(json.dumps({"scores": [len(c) for c in json.loads(line)["completions"]]}), flush=True)
            """)
        let job = try place.job("grpo", "num_generations: 4\nreward_funcs: [{command: python3 reward.py}]")
        let first = try Command.start(["train", job], in: place.folder)
        for _ in 0..<120_000 where !place.exists("run/config.yaml") { usleep(1_000) }
        for arguments in [["resume_from_checkpoint=true"], ["overwrite_output_dir=true"], []] {
            let second = try Command.run(["train", job] + arguments, in: place.folder)
            #expect(second.status == 65)
            #expect(
                second.progress.contains("is in use by another run (process \(first.process.processIdentifier))"),
                "\(second.progress)")
        }
        try place.remove("hold")
        let outcome = try first.wait()
        #expect(outcome.status == 0, "\(outcome.progress)")
        #expect(try place.train(job, "output_dir=alone").status == 0)
        #expect(try place.bytes("run/model.safetensors") == place.bytes("alone/model.safetensors"))
    }
}
