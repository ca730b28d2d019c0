import Foundation
import JSON
import Runs
import TestSupport
import Testing

@Suite("JSON Lines files")
struct JSONLinesTests {
    private let folder: TemporaryFolder
    init() throws { folder = try TemporaryFolder() }

    private func lines(_ text: String) throws -> [String] {
        let reader = try LineReader(folder.file("lines", text))
        var found: [String] = []
        while let line = try reader.next() {
            found.append("\(line.number)@\(line.byteOffset):\(String(decoding: line.bytes, as: UTF8.self))")
        }
        return found
    }

    /// 600,000 bytes: more than the reader's buffer and more than a pipe holds.
    /// Nobody writes to it: to open it the plain way would wait for ever.
    @Test func aPipeIsRefused() throws {
        let pipe = folder.url.appending(path: "pipe")
        try #require(mkfifo(pipe.path, 0o600) == 0)
        let error = #expect(throws: RunError.self) { try LineReader(pipe) }
        let message = error?.description ?? ""
        #expect(message.contains("not a regular file but a pipe; write what it gives to a file first"))
    }

    @Test func linesAreNumberedAndLocated() throws {
        #expect(try lines("") == [])
        #expect(try lines("a\nbc\n") == ["1@0:a", "2@2:bc"])
        #expect(try lines("a\r\n\r\nc") == ["1@0:a", "2@3:", "3@5:c"])
        #expect(try lines("\u{feff}a\nb") == ["1@3:a", "2@5:b"])
        #expect(try lines("\n\n") == ["1@0:", "2@1:"])
    }

    @Test func linesAcrossTheBufferStayWhole() throws {
        let rows = (0..<3000).map { String(repeating: Character(Unicode.Scalar(97 + UInt8($0 % 26))), count: $0 % 700) }
        let reader = try LineReader(folder.file("long", rows.joined(separator: "\n") + "\n"))
        var offset = 0
        for (index, row) in rows.enumerated() {
            let line = try #require(try reader.next())
            #expect(line.number == index + 1 && line.byteOffset == offset)
            #expect(line.bytes == Array(row.utf8))
            offset += row.utf8.count + 1
        }
        #expect(try reader.next() == nil)
    }

    @Test func aLineBeyondTheLimitIsRefused() throws {
        let url = try folder.file("huge", "{}\n" + String(repeating: "x", count: 1_000_001) + "\n")
        let reader = try LineReader(url, maximumLineBytes: 1_000_000)
        _ = try reader.next()
        #expect(throws: RunError.self) { try reader.next() }
    }

    @Test(arguments: [[0xff, 0xfe, 0x7b, 0x00], [0xfe, 0xff, 0x00, 0x7b], [0x1f, 0x8b, 0x08, 0x00]] as [[UInt8]])
    func otherEncodingsAreNamed(_ head: [UInt8]) throws {
        let url = try folder.file("head", head)
        #expect(throws: RunError.self) { try LineReader(url) }
    }

    @Test func aBadLineIsLocatedAndTheNextOneIsRead() throws {
        let url = try folder.file("rows.jsonl", "{\"a\": 1}\n\n  \n{\"a\": }\n{\"a\": 2}")
        let reader = try JSONLinesReader(url)
        #expect(try reader.next()?.value == .object(["a": 1]))
        #expect(
            throws: RunError.json(
                path: url.path, JSONError(line: 4, column: 7, message: "found \"}\" where a value should stand"))
        ) { try reader.next() }
        let last = try #require(try reader.next())
        #expect(last.line.number == 5 && last.value == .object(["a": 2]))
        #expect(try reader.next() == nil)
    }

    @Test func rowsAreInTheFileWhenAppendReturns() throws {
        let url = folder.url.appending(path: "out.jsonl")
        let writer = try JSONLinesWriter(appendingTo: url)
        try writer.append(.object(["loss": .number(.nan), "step": 1]))
        #expect(try text(of: url) == "{\"loss\": null, \"step\": 1}\n")
        try writer.append(encoding: ["b": 2, "a": 1])
        #expect(try text(of: url) == "{\"loss\": null, \"step\": 1}\n{\"a\":1,\"b\":2}\n")
    }

    @Test(arguments: ["{\"a\": 1}\n{\"b\"", "{\"a\": 1}\n"])
    func aTornLastLineIsRemovedBeforeAppending(_ left: String) throws {
        let url = try folder.file("torn.jsonl", left)
        try JSONLinesWriter(appendingTo: url).append(.object(["c": 3]))
        #expect(try text(of: url) == "{\"a\": 1}\n{\"c\": 3}\n")
    }

    @Test func rowsOfManyTasksNeverInterleave() async throws {
        let url = folder.url.appending(path: "many.jsonl")
        let writer = try JSONLinesWriter(appendingTo: url)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for task in 0..<8 {
                group.addTask {
                    for row in 0..<100 {
                        try writer.append(
                            .object([
                                "task": .number(task), "row": .number(row),
                                "pad": .string(String(repeating: "x", count: 500)),
                            ]))
                    }
                }
            }
            try await group.waitForAll()
        }
        let reader = try JSONLinesReader(url)
        var count = 0
        while try reader.next() != nil { count += 1 }
        #expect(count == 800)
    }

    @Test(.enabled(if: FileManager.default.fileExists(atPath: "/dev/full"), "no /dev/full on this system"))
    func aFullDiskIsAPlainError() throws {
        let full = URL(filePath: "/dev/full")
        let error = #expect(throws: RunError.self) { try JSONLinesWriter(appendingTo: full).append(.object([:])) }
        #expect(error?.isDiskFull == true)
        #expect(error?.description.contains("No space left on device; make room") == true)
    }

    @Test func mutatedFilesNeverCrash() throws {
        let seed = Array("{\"prompt\": \"1+1=\", \"answer\": 2}\r\n\n{\"prompt\": \"é\"}\n[1, 2]\n".utf8)
        let folder = try TemporaryFolder(inMemory: true)
        var random = TestRandom(seed: 5)
        var rows = 0
        for _ in 0..<mutationCount {
            let url = try folder.file("fuzz", random.mutated(seed))
            do {
                let reader = try JSONLinesReader(url, maximumLineBytes: 64)
                while try reader.next() != nil { rows += 1 }
            } catch {
                continue
            }
        }
        #expect(rows > 0)
    }
}
