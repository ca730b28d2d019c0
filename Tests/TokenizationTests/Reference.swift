import Foundation
import Testing
import Tokenization

/// Data made by Tests/References/tokenizer_reference.py with the `tokenizers` library.
enum Reference {
    static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent("References/Tokenization")

    /// The three split patterns, each with every string.
    static let patterns = ["gpt2", "llama3", "qwen2"]
    /// Other settings of the same parts, with the first 700 strings.
    static let variants = ["prefixed", "digits", "grouped", "metaspace", "normalizers", "kc", "unknown"]
    /// Patterns to which case counts, with as many.
    static let cased = ["tekken", "gpt4o"]
    static let all = patterns + variants + cased

    static func data(_ name: String) throws -> Data { try Data(contentsOf: folder.appendingPathComponent(name)) }

    static func tokenizerJSON(_ name: String) throws -> Data { try data("\(name).tokenizer.json") }

    static func tokenizer(_ name: String) throws -> Tokenizer { try Tokenizer(json: try tokenizerJSON(name)) }

    static func strings() throws -> [String] { try JSONDecoder().decode([String].self, from: try data("strings.json")) }

    static func expected(_ name: String) throws -> ExpectedIDs {
        try JSONDecoder().decode(ExpectedIDs.self, from: try data("\(name).expected.json"))
    }
}

/// What the library gave for the strings: ids row by row in base 36.
struct ExpectedIDs: Decodable {
    let ids: [String]
    let withSpecials: [String]
    let decoded: [DecodedText]
    let skipped: [String]
    let scattered: [String]
    let scatteredText: [String]

    static func row(_ text: String) -> [Int] { text.split(separator: " ").compactMap { Int($0, radix: 36) } }

    /// Index of a string and what its ids decode to, where that is not the string.
    struct DecodedText: Decodable {
        let index: Int
        let text: String

        init(from decoder: any Decoder) throws {
            var container = try decoder.unkeyedContainer()
            index = try container.decode(Int.self)
            text = try container.decode(String.self)
        }
    }
}

/// Whether two texts are the same bytes; `==` takes canonically equivalent ones for equal.
func sameBytes(_ left: String, _ right: String) -> Bool { left.utf8.elementsEqual(right.utf8) }
