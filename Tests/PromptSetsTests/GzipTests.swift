import Foundation
import JSON
import PromptSets
import Records
import Runs
import TestSupport
import Testing

@Suite("Files packed by gzip")
struct GzipTests {
    private let folder: TemporaryFolder
    init() throws { folder = try TemporaryFolder() }

    private func prompts(_ name: String, _ bytes: [UInt8]) throws -> [String] {
        let set = try PromptSet(folder.file(name, bytes))
        return try (0..<set.count).map { try set.prompt(at: $0).text }
    }

    /// `{"prompt": "a"}\n`, by Python 3.11's `gzip.compress(…, mtime=0)`: a block of fixed codes, and a stored one
    /// (level 0).
    private static let fixed: [UInt8] = [
        31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 171, 86, 42, 40, 202, 207, 45, 40, 81, 178, 82, 80,
        74, 84, 170, 229, 2, 0, 91, 19, 248, 42, 16, 0, 0, 0,
    ]
    private static let stored: [UInt8] = [
        31, 139, 8, 0, 0, 0, 0, 0, 4, 3, 1, 16, 0, 239, 255, 123, 34, 112, 114, 111, 109, 112,
        116, 34, 58, 32, 34, 97, 34, 125, 10, 91, 19, 248, 42, 16, 0, 0, 0,
    ]

    @Test func everyKindOfBlockAndEveryFormat() throws {
        #expect(try prompts("fixed.jsonl.gz", Self.fixed) == ["a"])
        #expect(try prompts("stored.jsonl.gz", Self.stored) == ["a"])
        #expect(try prompts("members.jsonl.gz", Self.fixed + Self.stored + [0, 0, 0]) == ["a", "a"])
        // A name in the header (flag 8), as the command writes it.
        var named = Self.fixed
        named[3] = 8
        named.insert(contentsOf: Array("x.jsonl".utf8) + [0], at: 10)
        #expect(try prompts("named", named) == ["a"])
        #expect(try PromptSet(folder.url.appending(path: "fixed.jsonl.gz")).name == "fixed")
    }

    @Test(arguments: [
        (13, 0xff, "the compressed data is damaged: invalid stored block lengths"),
        (30, 1, "the compressed data is damaged: incorrect data check"),
        (2, 7, "the compressed data is damaged: unknown compression method"),
        (3, 0xe0, "the compressed data is damaged: unknown header flags set"),
    ])
    func damageIsAnErrorThatNamesTheFile(_ position: Int, _ value: Int, _ message: String) throws {
        var bytes = Self.stored
        bytes[position] = UInt8(value)
        let error = #expect(throws: PromptSetError.self) { try PromptSet(folder.file("x.jsonl.gz", bytes)) }
        #expect(error?.description.contains("x.jsonl.gz: as a gzip file: ") == true)
        #expect(error?.description.hasSuffix(message) == true, "\(String(describing: error))")
    }

    @Test func aFileThatIsCutOffIsAnError() throws {
        for count in 2..<Self.fixed.count {
            let url = try folder.file("x.jsonl.gz", Array(Self.fixed.prefix(count)))
            let error = #expect(throws: PromptSetError.self) { try PromptSet(url) }
            #expect(error?.description.hasSuffix("the compressed data is cut off") == true, "\(count)")
        }
    }

    /// Python's zlib packs; windows slide (a mebibyte and more), and all levels choose other blocks.
    @Test(
        .enabled(
            if: FileManager.default.isExecutableFile(atPath: "/usr/bin/python3"), "no /usr/bin/python3 to pack with"),
        arguments: [0, 1, 6, 9])
    func whatPythonPacksComesOutAgain(_ level: Int) throws {
        let program = """
            import csv, gzip, io, json, random, sys
            random.seed(\(level))
            words = ["".join(random.choices("abcdefgh", k=random.randint(1, 30))) for _ in range(3000)]
            rows = [{"prompt": str(i) + " " + " ".join(random.choices(words, k=i % 40)), "n": i} for i in range(2500)]
            text = "".join(json.dumps(row) + "\\n" for row in rows).encode()
            open(sys.argv[1] + "/plain.jsonl", "wb").write(text)
            table = io.StringIO()
            csv.writer(table).writerows([["prompt", "n"]] + [[row["prompt"], row["n"]] for row in rows])
            for name, data in [("jsonl", text), ("csv", table.getvalue().encode()), ("json", json.dumps(rows).encode())]:
                open(sys.argv[1] + "/packed." + name + ".gz", "wb").write(gzip.compress(data, \(level)))
            """
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/python3")
        process.arguments = ["-c", program, folder.url.path]
        try process.run()
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
        let plain = try PromptSet(folder.url.appending(path: "plain.jsonl"))
        let packed = try PromptSet(folder.url.appending(path: "packed.jsonl.gz"))
        #expect(packed.count == 2500)
        for row in 0..<packed.count {
            let (left, right) = (try packed.prompt(at: row), try plain.prompt(at: row))
            #expect(left.content == right.content && left.columns == right.columns)
        }
        #expect(packed.place(of: 2499) == "line 2500")
        for ending in ["csv", "json"] {
            let other = try PromptSet(folder.url.appending(path: "packed.\(ending).gz"))
            #expect(other.count == 2500 && other.name == "packed")
            for row in 0..<other.count {
                let (left, right) = (try other.prompt(at: row), try plain.prompt(at: row))
                #expect(left.content == right.content && left.columns == right.columns)
            }
        }
    }

    @Test func mutatedFilesNeverCrash() throws {
        let parquet = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "parquet")
        let seeds = [Self.fixed, Self.stored, [UInt8](try Data(contentsOf: parquet.appending(path: "verl.jsonl.gz")))]
        let folder = try TemporaryFolder(inMemory: true)
        var random = TestRandom(seed: 5)
        var refused = 0
        for turn in 0..<mutationCount {
            let url = try folder.file("fuzz.jsonl.gz", random.mutated(seeds[turn % seeds.count]))
            do {
                _ = try PromptSet(url)
            } catch {
                #expect(error is PromptSetError || error is RunError, "\(error)")
                #expect("\(error)".contains("fuzz.jsonl.gz"))
                refused += 1
            }
        }
        // A change that stays unseen is one of the header's time, or none.
        #expect(refused > mutationCount * 3 / 4, "\(refused)")
    }

    @Test func theSameRowsInEveryFormatAreTheSamePrompts() throws {
        let parquet = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "parquet")
        let table = try PromptSet(parquet.appending(path: "types-fallback.parquet"))
        let rows = try (0..<table.count).map { row in
            let prompt = try table.prompt(at: row)
            return (prompt.text, try #require(prompt.columns["words"]?.text))
        }
        let lines = rows.map { JSONValue.object(["prompt": .string($0.0), "words": .string($0.1)]).serialized }
        let files = [
            ("rows.jsonl", lines.joined(separator: "\n")), ("rows.json", "[" + lines.joined(separator: ",\n") + "]"),
            ("rows.csv", "prompt,words\r\n" + rows.map { "\"\($0.0)\",\($0.1)\r\n" }.joined()),
            ("rows.tsv", "prompt\twords\n" + rows.map { "\($0.0)\t\($0.1)\n" }.joined()),
        ]
        for (name, text) in files {
            let set = try PromptSet(folder.file(name, text))
            #expect(set.count == table.count && set.columnNames == table.columnNames)
            for row in 0..<set.count {
                let (left, right) = (try set.prompt(at: row), try table.prompt(at: row))
                #expect(left.content == right.content && left.columns == right.columns, "\(name), row \(row)")
            }
        }
    }
}
