import JSON
import Records
import RewardInterface
import TestSupport
import Testing

/// Scores what the completion spells; the words make it misbehave.
struct Spelled: RewardFunction {
    static let name = "spelled"
    static let range = 0.0...1.0
    let factor: Double

    init(reading settings: inout SettingsReader) {
        factor = settings.read("factor", default: 1.0, .from(0, to: 10), "What the number is multiplied by.")
    }

    func score(_ completion: Completion, for prompt: Prompt) throws(RewardError) -> RewardScore {
        if completion.text == "needs" { _ = try prompt.number("answer") }
        if completion.text == "skip" { return .abstained(reason: "as asked") }
        return .scored((Double(completion.text) ?? .nan) * factor, note: nil)
    }
}

struct Demanding: RewardFunction {
    static let name = "demanding"
    static let range = 0.0...1.0
    private enum Kind: String, SettingsChoice { case a, b }
    init(reading settings: inout SettingsReader) {
        _ = settings.read("size", standIn: 1, .from(1, to: 9))
        _ = settings.read("kind", default: Kind.a)
    }
    func score(_ completion: Completion, for prompt: Prompt) throws(RewardError) -> RewardScore { .value(0) }
}

func group(_ texts: [String], greedy: String? = nil, columns: [String: JSONValue] = [:]) -> RolloutGroup {
    let prompt = Prompt(row: 3, source: "set", content: .text("?"), columns: columns)
    func rollout(_ text: String, _ sample: Int) -> Rollout {
        Rollout(
            completion: Completion(text: text), samplingLogProbabilities: [], policyLogProbabilities: [], sample: sample
        )
    }
    return RolloutGroup(
        prompt: TokenizedPrompt(prompt: prompt, tokenIDs: [1]), rollouts: texts.enumerated().map { rollout($1, $0) },
        greedy: greedy.map { rollout($0, 0) }, policyVersion: PolicyVersion(0))
}

@Suite("Rewards by name, their settings, and groups in")
struct RewardInterfaceTests {
    let catalogue = RewardCatalogue([Spelled.self, Demanding.self])

    @Test func anUnknownNameNamesTheNearest() {
        let error = #expect(throws: RewardError.self) { try catalogue.function(named: "speled") }
        #expect(error?.description.contains("did you mean 'spelled'?") == true)
        let far = #expect(throws: RewardError.self) { try catalogue.function(named: "xyz") }
        #expect(far?.description.contains("did you mean") == false)
        #expect(far?.description.contains("'demanding' and 'spelled'") == true)
    }

    @Test func twoTypesOfOneNameAreAnError() {
        let twice = RewardCatalogue([Spelled.self, Spelled.self])
        #expect(throws: RewardError.self) { try twice.function(named: "spelled") }
    }

    @Test func settingsAreChecked() throws {
        let missing = #expect(throws: RewardError.self) { try catalogue.function(named: "demanding") }
        #expect(missing?.description == "reward demanding: size is missing; the setting is required")
        for bad in [JSONValue.number(10), .number(1.5), .string("two"), .bool(true)] {
            let error = #expect(throws: RewardError.self) {
                try catalogue.function(named: "demanding", settings: ["size": bad])
            }
            #expect(error?.description.contains("expected a whole number from 1 to 9") == true)
        }
        let several = #expect(throws: RewardError.self) {
            try catalogue.function(
                named: "demanding", settings: ["size": .number(20), "kin": .string("b"), "kind": .string("c")])
        }
        let text = several?.description ?? ""
        #expect(text.contains("size is '20'") && text.contains("kind is 'c'; expected one of a, b"))
        #expect(text.contains("no setting 'kin'; did you mean 'kind'?"))
        _ = try catalogue.function(named: "demanding", settings: ["size": .number(2), "kind": .string("b")])
        let demanding = try catalogue.settings(of: "demanding")
        #expect(demanding.map(\.key) == ["size", "kind"] && demanding.map(\.fallback) == [nil, "a"])
        let spelled = try catalogue.settings(of: "spelled")
        #expect(spelled.map(\.key) == ["factor"] && spelled[0].meaning == "What the number is multiplied by.")
    }

    @Test func everyCompletionGetsAState() async throws {
        let source = FunctionSource(try catalogue.function(named: "spelled"))
        let scores = try await source.score(
            group(["1", "0.5", "skip", "x", "7"], greedy: "0.25"), at: TrainingProgress())
        #expect(scores.scores.map { $0[0].state } == ["scored", "scored", "abstained", "failed", "failed"])
        #expect(scores.scores[4][0].note?.contains("outside its range 0.0…1.0") == true)
        #expect(scores.greedyScores?.map(\.score) == [0.25])
    }

    /// What the panel, its budget and the adapter cost a score of a reward that does nothing, against 5 µs; the best of
    /// many short runs counts, and only in the long run.
    @Test(.enabled(if: runsLongTests)) func theWayToASwiftRewardIsShort() async throws {
        let panel = try RewardPanel([
            FunctionSource(try catalogue.function(named: "demanding", settings: ["size": .number(1)]))
        ])
        let eight = group(Array(repeating: "a completion of some length", count: 8))
        var best = Duration.seconds(1)
        for _ in 0..<100 {
            let start = ContinuousClock.now
            for _ in 0..<25 { _ = try await panel.score(eight) }
            best = min(best, (.now - start) / 200)
        }
        #if DEBUG
        let limit = Duration.microseconds(50)
        #else
        let limit = Duration.microseconds(5)
        #endif
        #expect(best < limit, "\(best) a score")
    }

    @Test func aBadRowStopsWithItsName() async throws {
        let source = FunctionSource(try catalogue.function(named: "spelled"))
        let error = await #expect(throws: RewardError.self) {
            try await source.score(group(["needs"], columns: ["ansewr": .number(1)]), at: TrainingProgress())
        }
        #expect(error?.description.contains("set row 3: no column 'answer'") == true)
        #expect(error?.description.contains("did you mean 'ansewr'?") == true)
    }
}

@Suite("All rewards of a job side by side")
struct RewardPanelTests {
    /// A source that gives what it is told to.
    struct Fixed: RewardSource {
        let names: [String]
        let result: RewardScore
        var delay = Duration.zero
        func score(_ group: RolloutGroup, at progress: TrainingProgress) async throws -> GroupScores {
            try await Task.sleep(for: delay)
            let row = names.map { _ in result }
            let column = group.rollouts.map { _ in JSONValue.string(names[0]) }
            return GroupScores(
                scores: group.rollouts.map { _ in row }, greedyScores: group.greedy.map { _ in row },
                extraColumns: ["said": column], metrics: [names[0]: 1])
        }
    }

    @Test func scoresStandInTheOrderOfTheNames() async throws {
        let slow = Fixed(names: ["a", "b"], result: .value(1), delay: .milliseconds(30))
        let panel = try RewardPanel([slow, Fixed(names: ["c"], result: .value(2))])
        #expect(panel.names == ["a", "b", "c"])
        let (scored, remarks) = try await panel.score(group(["x", "y"], greedy: "z"))
        #expect(scored.scores.map { $0.map(\.score) } == [[1, 1, 2], [1, 1, 2]])
        #expect(scored.greedyScores?.map(\.score) == [1, 1, 2])
        #expect(remarks.extraColumns.keys.sorted() == ["c/said", "said"])
        #expect(remarks.metrics == ["a": [1], "c": [1]])
    }

    /// What the completions file has of its own, and another reward's column, are not written over.
    @Test func columnsOfTheRunKeepTheirNames() async throws {
        struct Logging: RewardSource {
            let names: [String]
            func score(_ group: RolloutGroup, at progress: TrainingProgress) async throws -> GroupScores {
                let keys = ["prompt", "step", "f", "f/state", "seen"]
                let column = group.rollouts.map { _ in JSONValue.null }
                return GroupScores(
                    scores: group.rollouts.map { _ in [.value(1)] },
                    extraColumns: Dictionary(uniqueKeysWithValues: keys.map { ($0, column) }), metrics: ["m": 2])
            }
        }
        let panel = try RewardPanel([Logging(names: ["f"]), Logging(names: ["g"])])
        let remarks = try await panel.score(group(["x"])).remarks
        #expect(
            remarks.extraColumns.keys.sorted() == [
                "f/f", "f/f/state", "f/prompt", "f/step", "g/f", "g/f/state", "g/prompt", "g/seen", "g/step", "seen",
            ])
        #expect(remarks.metrics == ["m": [2, 2]])
    }

    @Test func messagesHoldNothingThatATerminalActsOn() {
        let error = RewardError.unusable(reward: "r", problem: "a\u{1b}[31m\tb\n\u{9b}c\rü")
        #expect(error.description == #"reward r: a\x1b[31m"# + "\tb\n" + #"\x9bc\x0dü"#)
    }

    @Test func aMissingColumnIsThatOfTheRewardWhichReadsIt() throws {
        struct Reading: RewardSource {
            let names: [String]
            let column: String
            func check(_ prompt: Prompt) throws(RewardError) {
                guard prompt.columns[column] != nil else { throw .missingColumn(column, in: prompt) }
            }
            func score(_ group: RolloutGroup, at progress: TrainingProgress) async throws -> GroupScores {
                GroupScores(scores: group.rollouts.map { _ in [.value(1)] })
            }
        }
        let panel = try RewardPanel([
            Reading(names: ["a"], column: "answer"), Reading(names: ["b"], column: "solutions"),
        ])
        let prompt = Prompt(row: 0, source: "s", content: .text(""), columns: ["answer": .null])
        let error = #expect(throws: RewardError.self) { try panel.check(prompt) }
        #expect(error?.description.contains("reward b: s row 0: no column 'solutions'; it has 'answer'") == true)
    }

    @Test func twoRewardsOfOneNameAreAnError() {
        let one = Fixed(names: ["a"], result: .value(1))
        #expect(throws: RewardError.self) { try RewardPanel([one, one]) }
    }

    @Test func aRewardThatAlwaysFailsStopsTheRun() async throws {
        let panel = try RewardPanel([Fixed(names: ["a"], result: .failed(message: "Traceback: line 7"))])
        // 5 % of at least 200 scores are 10 failures: the eleventh is one too many.
        for _ in 0..<10 { _ = try await panel.score(group(["x"])) }
        let error = await #expect(throws: RewardError.self) { try await panel.score(group(["x"])) }
        #expect(error?.description.contains("Traceback: line 7") == true)
        #expect(error?.description.contains("set row 3, completion: x") == true)
    }

    /// Scores that are counted in several processes are counted by whoever has those of all.
    @Test func whatIsScoredUncountedEntersTheBudgetWhenItIsCounted() async throws {
        let panel = try RewardPanel([Fixed(names: ["a"], result: .failed(message: "boom"))])
        var groups: [ScoredGroup] = []
        for _ in 0..<11 { groups.append(try await panel.scoreUncounted(group(["x"])).scored) }
        #expect(panel.overspent == nil)
        for group in groups.dropLast() { try panel.count(group) }
        #expect(panel.overspent?.description.contains("10 of the last 10 scores failed") == true)
        #expect(throws: RewardError.self) { try panel.count(groups[10]) }
    }

    /// A demonstration is scored beside its group, by the process whose group it is: of four scores its own is lost, and
    /// of the next four too.
    @Test func aDemonstrationsScoreIsCountedWithItsGroup() async throws {
        let panel = try RewardPanel([Fixed(names: ["a"], result: .value(1))])
        for times in 1...2 {
            var scored = try await panel.scoreUncounted(group(["x", "y", "z"])).scored
            scored.demonstrationScores = [.failed(message: "boom")]
            try panel.count(scored)
            #expect((panel.overspent == nil) == (times == 1))  // one beside scores is an accident
        }
        let words = panel.overspent?.description ?? ""
        #expect(words.contains("2 of the last 8 scores failed"), "\(words)")
        #expect(words.contains("set row 3, its demonstration"), "\(words)")
    }

    /// Of fewer than 200 scores failures stop nothing; in the end two of 21 are more than 5 %, and one is an accident
    /// unless it is all there was.
    @Test func whenNoMoreComeTheScoresThereWereAreCounted() throws {
        var budget = ErrorBudget(reward: "a")
        let prompt = Prompt(row: 0, source: "s", content: .text(""))
        #expect(budget.overspent == nil)
        try budget.record(.failed(message: "boom"), of: Completion(text: ""), for: prompt)
        #expect(budget.overspent?.description.contains("reward a: 1 of the last 1 scores failed") == true)
        for _ in 0..<19 {
            try budget.record(.value(1), of: Completion(text: ""), for: prompt)
            #expect(budget.overspent == nil)
        }
        try budget.record(.timedOut(seconds: 1), of: Completion(text: ""), for: prompt)
        #expect(budget.overspent?.description.contains("boom") == true)
    }

    @Test func fewFailuresAmongManyScoresStopNothing() throws {
        var budget = ErrorBudget(reward: "a", rate: 0.05, window: 100, minimum: 20)
        let prompt = Prompt(row: 0, source: "s", content: .text(""))
        for index in 0..<1000 {
            let score: RewardScore = index % 20 == 19 ? .timedOut(seconds: 1) : .value(1)
            try budget.record(score, of: Completion(text: ""), for: prompt)
        }
        // The window holds 5 failures of 100; one more is more than 5 %.
        #expect(throws: RewardError.self) {
            try budget.record(.failed(message: "boom"), of: Completion(text: ""), for: prompt)
            try budget.record(.failed(message: "boom"), of: Completion(text: ""), for: prompt)
        }
    }
}
