import Evaluation
import Testing

@Suite("Tables, numbers and bars for people")
struct TableTests {
    private let table = Table(["name", "n"], [["a|b", "1"], ["<i>", "100"], ["short"]])

    @Test func textLinesItsColumnsUp() {
        #expect(table.text == "  name     n\n  a|b      1\n  <i>    100\n  short")
        #expect(Table([], [["a", "b"], ["ccc", "d"]], textColumns: 2).text == "  a    b\n  ccc  d")
    }

    @Test func markdownAndHTMLTakeNoMarkupFromACell() {
        #expect(table.markdown == "| name | n |\n| --- | ---: |\n| a\\|b | 1 |\n| &lt;i> | 100 |\n| short |")
        #expect(table.html.contains("<th>name</th><th class=\"number\">n</th>"))
        #expect(table.html.contains("<tr><td>&lt;i&gt;</td><td class=\"number\">100</td></tr>"))
    }

    @Test(arguments: [
        (0, "0"), (0.5, "0.5"), (0.12345, "0.123"), (-1, "-1"), (9.9996, "10"), (12.34, "12.3"), (999.96, "1000"),
        (1234.5, "1234"), (0.00012, "1.2e-04"), (-0.00012, "-1.2e-04"), (200, "200"),
    ])
    func aNumberHasAboutFourFigures(_ value: Double, _ text: String) { #expect(NumberText.compact(value) == text) }

    @Test(arguments: [(1.25, "1.2 s"), (9.96, "10.0 s"), (59.4, "59 s"), (60, "1 min 0 s"), (3725, "1 h 2 min")])
    func aDurationIsInTheUnitsOfItsSize(_ seconds: Double, _ text: String) {
        #expect(NumberText.duration(seconds) == text)
    }

    /// Neighbours have the unit of the longest: of an iteration of 4.2 ms a call of 30 µs is 0.03 ms.
    @Test(arguments: [
        (1_234_000_000, 4_200_000, "s", "1.23 s", "0.00"), (4_200_000, 30_000, "ms", "4.20 ms", "0.03"),
        (999_999, 1_500, "µs", "1000.00 µs", "1.50"), (0, 0, "µs", "0.00 µs", "0.00"),
    ])
    func durationsHaveTheUnitOfTheLongest(
        _ longest: Int, _ other: Int, _ unit: String, _ text: String, _ number: String
    ) {
        let durations = DurationText(longest: longest)
        #expect(durations.unit == unit && durations.text(longest) == text && durations.number(other) == number)
    }

    @Test func theLongestBarIsFullAndTheSmallestIsSeen() {
        let bars = TextBars.lines([("a", 1000, ""), ("bc", 1, " !"), ("d", 0, "")])
        #expect(bars[0] == " a  " + String(repeating: "█", count: 30) + "  1000")
        #expect(bars[1] == "bc  █" + String(repeating: " ", count: 29) + "     1 !")
        #expect(bars[2] == " d  " + String(repeating: " ", count: 30) + "     0")
    }
}
