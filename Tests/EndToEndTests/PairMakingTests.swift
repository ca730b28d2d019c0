import Foundation
import Testing

@Suite("Pairs: going on with a file that was begun", .serialized)
struct PairMakingTests {
    private let place: Workplace
    private static let partial = "made.jsonl.partial"
    private static let progress = "made.jsonl.progress.jsonl"

    /// The 36th row is no prompt: 32 prompts are asked, their pairs kept and noted, then the command fails.
    init() throws {
        place = try Workplace()
        var rows = String(decoding: try place.bytes("prompts.jsonl"), as: UTF8.self).split(separator: "\n")
        rows[35] = #"{"prompt": 7}"#
        try place.write("prompts.jsonl", rows.joined(separator: "\n"))
        let begun = try make("made.jsonl")
        try #require(begun.status == 65 && begun.progress.contains("line 36"), "\(begun.progress)")
        let pairs = try place.bytes(Self.partial)
        try #require(pairs.count > 100 && place.exists(Self.progress))
    }

    private func arguments(_ output: String) -> [String] {
        [
            "pairs", "make", "--model", "model", "--prompts", "prompts.jsonl", "--rewards", "completion_length",
            "--samples", "3", "--max-completion-length", "24", "--threads", "1", "--output", output,
        ] + "abcdefghijklmnop".flatMap { ["--stop", "\($0)"] }  // completions that are cut off make no pairs
    }

    private func make(_ output: String, _ more: String...) throws -> Command.Outcome {
        try Command.run(arguments(output) + more, in: place.folder)
    }

    /// What is said of a start that is refused and makes nothing.
    private func refusal() throws -> String {
        let outcome = try make("made.jsonl")
        #expect(outcome.status == 65 && !place.exists("made.jsonl"), "\(outcome.progress)")
        return outcome.progress
    }

    @Test func rowsThatAreLostAreNamed() throws {
        let rows = try place.bytes(Self.partial)
        try place.write(Self.partial, rows.prefix(100))
        let short = try refusal()
        #expect(short.contains("\(Self.partial): has 100 bytes, and \(Self.progress) notes \(rows.count)"), "\(short)")
        #expect(try place.bytes(Self.partial).count == 100)
        try place.remove(Self.partial)
        let missing = try refusal()
        #expect(missing.contains("\(Self.partial): is missing, and \(Self.progress) notes \(rows.count)"), "\(missing)")
    }

    @Test func aNoteThatNoStartCanHaveWrittenIsRefused() throws {
        let noted = String(decoding: try place.bytes(Self.progress), as: UTF8.self)
        let bytes = try place.bytes(Self.partial).count
        let cases = [
            (#""prompts":32,"settings""#, #""prompts":5000,"settings""#, "prompts is 5000, of 40 in all"),
            (#""prompts":32,"settings""#, #""prompts":-32,"settings""#, "prompts is -32"),
            (#""bytes":\#(bytes),"#, #""bytes":-1,"#, "bytes is -1"),
            (#""completions":96"#, #""completions":9223372036854775807"#, "a count of plain is 9223372036854775807"),
        ]
        for (written, edited, says) in cases {
            try #require(noted.contains(written), "\(noted)")
            try place.write(Self.progress, noted.replacing(written, with: edited))
            let said = try refusal()
            #expect(said.contains("\(Self.progress): \(says); this is no saved progress"), "\(said)")
        }
    }

    /// A row that was asked has another sign.
    @Test func otherPromptsOfTheSameSizeAreRefused() throws {
        let text = String(decoding: try place.bytes("prompts.jsonl"), as: UTF8.self)
        try place.write("prompts.jsonl", text.replacing(#""1+0=""#, with: #""1-0=""#))
        let said = try refusal()
        #expect(said.contains("the file was begun with another model, other prompts or other settings"), "\(said)")
    }

    /// Half a line is what a start that was killed leaves; it is passed over behind a note, and there alone.
    @Test func aProgressFileThatIsNoneIsNamed() throws {
        let noted = try place.bytes(Self.progress)
        try place.write(Self.progress, Data([0x80, 0x81, 0x0a]))
        let said = try refusal()
        #expect(said.contains("\(Self.progress), line 1: this is no saved progress"), "\(said)")
        try place.write(Self.progress, noted + noted.dropLast(9))
        let resumed = try refusal()
        #expect(resumed.contains("going on after 32 of 40 prompts") && resumed.contains("line 36"), "\(resumed)")
    }

    @Test func aSecondStartIsRefusedAndTheFirstOneIsUnharmed() throws {
        let first = try Command.start(arguments("first.jsonl") + ["--limit", "32"], in: place.folder)
        let process = first.process.processIdentifier
        for _ in 0..<24_000 where first.process.isRunning {
            if let holder = try? place.bytes(".first.jsonl.lock"), !holder.isEmpty { break }  // not there at first
            usleep(1_000)
        }
        kill(process, SIGSTOP)
        let second = try make("first.jsonl", "--limit", "32")
        #expect(second.status == 65)
        #expect(second.progress.contains("first.jsonl is in use by another run (process \(process))"))
        kill(process, SIGCONT)
        let outcome = try first.wait()
        #expect(outcome.status == 0, "\(outcome.progress)")
        #expect(try make("alone.jsonl", "--limit", "32").status == 0)
        #expect(try place.bytes("first.jsonl") == place.bytes("alone.jsonl"))
        #expect(!place.exists(".first.jsonl.lock"))
    }

    @Test func aFileOfTheUsersOwnIsLeftAlone() throws {
        try place.write("own.jsonl.partial", "mine")
        let refused = try make("own.jsonl")
        #expect(refused.status == 65)
        #expect(refused.progress.contains("own.jsonl.partial: the file exists"), "\(refused.progress)")
        #expect(try place.bytes("own.jsonl.partial") == Data("mine".utf8))
        #expect(!place.exists("own.jsonl.progress.jsonl") && !place.exists(".own.jsonl.lock"))
        let other = try make("other.jsonl", "--limit", "0")  // no prompt, no row
        #expect(other.status == 0, "\(other.progress)")
        #expect(try place.bytes("other.jsonl").isEmpty)
    }
}
