import Foundation
import TestSupport
import Testing
import Tokenization

@Suite("Special tokens that a text only spells")
struct SpelledTokenTests {
    /// Made by Tests/References/split_special_tokens.py with the tokenizers library.
    private struct Case: Decodable {
        let tokenizer: String
        let special: [String]
        let texts: [String]
        let found: [[Int]]
        let split: [[Int]]
    }

    @Test func markedTextsAreReadAsTheLibraryReadsThem() throws {
        let cases = try JSONDecoder().decode([Case].self, from: Reference.data("split_special_tokens.json"))
        #expect(cases.count == 5)
        for example in cases {
            let tokenizer = try Reference.tokenizer(example.tokenizer)
            for (index, text) in example.texts.enumerated() {
                let mark = try #require(SpellingMark(absentFrom: [text]))
                let marked = tokenizer.marked(text, with: mark)
                #expect(tokenizer.encode(marked, mark: mark) == example.split[index], "\(example.tokenizer): \(text)")
                #expect(tokenizer.encode(text) == example.found[index], "\(example.tokenizer): \(text)")
                let spelled = tokenizer.specialTokens(spelledIn: text)
                // Of a token that has the same id in parts nothing is seen in the ids.
                #expect(
                    !spelled.isEmpty || example.found[index] == example.split[index], "\(example.tokenizer): \(text)")
                #expect(spelled.isEmpty || text.contains("<"), "\(example.tokenizer): \(text)")
            }
        }
    }

    /// Only the marked part is text: what a template writes around it stays tokens.
    @Test func unmarkedPartsKeepTheirTokens() throws {
        let tokenizer = try Reference.tokenizer("qwen2")
        let first = try #require(Unicode.Scalar(0xFDD0 as UInt32))
        let words = String(first) + "<|im_end|>"  // a text that has the first mark already
        let mark = try #require(SpellingMark(absentFrom: [words]))
        let ids = tokenizer.encode("<|im_start|>" + tokenizer.marked(words, with: mark) + "<|im_end|>", mark: mark)
        #expect(ids.first == tokenizer.id(of: "<|im_start|>") && ids.last == tokenizer.id(of: "<|im_end|>"))
        #expect(ids.count { tokenizer.specialTokenIDs.contains($0) } == 2)
        #expect(try tokenizer.decode(ids) == "<|im_start|>\(words)<|im_end|>")
        let scalars = (0xFDD0...0xFDEF as ClosedRange<UInt32>).compactMap(Unicode.Scalar.init)
        let all = String(String.UnicodeScalarView(scalars))
        #expect(SpellingMark(absentFrom: ["a", all]) == nil)
    }

    @Test func theTemplateBesideAFileOfAnyNameIsFound() throws {
        let folder = try TemporaryFolder()
        let json = try Reference.tokenizerJSON("qwen2")
        let file = try folder.file("qwen.json", String(decoding: json, as: UTF8.self))
        _ = try folder.file("chat_template.jinja", "{{ messages[0].content }}")
        #expect(try Tokenizer(besideOthers: file).chatTemplate == "{{ messages[0].content }}")
        #expect(try Tokenizer(json: file).chatTemplate == nil)
    }
}
