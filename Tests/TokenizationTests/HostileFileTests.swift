import Foundation
import TestSupport
import Testing
import Tokenization

@Suite("Bad tokenizer files are clear errors")
struct HostileFileTests {
    /// What a file holds, where the error points, and a word of what it says would be right.
    struct BadFile: Sendable, CustomTestStringConvertible {
        let json: String
        let key: String
        let expected: String
        var testDescription: String { key }

        static let all = [
            BadFile(json: "", key: "line 1, column 1", expected: "a value should stand"),
            BadFile(json: "{\n \"model\" 1}", key: "line 2, column 10", expected: ": should stand"),
            BadFile(json: "{\"a\":\"\\ud800\"}", key: "line 1, column 7", expected: "surrogate"),
            BadFile(
                json: String(repeating: "[", count: 100_000), key: "line 1, column 257",
                expected: "nested more than 256 levels"),
            BadFile(json: "{\"model\":{}}x", key: "line 1, column 13", expected: "after the end of the value"),
            BadFile(json: "[]", key: "", expected: "an object"),
            BadFile(json: "{}", key: "model", expected: "a model of type \"BPE\""),
            BadFile(json: "{\"modell\":{}}", key: "modell", expected: "known are"),
            model("\"type\":\"WordPiece\",\"vocab\":{},\"merges\":[]", key: "model.type", expected: "BPE"),
            model("\"vocab\":[],\"merges\":[]", key: "model.vocab", expected: "an object"),
            model("\"vocab\":{\"a\":-1},\"merges\":[]", key: "model.vocab[\"a\"]", expected: "an id"),
            model("\"vocab\":{\"a\":4e9},\"merges\":[]", key: "model.vocab[\"a\"]", expected: "an id"),
            model("\"vocab\":{\"a\":1.5},\"merges\":[]", key: "model.vocab[\"a\"]", expected: "an id"),
            model("\"vocab\":{\"a\":0,\"a\":1},\"merges\":[]", key: "line 1, column 26", expected: "stands twice"),
            model("\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]", key: "model.vocab[\"b\"]", expected: "once"),
            model("\"vocab\":{\"a\":0}", key: "model.merges", expected: "the merges of byte-pair encoding"),
            model("\"vocab\":{\"a\":0},\"merges\":[\"a\"]", key: "model.merges[0]", expected: "left"),
            model("\"vocab\":{\"a\":0},\"merges\":[\"a a\"]", key: "model.merges[0]", expected: "\"aa\""),
            model("\"vocab\":{\"a\":0},\"merges\":[],\"dropout\":0.1", key: "model.dropout", expected: "random"),
            model(
                "\"vocab\":{\"a\":0},\"merges\":[],\"unk_token\":\"u\"", key: "model.unk_token", expected: "vocabulary"),
            model(
                "\"vocab\":{},\"merges\":[],\"end_of_word_suffix\":\"</w>\"", key: "model.end_of_word_suffix",
                expected: "affixes"),
            part("\"normalizer\":{\"type\":\"Lowercase\"}", key: "normalizer.type", expected: "NFC"),
            part(
                "\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"a\"},\"content\":\"\"}",
                key: "normalizer.pattern.Regex", expected: "not built"),
            part(
                "\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"\(String(repeating: "b", count: 257))\"}",
                key: "normalizer", expected: "at most 256 times as long"),
            // Ten steps that double: a text a thousand times as long.
            part(
                "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[\(Array(repeating: doubling, count: 10).joined(separator: ","))]}",
                key: "normalizer", expected: "at most 256 times as long"),
            part(
                "\"normalizer\":{\"type\":\"Prepend\",\"prepend\":\"\(String(repeating: "b", count: 4097))\"}",
                key: "normalizer", expected: "at most 64 steps"),
            part(
                "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[\(Array(repeating: doubling, count: 10).joined(separator: ","))]}",
                key: "decoder", expected: "at most 256 times as long"),
            part(
                "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[\(Array(repeating: digits, count: 65).joined(separator: ","))]}",
                key: "pre_tokenizer", expected: "at most 64 steps"),
            part("\"pre_tokenizer\":{\"type\":\"Whitespace\"}", key: "pre_tokenizer.type", expected: "ByteLevel"),
            part(
                "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"new\":1}", key: "pre_tokenizer.new", expected: "known are"),
            part(
                "\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"x+\"},\"behavior\":\"Isolated\",\"invert\":false}",
                key: "pre_tokenizer.pattern.Regex", expected: "gpt2: 's"),
            part(
                "\"post_processor\":{\"type\":\"BertProcessing\"}", key: "post_processor.type",
                expected: "TemplateProcessing"),
            part("\"decoder\":{\"type\":\"WordPiece\"}", key: "decoder.type", expected: "ByteLevel"),
            part("\"added_tokens\":[{\"id\":1,\"content\":\"a\"}]", key: "added_tokens[0].id", expected: "0, the id"),
            part("\"added_tokens\":[{\"id\":0,\"content\":\"b\"}]", key: "added_tokens[0].id", expected: "free"),
            part("\"added_tokens\":[{\"id\":9,\"content\":\"\"}]", key: "added_tokens[0]", expected: "not empty"),
            // tokenizers 0.23 gives "b" the id 1 and "c" the id 2 in both.
            part("\"added_tokens\":[{\"id\":5,\"content\":\"b\"}]", key: "added_tokens[0].id", expected: "1, which"),
            part(
                "\"added_tokens\":[{\"id\":0,\"content\":\"a\"},{\"id\":1,\"content\":\"b\"},{\"id\":4,\"content\":\"c\"}]",
                key: "added_tokens[2].id", expected: "2, which"),
        ]

        private static let doubling =
            "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"aa\"}"
        private static let digits = "{\"type\":\"Digits\"}"

        private static func model(_ members: String, key: String, expected: String) -> BadFile {
            BadFile(json: "{\"model\":{\(members)}}", key: key, expected: expected)
        }

        private static func part(_ member: String, key: String, expected: String) -> BadFile {
            BadFile(json: "{\(member),\"model\":{\"vocab\":{\"a\":0},\"merges\":[]}}", key: key, expected: expected)
        }
    }

    @Test(arguments: BadFile.all)
    func isNamed(_ bad: BadFile) throws {
        let error = #expect(throws: TokenizerError.self) { try Tokenizer(json: Data(bad.json.utf8)) }
        #expect(error?.file == "tokenizer.json")
        #expect(error?.key == bad.key)
        #expect(error?.description.contains(bad.expected) == true, "\(String(describing: error))")
    }

    @Test func bytesThatAreNoTextAreNamed() throws {
        let error = #expect(throws: TokenizerError.self) { try Tokenizer(json: Data([0x7B, 0xFF, 0x7D])) }
        #expect(error?.description.contains("line 1, column 2: found \"\u{fffd}\" where a key") == true)
    }

    /// A pipe would wait for its writer, a device never ends.
    @Test(.timeLimit(.minutes(1)))
    func whatIsNoRegularFileIsNamed() throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "tokenizer-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }  // only this test's own folder
        let pipe = folder.appending(path: "tokenizer.json")
        #expect(mkfifo(pipe.path, 0o600) == 0)
        for (file, kind) in [(pipe, "a pipe"), (URL(filePath: "/dev/zero"), "a device")] {
            let error = #expect(throws: TokenizerError.self) { try Tokenizer(json: file) }
            #expect(
                error?.description.contains("not a regular file but \(kind)") == true, "\(String(describing: error))")
        }
        #expect(throws: TokenizerError.self) { try Tokenizer(folder: folder) }
    }

    @Test func everyTruncationIsAnError() throws {
        let json = try Reference.tokenizerJSON("llama3")
        for length in stride(from: 0, to: json.count - 1, by: json.count / 150) {
            #expect(throws: TokenizerError.self) { try Tokenizer(json: json.prefix(length)) }
        }
    }

    /// Canonically equivalent spellings are two tokens: U+00E9, and e with U+0301.
    @Test func equivalentSpellingsStayApart() throws {
        let tokenizer = try Tokenizer(
            json: Data(#"{"model":{"vocab":{"\u00e9":0,"e":1,"\u0301":2,"e\u0301":3},"merges":[["e","\u0301"]]}}"#.utf8)
        )
        #expect(tokenizer.encode("\u{e9}e\u{301}") == [0, 3])
        #expect(tokenizer.vocabularySize == 4)
    }

    /// Every mutation either is an error or gives a tokenizer that encodes and decodes. 100,000 of them when
    /// PLUMBLINE_LONG_TESTS=1.
    @Test func mutationsNeverCrash() throws {
        let isLong = ProcessInfo.processInfo.environment["PLUMBLINE_LONG_TESTS"] == "1"
        let seeds = try ["gpt2", "llama3", "metaspace"].map { try Self.small(try Reference.tokenizerJSON($0)) }
        for seed in seeds { _ = try Tokenizer(json: seed) }
        var source = TestRandom(seed: 17)
        var accepted = 0
        let count = isLong ? 100_000 : 5_000
        for _ in 0..<count {
            var bytes = Array(seeds.randomElement(using: &source) ?? Data())
            for _ in 0..<Int.random(in: 1...3, using: &source) { Self.mutate(&bytes, &source) }
            do {
                let tokenizer = try Tokenizer(json: Data(bytes))
                accepted += 1
                let ids = tokenizer.encode("Ünï 12 'll\n<|end|> word", addSpecialTokens: true)
                #expect(ids.allSatisfy { (0..<tokenizer.vocabularySize).contains($0) })
                _ = try tokenizer.decode(ids)
            } catch {
                #expect(!error.found.isEmpty && !error.expected.isEmpty)
            }
        }
        // Mutations inside strings leave a valid file: both kinds have to occur for this to test anything.
        #expect(accepted > count / 50 && accepted < count)
    }

    /// The same file with 40 merges, so that a mutation is quick and often hits structure, and with ids from 0 on, those
    /// of added tokens behind the vocabulary's as the library has them.
    private static func small(_ json: Data) throws -> Data {
        var root = try #require(try JSONSerialization.jsonObject(with: json) as? [String: Any])
        var model = try #require(root["model"] as? [String: Any])
        let merges = try #require(model["merges"] as? [[String]]).prefix(40)
        let vocabulary = try #require(model["vocab"] as? [String: Int])
        let kept = Set(merges.map { $0.joined() })
        model["merges"] = Array(merges)
        let rest = vocabulary.filter {
            $0.key.unicodeScalars.count == 1 || $0.key.hasPrefix("<") || kept.contains($0.key)
        }
        var ids: [String: Int] = [:]
        for token in rest.sorted(by: { $0.value < $1.value }) { ids[token.key] = ids.count }
        model["vocab"] = ids
        root["model"] = model
        var added = try #require(root["added_tokens"] as? [[String: Any]])
        for index in added.indices {
            let content = try #require(added[index]["content"] as? String)
            let id = ids[content] ?? ids.count
            ids[content] = id
            added[index]["id"] = id
        }
        root["added_tokens"] = added
        if var processor = root["post_processor"] as? [String: Any],
            var specials = processor["special_tokens"] as? [String: [String: Any]]
        {
            for name in specials.keys { specials[name]?["ids"] = [try #require(ids[name])] }
            processor["special_tokens"] = specials
            root["post_processor"] = processor
        }
        return try JSONSerialization.data(withJSONObject: root, options: [.sortedKeys])
    }

    /// Where a text next stands.
    private static func range(of text: String, in bytes: [UInt8], from start: Int) -> Range<Int>? {
        let text = Array(text.utf8)
        return (start..<max(start, bytes.count - text.count)).first { bytes[$0...].starts(with: text) }
            .map { $0..<$0 + text.count }
    }

    private static func mutate(_ bytes: inout [UInt8], _ source: inout TestRandom) {
        guard !bytes.isEmpty else { return }
        let position = Int.random(in: 0..<bytes.count, using: &source)
        let end = min(bytes.count, position + Int.random(in: 1...12, using: &source))
        switch Int.random(in: 0..<7, using: &source) {
        case 0: bytes[position] = UInt8.random(in: 0...255, using: &source)
        case 1: bytes[position] = Array("{}[]\",:0-9eE.\\u".utf8).randomElement(using: &source) ?? 0
        case 2: bytes.removeSubrange(position..<end)
        case 3: bytes.insert(contentsOf: bytes[position..<end], at: Int.random(in: 0...bytes.count, using: &source))
        case 4: bytes.replaceSubrange(position..<end, with: "null".utf8)
        case 5:  // one of the flags, which leaves a file of other tokens
            let texts = [("true", "false"), ("false", "true"), ("null", "false")]
            guard let (old, new) = texts.randomElement(using: &source),
                let place = range(of: old, in: bytes, from: position)
            else { return }
            bytes.replaceSubrange(place, with: Array(new.utf8))
        default: bytes.removeSubrange(end..<bytes.count)
        }
    }
}
