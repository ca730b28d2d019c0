import Foundation
import TestSupport
import Testing
import Tokenization

@Suite("Training a byte-level BPE")
struct TrainerTests {
    /// 1,200 lines drawn from a few words with a fixed seed.
    private static let texts: [String] = {
        var source = TestRandom(seed: 3)
        let words = ["low", "lower", "newest", "widest", "12", "345", "don't", "été", "日本", "\n", "=", "<|eot|>"]
        return (0..<1_200).map { _ in
            (0..<8).map { _ in words.randomElement(using: &source) ?? "" }.joined(separator: " ")
        }
    }()

    /// Worked by hand: "aab" ×3, "ab" ×2 give a·b 5, a·a 3; after `ab` merged a·ab 3, which is `aab`.
    @Test func mergesFollowCounts() throws {
        let trainer = try BPETrainer(vocabularySize: 260, specialTokens: [], splitPattern: .gpt2)
        let tokenizer = try trainer.train(["aab", "aab", "aab", "ab", "ab"])
        #expect(tokenizer.vocabularySize == 258)
        #expect(tokenizer.token(of: 256) == "ab")
        #expect(tokenizer.token(of: 257) == "aab")
        #expect(tokenizer.encode("aabab") == [257, 256])
    }

    /// x·y and y·z occur twice each; x comes first.
    @Test func equalCountsGoToTheLowerPair() throws {
        let trainer = try BPETrainer(vocabularySize: 257, specialTokens: [], splitPattern: .gpt2)
        #expect(try trainer.train(["yz", "xy", "yz", "xy"]).token(of: 256) == "xy")
    }

    @Test func rarePairsStayApart() throws {
        let trainer = try BPETrainer(vocabularySize: 300, specialTokens: [], splitPattern: .gpt2, minimumFrequency: 3)
        #expect(try trainer.train(["ab", "ab"]).vocabularySize == 256)
        #expect(try trainer.train(["ab", "ab", "ab"]).vocabularySize == 257)
    }

    @Test func specialTokensComeFirstAndNeverMerge() throws {
        let trainer = try BPETrainer(vocabularySize: 400, specialTokens: ["<|end|>", "<|eot|>", "low"])
        let tokenizer = try trainer.train(Self.texts, roles: .init(endOfText: "<|end|>", padding: "<|eot|>"))
        #expect(tokenizer.endOfTextID == 0)
        #expect(tokenizer.paddingID == 1)
        #expect(tokenizer.beginningOfTextID == nil)
        #expect(tokenizer.specialTokenIDs == [0, 1, 2])
        #expect(tokenizer.encode("<|eot|>") == [1])
        #expect(tokenizer.id(of: "<|") == nil)
        #expect(tokenizer.id(of: "low") == 2)
    }

    /// Those of `plumbline tokenizer train`.
    private static let patterns: [SplitPattern] = [.gpt2, .llama3, .qwen2]

    @Test func digitsStayAloneWhenAsked() throws {
        for pattern in Self.patterns {
            let trainer = try BPETrainer(vocabularySize: 420, splitPattern: pattern, splitsDigits: true)
            let tokenizer = try trainer.train(Self.texts)
            #expect(tokenizer.encode("345").count == 3)
            #expect(try tokenizer.decode(tokenizer.encode("été 345 日本\n")) == "été 345 日本\n")
        }
    }

    @Test func sameTextsGiveTheSameBytes() throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("plumbline-trainer-\(UUID())")
        defer { try? FileManager.default.removeItem(at: folder) }
        let trainer = try BPETrainer(vocabularySize: 450)
        try trainer.train(Self.texts).save(to: folder.appendingPathComponent("a"))
        try trainer.train(Self.texts.reversed()).save(to: folder.appendingPathComponent("b"))
        for name in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"] {
            let first = try Data(contentsOf: folder.appendingPathComponent("a/\(name)"))
            #expect(first == (try Data(contentsOf: folder.appendingPathComponent("b/\(name)"))))
            #expect(!first.isEmpty)
        }
    }

    /// The library loaded this very file and gave these ids (Tests/References/trained_tokenizer.py).
    @Test(arguments: Self.patterns)
    func trainedFileMeansTheSameToTheLibrary(_ pattern: SplitPattern) throws {
        let trainer = try BPETrainer(
            vocabularySize: 500, specialTokens: ["<|end|>", "\"q\\\u{7}"], splitPattern: pattern,
            splitsDigits: pattern == .gpt2)
        let tokenizer = try trainer.train(Array(try Reference.strings().prefix(600)))
        if let folder = ProcessInfo.processInfo.environment["PLUMBLINE_WRITE_TRAINED"] {
            try tokenizer.save(to: URL(fileURLWithPath: folder).appendingPathComponent("\(pattern)"))
        }
        let expected = try JSONDecoder().decode([String: [String]].self, from: try Reference.data("trained.json"))
        let rows = try #require(expected["\(pattern)"])
        #expect(rows.count == 300)
        for (text, row) in zip(try Reference.strings().suffix(300), rows) {
            #expect(tokenizer.encode(text) == ExpectedIDs.row(row), "\(text.debugDescription)")
        }
    }

    @Test func wrongSettingsAreNamed() throws {
        for (size, specials, frequency, key) in [
            (256, ["<|end|>"], 2, "vocabulary_size"), (1 << 23, [], 2, "vocabulary_size"),
            (300, [], 0, "min_frequency"),
            (300, ["a"], 2, "special_tokens"), (300, ["<s>", "<s>"], 2, "special_tokens"),
            (300, [""], 2, "special_tokens"),
        ] as [(Int, [String], Int, String)] {
            let error = #expect(throws: TokenizerError.self) {
                try BPETrainer(vocabularySize: size, specialTokens: specials, minimumFrequency: frequency)
            }
            #expect(error?.key == key)
        }
        let trainer = try BPETrainer(vocabularySize: 300, specialTokens: ["<|end|>"])
        let error = #expect(throws: TokenizerError.self) { try trainer.train(["a"], roles: .init(endOfText: "</s>")) }
        #expect(error?.key == "eos_token")
    }
}
