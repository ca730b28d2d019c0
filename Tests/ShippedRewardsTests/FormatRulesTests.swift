import JSON
import Records
import RewardInterface
import Testing

private func grade(_ text: String, _ columns: [String: JSONValue]) throws -> Double? {
    try score("format_rules", text, columns).score
}

@Suite("The reward for rules of form")
struct FormatRulesTests {
    private func score(_ rule: String, _ argument: String, _ text: String) throws -> Double? {
        try grade(text, ["rule": .string(rule), "argument": .string(argument)])
    }

    private func lamp(_ columns: [String: JSONValue]) throws -> Double? { try grade("lamp", columns) }

    @Test(arguments: [
        ("upper_case", "", "LAMP"), ("upper_case", "", " ÉTÉ 12!\n"), ("lower_case", "", "lamp, 3 of them"),
        ("word_count", "3", "a  red\nlamp"), ("word_count", "1", "lamp"), ("ends_with", ".", "A lamp. "),
        ("ends_with", "?", "lamp??"), ("without_letter", "e", "a lamp"), ("without_letter", "E", "MOON"),
        ("list_of", "2", "lamp, moon"), ("list_of", "1", "lamp"), ("list_of", "3", "a,b,c"),
        ("repeat", "3 lamp", "lamp lamp lamp"), ("repeat", "2 lamp", "lamp\nlamp"), ("quoted", "", "\"lamp\""),
        ("quoted", "", "\"a red lamp\" "),
    ])
    func rightAnswers(_ rule: String, _ argument: String, _ text: String) throws {
        #expect(try score(rule, argument, text) == 1)
    }

    @Test(arguments: [
        ("upper_case", "", "Lamp"), ("upper_case", "", "123"), ("upper_case", "", "灯"), ("upper_case", "", ""),
        ("upper_case", "", "STRAßE"), ("lower_case", "", "lAmp"), ("lower_case", "", "!!"), ("word_count", "3", "lamp"),
        ("word_count", "3", "a b c d"), ("word_count", "3", "1 2 3"), ("word_count", "3", ". . ."),
        ("ends_with", ".", "."), ("ends_with", ".", "lamp.x"), ("ends_with", "!", "lamp!."),
        ("without_letter", "e", ""),
        ("without_letter", "e", "..."), ("without_letter", "e", "THE lamp"), ("without_letter", "e", "caf\u{E9}"),
        ("without_letter", "e", "cafe\u{301}"), ("list_of", "2", "lamp"), ("list_of", "2", "lamp,"),
        ("list_of", "3", "lamp,,moon"), ("list_of", "3", ",,"), ("list_of", "2", "lamp; moon"),
        ("list_of", "2", "lamp, 1"), ("repeat", "3 lamp", "lamp lamp"), ("repeat", "2 lamp", "Lamp lamp"),
        ("repeat", "2 lamp", "lamplamp"), ("repeat", "2 lamp", "lamp, lamp"), ("quoted", "", "\"\""),
        ("quoted", "", "\"lamp"), ("quoted", "", "lamp"), ("quoted", "", "'lamp'"), ("quoted", "", "\"a\" \"b\""),
        ("quoted", "", "\" \""), ("quoted", "", "\"lamp\" indeed"),
    ])
    func wrongAnswers(_ rule: String, _ argument: String, _ text: String) throws {
        #expect(try score(rule, argument, text) == 0)
    }

    @Test(arguments: [
        ("upside_down", ""), ("word_count", "three"), ("word_count", "0"), ("list_of", "-1"), ("ends_with", ""),
        ("without_letter", ""), ("without_letter", "ab"), ("without_letter", "é"), ("repeat", "3"),
        ("repeat", "lamp 3"),
        ("repeat", "99999999999999999999 lamp"),
    ])
    func aRuleThatMakesNoSenseIsAnError(_ rule: String, _ argument: String) {
        #expect(throws: RewardError.self) { try score(rule, argument, "lamp") }
    }

    @Test func aMissingColumnIsAnError() throws {
        #expect(throws: RewardError.self) { try lamp(["argument": .string("3")]) }
        #expect(throws: RewardError.self) { try lamp(["rule": .string("word_count")]) }
        #expect(try lamp(["rule": .string("lower_case")]) == 1)
    }
}
