import Foundation
import Testing
import Tokenization

@Suite("Ids and text equal the tokenizers library")
struct ReferenceTests {
    @Test(arguments: Reference.all)
    func idsOfHardStringsAreEqual(_ name: String) throws {
        let tokenizer = try Reference.tokenizer(name)
        let strings = try Reference.strings()
        let expected = try Reference.expected(name)
        #expect(expected.ids.count >= (Reference.patterns.contains(name) ? 2_000 : 700))
        var wrong: [String] = []
        for (text, row) in zip(strings, expected.ids) {
            let ids = tokenizer.encode(text)
            if ids != ExpectedIDs.row(row) {
                wrong.append("\(text.debugDescription): \(ids), not \(ExpectedIDs.row(row))")
            }
        }
        #expect(wrong.isEmpty, "\(wrong.count) of \(expected.ids.count) differ, such as \(wrong.prefix(3))")
    }

    @Test(arguments: Reference.all)
    func specialIDsAroundTheTextAreEqual(_ name: String) throws {
        let tokenizer = try Reference.tokenizer(name)
        for (text, row) in zip(try Reference.strings(), try Reference.expected(name).withSpecials) {
            #expect(tokenizer.encode(text, addSpecialTokens: true) == ExpectedIDs.row(row), "\(text.debugDescription)")
        }
    }

    @Test(arguments: Reference.all)
    func decodedTextIsEqual(_ name: String) throws {
        let tokenizer = try Reference.tokenizer(name)
        let strings = try Reference.strings()
        let expected = try Reference.expected(name)
        var texts = Array(strings.prefix(expected.ids.count))
        for changed in expected.decoded { texts[changed.index] = changed.text }
        for (row, text) in zip(expected.ids, texts) {
            let decoded = try tokenizer.decode(ExpectedIDs.row(row))
            #expect(sameBytes(decoded, text), "\(decoded.debugDescription), not \(text.debugDescription)")
        }
        for (row, text) in zip(expected.ids, expected.skipped) {
            let decoded = try tokenizer.decode(ExpectedIDs.row(row), skipSpecialTokens: true)
            #expect(sameBytes(decoded, text), "\(decoded.debugDescription), not \(text.debugDescription)")
        }
    }

    /// Rows of random ids hold cut characters and stray bytes.
    @Test(arguments: Reference.all)
    func textOfRandomIDsIsEqualAtOnceAndOneByOne(_ name: String) throws {
        let tokenizer = try Reference.tokenizer(name)
        let expected = try Reference.expected(name)
        for (row, text) in zip(expected.scattered, expected.scatteredText) {
            let ids = ExpectedIDs.row(row)
            let whole = try tokenizer.decode(ids)
            #expect(sameBytes(whole, text), "\(ids): \(whole.debugDescription), not \(text.debugDescription)")
            var decoder = IncrementalDecoder(tokenizer)
            var pieces = ""
            for id in ids { pieces += try decoder.feed(id) }
            pieces += decoder.finish()
            #expect(sameBytes(pieces, text))
        }
    }

    // Runs where PLUMBLINE_GSM8K names the folder with train.jsonl and test.jsonl; the data set is not ours to ship.
    @Test(
        "Ids of all GSM8K rows hash to the library's",
        .enabled(if: ProcessInfo.processInfo.environment["PLUMBLINE_GSM8K"] != nil, "PLUMBLINE_GSM8K is not set"),
        arguments: Reference.patterns + Reference.variants)
    func gsm8kIDsAreEqual(_ name: String) throws {
        let folder = URL(fileURLWithPath: try #require(ProcessInfo.processInfo.environment["PLUMBLINE_GSM8K"]))
        let hashes = try JSONDecoder().decode([String: String].self, from: try Reference.data("gsm8k.json"))
        let tokenizer = try Reference.tokenizer(name)
        var hash = SHA256Digest()
        var rows = 0
        for file in ["train.jsonl", "test.jsonl"] {
            let lines = try String(contentsOf: folder.appendingPathComponent(file), encoding: .utf8).split(
                separator: "\n")
            for line in lines {
                let row = try JSONDecoder().decode([String: String].self, from: Data(line.utf8))
                let text = try #require(row["question"]) + "\n" + (try #require(row["answer"]))
                hash.update((tokenizer.encode(text).map(String.init).joined(separator: ",") + "\n").utf8)
                rows += 1
            }
        }
        #expect(rows == 8_792)
        #expect(hash.hexadecimal() == hashes[name])
    }
}
