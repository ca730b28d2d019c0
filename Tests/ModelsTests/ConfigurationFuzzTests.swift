import Foundation
import Models
import Testing

@Suite("config.json, damaged")
struct ConfigurationFuzzTests {
    /// A plain generator with a fixed start, so that a failure comes again.
    struct Sequence: RandomNumberGenerator {
        var state: UInt64

        mutating func next() -> UInt64 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return state ^ (state >> 29)
        }
    }

    static let pieces = [
        "null", "-1", "0", "1e308", "1e-320", "99999999999999999999", "0.5", "\"\"", "[]", "{}", "true",
        "{\"factor\": 0}",
        "[null]", "\"yarn\"", "\u{FFFD}", "\\u0000", ",", "}", "\"", "2147483648",
    ]

    @Test("5,000 mutations of each family's file end in a configuration that can be listed, or in a ModelError")
    func mutations() throws {
        for name in ["llama3", "llama_yarn_mscale", "llama_dynamic", "mistral_sliding", "qwen2_sliding", "qwen3"] {
            let file = PublishedModel.root.appending(path: "\(name)/config.json")
            let original = Array(try Data(contentsOf: file))
            var random = Sequence(state: name.utf8.reduce(7) { $0 &* 31 &+ UInt64($1) })
            var read = 0
            for _ in 0..<5000 {
                let text = String(decoding: Self.mutated(original, &random), as: UTF8.self)
                do {
                    let configuration = try ModelConfiguration(json: text)
                    read += 1
                    #expect(configuration.slidingWindows.count == configuration.layers)
                    #expect(configuration.heads % configuration.keyValueHeads == 0)
                    if configuration.layers < 100 { #expect(configuration.parameterCount > 0) }
                } catch {
                    #expect(!error.description.isEmpty)
                }
            }
            #expect(read > 50 && read < 4950, "\(name): \(read) of 5000 were read")
        }
    }

    /// One to three changes: a byte, a piece left out, a piece put in, or a value exchanged.
    private static func mutated(_ original: [UInt8], _ random: inout Sequence) -> [UInt8] {
        var bytes = original
        for _ in 0..<Int.random(in: 1...3, using: &random) {
            let position = Int.random(in: 0..<bytes.count, using: &random)
            switch Int.random(in: 0..<4, using: &random) {
            case 0: bytes[position] = UInt8.random(in: 0...255, using: &random)
            case 1: bytes.removeSubrange(position..<min(bytes.count, position + Int.random(in: 1...9, using: &random)))
            case 2: bytes.insert(contentsOf: (pieces.randomElement(using: &random) ?? "").utf8, at: position)
            default:
                let colons = bytes.indices.filter { bytes[$0] == UInt8(ascii: ":") }
                guard let colon = colons.randomElement(using: &random) else { continue }
                let end =
                    bytes[colon...].firstIndex { $0 == UInt8(ascii: ",") || $0 == UInt8(ascii: "\n") } ?? bytes.count
                bytes.replaceSubrange(colon + 1..<end, with: (pieces.randomElement(using: &random) ?? "").utf8)
            }
            if bytes.isEmpty { return original }
        }
        return bytes
    }
}
