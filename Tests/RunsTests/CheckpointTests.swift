import Foundation
import JSON
import Runs
import Synchronization
import TestSupport
import Testing

@Suite("Checkpoint folders")
struct CheckpointTests {
    private let folder: TemporaryFolder
    init() throws { folder = try TemporaryFolder() }

    /// Writes three files, one in a subfolder, through the operations, so that each can be made to fail.
    private func save(
        _ step: Int, _ operations: FileOperations = .system, content: String = "weights"
    ) async throws -> CheckpointFolder {
        try await CheckpointFolder.write(step: step, in: folder.url, operations: operations) { partial in
            try operations.writeFile(Array("{}".utf8), partial.appending(path: "config.json"))
            try operations.writeFile(Array("\(content) \(step)".utf8), partial.appending(path: "model.safetensors"))
            let state = partial.appending(path: "plumbline_state").appending(path: "optimizer")
            try operations.createFolder(state)
            try operations.writeFile([1, 2, 3], state.appending(path: "moments"))
        }
    }

    @Test func aSavedCheckpointIsCompleteAndAlone() async throws {
        let checkpoint = try await save(10)
        #expect(checkpoint.url.lastPathComponent == "checkpoint-10" && checkpoint.step == 10)
        try checkpoint.verify()
        #expect(try folder.names() == ["checkpoint-10"])
        let manifest = try JSONValue(parsing: text(of: checkpoint.url.appending(path: "manifest.json")))
        let paths = manifest["files"]?.elements?.compactMap { $0["path"]?.string }
        #expect(paths == ["config.json", "model.safetensors", "plumbline_state/optimizer/moments"])
        // hashlib.sha256(b"weights 10").hexdigest()
        #expect(
            manifest["files"]?.elements?[1]["sha256"]?.string
                == "6bcd9b86c50c7963c5fc82961152ebab3be3f972dc59b0e8ab7b3fc1330ae676")
        #expect(manifest["step"]?.int == 10)
    }

    @Test func aManifestHasThePlanOfItsRun() async throws {
        #expect(try CheckpointManifest(readingFrom: await save(1).url)?.planHash == nil)
        let planned = try await CheckpointFolder.write(step: 2, planHash: "abc", in: folder.url) { partial in
            try FileOperations.system.writeFile([1], partial.appending(path: "model.safetensors"))
        }
        #expect(try CheckpointManifest(readingFrom: planned.url)?.planHash == "abc")
        #expect(try planned.problems().isEmpty)
    }

    /// Step by step, either the step fails and the clean-up works (an error), or nothing works from there on (a crash).
    @Test(arguments: [false, true])
    func aSaveInterruptedAnywhereLeavesTheLastGoodOne(_ crashes: Bool) async throws {
        _ = try await save(5)
        let steps = Mutex(0)
        _ = try await save(6, .counting { _ in steps.withLock { $0 += 1 } })
        let total = steps.withLock { $0 }
        #expect(total > 15)
        try FileManager.default.removeItem(at: folder.url.appending(path: "checkpoint-6"))
        for failing in 0..<total {
            let done = Mutex(0)
            let operations = FileOperations.counting { _ throws(RunError) in
                let index = done.withLock { count in
                    count += 1
                    return count - 1
                }
                if index == failing || (crashes && index > failing) {
                    throw .system(action: "write", path: "disk", code: ENOSPC)
                }
            }
            let error = await #expect(throws: RunError.self) { try await save(6, operations) }
            #expect(error?.isDiskFull == true)
            try AtomicFolder.removeLeftovers(in: folder.url)
            let search = try CheckpointFolder.latest(in: folder.url)
            // The rename may have happened before the failing step: then the new one is complete.
            #expect(search.newest?.step == 5 || search.newest?.step == 6)
            #expect(search.passedOver.isEmpty)
            #expect(try folder.names().allSatisfy { $0.hasPrefix("checkpoint-") })
            try CheckpointFolder(folder.url.appending(path: "checkpoint-5"))?.verify()
            try FileOperations.system.remove(folder.url.appending(path: "checkpoint-6"))
        }
    }

    @Test(arguments: [false, true])
    func replacingTheSameStepNeverLosesBoth(_ crashes: Bool) async throws {
        _ = try await save(5, content: "old")
        let steps = Mutex(0)
        _ = try await save(5, .counting { _ in steps.withLock { $0 += 1 } }, content: "old")
        for failing in 0..<steps.withLock({ $0 }) {
            let done = Mutex(0)
            let operations = FileOperations.counting { _ throws(RunError) in
                let index = done.withLock { count in
                    count += 1
                    return count - 1
                }
                if index == failing || (crashes && index > failing) { throw .system(action: "x", path: "y", code: EIO) }
            }
            await #expect(throws: RunError.self) { try await save(5, operations, content: "new") }
            try AtomicFolder.removeLeftovers(in: folder.url)
            let newest = try #require(try CheckpointFolder.latest(in: folder.url).newest)
            try newest.verify()
            #expect(try folder.names() == ["checkpoint-5"])
            _ = try await save(5, content: "old")
        }
        _ = try await save(5, content: "new")
        #expect(try text(of: folder.url.appending(path: "checkpoint-5/model.safetensors")) == "new 5")
    }

    @Test func tamperingIsNamedFileByFile() async throws {
        let checkpoint = try await save(3)
        func file(_ name: String) -> URL { checkpoint.url.appending(path: name) }
        try Data("weightz 3".utf8).write(to: file("model.safetensors"))
        #expect(try checkpoint.problems() == [.altered(file: "model.safetensors")])
        #expect(try checkpoint.problems(.sizes) == [])
        try Data("weights".utf8).write(to: file("model.safetensors"))
        try FileManager.default.removeItem(at: file("config.json"))
        #expect(
            try checkpoint.problems() == [
                .missing(file: "config.json"), .wrongSize(file: "model.safetensors", expected: 9, found: 7),
            ])
        let error = #expect(throws: RunError.self) { try checkpoint.verify() }
        #expect(
            error?.description.contains("config.json is missing; model.safetensors has 7 bytes, 9 were written") == true
        )
    }

    @Test(arguments: [
        ("", "line 1, column 1"), ("{", "line 1, column 2"), ("[]", "format"),
        (#"{"format": "plumbline-checkpoint", "version": 2, "step": 3, "files": []}"#, "version 2"),
        (#"{"format": "plumbline-checkpoint", "version": 1, "step": -3, "files": []}"#, "step"),
        (#"{"format": "plumbline-checkpoint", "version": 1, "step": 4, "files": []}"#, "step 4"),
        (#"{"format": "plumbline-checkpoint", "version": 1, "step": 3, "files": 5}"#, "files is no array"),
        (
            #"{"format": "plumbline-checkpoint", "version": 1, "step": 3, "files": [{"path": "../secret", "bytes": 1, "sha256": "00"}]}"#,
            "leaves the folder"
        ),
        (
            #"{"format": "plumbline-checkpoint", "version": 1, "step": 3, "files": [{"path": "a", "bytes": -1, "sha256": "00"}]}"#,
            "lacks a size"
        ),
    ])
    func aBadManifestIsAProblemNotACrash(_ manifest: String, _ word: String) async throws {
        let checkpoint = try await save(3)
        try Data(manifest.utf8).write(to: checkpoint.url.appending(path: "manifest.json"))
        let problems = try checkpoint.problems()
        #expect(problems.count == 1)
        #expect(problems.first?.description.contains(word) == true, "\(problems)")
    }

    @Test func theNewestCompleteOneIsFoundAndOthersAreReported() async throws {
        for step in [2, 10, 9, 100] { _ = try await save(step) }
        try FileManager.default.removeItem(at: folder.url.appending(path: "checkpoint-100/manifest.json"))
        try FileManager.default.createDirectory(
            at: folder.url.appending(path: "checkpoint-final"), withIntermediateDirectories: true)
        let search = try CheckpointFolder.latest(in: folder.url)
        #expect(search.newest?.step == 10)
        #expect(search.passedOver.map(\.checkpoint.step) == [100])
        #expect(
            search.passedOver.first?.description.hasPrefix("checkpoint-100 is incomplete: no manifest.json") == true)
        #expect(CheckpointFolder(folder.url.appending(path: "checkpoint-010")) == nil)
        #expect(CheckpointFolder(folder.url.appending(path: "checkpoint--1")) == nil)
    }

    @Test func anEmptyCheckpointIsRefused() async throws {
        await #expect(throws: RunError.self) { try await CheckpointFolder.write(step: 1, in: folder.url) { _ in } }
        #expect(try folder.names() == [])
    }

    @Test func aLinkInACheckpointIsRefused() async throws {
        await #expect(throws: RunError.self) {
            try await CheckpointFolder.write(step: 1, in: folder.url) { partial in
                try FileManager.default.createSymbolicLink(
                    at: partial.appending(path: "model"), withDestinationURL: URL(filePath: "/etc/passwd"))
            }
        }
    }
}

extension FileOperations {
    /// The system's operations with `before` called first, which may throw instead.
    static func counting(_ before: @escaping @Sendable (String) throws(RunError) -> Void) -> FileOperations {
        let system = FileOperations.system
        return FileOperations(
            createFolder: { url throws(RunError) in
                try before("create")
                try system.createFolder(url)
            },
            writeFile: { bytes, url throws(RunError) in
                try before("write")
                try system.writeFile(bytes, url)
            },
            synchronize: { url throws(RunError) in
                try before("synchronize")
                try system.synchronize(url)
            },
            rename: { source, destination throws(RunError) in
                try before("rename")
                try system.rename(source, destination)
            },
            remove: { url throws(RunError) in
                try before("remove")
                try system.remove(url)
            })
    }
}
