import Foundation
import JSON
import TestSupport
import Testing
import Tokenization

/// Cases made by Tests/References/stated_tokens.py with `transformers`.
@Suite("Tokens that the files beside tokenizer.json state")
struct StatedTokenTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let row: JSONValue
        var testDescription: String { row["name"]?.string ?? "" }
        var map: JSONValue { row["map"] ?? .null }

        static let file = try? JSONValue(parsing: Reference.data("stated_tokens.json"))
        static let all = (file?["cases"]?.elements ?? []).map { Case(row: $0) }
        static let texts = (file?["texts"]?.elements ?? []).compactMap(\.string)

        func write(to folder: URL) throws {
            let base = try #require(Case.file?["tokenizer"]?.members).filter { $0.key != "added_tokens" }
            let added = try #require(row["added"])
            let files = [
                "tokenizer.json": JSONValue.object(base + [.init("added_tokens", added)]),
                "tokenizer_config.json": try #require(row["configuration"]),
                "special_tokens_map.json": map,
            ]
            for (name, value) in files where value != .null {
                try Data(value.serialized.utf8).write(to: folder.appendingPathComponent(name))
            }
        }
    }

    @Test func thereAreCases() { #expect(Case.all.count == 19 && Case.texts.count == 6) }

    @Test(arguments: Case.all)
    func idsAreThoseOfTransformers(_ example: Case) throws {
        let folder = try TemporaryFolder()
        try example.write(to: folder.url)
        let tokenizer = try Tokenizer(folder: folder.url)
        let rows = try #require(example.row["ids"]?.elements)
        let skipped = try #require(example.row["skipped"]?.elements)
        for (index, text) in Case.texts.enumerated() {
            let ids = tokenizer.encode(text)
            #expect(ids == rows[index].elements?.compactMap(\.int), "\(text)")
            #expect(try tokenizer.decode(ids, skipSpecialTokens: true) == skipped[index].string, "\(text)")
        }
        let roles = try #require(example.row["roles"]?.dictionary).compactMapValues(\.string)
        #expect(tokenizer.specialTokenTexts == roles)
        #expect(tokenizer.endOfTextID == roles["eos_token"].flatMap(tokenizer.id(of:)))
        #expect(tokenizer.vocabularySize == example.row["size"]?.int)
    }

    /// A GGUF file has no such files; what they make of the tokens stands in the `tokenizer.json` that it carries.
    @Test(arguments: Case.all.filter { $0.map == .null })
    func aGGUFFileCarriesThem(_ example: Case) throws {
        let folder = try TemporaryFolder()
        try example.write(to: folder.url)
        let tokenizer = try Tokenizer(folder: folder.url)
        let entries = try GGUFVocabulary(tokenizer, rows: tokenizer.vocabularySize, endIDs: []).entries
        let carried = try #require(entries.first { $0.key == "tokenizer.huggingface.json" })
        guard case .string(let json) = carried.value else {
            Issue.record("\(carried.value)")
            return
        }
        let again = try Tokenizer(json: Data(json.utf8))
        #expect(again.addedTokens == tokenizer.addedTokens)
        for text in Case.texts { #expect(again.encode(text) == tokenizer.encode(text), "\(text)") }
    }

    /// Such a token would get an id behind the model's own; and split special tokens are a key of the job.
    @Test(arguments: [
        (#"{"pad_token":"<new>"}"#, "pad_token", "a token of tokenizer.json"),
        (#"{"mask_token":"<new>"}"#, "mask_token", "a token of tokenizer.json"),
        (#"{"extra_special_tokens":["</s>","<new>"]}"#, "extra_special_tokens[1]", "a token of tokenizer.json"),
        (#"{"additional_special_tokens":["<new>"]}"#, "additional_special_tokens[0]", "a token of tokenizer.json"),
        (#"{"added_tokens_decoder":{"300":{"content":"<new>"}}}"#, "added_tokens_decoder.300", "260"),
        (#"{"added_tokens_decoder":{"x":{"content":"<new>"}}}"#, "added_tokens_decoder.x", "a whole number"),
        (#"{"split_special_tokens":true}"#, "split_special_tokens", "the job"),
    ])
    func whatGivesOtherIDsIsRefused(_ configuration: String, _ key: String, _ expected: String) throws {
        let folder = try TemporaryFolder()
        try Case.all[0].write(to: folder.url)
        _ = try folder.file("tokenizer_config.json", configuration)
        let error = #expect(throws: TokenizerError.self) { try Tokenizer(folder: folder.url) }
        #expect(error?.file.hasSuffix("/tokenizer_config.json") == true && error?.key == key)
        #expect(error?.expected.contains(expected) == true, "\(String(describing: error))")
    }

    /// Most versions of `transformers` know nothing of a key of the model's own.
    @Test func aKeyOfTheModelsOwnThatNamesNoTokenIsLeft() throws {
        let folder = try TemporaryFolder()
        try Case.all[0].write(to: folder.url)
        _ = try folder.file("tokenizer_config.json", #"{"image_token":"<new>","eos_token":""}"#)
        let tokenizer = try Tokenizer(folder: folder.url)
        #expect(tokenizer.specialTokenTexts["image_token"] == "<new>" && tokenizer.addedTokens.isEmpty)
        #expect(tokenizer.endOfTextID == nil && tokenizer.vocabularySize == 260)
    }
}
