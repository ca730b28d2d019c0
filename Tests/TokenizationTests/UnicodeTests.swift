import Foundation
import Testing
import Tokenization

/// Against Tests/References/unicode_classes.py: how the `tokenizers` library cuts and normalizes every code point.
@Suite struct UnicodeTests {
    struct Expected: Decodable {
        struct Case: Decodable {
            /// What stands before each code point.
            let before: String
            /// The members of the tokenizer's file that differ, as JSON text.
            let members: String
            let sha256: String
        }
        let cases: [String: Case]
    }

    @Test(arguments: ["letters", "numbers", "others", "digits", "NFC", "NFD", "NFKC", "NFKD"])
    func everyCodePointIsTreatedAsTheLibraryTreatsIt(_ name: String) throws {
        let data = try Reference.data("unicode.json")
        let expected = try #require(try JSONDecoder().decode(Expected.self, from: data).cases[name])
        let root = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
        var file = try #require(root["tokenizer"] as? [String: Any])
        let members = try JSONSerialization.jsonObject(with: Data(expected.members.utf8)) as? [String: Any]
        file.merge(try #require(members)) { $1 }
        let tokenizer = try Tokenizer(json: try JSONSerialization.data(withJSONObject: file))
        var hash = SHA256Digest()
        for points in [0x80..<0xD800, 0xE000..<0x33500, 0xE0000..<0xE0200] as [Range<UInt32>] {
            for scalar in points.compactMap(Unicode.Scalar.init) {
                let ids = tokenizer.encode("\(expected.before)\(scalar)\u{301}\u{1161}\u{11A8}")
                hash.update((ids.map(String.init).joined(separator: " ") + "\n").utf8)
            }
        }
        #expect(hash.hexadecimal() == expected.sha256)
    }
}
