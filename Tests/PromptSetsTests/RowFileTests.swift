import Foundation
import JSON
import PromptSets
import Records
import Runs
import TestSupport
import Testing

@Suite("Files of rows")
struct RowFileTests {
    private let folder: TemporaryFolder
    init() throws { folder = try TemporaryFolder() }

    private func prompts(_ name: String, _ text: String) throws -> [String] {
        let set = try PromptSet(folder.file(name, text))
        return try (0..<set.count).map { try set.prompt(at: $0).text }
    }

    @Test func linesWithMarkBlankLinesAndCRLF() throws {
        let text = "\u{feff}{\"prompt\": \"a\"}\r\n\r\n  {\"prompt\": \"b\"}  \r\n\n{\"prompt\": \"c\"}"
        #expect(try prompts("x.jsonl", text) == ["a", "b", "c"])
    }

    @Test func arraysOfRows() throws {
        let text =
            " [\n {\"prompt\": \"a ] } , \\\" b\", \"n\": [1, [2]]}, {\"prompt\": \"c\\\\\"},\n{\"prompt\":\n \"d\"} ]\n"
        #expect(try prompts("x.json", text) == ["a ] } , \" b", "c\\", "d"])
    }

    /// 2^53 + 1 and 2^64 − 1.
    @Test func wholeNumbersKeepTheirDigits() throws {
        let row = #"{"prompt": "a", "n": 9007199254740993, "deep": {"list": [18446744073709551615]}, "f": 1e16}"#
        for (name, text) in [("x.jsonl", row), ("x.json", "[\(row)]")] {
            let columns = try PromptSet(folder.file(name, text)).prompt(at: 0).columns
            #expect(columns["n"] == .number(9_007_199_254_740_993) && columns["n"]?.text == "9007199254740993")
            #expect(columns["deep"]?["list"] == .array([.number(UInt64.max)]))
            #expect(columns["f"] == .number(1e16))
        }
        let set = try PromptSet(folder.file("x.csv", "prompt,n,m\na,9007199254740993,18446744073709551615\n"))
        let columns = try set.prompt(at: 0).columns
        #expect(columns["n"]?.integer == 9_007_199_254_740_993 && columns["m"]?.text == "18446744073709551615")
    }

    /// What rewards get of a CSV column: as `datasets` 5.2.0 gives it to a function in Python, but for whole numbers beside
    /// empty fields, which stay whole there, and spellings that a number would lose.
    static let columns: [(fields: [String], values: [JSONValue])] = [
        (["42", "-7", "0"], [.number(42), .number(-7), .number(0)]),
        (["42", "", "7"], [.number(42), .null, .number(7)]),
        (["1.5", "2", "-0.25"], [.fraction(1.5), .fraction(2), .fraction(-0.25)]),
        (["", "", ""], [.null, .null, .null]),
        (["a", "", "7"], [.string("a"), .null, .string("7")]),
        (["\"42\"", "7", "8"], [.number(42), .number(7), .number(8)]),
        (["18446744073709551615", "1", "2"], [.number(UInt64.max), .number(1), .number(2)]),
    ]
    /// Columns that stay texts.
    static let texts = [
        ["007", "8", "9"], ["1.50", "2", "3"], ["2.0", "3", "4"], ["1e16", "1", "2"], ["+5", "1", "2"],
        ["-0", "1", "2"],
        [" 42", "1", "2"], ["1,5", "1", "2"], ["9007199254740993", "0.5", "1"], ["nan", "1", "2"], ["0x10", "1", "2"],
        ["18446744073709551616", "1", "2"], ["True", "False", "True"], ["\"\"", "1", "2"], ["1", "2", "x"],
        ["-", "1", "2"],
    ]

    @Test(arguments: columns)
    func rewardsGetTheNumbersOfACSVColumn(_ fields: [String], _ values: [JSONValue]) throws {
        let rows = fields.map { "p,\($0)\n" }.joined()
        let set = try PromptSet(folder.file("x.csv", "prompt,n\n" + rows))
        for (row, value) in values.enumerated() {
            let found = try #require(try set.prompt(at: row).columns["n"])
            #expect(found == value && found.serialized == value.serialized)
            // What reads a text reads the file's.
            #expect(found == .null || found.text == fields[row].filter { $0 != "\"" })
        }
    }

    @Test(arguments: texts)
    func whatANumberWouldNotBeWrittenAsStaysText(_ fields: [String]) throws {
        let rows = fields.map { "p,\($0.contains(",") ? "\"\($0)\"" : $0)\n" }.joined()
        let set = try PromptSet(folder.file("x.csv", "prompt,n\n" + rows))
        for (row, field) in fields.enumerated() {
            #expect(try set.prompt(at: row).columns["n"] == .string(field.filter { $0 != "\"" }))
        }
    }

    /// Only rewards get numbers: what a model reads and learns stays text, and a row that is none spoils no other.
    @Test func promptsAndCompletionsOfDigitsAreTexts() throws {
        let set = try PromptSet(folder.file("x.csv", "prompt,completion,label\n12,24,1\n13,,2\n14,28\n15,30,3\n"))
        #expect(try set.prompt(at: 0).text == "12" && set.demonstration(at: 0).completion == "24")
        #expect(throws: PromptSetError.self) { try set.demonstration(at: 1) }
        #expect(throws: PromptSetError.self) { try set.prompt(at: 2) }
        #expect(try set.prompt(at: 3).columns["label"] == .number(3))
        #expect(try set.prompt(at: 3).columns["answer"] == .number(3))
        let pairs = try PromptSet(folder.file("y.csv", "prompt,chosen,rejected\n1,2,3\n"))
        #expect(try pairs.preference(at: 0).chosen == "2")
    }

    @Test func anErrorInAnArrayCountsFromItsLine() throws {
        let set = try PromptSet(folder.file("x.json", "[{\"prompt\": \"a\"},\n {\"prompt\": \"é\"}, {\"prompt\": x}]"))
        #expect(
            throws: RunError.json(
                path: set.url.path,
                JSONError(line: 2, column: 30, message: "found \"x\" where a value should stand"))
        ) { try set.prompt(at: 2) }
    }

    @Test func quotedFields() throws {
        let text = "prompt,answer\r\n\"one, \"\"two\"\"\r\nthree\",1\r\n\r\nplain,\"\"\r\n\"last\",3"
        #expect(try prompts("x.csv", text) == ["one, \"two\"\r\nthree", "plain", "last"])
        let set = try PromptSet(folder.url.appending(path: "x.csv"))
        #expect(try set.prompt(at: 1).columns == ["answer": .string("")])
        #expect(set.line(of: 1) == 5)
        #expect(try prompts("x.tsv", "prompt\tanswer\na, b\t1\n") == ["a, b"])
    }

    @Test(arguments: [
        ("prompt,answer\na\n", "line 2: 1 fields; the header names 2: `prompt`, `answer`"),
        ("prompt,answer\na,b,c\n", "line 2: 3 fields; the header names 2: `prompt`, `answer`"),
        ("prompt,prompt\na,b\n", "line 1, column 2: the name \"prompt\" stands twice"),
        ("prompt,\na,b\n", "line 1, column 2: a column without a name"),
        ("prompt\n\"a\n", "line 2: a quoted field is not closed"),
        (
            "prompt\n5\" pipe\n",
            "line 2, column 1: a quote inside a field: put the whole field in quotes and double the quotes in it"
        ),
        (
            "prompt\n\"a\"b\n",
            "line 2, column 1: a quote inside a field: put the whole field in quotes and double the quotes in it"
        ),
        ("prompt,answer\n", "the file has no rows"), ("", "the file has no rows"),
    ])
    func aBadCSVIsAnErrorThatSaysWhere(_ text: String, _ message: String) throws {
        do {
            _ = try PromptSet(folder.file("x.csv", text))
            Issue.record("accepted \(text)")
        } catch {
            #expect("\(error)".hasSuffix(message), "\(error)")
        }
    }

    /// A million columns, each another: looking for twins among them took the square of that.
    @Test(.timeLimit(.minutes(1)))
    func aTableOfAMillionColumnsIsRefused() throws {
        let header = (0..<1_000_000).map { "c\($0)" }.joined(separator: ",")
        let error = #expect(throws: PromptSetError.self) { try PromptSet(folder.file("wide.csv", "\(header)\na\n")) }
        #expect(
            error?.description.hasSuffix("line 1: the header names 1000000 columns; at most 10000 are read") == true)
        let most = "prompt," + (1..<10_000).map { "c\($0)" }.joined(separator: ",")
        let set = try PromptSet(folder.file("most.csv", most + "\na" + String(repeating: ",", count: 9_999) + "\n"))
        #expect(try set.prompt(at: 0).columns.count == 9_999)
        let short = #expect(throws: PromptSetError.self) {
            try PromptSet(folder.file("short.csv", most + "\na\n")).prompt(at: 0)
        }
        #expect((short?.description.utf8.count ?? .max) < 500)
    }

    /// A pipe would wait for its writer, a device never ends.
    @Test(.timeLimit(.minutes(1)), arguments: ["jsonl", "csv", "parquet", "jsonl.gz"])
    func whatIsNoRegularFileIsNamed(_ ending: String) throws {
        let pipe = folder.url.appending(path: "pipe.\(ending)")
        #expect(mkfifo(pipe.path, 0o600) == 0)
        let link = folder.url.appending(path: "zero.\(ending)")
        try FileManager.default.createSymbolicLink(at: link, withDestinationURL: URL(filePath: "/dev/zero"))
        for (file, kind) in [(pipe, "a pipe"), (link, "a device")] {
            let error = #expect(throws: RunError.self) { try PromptSet(file) }
            #expect(
                error?.description.hasPrefix("\(file.path): not a regular file but \(kind)") == true,
                "\(String(describing: error))")
        }
    }

    /// Rows beyond the first piece the scanner reads (1 MiB), in all three formats.
    @Test func rowsAcrossPiecesStayWhole() throws {
        let texts = (0..<5000).map { "row \($0) " + String(repeating: "é,\"]", count: $0 % 150) }
        let rows = texts.map { JSONValue.object(["prompt": .string($0)]).serialized }
        #expect(try prompts("x.jsonl", rows.joined(separator: "\n")) == texts)
        #expect(try prompts("x.json", "[" + rows.joined(separator: ",\n") + "]") == texts)
        let quoted = texts.map { "\"" + $0.replacingOccurrences(of: "\"", with: "\"\"") + "\"" }
        #expect(try prompts("x.csv", "prompt\n" + quoted.joined(separator: "\n")) == texts)
    }

    @Test(arguments: ["jsonl", "json", "csv"])
    func mutatedFilesNeverCrash(_ ending: String) throws {
        let seeds = [
            "jsonl":
                "{\"prompt\": \"1+1=\", \"answer\": \"2\"}\n{\"prompt\": [{\"role\": \"user\", \"content\": \"é\"}]}\n",
            "json": "[{\"prompt\": \"1+1=\", \"answer\": [2]},\n {\"prompt\": \"a\\n\\u00e9\"}]",
            "csv": "prompt,answer\n\"a, \"\"b\"\"\n\",2\r\nc,3\n",
        ]
        let seed = Array(try #require(seeds[ending]).utf8)
        let folder = try TemporaryFolder(inMemory: true)
        var random = TestRandom(seed: 3)
        var (read, refused) = (0, 0)
        for _ in 0..<mutationCount {
            let url = try folder.file("fuzz.\(ending)", random.mutated(seed))
            do {
                let set = try PromptSet(url)
                for row in 0..<set.count {
                    #expect(try !set.prompt(at: row).text.isEmpty)
                    read += 1
                }
            } catch {
                #expect(error is PromptSetError || error is RunError, "\(error)")
                #expect("\(error)".contains("fuzz.\(ending)"))
                refused += 1
            }
        }
        #expect(read > mutationCount / 10 && refused > mutationCount / 10)
    }

    /// 100,000 rows by default, a million with PLUMBLINE_LONG_TESTS=1.
    @Test func aLargeFileOpensInBoundedMemory() throws {
        let count = mutationCount * (mutationCount == 5_000 ? 20 : 10)
        let url = folder.url.appending(path: "large.jsonl")
        #expect(FileManager.default.createFile(atPath: url.path, contents: nil))
        let handle = try FileHandle(forWritingTo: url)
        let padding = String(repeating: "x", count: 400)
        for start in stride(from: 0, to: count, by: 1000) {
            let rows = (start..<start + 1000).map { "{\"prompt\": \"row \($0) \(padding)\", \"answer\": \($0)}\n" }
            try handle.write(contentsOf: Data(rows.joined().utf8))
        }
        try handle.close()
        let before = try residentBytes()
        let set = try PromptSet(url)
        let grown = try residentBytes() - before
        #expect(set.count == count)
        let size = try #require(FileManager.default.attributesOfItem(atPath: url.path)[.size] as? Int)
        // 16 bytes a row, up to twice that while the arrays grow, and the scanner's piece; the file is 25 times as
        // large.
        #expect(grown < count * 48 + (8 << 20) && size > count * 420, "grew by \(grown) bytes, file of \(size)")
        for row in [0, count / 2, count - 1] {
            #expect(try set.prompt(at: row).columns["answer"] == .number(Double(row)))
            #expect(set.line(of: row) == row + 1)
        }
    }

    private func residentBytes() throws -> Int {
        let fields = try text(of: URL(filePath: "/proc/self/statm")).split(separator: " ")
        return try #require(Int(fields[1])) * 4096
    }

    /// The counts are those of the published set.
    @Test(
        .enabled(
            if: ProcessInfo.processInfo.environment["PLUMBLINE_GSM8K"] != nil,
            "PLUMBLINE_GSM8K names no folder of GSM8K"))
    func gsm8k() throws {
        let folder = URL(filePath: try #require(ProcessInfo.processInfo.environment["PLUMBLINE_GSM8K"]))
        let train = try PromptSet(folder)
        let test = try PromptSet(folder, split: "eval")
        #expect(train.count == 7473 && test.count == 1319)
        #expect(train.detectedForm.convention == .questionAnswer && train.name == "gsm8k")
        #expect(train.problems().isEmpty && test.problems().isEmpty)
        #expect(try train.prompt(at: 0).text.hasPrefix("Natalia sold clips to 48 of her friends"))
        for row in 0..<test.count {
            #expect(try test.prompt(at: row).columns["answer"]?.text?.contains("\n#### ") == true)
        }
    }
}
