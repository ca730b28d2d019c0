import Foundation
import JSON
import Testing

/// 2^53 + 1 is the first whole number that no Double holds, 2^64 − 1 the last of a Parquet column.
@Suite("Whole numbers of prompt rows, to the digit")
struct JSONValueTests {
    private let one = JSONValue.number(9_007_199_254_740_993)
    private let last = JSONValue.number(UInt64.max)

    @Test func numbersAreEqualWhenTheirValuesAre() {
        #expect(JSONValue.number(1) == .number(1) && JSONValue.number(1) == .number(1))
        #expect(Set([JSONValue.number(1 << 60), .number(0x1p60), .number(1), .number(1)]).count == 2)
        // The Double nearest to it is another number.
        #expect(one != .number(9_007_199_254_740_992) && one != .number(9_007_199_254_740_992))
        #expect(JSONValue.number(.nan) != .number(1) && JSONValue.number(.infinity) != last)
        #expect(JSONValue.number(1) != .string("1") && JSONValue.number(1) != .bool(true))
        #expect(JSONValue.array([one]) == .array([one]) && JSONValue.object(["a": one]) != .object(["a": last]))
    }

    @Test func theyAreReadAsTextAndAsNumbers() {
        #expect(one.text == "9007199254740993" && last.text == "18446744073709551615")
        #expect(one.number == 9_007_199_254_740_992 && last.number == 0x1p64)
        #expect(one.integer == 9_007_199_254_740_993 && last.integer == nil)
        #expect(JSONValue.string("9007199254740993").integer == 9_007_199_254_740_993)
        #expect(JSONValue.string("4.0").integer == 4 && JSONValue.number(2.5).integer == nil)
        #expect(JSONValue.number(9_007_199_254_740_991).text == "9007199254740991")
    }

    @Test func theyPassThroughFoundationsReaderAndWriter() throws {
        let text = #"[9007199254740993,18446744073709551615,-9007199254740993,4,1.5]"#
        let values = try JSONDecoder().decode([JSONValue].self, from: Data(text.utf8))
        #expect(values == [one, last, .number(-9_007_199_254_740_993), .number(4), .number(1.5)])
        #expect(String(decoding: try JSONEncoder().encode(values), as: UTF8.self) == text)
        // Nothing here holds sixty digits; the nearest Double does as well as it can.
        let digits = String(repeating: "7", count: 60)
        #expect(try JSONDecoder().decode([JSONValue].self, from: Data("[\(digits)]".utf8))[0].number == Double(digits))
    }
}
