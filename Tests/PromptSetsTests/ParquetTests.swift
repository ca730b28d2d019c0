import Foundation
import PromptSets
import Records
import Runs
import TestSupport
import Testing

/// Files that pyarrow wrote, with the rows that pyarrow says are in them (`References/parquet_files.py`).
@Suite("Parquet files")
struct ParquetTests {
    private static let folder = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "parquet")

    /// `verl-gzip` is a file with the rows of `verl.jsonl.gz`.
    private static let variants = [
        "verl-none", "verl-snappy", "verl-gzip", "verl-zstd", "verl-lz4", "verl-v2-snappy", "verl-v2-gzip-plain",
        "verl-v2-zstd-groups", "nested-snappy", "nested-v2-none-pages", "nested-v1-none-pages", "nested-groups",
        "nested-checksums", "nested-legacy", "types-dictionary", "types-plain", "types-delta", "types-delta-v2",
        "types-int96", "types-fallback", "wide-plain", "wide-delta",
    ]

    private static func url(_ name: String) -> URL { folder.appending(path: "\(name).parquet") }

    private static func rows(of name: String) throws -> PromptSet {
        let table = try #require(name.split(separator: "-").first)
        return try PromptSet(folder.appending(path: "\(table).jsonl.gz"))
    }

    @Test(arguments: variants)
    func everyWayToWriteATableGivesItsRows(_ name: String) throws {
        let (found, expected) = (try PromptSet(Self.url(name)), try Self.rows(of: name))
        #expect(found.count == expected.count)
        // Some files hold some of the table's columns only.
        let names = expected.columnNames.filter(found.columnNames.contains)
        #expect(found.columnNames == names && names.count >= 2)
        #expect(found.detectedForm == expected.detectedForm)
        for row in 0..<found.count {
            let (prompt, table) = (try found.prompt(at: row), try expected.prompt(at: row))
            #expect(prompt.content == table.content)
            #expect(
                prompt.columns == table.columns.filter { names.contains($0.key) || found.count == 24 }, "row \(row)")
        }
    }

    @Test(arguments: ["wide-plain", "wide-delta"])
    func wholeNumbersKeepTheirDigits(_ name: String) throws {
        let set = try PromptSet(Self.url(name))
        let columns = try (0..<set.count).map { try set.prompt(at: $0).columns }
        #expect(
            columns.map { $0["i64"]?.text } == [
                "9007199254740993", "-9007199254740993", "9223372036854775807", "-9223372036854775808",
            ])
        #expect(
            columns.map { $0["u64"]?.text } == ["18446744073709551615", "9007199254740993", "9223372036854775809", "0"])
        #expect(columns[0]["decimal38"]?.text == "10000000000000000000000000000000000001")
    }

    @Test func verlsLayoutIsRead() throws {
        let set = try PromptSet(Self.url("verl-snappy"))
        #expect(set.detectedForm.convention == .verl && set.count == 24)
        let prompt = try set.prompt(at: 2)
        #expect(prompt.source == "openai/gsm8k")
        let text = "2 个苹果加一个? Let's think step by step."
        #expect(prompt.content == .messages([ChatMessage(role: "user", content: text)]))
        #expect(prompt.columns["ground_truth"] == .string("6") && prompt.columns["answer"] == .string("6"))
        #expect(prompt.columns["extra_info"]?["index"] == .number(2))
        #expect(set.place(of: 2) == "row 3")
    }

    /// GSM8K as a Parquet file, written by pyarrow at the time of the test.
    @Test(
        .enabled(
            if: ProcessInfo.processInfo.environment["PLUMBLINE_GSM8K"] != nil
                && ProcessInfo.processInfo.environment["PEERS_PYTHON"] != nil,
            "PLUMBLINE_GSM8K or PEERS_PYTHON is not set"))
    func gsm8k() throws {
        let environment = ProcessInfo.processInfo.environment
        let gsm8k = URL(filePath: try #require(environment["PLUMBLINE_GSM8K"]))
        let folder = try TemporaryFolder()
        let program = """
            import json, sys, pyarrow as pa, pyarrow.parquet as pq
            rows = [json.loads(line) for line in open(sys.argv[1] + "/train.jsonl", encoding="utf-8")]
            pq.write_table(pa.Table.from_pylist(rows), sys.argv[2] + "/train.parquet", row_group_size=1000)
            """
        let process = Process()
        process.executableURL = URL(filePath: try #require(environment["PEERS_PYTHON"]))
        process.arguments = ["-c", program, gsm8k.path, folder.url.path]
        try process.run()
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
        let (lines, parquet) = (try PromptSet(gsm8k), try PromptSet(folder.url))
        #expect(parquet.count == 7473 && parquet.url.lastPathComponent == "train.parquet")
        for row in 0..<parquet.count {
            let (left, right) = (try parquet.prompt(at: row), try lines.prompt(at: row))
            #expect(left.content == right.content && left.columns == right.columns)
        }
    }

    @Test(arguments: [
        (
            "verl-brotli",
            "row 1, column data_source: its pages are compressed with brotli, which is not supported; write the file"
        ),
        ("bad-binary", "row 1, column other: bytes that are no UTF-8 text; leave the column out or write it as text"),
        ("bad-infinite", "row 1, column other: an infinite number, which JSON has not"),
        (
            "bad-float16",
            "as a Parquet file: column other is of type FLOAT16, which is not supported; leave the column out"
        ),
        ("bad-fixed", "as a Parquet file: column other is of type FIXED_LEN_BYTE_ARRAY(2), which is not supported"),
        ("bad-map", "as a Parquet file: column other: a map whose keys are no texts"),
        ("bomb-rows", "as a Parquet file: it claims 50000000 rows or values in "),
        ("bomb-list", "as a Parquet file: it claims 50000000 rows or values in "),
    ])
    func whatIsNotSupportedIsNamed(_ name: String, _ message: String) throws {
        do {
            _ = try PromptSet(Self.url(name))
            Issue.record("accepted \(name)")
        } catch {
            #expect(error is PromptSetError && "\(error)".contains("\(name).parquet"), "\(error)")
            #expect("\(error)".contains(message), "\(error)")
        }
    }

    @Test func aBadRowIsNamedByItsNumber() throws {
        let set = try PromptSet(Self.url("verl-none"), columns: ColumnMap(prompt: "prompt", completion: "reward_model"))
        let error = #expect(throws: PromptSetError.self) { try set.demonstration(at: 6) }
        #expect(error?.description.contains("verl-none.parquet, row 7, column reward_model: an object") == true)
    }

    @Test func aDamagedPageIsFoundByItsChecksum() throws {
        let folder = try TemporaryFolder()
        var bytes = [UInt8](try Data(contentsOf: Self.url("nested-checksums")))
        let position = try #require(bytes.firstRange(of: Array("turn 0".utf8))).lowerBound
        bytes[position] = UInt8(ascii: "b")
        let url = try folder.file("x.parquet", bytes)
        let error = #expect(throws: PromptSetError.self) { try PromptSet(url) }
        #expect(
            error?.description.contains("column prompt.list.element.content: a page does not have the checksum") == true
        )
    }

    @Test func aFileThatIsNoneOrCutOffIsAnError() throws {
        let folder = try TemporaryFolder()
        let bytes = [UInt8](try Data(contentsOf: Self.url("verl-none")))
        for (name, content, message) in [
            ("a.parquet", Array("{\"prompt\": \"a\"}".utf8), "this is no Parquet file, it does not begin with PAR1"),
            ("b.parquet", Array(bytes.dropLast(9)), "it does not end as a Parquet file does; it seems cut off"),
            ("c.parquet", Array(bytes.prefix(4) + bytes.suffix(8)), "its metadata is longer than the file"),
        ] {
            let error = #expect(throws: PromptSetError.self) { try PromptSet(folder.file(name, content)) }
            #expect(error?.description.hasSuffix(message) == true, "\(String(describing: error))")
        }
    }

    /// Mutations go round the files. Half of them change bytes in place: then every offset still points at what it
    /// should.
    @Test func mutatedFilesNeverCrashOrHang() throws {
        let folder = try TemporaryFolder(inMemory: true)
        let seeds = try Self.variants.map { [UInt8](try Data(contentsOf: Self.url($0))) }
        var random = TestRandom(seed: 11)
        var (read, refused) = (0, 0)
        let clock = ContinuousClock()
        for turn in 0..<mutationCount {
            var bytes = seeds[turn % seeds.count]
            if turn / seeds.count % 2 == 0 {
                bytes = random.mutated(bytes)
            } else {
                for _ in 0..<Int.random(in: 1...3, using: &random) {
                    bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
                }
            }
            let url = try folder.file("fuzz.parquet", bytes)
            let start = clock.now
            do {
                let set = try PromptSet(url)
                for problem in set.problems() { #expect(problem is PromptSetError, "\(problem)") }
                read += 1
            } catch {
                #expect(error is PromptSetError || error is RunError, "\(error)")
                #expect("\(error)".contains("fuzz.parquet"))
                refused += 1
            }
            #expect(clock.now - start < .seconds(20), "turn \(turn)")
        }
        #expect(read > mutationCount / 50 && refused > mutationCount / 10, "\(read) read, \(refused) refused")
    }
}
