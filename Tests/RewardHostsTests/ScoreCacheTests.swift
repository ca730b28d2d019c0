import Foundation
import JSON
import Records
import RewardHosts
import RewardInterface
import Runs
import Synchronization
import TestSupport
import Testing

/// Scores a text's length in thirds and remembers what it was asked. `skip` abstains, `late` times out.
private final class Counting: RewardSource {
    let names = ["length"]
    let readsRenderedPrompts: Bool
    private let texts = Mutex<[String]>([])
    var asked: [String] { texts.withLock { $0 } }

    init(readsRenderedPrompts: Bool = false) { self.readsRenderedPrompts = readsRenderedPrompts }

    func score(_ group: RolloutGroup, at progress: TrainingProgress) async throws -> GroupScores {
        func score(_ rollout: Rollout) -> [RewardScore] {
            let text = rollout.completion.text
            texts.withLock { $0.append(text) }
            if text == "skip" { return [.abstained(reason: "as asked")] }
            return text == "late" ? [.timedOut(seconds: 1)] : [.value(Double(text.count) / 3, note: "of \(text)")]
        }
        return GroupScores(
            scores: group.rollouts.map(score), greedyScores: group.greedy.map(score),
            extraColumns: ["seen": group.rollouts.map { .string($0.completion.text) }])
    }
}

@Suite("Scores are kept by what was judged")
struct ScoreCacheTests {
    private let rate = "rewards/length/cache_hit_rate"

    @Test func onlyNewTextsAreAskedFor() async throws {
        let source = Counting()
        let cached = CachedSource(source, cache: try ScoreCache(source: "a"))
        let first = try await cached.scores(["x", "yy", "x", "skip"], greedy: "yy")
        #expect(source.asked == ["x", "yy", "skip"])  // each text once, the greedy one with them
        #expect(first.values == [1 / 3, 2 / 3, 1 / 3, nil] && first.states[3] == "abstained")
        #expect(first.greedyScores == [.scored(2 / 3, note: "of yy")])
        #expect(first.metrics[rate] == 0.25)
        let second = try await cached.scores(["skip", "zzz", "yy"])
        #expect(source.asked == ["x", "yy", "skip", "zzz"])
        #expect(second.scores[0] == [.abstained(reason: "as asked")] && second.values == [nil, 1, 2 / 3])
        #expect(second.extraColumns["seen"] == [.string("skip"), .string("zzz"), .string("yy")])
        #expect(second.metrics[rate] == 2.0 / 3)
    }

    @Test func anotherPromptColumnOrSourceIsAnotherQuestionAndAFailureIsAskedAgain() async throws {
        let source = Counting()
        let folder = try TemporaryFolder()
        let file = folder.url.appending(path: "scores.jsonl")
        let cached = CachedSource(source, cache: try ScoreCache(source: "a", file: file))
        _ = try await cached.scores(["x"], columns: ["answer": .number(1)])
        _ = try await cached.scores(["x"], columns: ["answer": .number(2)])
        _ = try await cached.scores(["x"], columns: ["answer": .number(2)], isChat: true)
        #expect(source.asked.count == 3)
        for _ in 0..<2 { #expect(try await cached.scores(["late"]).states == ["timedOut"]) }
        #expect(source.asked.count == 5)
        let other = CachedSource(source, cache: try ScoreCache(source: "b", file: file))
        _ = try await other.scores(["x"], columns: ["answer": .number(1)])
        #expect(source.asked.count == 6)
    }

    @Test(arguments: [true, false]) func anotherChatTemplateIsAnotherQuestionToARewardThatReadsIt(
        _ readsIt: Bool
    ) async throws {
        let source = Counting(readsRenderedPrompts: readsIt)
        let cached = CachedSource(source, cache: try ScoreCache(source: "a"))
        var chat = group(["x"], isChat: true)
        for rendered in ["<user>How many?<answer>", "[user] How many?", nil] {
            chat.prompt.rendered = rendered
            _ = try await cached.score(chat, at: TrainingProgress())
        }
        #expect(source.asked.count == (readsIt ? 3 : 1))
    }

    @Test func aFileKeepsThemToTheBitAndATornLastLineIsDropped() async throws {
        let folder = try TemporaryFolder()
        let file = folder.url.appending(path: "scores.jsonl")
        let first = try await CachedSource(Counting(), cache: try ScoreCache(source: "a", file: file)).scores([
            "xx", "skip",
        ])
        let handle = try FileHandle(forWritingTo: file)
        try handle.seekToEnd()
        try handle.write(contentsOf: Data(#"{"key":"half a li"#.utf8))
        try handle.close()
        let source = Counting()
        let again = CachedSource(source, cache: try ScoreCache(source: "a", file: file))
        #expect(try await again.scores(["xx", "skip"]).scores == first.scores)
        #expect(source.asked.isEmpty)
        try Data("{\"key\": 1}\n".utf8).write(to: file)
        let error = #expect(throws: (any Error).self) { try ScoreCache(source: "a", file: file) }
        #expect(error.map { "\($0)" }?.contains("line 1: this is no line of a score cache") == true)
    }

    @Test(arguments: [
        ("[null,null]", "has 2 scores and 1 notes; the reward gives 1 of each"),
        ("[]", "has 0 scores and 1 notes; the reward gives 1 of each"),
        ("[1e308]", "the reward returned 1e+308; a score is at most"),
    ])
    func aLineOfScoresThatTheRewardCannotGiveIsNamed(scores: String, message: String) async throws {
        let folder = try TemporaryFolder()
        let file = folder.url.appending(path: "scores.jsonl")
        _ = try await CachedSource(Counting(), cache: try ScoreCache(source: "a", file: file)).scores(["x"])
        let changed = try text(of: file).replacing(/"scores":\[[^\]]*\]/, with: "\"scores\":\(scores)")
        try Data(changed.utf8).write(to: file)
        let error = await #expect(throws: RunError.self) {
            _ = try await CachedSource(Counting(), cache: try ScoreCache(source: "a", file: file)).scores(["x"])
        }
        #expect(error.map { "\($0)" }?.contains("scores.jsonl, line 1: \(message)") == true)
    }

    @Test func theOldestAreForgottenFirst() async throws {
        let source = Counting()
        let cached = CachedSource(source, cache: try ScoreCache(source: "a", entryLimit: 4))
        for text in ["a", "b", "c", "d", "e"] { _ = try await cached.scores([text]) }
        // Halves of two: {e}, {c, d}.
        _ = try await cached.scores(["e", "d", "c"])
        #expect(source.asked.count == 5)
        _ = try await cached.scores(["a"])
        #expect(source.asked.count == 6)
    }

    @Test func aFileOfTheRunsIsNone() async throws {
        let folder = try TemporaryFolder()
        var values = SettingsReader("reward length", values: ["cache_file": .string("./metrics.jsonl")])
        let caching = ScoreCaching(reading: &values)
        let error = await #expect(throws: RunError.self) {
            _ = try await caching.applied(to: Counting(), identity: "a", folder: folder.url.path)
        }
        #expect(error.map { "\($0)" }?.contains("metrics.jsonl: is a file that the run writes itself") == true)
        #expect(try folder.names().isEmpty)
    }

    @Test func anEntryOfAJobAsksForIt() async throws {
        let folder = try TemporaryFolder()
        let settings: [String: JSONValue] = ["cache_file": .string("kept/scores.jsonl"), "timeout": .number(9)]
        let target = "\(testFolder)/zoo.py:compute_score"
        let columns: [String: JSONValue] = ["answer": .string("7")]
        for round in 0..<2 {
            let source = try await RewardOpening.open(
                target, settings: settings, catalogue: RewardCatalogue([]), cacheFolder: folder.url.path)
            let scores = try await source.scores(["7", "8", "raise"], columns: columns)
            #expect(scores.values == [1, 0, nil])
            #expect(scores.metrics["rewards/compute_score/cache_hit_rate"] == [0, 2.0 / 3][round])
            await source.close()
        }
        #expect(try text(of: folder.url.appending(path: "kept/scores.jsonl")).split(separator: "\n").count == 2)
    }
}
