import Foundation
import GGUF
import JSON
import TestSupport
import Testing
import Tokenization

/// Small GGUF files with what transformers reads of them: Tests/References/gguf_files.py.
private enum GGUFReference {
    static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "References/gguf")

    struct Text: Decodable, Sendable {
        let text: String
        /// What transformers makes of the file's tokenizer.
        let ids: [Int]
        /// What the tokenizer gives that the file was made from.
        let own: [Int]
    }
    struct Entry: Decodable {
        let texts: [Text]
        let with_special_tokens: [Int]
        let chat_template: String?
    }

    static func file(_ name: String) -> URL { root.appending(path: "\(name).gguf") }

    static func entry(_ name: String) throws -> Entry {
        struct All: Decodable {
            let llama: Entry
            let qwen2: Entry
        }
        let all = try JSONDecoder().decode(All.self, from: Data(contentsOf: root.appending(path: "expected.json")))
        return name == "llama" ? all.llama : all.qwen2
    }
}

@Suite("Tokenizers of GGUF files")
struct GGUFTokenizerTests {
    @Test(arguments: ["llama", "qwen2"])
    func idsAreThoseOfTheOriginal(_ name: String) throws {
        let tokenizer = try Tokenizer(folder: GGUFReference.file(name))
        let reference = try GGUFReference.entry(name)
        for text in reference.texts {
            #expect(tokenizer.encode(text.text) == text.own, "\(text.text)")
            // transformers leaves out the normalization NFC of Qwen's own tokenizer.
            if !text.text.hasPrefix("e\u{301}") { #expect(text.own == text.ids, "\(text.text)") }
            #expect(try tokenizer.decode(text.own) == text.text.precomposedStringWithCanonicalMapping)
        }
        #expect(tokenizer.encode("the answer", addSpecialTokens: true) == reference.with_special_tokens)
        #expect(tokenizer.chatTemplate == reference.chat_template)
    }

    @Test func specialTokensHaveTheirRoles() throws {
        let pieces = try Tokenizer(folder: GGUFReference.file("llama"))
        #expect(pieces.beginningOfTextID == 1 && pieces.endOfTextID == 2 && pieces.paddingID == nil)
        #expect(pieces.specialTokenTexts["unk_token"] == "<unk>")
        #expect(pieces.specialTokenIDs == [0, 1, 2])
        // A text behind a token that a user defined begins with a space again, as llama.cpp has it.
        #expect(
            pieces.encode("x<|end|>x") == pieces.encode("x") + [try #require(pieces.id(of: "<|end|>"))]
                + pieces.encode("x"))
        let bytes = try Tokenizer(folder: GGUFReference.file("qwen2"))
        let end = try #require(bytes.endOfTextID)
        #expect(bytes.token(of: end) == "<|im_end|>" && bytes.paddingID == bytes.beginningOfTextID)
        #expect(bytes.encode("<|im_end|>") == [end])
        #expect(try bytes.decode(bytes.encode("<think>x<|im_end|>"), skipSpecialTokens: true) == "<think>x")
        // Rows of the embedding that no token has.
        #expect(bytes.vocabularySize == 384 && bytes.id(of: "[PAD400]") == nil)
    }

    @Test(arguments: ["llama", "qwen2"])
    func aSavedFolderHasTheSameIDs(_ name: String) throws {
        let folder = try TemporaryFolder()
        let tokenizer = try Tokenizer(folder: GGUFReference.file(name))
        try tokenizer.save(to: folder.url)
        let again = try Tokenizer(folder: folder.url)
        for text in try GGUFReference.entry(name).texts { #expect(again.encode(text.text) == text.own) }
        #expect(again.chatTemplate == tokenizer.chatTemplate && again.specialTokenTexts == tokenizer.specialTokenTexts)
    }

    /// What is written of a tokenizer is read back as that tokenizer, with its own file and, as from llama.cpp,
    /// without.
    @Test(arguments: [("llama", true), ("llama", false), ("qwen2", true), ("qwen2", false)])
    func writtenAndReadBack(_ name: String, _ withOwnFile: Bool) throws {
        let tokenizer = try Tokenizer(folder: GGUFReference.file(name))
        let vocabulary = try GGUFVocabulary(tokenizer, rows: 500, endIDs: [2])
        let entries = vocabulary.entries.filter { withOwnFile || $0.key != "tokenizer.huggingface.json" }
        let folder = try TemporaryFolder()
        let layout = GGUFLayout(metadata: [("general.architecture", .string("x"))] + entries, tensors: [])
        let again = try Tokenizer(folder: try folder.file("again.gguf", layout.header))
        for text in try GGUFReference.entry(name).texts { #expect(again.encode(text.text) == text.own, "\(text.text)") }
        #expect(again.encode("a", addSpecialTokens: true) == tokenizer.encode("a", addSpecialTokens: true))
        #expect(again.specialTokenTexts == tokenizer.specialTokenTexts)
        #expect(again.specialTokenIDs == tokenizer.specialTokenIDs)
        #expect(again.vocabularySize == tokenizer.vocabularySize && again.chatTemplate == tokenizer.chatTemplate)
    }

    /// Published kinds of byte-level tokenizers get the name under which llama.cpp splits as they do; without their
    /// own file they give the same ids.
    @Test(arguments: [
        ("gpt2", "gpt-2"), ("digits", "smollm"), ("llama3", "llama-bpe"), ("qwen2", "qwen2"), ("tekken", "tekken"),
        ("gpt4o", "gpt-4o"),
    ])
    func preTokenizersHaveTheirNames(_ name: String, _ pre: String) throws {
        let tokenizer = try Tokenizer(json: try Reference.tokenizerJSON(name))
        let vocabulary: GGUFVocabulary
        do throws(TokenizerError) {
            vocabulary = try GGUFVocabulary(tokenizer, rows: tokenizer.vocabularySize, endIDs: [])
        } catch {
            // The only reason there may be: a pre-tokenizer that llama.cpp does not have.
            print("\(name) cannot be written: \(error)")
            #expect(["pre_tokenizer", "normalizer"].contains(error.key))
            return
        }
        // These files have tokens that only count as words of their own, and some that take the spaces beside them.
        #expect(vocabulary.notices.contains { $0.contains("\"word\"") && $0.contains("<mask>") })
        let entries = vocabulary.entries.filter { $0.key != "tokenizer.huggingface.json" }
        #expect(entries.first { $0.key == "tokenizer.ggml.pre" }?.value == .string(pre))
        let folder = try TemporaryFolder()
        let layout = GGUFLayout(metadata: entries, tensors: [])
        let again = try Tokenizer(folder: try folder.file("again.gguf", layout.header))
        let texts = [
            "Hello, world 1234's!\n\n  x", "naïve\u{301} 日本語 \t don't", "iPhone's ABCdef!/\n/x", "<|endoftext|>",
        ]
        for text in texts {
            #expect(again.encode(text) == tokenizer.encode(text), "\(text)")
        }
    }

    @Test func whatLlamaCppCannotDoIsRefused() throws {
        let digits = #"{"type":"Digits","individual_digits":false}"#
        let level = #"{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":false,"use_regex":true}"#
        let json =
            #"{"pre_tokenizer":{"type":"Sequence","pretokenizers":[\#(digits),\#(level)]},"model":{"vocab":{"a":0},"merges":[]}}"#
        let error = #expect(throws: TokenizerError.self) {
            try GGUFVocabulary(Tokenizer(json: Data(json.utf8)), rows: 1, endIDs: [])
        }
        #expect(error?.description.contains("pre_tokenizer: found") == true, "\(String(describing: error))")
        #expect(error?.description.contains("the splits of GPT-2") == true)
    }

    struct Bad: Sendable, CustomTestStringConvertible {
        let says: String
        let entries: [(key: String, value: GGUFValue)]
        var testDescription: String { says }

        static func byteLevel(_ says: String, _ changes: [String: GGUFValue?]) -> Bad {
            var values: [String: GGUFValue] = [
                "tokenizer.ggml.model": .string("gpt2"), "tokenizer.ggml.pre": .string("gpt-2"),
                "tokenizer.ggml.tokens": .strings(["a", "b", "ab"]), "tokenizer.ggml.merges": .strings(["a b"]),
                "tokenizer.ggml.token_type": .integers([1, 1, 1]),
            ]
            for (key, value) in changes { values[key] = value }
            return Bad(says: says, entries: values.map { ($0, $1) })
        }
    }

    static let bad: [Bad] = [
        .byteLevel(
            "tokenizer.ggml.model: found \"bert\"; expected gpt2 or llama", ["tokenizer.ggml.model": .string("bert")]),
        .byteLevel("tokenizer.ggml.model: found nothing", ["tokenizer.ggml.model": nil]),
        .byteLevel(
            "tokenizer.ggml.pre: found \"viking\"; expected one of gpt-2", ["tokenizer.ggml.pre": .string("viking")]),
        .byteLevel("tokenizer.ggml.pre: found nothing", ["tokenizer.ggml.pre": nil]),
        .byteLevel("tokenizer.ggml.tokens: found nothing", ["tokenizer.ggml.tokens": nil]),
        .byteLevel("tokenizer.ggml.tokens is 3; expected an array of texts", ["tokenizer.ggml.tokens": .integer(3)]),
        .byteLevel("tokenizer.ggml.merges: found nothing", ["tokenizer.ggml.merges": nil]),
        .byteLevel("tokenizer.ggml.merges[0]: found \"ab\"", ["tokenizer.ggml.merges": .strings(["ab"])]),
        .byteLevel("model.merges[0]: found an array of 2", ["tokenizer.ggml.merges": .strings(["a c"])]),
        .byteLevel("tokenizer.ggml.token_type: found 2 types", ["tokenizer.ggml.token_type": .integers([1, 1])]),
        .byteLevel("tokenizer.ggml.token_type[2]: found 9", ["tokenizer.ggml.token_type": .integers([1, 1, 9])]),
        .byteLevel(
            "tokenizer.ggml.eos_token_id: found 3; expected an id from 0 to 2",
            ["tokenizer.ggml.eos_token_id": .integer(3)]),
        .byteLevel("stands twice", ["tokenizer.ggml.tokens": .strings(["a", "a", "ab"])]),
        .byteLevel(
            "tokenizer.ggml.scores: found nothing; expected a score for each",
            ["tokenizer.ggml.model": .string("llama")]),
    ]

    @Test(arguments: bad)
    func badMetadataIsNamed(_ bad: Bad) throws {
        let folder = try TemporaryFolder()
        let file = try folder.file("bad.gguf", GGUFLayout(metadata: bad.entries, tensors: []).header)
        let error = #expect(throws: TokenizerError.self) { try Tokenizer(folder: file) }
        #expect(error?.description.contains(bad.says) == true, "\(String(describing: error))")
        #expect(error?.description.contains("bad.gguf") == true, "\(String(describing: error))")
    }

    /// Every mutation of the metadata either is an error or gives a tokenizer that encodes and decodes.
    @Test func mutationsNeverCrash() throws {
        let folder = try TemporaryFolder(inMemory: true)
        let seeds = ["gpt2", "llama"].map { model in
            GGUFLayout(
                metadata: [
                    ("tokenizer.ggml.model", .string(model)), ("tokenizer.ggml.pre", .string("smollm")),
                    (
                        "tokenizer.ggml.tokens",
                        .strings(["<s>", "</s>", "a", "b", "ab", "\u{2581}", "\u{2581}a", "<0x0A>"])
                    ),
                    ("tokenizer.ggml.token_type", .integers([3, 3, 1, 1, 1, 1, 4, 6])),
                    ("tokenizer.ggml.scores", .floats([0, 0, -1, -2, -3, -4, -5, -6])),
                    ("tokenizer.ggml.merges", .strings(["a b"])), ("tokenizer.ggml.bos_token_id", .integer(0)),
                    ("tokenizer.ggml.eos_token_id", .integer(1)), ("tokenizer.ggml.add_bos_token", .bool(true)),
                    ("tokenizer.chat_template", .string("{{ messages }}")),
                ], tensors: []
            ).header
        }
        var generator = TestRandom(seed: 16)
        var accepted = 0
        for round in 0..<mutationCount {
            let file = try folder.file("mutated.gguf", generator.mutated(seeds[round % 2]))
            guard let tokenizer = try? Tokenizer(folder: file) else { continue }
            accepted += 1
            let ids = tokenizer.encode("ab <s>\nÜ 12 ab", addSpecialTokens: true)
            #expect(ids.allSatisfy { (0..<tokenizer.vocabularySize).contains($0) })
            _ = try tokenizer.decode(ids)
        }
        #expect(accepted > 50 && accepted < mutationCount - 1000, "\(accepted) accepted")
    }
}
