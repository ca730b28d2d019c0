import Foundation
import Runs
import TestSupport
import Testing

@Suite("A result goes to what its path means")
struct OutputTests {
    private let folder: TemporaryFolder
    private var url: URL { folder.url }

    init() throws { folder = try TemporaryFolder() }

    private func write(_ text: String, to name: String) throws {
        try FileOperations.system.writeOutput(Array(text.utf8), to: url.appending(path: name))
    }

    private func isLink(_ name: String) throws -> Bool {
        let attributes = try FileManager.default.attributesOfItem(atPath: url.appending(path: name).path)
        return attributes[.type] as? FileAttributeType == .typeSymbolicLink
    }

    @Test func aFileIsReplacedWholeWithItsPermissions() throws {
        try write("longer than the next", to: "a")
        #expect(chmod(url.appending(path: "a").path, 0o600) == 0)
        try write("short", to: "a")
        #expect(try text(of: url.appending(path: "a")) == "short")
        let mode = try FileManager.default.attributesOfItem(atPath: url.appending(path: "a").path)[.posixPermissions]
        #expect((mode as? NSNumber)?.intValue == 0o600)
        #expect(try FileManager.default.contentsOfDirectory(atPath: url.path) == ["a"])
    }

    /// Links stay links; also one that leads to a link, and one that leads to a file which is yet to come.
    @Test(arguments: ["file", "nothing"]) func linksAreFollowed(_ target: String) throws {
        try write("before", to: "file")
        let manager = FileManager.default
        try manager.createDirectory(at: url.appending(path: "sub"), withIntermediateDirectories: true)
        try manager.createSymbolicLink(
            atPath: url.appending(path: "sub/first").path, withDestinationPath: "../\(target)")
        try manager.createSymbolicLink(atPath: url.appending(path: "second").path, withDestinationPath: "sub/first")
        try write("after", to: "second")
        #expect(try text(of: url.appending(path: target)) == "after")
        #expect(try isLink("sub/first") && isLink("second"))
    }

    @Test func aRingOfLinksIsAnError() throws {
        let manager = FileManager.default
        try manager.createSymbolicLink(atPath: url.appending(path: "a").path, withDestinationPath: "b")
        try manager.createSymbolicLink(atPath: url.appending(path: "b").path, withDestinationPath: "a")
        #expect(throws: RunError.self) { try write("text", to: "a") }
    }

    @Test func aPipeIsWrittenThrough() async throws {
        let pipe = url.appending(path: "pipe")
        #expect(mkfifo(pipe.path, 0o600) == 0)
        let reader = open(pipe.path, O_RDONLY | O_NONBLOCK)
        defer { close(reader) }
        try write("through", to: "pipe")
        var buffer = [UInt8](repeating: 0, count: 64)
        let count = read(reader, &buffer, buffer.count)
        #expect(String(decoding: buffer[..<max(count, 0)], as: UTF8.self) == "through")
        let type = try FileManager.default.attributesOfItem(atPath: pipe.path)[.type] as? FileAttributeType
        #expect(type != .typeRegular)
    }

    @Test(.enabled(if: FileManager.default.fileExists(atPath: "/dev/full"), "no /dev/full on this system"))
    func aDeviceThatRefusesIsAnErrorAndStays() throws {
        let before = try FileManager.default.attributesOfItem(atPath: "/dev/full")[.type] as? FileAttributeType
        #expect(throws: RunError.system(action: "write the result to", path: "/dev/full", code: ENOSPC)) {
            try FileOperations.system.writeOutput(Array("x".utf8), to: URL(filePath: "/dev/full"))
        }
        #expect(try FileManager.default.attributesOfItem(atPath: "/dev/full")[.type] as? FileAttributeType == before)
        try FileOperations.system.writeOutput(Array("x".utf8), to: URL(filePath: "/dev/null"))
        #expect(
            try FileManager.default.attributesOfItem(atPath: "/dev/null")[.type] as? FileAttributeType
                == .typeCharacterSpecial)
    }

    /// Before the work whose result is to go there.
    @Test func aPlaceThatCannotBeWrittenIsRefused() throws {
        let system = FileOperations.system
        try write("before", to: "file")
        for name in ["file", "new"] { try system.requireWritable(url.appending(path: name)) }
        try system.requireWritable(URL(filePath: "/dev/null"))
        let missing = url.appending(path: "nothing")
        #expect(throws: RunError.system(action: "write into", path: missing.path, code: ENOENT)) {
            try system.requireWritable(missing.appending(path: "new"))
        }
        #expect(throws: RunError.system(action: "write", path: url.path, code: EISDIR)) {
            try system.requireWritable(url)
        }
        #expect(try folder.names() == ["file"])
    }

    /// A result has no checkpoint beside it.
    @Test func aFullDiskIsToldOfAsThatOfAResult() {
        let full = RunError.system(action: "write the result to", path: "result.json", code: ENOSPC).description
        #expect(full.contains("make room, or name a file on another disk") && !full.contains("save_total_limit"))
    }

    @Test func whatCannotBeReadIsNotToldToBeWritten() {
        let unreadable = RunError.system(action: "read", path: "rows.jsonl", code: EACCES).description
        #expect(unreadable.contains("may not read it") && !unreadable.contains("write"))
        #expect(RunError.system(action: "write", path: "x", code: EACCES).description.contains("may write to"))
    }
}
