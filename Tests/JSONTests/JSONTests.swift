import Foundation
import JSON
import TestSupport
import Testing

@Suite("JSON texts")
struct JSONTests {
    @Test func everyKindOfValueIsRead() throws {
        let json = try JSONValue(
            parsing:
                #" {"b": [1, -2.5e3, 0], "a": {"x": null, "y": true, "z": false}, "t": "é\n\u00e9\ud83d\ude00\/"} "#)
        #expect(json.members?.map(\.key) == ["b", "a", "t"])
        #expect(json["b"] == .array([.number(1), .number(-2500), .number(0)]))
        #expect(json["a"]?["x"] == .null)
        #expect(json["a"]?["y"] == .bool(true))
        #expect(json["t"]?.string == "é\né😀/")
        #expect(json["b"]?.elements?.first?.int == 1)
    }

    /// A whole number stays one, a number with a fraction or an exponent a Double.
    @Test func wholeNumbersKeepTheirDigits() throws {
        let text =
            "[9007199254740991, 9007199254740992, 9007199254740993, -9223372036854775809, 18446744073709551615, "
            + "1000000000000000019884624838656, 1e+20, 9.007199254740994e+15]"
        let json = try JSONValue(parsing: text)
        #expect(json.serialized == text)
        #expect(json.elements?.compactMap(\.int) == [1 << 53 - 1, 1 << 53, 1 << 53 + 1, 1 << 53 + 2])
        #expect(json.elements?[4].double == 0x1p64)
        #expect(JSONValue.number(Int.max).serialized == "9223372036854775807")
        let long = String(repeating: "9", count: 60)
        #expect(throws: JSONError.self) { try JSONValue(parsing: long) }
    }

    /// Every spelling of a number is its own text again, and the value its spelling has.
    @Test(arguments: [
        ("1.0", 1.0, 1), ("1e-06", 0.000_001, nil), ("1E+2", 100, 100), ("-0", 0, 0), ("-0.0", 0, 0),
        ("0.10", 0.1, nil),
        ("123456789012345678901234567890", 123_456_789_012_345_677_877_719_597_056, nil),
        ("9007199254740993.0", 0x1p53, 1 << 53),
        ("-9223372036854775808", -0x1p63, Int.min), ("2.50", 2.5, nil),
    ])
    func numbersKeepTheirSpelling(_ text: String, _ double: Double, _ int: Int?) throws {
        let value = try JSONValue(parsing: text)
        #expect(value.serialized == text && value.double == double && value.int == int)
        #expect(value == .number(double) || text.count > 15)
    }

    /// An é of one scalar and one of two are two keys, and a key is found by its bytes.
    @Test func keysAreToldApartByTheirBytes() throws {
        let text = "{\"\u{e9}\":1,\"e\u{301}\":2}"
        let json = try JSONValue(parsing: text)
        #expect(json["\u{e9}"] == 1 && json["e\u{301}"] == 2)
        #expect(json.serialized(.compact) == text)
        let many = (0..<20).map { "\"k\($0)\":\($0)" }.joined(separator: ",")
        #expect(try JSONValue(parsing: "{\(many),\(text.dropFirst())").members?.count == 22)
    }

    @Test func objectsAreEqualInAnyOrderAndKeepTheirs() throws {
        let (first, second) = (
            try JSONValue(parsing: #"{"b": 1, "a": [2]}"#), try JSONValue(parsing: #"{"a": [2.0], "b": 1}"#)
        )
        #expect(first == second && Set([first, second]).count == 1)
        #expect(first.serialized == #"{"b": 1, "a": [2]}"#)
        #expect(first != .object(["b": 1, "a": 2]) && first != .object(["b": 1]))
    }

    /// Python 3.11: json.dumps(v), json.dumps(v, separators=(",", ":")), json.dumps(v, indent=2), json.dumps(v,
    /// indent=2, sort_keys=True), each of {"b": [1, {}], "a": {"é": "\x08\x0c\x1f\t", "Z": []}} with
    /// ensure_ascii=False.
    @Test func stylesAreThoseOfPython() throws {
        let value = JSONValue.object(["b": [1, .object([:])], "a": .object(["é": "\u{8}\u{c}\u{1f}\t", "Z": []])])
        #expect(value.serialized == #"{"b": [1, {}], "a": {"é": "\b\f\u001f\t", "Z": []}}"#)
        #expect(value.serialized(.compact) == #"{"b":[1,{}],"a":{"é":"\b\f\u001f\t","Z":[]}}"#)
        let indented = #"""
            {
              "b": [
                1,
                {}
              ],
              "a": {
                "é": "\b\f\u001f\t",
                "Z": []
              }
            }
            """#
        #expect(value.serialized(.indented) == indented && value.indented == indented + "\n")
        let sorted = #"""
            {
              "a": {
                "Z": [],
                "é": "\b\f\u001f\t"
              },
              "b": [
                1,
                {}
              ]
            }
            """#
        #expect(value.serialized(.sorted) == sorted)
    }

    /// What a terminal or YAML would take for something else: DEL, C1, line separators, the byte order mark,
    /// noncharacters.
    @Test func unprintableCharactersAreEscaped() throws {
        let text = "\u{7f}\u{85}\u{9b}\u{a0}\u{2027}\u{2028}\u{2029}\u{feff}\u{fffd}\u{fffe}\u{ffff}é😀"
        let value = JSONValue.string(text)
        #expect(
            value.serialized
                == "\"\\u007f\\u0085\\u009b\u{a0}\u{2027}\\u2028\\u2029\\ufeff\u{fffd}\\ufffe\\uffffé😀\"")
        #expect(try JSONValue(parsing: value.serialized) == value)
        let python = JSONStyle.python(indentation: nil, itemSeparator: ", ", keySeparator: ": ", sortsKeys: false)
        #expect(value.serialized(python) == "\"\(text)\"")
    }

    /// A budget is an error with its position, not a process out of memory.
    @Test func budgetsAreKept() throws {
        let list = "[" + Array(repeating: "[]", count: 99).joined(separator: ",") + "]"
        #expect(try JSONValue(parsing: list, limits: JSONLimits(values: 100)).elements?.count == 99)
        #expect(throws: JSONError(line: 1, column: 296, message: "more than 99 values in one text")) {
            try JSONValue(parsing: list, limits: JSONLimits(values: 99))
        }
        #expect(throws: JSONError(line: 1, column: 2, message: "nested more than 1 levels deep")) {
            try JSONValue(parsing: list, limits: JSONLimits(depth: 1))
        }
    }

    @Test func aByteOrderMarkIsSkipped() throws {
        #expect(try JSONValue(parsing: "\u{feff}[1]") == [1])
    }

    /// Texts of every length around the eight bytes that are looked at together, with each stop at each position.
    @Test func textsEndWhereTheyEnd() throws {
        for length in 0..<20 {
            let plain = String(repeating: "é", count: length % 5) + String(repeating: "x", count: length)
            #expect(try JSONValue(parsing: "\"\(plain)\"").string == plain)
            #expect(try JSONValue(parsing: "[\"\(plain)\\n\(plain)\"]").elements == [.string(plain + "\n" + plain)])
            for bad in ["\u{1f}", "\n", "\u{0}"] {
                #expect(throws: JSONError.self) { try JSONValue(parsing: "\"\(plain)\(bad)\(plain)\"") }
            }
        }
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
        #expect(throws: JSONError(line: line, column: column, message: message)) { try JSONValue(parsing: text) }
    }

    @Test func invalidUTF8IsRefused() {
        #expect(throws: JSONError.self) { try JSONValue(parsing: [0x22, 0xc3, 0x28, 0x22]) }
        #expect(throws: JSONError.self) { try JSONValue(parsing: [0x22, 0x5c, 0x6e, 0xff, 0x22]) }
    }

    @Test func nestingIsLimited() throws {
        func nested(_ depth: Int) -> String {
            String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
        }
        _ = try JSONValue(parsing: nested(256))
        #expect(throws: JSONError.self) { try JSONValue(parsing: nested(257)) }
        #expect(throws: JSONError.self) { try JSONValue(parsing: String(repeating: "[", count: 1_000_000)) }
    }

    @Test func aHugeObjectKeepsItsKeysAndFindsATwin() throws {
        let members = (0..<20_000).map { "\"k\($0)\": \($0)" }
        #expect(try JSONValue(parsing: "{\(members.joined(separator: ","))}").members?.count == 20_000)
        #expect(throws: JSONError.self) {
            try JSONValue(parsing: "{\((members + [members[19_000]]).joined(separator: ","))}")
        }
    }

    @Test func whatIsWrittenReadsBackEqual() throws {
        let json = JSONValue.object([
            "text": "quote \" backslash \\ break \n tab \t bell \u{7} é 😀", "list": [1, -0.1, 1e300, 123_456_789_012],
            "empty": .array([]), "none": .object([:]), "null": .null, "yes": true,
        ])
        #expect(try JSONValue(parsing: json.serialized) == json)
        #expect(try JSONValue(parsing: json.indented) == json)
        #expect(json.serialized.utf8.allSatisfy { $0 != 0x0a })
        #expect(
            JSONValue.array([.number(.nan), .number(.infinity), .number(3), .number(0.1)]).serialized
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
            guard let json = try? JSONValue(parsing: bytes) else { continue }
            accepted += 1
            let judged = try JSONSerialization.jsonObject(with: Data(bytes), options: .fragmentsAllowed)
            #expect(try agrees(json, judged), "\(String(decoding: bytes, as: UTF8.self))")
            for style in [JSONStyle.line, .compact, .indented] {
                let again = try JSONValue(parsing: json.serialized(style))
                #expect(again == json && again.serialized == json.serialized)
            }
        }
        #expect(accepted > mutationCount / 50)
    }

    private func agrees(_ json: JSONValue, _ judged: Any) throws -> Bool {
        switch json {
        case .null: return judged is NSNull
        case .bool(let value): return (judged as? Bool) == value
        case .number(let value): return (judged as? NSNumber)?.doubleValue == value.double
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
