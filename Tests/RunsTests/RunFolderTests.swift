import Foundation
import Runs
import Synchronization
import TestSupport
import Testing

/// Owns one number, as the smallest owner of state.
private final class Counter: Checkpointable {
    let stateName: String
    let value: Mutex<Int>

    init(_ name: String, _ value: Int) {
        stateName = name
        self.value = Mutex(value)
    }

    func save(to folder: URL) async throws {
        try Data("\(value.withLock { $0 })".utf8).write(to: folder.appending(path: "value"))
    }

    func restore(from folder: URL) async throws {
        let saved = try text(of: folder.appending(path: "value"))
        value.withLock { $0 = Int(saved) ?? -1 }
    }
}

@Suite("Run folders")
struct RunFolderTests {
    private let folder: TemporaryFolder
    private let url: URL

    init() throws {
        folder = try TemporaryFolder()
        url = folder.url.appending(path: "runs").appending(path: "first")
    }

    @Test func theLayoutIsAsDocumented() async throws {
        let run = try RunFolder(url)
        #expect(try !run.holdsEarlierRun())
        try run.writeConfiguration("algorithm: grpo\n")
        try run.appendMetrics(step: 1, time: Date(timeIntervalSince1970: 12.25), [("reward", 0.5), ("kl", .nan)])
        try run.writeCompletions(step: 10, [.object(["step": 10, "prompt": "1+1=", "completion": "2"])])
        _ = try await run.saveCheckpoint(step: 10, states: [Counter("optimizer", 4)])
        #expect(try text(of: url.appending(path: "config.yaml")) == "algorithm: grpo\n")
        #expect(
            try text(of: url.appending(path: "metrics.jsonl"))
                == "{\"step\": 1, \"time\": 12.25, \"reward\": 0.5, \"kl\": null}\n")
        #expect(
            try text(of: url.appending(path: "completions/completions_00010.jsonl"))
                == "{\"step\": 10, \"prompt\": \"1+1=\", \"completion\": \"2\"}\n")
        #expect(try text(of: url.appending(path: "checkpoint-10/plumbline_state/optimizer/value")) == "4")
        #expect(try run.holdsEarlierRun())
        #expect(run.completionsFile(step: 123_456).lastPathComponent == "completions_123456.jsonl")
    }

    /// The third row is beyond the step that the folder goes back to.
    @Test func aWarningIsNotedByItsNameAndGoesWithItsStep() throws {
        let run = try RunFolder(url)
        #expect(try run.notedWarnings().isEmpty)
        try run.appendNote(step: 1, "ends are cut off", warning: "clipped")
        try run.appendNote(step: 2, "a weight moved")
        try run.appendNote(step: 3, "nothing is taught", warning: "dead")
        let file = url.appending(path: "notes.jsonl")
        #expect(
            try text(of: file).hasPrefix(
                "{\"step\": 1, \"note\": \"ends are cut off\", \"warning\": \"clipped\"}\n"
                    + "{\"step\": 2, \"note\": \"a weight moved\"}\n"))
        #expect(try run.notedWarnings() == ["clipped", "dead"])
        try run.rewind(to: 2)
        #expect(try run.notedWarnings() == ["clipped"])
        try run.rewind(to: -1)
        #expect(try run.notedWarnings().isEmpty)
    }

    @Test func aSecondRunInTheSameFolderIsRefused() throws {
        var first: RunFolder? = try RunFolder(url)
        let error = #expect(throws: RunError.self) { try RunFolder(url) }
        #expect(error == .locked(path: url.path, process: Int(ProcessInfo.processInfo.processIdentifier)))
        #expect(first != nil)
        first = nil
        _ = try RunFolder(url)
    }

    @Test(.enabled(if: FileManager.default.isExecutableFile(atPath: "/usr/bin/flock"), "no flock command here"))
    func anotherProcessSeesTheLock() throws {
        func otherProcessCanLock() throws -> Bool {
            let process = Process()
            process.executableURL = URL(filePath: "/usr/bin/flock")
            process.arguments = ["-n", url.appending(path: ".lock").path, "true"]
            try process.run()
            process.waitUntilExit()
            return process.terminationStatus == 0
        }
        let run = try RunFolder(url)
        #expect(try !otherProcessCanLock())
        withExtendedLifetime(run) {}
    }

    @Test func stateComesBackFromItsCheckpoint() async throws {
        let run = try RunFolder(url)
        let owners = [Counter("optimizer", 7), Counter("prompt_cursor", 40)]
        let checkpoint = try await run.saveCheckpoint(step: 3, states: owners)
        let fresh = [Counter("optimizer", 0), Counter("prompt_cursor", 0)]
        try await run.restore(fresh, from: checkpoint)
        #expect(fresh.map { $0.value.withLock { $0 } } == [7, 40])
        let stranger = Counter("multipliers", 5)
        await #expect(throws: RunError.self) { try await run.restore(fresh + [stranger], from: checkpoint) }
        await #expect(throws: RunError.self) { try await run.saveCheckpoint(step: 4, states: [owners[0], owners[0]]) }
        await #expect(throws: RunError.self) { try await run.saveCheckpoint(step: 4, states: [Counter("../up", 1)]) }
        try Data("8".utf8).write(to: checkpoint.stateFolder("optimizer").appending(path: "value"))
        await #expect(throws: RunError.self) { try await run.restore(fresh, from: checkpoint) }
    }

    @Test func leftoversOfAKilledSaveAreTidiedAtTheNextStart() async throws {
        _ = try await RunFolder(url).saveCheckpoint(step: 2, states: [Counter("a", 1)])
        let manager = FileManager.default
        try manager.createDirectory(
            at: url.appending(path: ".checkpoint-4.partial-77/x"), withIntermediateDirectories: true)
        try manager.moveItem(
            at: url.appending(path: "checkpoint-2"), to: url.appending(path: ".checkpoint-2.replaced-77"))
        try Data().write(to: url.appending(path: ".hidden-9"))
        let run = try RunFolder(url)
        #expect(run.tidiedLeftovers == [".checkpoint-2.replaced-77", ".checkpoint-4.partial-77"])
        #expect(try CheckpointFolder.latest(in: url).newest?.step == 2)
        #expect(try manager.contentsOfDirectory(atPath: url.path).sorted() == [".hidden-9", ".lock", "checkpoint-2"])
    }

    @Test func pruningKeepsTheNewestCompleteAndTheBest() async throws {
        let run = try RunFolder(url)
        for step in [2, 4, 6, 8, 10] { _ = try await run.saveCheckpoint(step: step, states: [Counter("a", step)]) }
        try FileManager.default.removeItem(at: url.appending(path: "checkpoint-10/manifest.json"))
        #expect(try run.prune(keeping: 2, best: 2) == [4, 6])
        #expect(try CheckpointFolder.all(in: url).map(\.step) == [10, 8, 2])
        #expect(try run.prune(keeping: 1, best: 2) == [])
        #expect(try run.prune(keeping: 0) == [2])
        #expect(try CheckpointFolder.all(in: url).map(\.step) == [10, 8])
    }

    @Test func rewindingDropsWhatWasWrittenBeyondTheStep() async throws {
        let run = try RunFolder(url)
        for step in 1...4 {
            try run.appendMetrics(step: step, [("reward", Double(step))])
            try run.writeCompletions(step: step, [.object(["step": .number(step)])])
        }
        for step in [2, 4] { _ = try await run.saveCheckpoint(step: step, states: [Counter("a", step)]) }
        let torn = try FileHandle(forWritingTo: run.metricsFile)
        try torn.seekToEnd()
        try torn.write(contentsOf: Data("{\"step\": 5, \"rew".utf8))
        try torn.close()
        let rewound = try run.rewind(to: 2)
        #expect(rewound.metricsRows == 3)
        #expect(rewound.completionSteps == [3, 4])
        #expect(rewound.supersededCheckpoints == ["checkpoint-4.superseded"])
        try run.appendMetrics(step: 3, [("reward", 9)])
        let reader = try JSONLinesReader(run.metricsFile)
        var steps: [Int?] = []
        while let row = try reader.next() { steps.append(row.value["step"]?.int) }
        #expect(steps == [1, 2, 3])
        #expect(try CheckpointFolder.latest(in: url).newest?.step == 2)
        #expect(try run.rewind(to: 2).metricsRows == 1)
        let again = try run.rewind(to: 2)
        #expect(again.metricsRows == 0 && again.completionSteps == [] && again.supersededCheckpoints == [])
        // What was set aside goes when its place is taken; a folder of another name does not.
        let other = url.appending(path: "notes.superseded")
        try FileManager.default.createDirectory(at: other, withIntermediateDirectories: true)
        #expect(FileManager.default.fileExists(atPath: url.appending(path: "checkpoint-4.superseded").path))
        try run.removeSuperseded()
        #expect(!FileManager.default.fileExists(atPath: url.appending(path: "checkpoint-4.superseded").path))
        #expect(FileManager.default.fileExists(atPath: other.path))
    }

    /// What a run that began elsewhere has at step 2 is not what this folder's earlier run had there.
    @Test func aCheckpointOfAnotherFolderSetsAsideTheOneOfItsStep() async throws {
        let run = try RunFolder(url)
        for step in [1, 2, 4] { _ = try await run.saveCheckpoint(step: step, states: [Counter("a", step)]) }
        let other = try await RunFolder(folder.url.appending(path: "other"))
            .saveCheckpoint(step: 2, states: [Counter("a", 7)])
        let link = folder.url.appending(path: "link")
        try FileManager.default.createSymbolicLink(at: link, withDestinationURL: url)
        let linked = try #require(CheckpointFolder(link.appending(path: "checkpoint-2")))
        #expect(run.holds(linked) && !run.holds(other))
        #expect(try run.rewind(to: 2, from: linked).supersededCheckpoints == ["checkpoint-4.superseded"])
        #expect(try run.rewind(to: 2, from: other).supersededCheckpoints == ["checkpoint-2.superseded"])
        #expect(try CheckpointFolder.all(in: url).map(\.step) == [1])
    }

    /// The copy is whole, takes the place of what has its name, and is no link to where it came from.
    @Test func aCheckpointOfAnotherFolderIsCopiedWithItsStates() async throws {
        let run = try RunFolder(url)
        _ = try await run.saveCheckpoint(step: 2, states: [Counter("a", 1)])
        let origin = folder.url.appending(path: "other")
        let other = try await RunFolder(origin).saveCheckpoint(
            step: 2, planHash: "5eed", states: [Counter("a", 7), Counter("b", 8)])
        try await run.adopt(other)
        try FileManager.default.removeItem(at: origin)
        let copy = try #require(CheckpointFolder(url.appending(path: "checkpoint-2")))
        try copy.verify()
        #expect(try CheckpointManifest(readingFrom: copy.url)?.planHash == "5eed")
        let fresh = [Counter("a", 0), Counter("b", 0)]
        try await run.restore(fresh, from: copy)
        #expect(fresh.map { $0.value.withLock { $0 } } == [7, 8])
        await #expect(throws: RunError.self) { try await run.adopt(other) }
        try copy.verify()
    }

    @Test func theFinalModelReplacesAnEarlierOneWhole() async throws {
        let run = try RunFolder(url)
        try run.writeConfiguration("algorithm: sft\n")
        func place(_ names: [String]) async throws {
            try await run.placeFinalModel(step: 8) { partial in
                for name in names { try Data(name.utf8).write(to: partial.appending(path: name)) }
            }
        }
        try await place(["config.json", "model-00001-of-00002.safetensors", "model.safetensors.index.json"])
        try await place(["config.json", "model.safetensors"])
        let names = try FileManager.default.contentsOfDirectory(atPath: url.path).sorted()
        #expect(names == [".lock", "config.json", "config.yaml", "manifest.json", "model.safetensors"])
    }

    @Test func ofAFinalModelThatIsRemovedNothingIsLeftAndNothingElseIsTouched() async throws {
        let run = try RunFolder(url)
        try run.writeConfiguration("algorithm: grpo\n")
        try await run.placeFinalModel(step: 8) { partial in
            for name in ["config.json", "model.safetensors"] {
                try Data(name.utf8).write(to: partial.appending(path: name))
            }
        }
        try Data("mine".utf8).write(to: url.appending(path: "tokenizer.json"))
        func names() throws -> [String] { try FileManager.default.contentsOfDirectory(atPath: url.path).sorted() }
        try run.removeFinalModel()
        #expect(try names() == [".lock", "config.yaml", "tokenizer.json"])
        // A manifest of something else names nothing of a run's.
        try Data(#"{"files": ["tokenizer.json"]}"#.utf8).write(to: url.appending(path: "manifest.json"))
        try run.removeFinalModel()
        #expect(try names() == [".lock", "config.yaml", "manifest.json", "tokenizer.json"])
    }

    /// The process is gone before one of the operations, each in turn, and the next one places the model: of the adapter
    /// that was there nothing is left, which would be read in the whole model's place.
    @Test func aFinalModelPlacedAgainAfterACrashLeavesNothingOfAnEarlierOne() async throws {
        let left = Mutex(Int.max)  // operations before the process is gone
        let run = try RunFolder(
            url,
            operations: .counting { _ throws(RunError) in
                let isGone = left.withLock { count in
                    count -= 1
                    return count < 0
                }
                if isGone { throw .system(action: "write", path: "disk", code: EIO) }
            })
        func place(_ names: [String], before crash: Int = .max) async throws {
            left.withLock { $0 = crash }
            try await run.placeFinalModel(step: 8) { partial in
                for name in names { try Data(name.utf8).write(to: partial.appending(path: name)) }
            }
        }
        let whole = ["config.json", "model.safetensors"]
        var (crash, isPlaced) = (0, false)
        while !isPlaced {
            try await place(["adapter_config.json", "adapter_model.safetensors"])
            do {
                try await place(whole, before: crash)
                isPlaced = true
            } catch is RunError {
                try await place(whole)
            }
            let names = try FileManager.default.contentsOfDirectory(atPath: url.path).sorted()
            #expect(names == [".lock", "config.json", "manifest.json", "model.safetensors"], "operation \(crash)")
            crash += 1
        }
        #expect(crash > 10)
    }

    @Test func aFullDiskLeavesTheLastCheckpointAndAPlainError() async throws {
        let isFull = Mutex(false)
        let full = FileOperations.counting { operation throws(RunError) in
            let fails = isFull.withLock { $0 } && operation != "remove"
            if fails { throw .system(action: "write", path: "model.safetensors", code: ENOSPC) }
        }
        let run = try RunFolder(url, operations: full)
        _ = try await run.saveCheckpoint(step: 1, states: [Counter("a", 1)])
        isFull.withLock { $0 = true }
        let error = await #expect(throws: RunError.self) {
            try await run.saveCheckpoint(step: 2, states: [Counter("a", 2)])
        }
        #expect(
            error?.description
                == "cannot write model.safetensors: No space left on device; make room or lower save_total_limit, "
                + "the last complete checkpoint is untouched")
        #expect(try CheckpointFolder.latest(in: url).newest?.step == 1)
        #expect(try FileManager.default.contentsOfDirectory(atPath: url.path).sorted() == [".lock", "checkpoint-1"])
    }

    @Test func aPlaceThatCannotHoldARunIsAPlainError() throws {
        let file = try folder.file("file", "x")
        #expect(throws: RunError.system(action: "make the folder", path: file.path, code: ENOTDIR)) {
            try RunFolder(file)
        }
        #expect(throws: RunError.self) { try RunFolder(file.appending(path: "run")) }
    }

    @Test(.disabled(if: getuid() == 0, "the superuser may write anywhere"))
    func aReadOnlyFolderIsAPlainError() throws {
        let closed = folder.url.appending(path: "closed")
        try FileManager.default.createDirectory(
            at: closed, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o555])
        let error = #expect(throws: RunError.self) { try RunFolder(closed.appending(path: "run")) }
        #expect(error?.description.contains("choose a folder this user may write to") == true)
    }
}
