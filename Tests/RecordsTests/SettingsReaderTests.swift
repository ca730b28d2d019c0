import Records
import Testing

/// A file of one line each, `key: value` without any YAML: values are scalars as written.
private func reader(_ lines: (key: String, value: String)...) -> SettingsReader {
    SettingsReader(
        "the job",
        lines.enumerated().map { index, line in
            .init(line.key, SettingsNode(.scalar(line.value, isQuoted: false), place: "line \(index + 1)"))
        })
}

/// A value that says itself what is wrong with another kind of one.
private struct Demanding: SettingsValue, Equatable {
    var text: String
    static var expectation: String { "a text" }
    static func read(_ node: SettingsNode) throws(SettingsProblem) -> Demanding? {
        guard case .scalar(let text, _) = node.content else { throw node.problem("this is \(node.found)") }
        return Demanding(text: text)
    }
    var yaml: String { text.yaml }
}

private enum Color: String, SettingsChoice { case red, green }

@Suite("One line reads a setting: key, type, bound, default, meaning")
struct SettingsReaderTests {
    @Test func valuesAreReadOrTheirDefaultsStandIn() throws {
        var job = reader(("rate", "1e-3"), ("count", "12"), ("color", "green"), ("names", "one"), ("limit", "4"))
        #expect(job.read("rate", default: 0.5, .above(0)) == 1e-3)
        #expect(job.read("count", default: 1, .from(1, to: 20)) == 12)
        #expect(job.read("color", default: Color.red) == .green)
        #expect(job.read("names", default: [String]()) == ["one"])
        #expect(job.read("limit", optional: nil, SettingsBound<Int>.atLeast(1)) == 4)
        #expect(job.read("other", optional: nil, SettingsBound<Int>.atLeast(1)) == nil)
        #expect(job.read("flag", default: true) == true)
        try job.finish()
    }

    /// Sizes with which arithmetic overflows or vanishes are nobody's settings, in lists and where a setting may be
    /// absent too.
    @Test(arguments: ["1e300", "-1e16", "1e-300", "9e-16"]) func sizesBeyondReachAreRefused(_ text: String) {
        var job = reader(("rate", text), ("upper", text), ("weights", text))
        #expect(job.read("rate", default: 0.5) == 0.5)
        #expect(job.read("upper", optional: 0.5) == 0.5)
        #expect(job.read("weights", default: [1.0]) == [1])
        #expect(job.problems.count == 3)
        for problem in job.problems {
            #expect(problem.message.contains("is '\(text)'; expected"), "\(problem)")
            #expect(problem.message.hasSuffix(", of a size from 1e-15 to 1e15"), "\(problem)")
        }
    }

    @Test(arguments: ["0", "1e15", "-1e15", "1e-15"]) func sizesWithinReachAreTaken(_ text: String) throws {
        var job = reader(("rate", text))
        #expect(job.read("rate", default: 0.5) == Double(text))
        try job.finish()
    }

    /// A whole number that no `Int` holds is too large, not too small; a bound that says so itself is said alone, and what
    /// is no number has none.
    @Test(arguments: ["9223372036854775808", "1e30"]) func aNumberAboveTheRangeIsSaidToBeAbove(_ text: String) {
        var job = reader(("seed", text), ("limit", text), ("count", text), ("share", text), ("color", text))
        _ = job.read("seed", default: 42, .atLeast(0))
        _ = job.read("limit", optional: 7)
        _ = job.read("count", default: 1, .above(0, atMost: 20))
        _ = job.read("share", optional: nil, SettingsBound<Int>.atMost(9))
        _ = job.read("color", default: Color.red)
        #expect(
            job.problems.map(\.message) == [
                "seed is '\(text)'; expected a whole number of at least 0, and below 2^63",
                "limit is '\(text)'; expected a whole number, or nothing, and below 2^63",
                "count is '\(text)'; expected a whole number above 0 and at most 20",
                "share is '\(text)'; expected a whole number of at most 9, or nothing",
                "color is '\(text)'; expected one of red, green",
            ])
    }

    @Test func aNameOfAListIsRefusedAsAChoiceIs() {
        var job = reader(("method", "sft"), ("preset", "paper"), ("style", "trl"))
        #expect(job.read("method", default: "grpo", .oneOf(["grpo", "remax"])) == "grpo")
        #expect(job.read("preset", optional: nil, SettingsBound<String>.oneOf(["thesis"])) == nil)
        #expect(job.read("style", default: "auto", .oneOf(["auto", "trl"])) == "trl")
        #expect(
            job.problems.map(\.message) == [
                "method is 'sft'; expected one of grpo, remax",
                "preset is 'paper'; expected one of thesis, or nothing",
            ])
    }

    /// A key without a value leaves the default; where a setting may be absent it means absent.
    @Test func nothingIsTheDefault() {
        let nothing = ["rate", "limit", "name", "list"].map {
            SettingsNode.Member($0, SettingsNode(.null, place: "line of \($0)"))
        }
        var job = SettingsReader("the job", nothing)
        let (rate, limit) = (job.read("rate", default: 0.5), job.read("limit", optional: 7))
        let name = job.read("name", required: "name one", standIn: "")
        #expect(rate == 0.5 && limit == nil && name == "")
        #expect(job.read("list", default: [Demanding(text: "usual")]) == [Demanding(text: "usual")])
        #expect(job.problems.map(\.description) == ["line of name: name is nothing; expected a text"])
    }

    /// In the order of the file, whatever order they are asked in.
    @Test func everythingThatIsWrongIsToldTogether() {
        var job = reader(("rate", "-1"), ("count", "2.5"), ("color", "blue"), ("sheep", "many"))
        #expect(job.read("sheep", default: 7, .atLeast(0)) == 7)
        #expect(job.read("color", default: Color.red) == .red)
        #expect(job.read("rate", default: 0.5, .above(0)) == 0.5)
        #expect(job.read("count", standIn: 3, .from(1, to: 20)) == 3)
        #expect(job.read("name", required: "name one", standIn: "") == "")
        let error = #expect(throws: SettingsError.self) { try job.finish() }
        #expect(
            error?.description == """
                line 1: rate is '-1'; expected a finite number above 0
                line 2: count is '2.5'; expected a whole number from 1 to 20
                line 3: color is 'blue'; expected one of red, green
                line 4: sheep is 'many'; expected a whole number of at least 0
                the job: name is missing; name one
                """)
    }

    @Test func checksAcrossSettingsNameTheLineAtFault() {
        var job = reader(("low", "3"), ("high", "2"))
        let low = job.read("low", default: 0)
        let high = job.read("high", default: 10)
        job.check(high > low, "high", "above low, which is \(low)")
        job.check(high < 100, "high", "below 100")
        #expect(job.problems.map(\.description) == ["line 2: high is 2; expected above low, which is 3"])
    }

    @Test func aPresetFillsInAndTheFileWins() {
        var job = reader(("rate", "2"))
        job.fill("rate", "5", from: "preset: x")
        job.fill("count", "6", from: "preset: x")
        job.fill("count", "7", from: "algorithm: y")
        #expect(job.read("rate", default: 1.0) == 2)
        #expect(job.read("count", default: 1) == 6)
        #expect(job.entries.map(\.isGiven) == [true, false])
        job.fill("sheep", "none", from: "preset: x")
        _ = job.read("sheep", default: 1)
        #expect(job.problems.map(\.place) == ["preset: x"])
    }

    @Test func membersOfSectionsAreDotted() throws {
        let section = SettingsNode(
            .map([.init("top", SettingsNode(.scalar("3", isQuoted: false), place: "line 2"))]), place: "line 1")
        var job = SettingsReader("the job", [.init("soft", section)])
        job.override("soft.top", SettingsNode(.scalar("4", isQuoted: false), place: "--soft-top"))
        job.override("soft.low", SettingsNode(.scalar("1", isQuoted: false), place: "--soft-low"))
        job.override("new.key", SettingsNode(.scalar("9", isQuoted: false), place: "--new"))
        #expect(job.read("soft.top", default: 0) == 4)
        #expect(job.unread.map(\.key) == ["soft.low", "new"])
        #expect(job.read("soft.low", default: 0) == 1 && job.read("new.key", default: 0) == 9)
        #expect(job.unread.isEmpty)
        job.override("soft.top.deep", SettingsNode(.scalar("4", isQuoted: false), place: "--deep"))
        #expect(job.problems.map(\.description) == ["--deep: soft.top has no members, found 'soft.top.deep'"])
    }

    @Test func theRecordHasWhatWasAskedAndWhatCameOfIt() {
        var job = reader(("rate", "2"), ("horizon", "5"), ("idle", "1"))
        _ = job.read("rate", default: 1.0, .above(0), "How fast.")
        let target: Double? = job.read("target", optional: nil, "Where to.")
        _ = job.read("horizon", default: 10)
        _ = job.read("idle", default: 1)
        job.ignore("horizon", "idle", when: target == nil)
        job.resolve("target", to: 0.5)
        #expect(job.entries.map(\.key) == ["rate", "target", "horizon", "idle"])
        #expect(job.entries.map(\.value) == ["2.0", "0.5", "5", "1"])
        #expect(job.entries.map(\.fallback) == ["1.0", "null", "10", "1"])
        #expect(job.entries[0].meaning == "How fast." && job.entries[0].expectation == "a finite number above 0")
        #expect(job.ignored == ["horizon"])  // idle is given as it would be anyway
    }

    @Test func whatNobodyAskedForIsRefused() {
        var job = reader(("rat", "2"), ("zebra", "1"))
        _ = job.read("rate", default: 1.0)
        do {
            try job.finishAll()
            Issue.record("nothing was refused")
        } catch {
            #expect(
                error.description == """
                    line 1: no setting 'rat'; did you mean 'rate'?
                    line 2: no setting 'zebra'; it has 'rate'
                    """)
        }
    }

    /// What a value is written as reads back as that value.
    @Test(arguments: ["plain", "a: b", "#", "it's \"quoted\"", "\\t\n\u{1}", "true", "1e5", "", "ä"])
    func textsSurviveBeingWritten(_ text: String) {
        #expect(text.yaml == text || (text.yaml.hasPrefix("\"") && text.yaml.hasSuffix("\"")))
        #expect(["true", "1e5", ""].contains(text) ? text.yaml.hasPrefix("\"") : true)
    }
}
