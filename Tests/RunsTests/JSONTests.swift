import Foundation
import Runs
import TestSupport
import Testing

@Suite("JSON texts")
struct JSONTests {
    @Test func everyKindOfValueIsRead() throws {
        let json = try JSON(
            parsing:
                #" {"b": [1, -2.5e3, 0], "a": {"x": null, "y": true, "z": false}, "t": "é\n\u00e9\ud83d\ude00\/"} "#)
        #expect(json.members?.map(\.key) == ["b", "a", "t"])
        #expect(json["b"] == .array([.number(1), .number(-2500), .number(0)]))
        #expect(json["a"]?["x"] == .null)
        #expect(json["a"]?["y"] == .bool(true))
        #expect(json["t"]?.text == "é\né😀/")
        #expect(json["b"]?.elements?.first?.integer == 1)
    }

    /// A whole number stays one, a number with a fraction or an exponent a Double.
    @Test func wholeNumbersKeepTheirDigits() throws {
        let text =
            "[9007199254740991, 9007199254740992, 9007199254740993, -9223372036854775809, 18446744073709551615, "
            + "1000000000000000019884624838656, 1e+20, 9.007199254740994e+15]"
        let json = try JSON(parsing: text)
        #expect(json.serialized == text)
        #expect(json.elements?.compactMap(\.integer) == [1 << 53 - 1, 1 << 53, 1 << 53 + 1, 1 << 53 + 2])
        #expect(json.elements?[4].double == 0x1p64)
        #expect(JSON.number(Int.max).serialized == "9223372036854775807")
        let long = String(repeating: "9", count: 60)
        #expect(throws: JSONError.self) { try JSON(parsing: long) }
    }

    @Test(arguments: [
        ("", 1, 1, "found the end where a value should stand"),
        ("{\"a\": 1,\n \"b\" 2}", 2, 6, "found \"2\" where : should stand"),
        ("{\"é\": x}", 1, 7, "found \"x\" where a value should stand"),
        ("[1, 2", 1, 6, "found the end where , or ] should stand"),
        ("{\"a\": 1,}", 1, 9, "found \"}\" where a key in quotes should stand"),
        ("[01]", 1, 2, "a number may not begin with 0"),
        ("[NaN]", 1, 2, "found \"N\" where a value should stand; JSON has no NaN or Infinity, write null"),
        ("[True]", 1, 2, "found \"T\" where a value should stand; JSON spells true, false and null in lower case"),
        ("['a']", 1, 2, "found \"'\" where a value should stand; JSON texts stand in double quotes"),
        ("{\"a\": 1, \"a\": 2}", 1, 10, "the key \"a\" stands twice in one object"),
        ("\"abc", 1, 1, "the text has no closing quote"),
        ("\"a\nb\"", 1, 3, "a text may not hold a line break as it is; write it as an escape such as \\n"),
        ("\"\\x\"", 1, 2, "\\x is no escape JSON knows"),
        ("\"\\ud83d\"", 1, 2, "\\ud83d is half of a surrogate pair without its other half"),
        ("1 2", 1, 3, "found \"2\" after the end of the value"),
        (
            "[1, 170141183460469231731687303715884105728]", 1, 5,
            "the whole number 170141183460469231731687303715884105728 has 39 digits, more than fit; write it as a text"
        ),
        ("1e999", 1, 1, "the number 1e999 is too large for a 64-bit float"),
        ("[-]", 1, 3, "found \"]\" where a digit should stand"),
        ("[1.]", 1, 4, "found \"]\" where a digit should stand"),
        ("nul", 1, 1, "found \"n\" where a value should stand"),
    ])
    func errorsSayWhereAndWhat(_ text: String, _ line: Int, _ column: Int, _ message: String) {
        #expect(throws: JSONError(line: line, column: column, message: message)) { try JSON(parsing: text) }
    }

    @Test func invalidUTF8IsRefused() {
        #expect(throws: JSONError.self) { try JSON(parsing: [0x22, 0xc3, 0x28, 0x22]) }
        #expect(throws: JSONError.self) { try JSON(parsing: [0x22, 0x5c, 0x6e, 0xff, 0x22]) }
    }

    @Test func nestingIsLimited() throws {
        func nested(_ depth: Int) -> String {
            String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
        }
        _ = try JSON(parsing: nested(256))
        #expect(throws: JSONError.self) { try JSON(parsing: nested(257)) }
        #expect(throws: JSONError.self) { try JSON(parsing: String(repeating: "[", count: 1_000_000)) }
    }

    @Test func aHugeObjectKeepsItsKeysAndFindsATwin() throws {
        let members = (0..<20_000).map { "\"k\($0)\": \($0)" }
        #expect(try JSON(parsing: "{\(members.joined(separator: ","))}").members?.count == 20_000)
        #expect(throws: JSONError.self) {
            try JSON(parsing: "{\((members + [members[19_000]]).joined(separator: ","))}")
        }
    }

    @Test func whatIsWrittenReadsBackEqual() throws {
        let json = JSON.object([
            "text": "quote \" backslash \\ break \n tab \t bell \u{7} é 😀", "list": [1, -0.1, 1e300, 123_456_789_012],
            "empty": .array([]), "none": .object([:]), "null": .null, "yes": true,
        ])
        #expect(try JSON(parsing: json.serialized) == json)
        #expect(try JSON(parsing: json.indented) == json)
        #expect(json.serialized.utf8.allSatisfy { $0 != 0x0a })
        #expect(
            JSON.array([.number(.nan), .number(.infinity), .number(3), .number(0.1)]).serialized
                == "[null, null, 3, 0.1]")
    }

    /// Foundation's reader is the judge: whatever ours accepts, it accepts, and reads as the same value.
    @Test func mutatedTextsNeitherCrashNorDisagreeWithFoundation() throws {
        let seed =
            #"{"prompt": "a\u00e9\"b\\", "n": [1, -2.5e-3, 1e5, true, null], "o": {"k": {}, "l": []}, "é": "ü😀"}"#
        var random = TestRandom(seed: 11)
        var accepted = 0
        for _ in 0..<mutationCount {
            let bytes = random.mutated(Array(seed.utf8))
            guard let json = try? JSON(parsing: bytes) else { continue }
            accepted += 1
            let judged = try JSONSerialization.jsonObject(with: Data(bytes), options: .fragmentsAllowed)
            #expect(try agrees(json, judged), "\(String(decoding: bytes, as: UTF8.self))")
        }
        #expect(accepted > mutationCount / 50)
    }

    private func agrees(_ json: JSON, _ judged: Any) throws -> Bool {
        switch json {
        case .null: return judged is NSNull
        case .bool(let value): return (judged as? Bool) == value
        case .number(let value): return (judged as? NSNumber)?.doubleValue == value
        case .integer(let value): return (judged as? NSNumber)?.doubleValue == Double(value)
        case .string(let value): return (judged as? String) == value
        case .array(let elements):
            guard let other = judged as? [Any], other.count == elements.count else { return false }
            return try zip(elements, other).allSatisfy { try agrees($0, $1) }
        case .object(let members):
            guard let other = judged as? [String: Any] else { return false }
            return try members.allSatisfy { member in
                try other[member.key].map { try agrees(member.value, $0) } ?? false
            }
        }
    }
}
