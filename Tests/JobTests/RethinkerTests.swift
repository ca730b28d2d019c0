import Coordinator
import Foundation
import Job
import Methods
import Records
import Synchronization
import Testing
import Tokenization

/// Writes what it is told to behind every prompt, and remembers what it was asked.
private final class Writer: Generating {
    let asked = Mutex<[RolloutRequest]>([])
    private let tokens: [Int]
    private let finish: FinishReason

    init(_ tokens: [Int], finish: FinishReason = .stopToken) {
        self.tokens = tokens
        self.finish = finish
    }

    func generate(
        _ requests: [RolloutRequest], step: Int, stop: StopSignal
    ) -> AsyncThrowingStream<RolloutGroup, any Error> {
        asked.withLock { $0 += requests }
        return AsyncThrowingStream { stream in
            for request in requests.reversed() {
                let logs = tokens.indices.map { -0.5 - Float($0) }
                stream.yield(
                    RolloutGroup(
                        prompt: request.prompt,
                        rollouts: [
                            Rollout(
                                completion: Completion(text: "", tokenIDs: tokens, finishReason: finish),
                                samplingLogProbabilities: logs, policyLogProbabilities: logs, sample: 0)
                        ], policyVersion: PolicyVersion(0), variant: request.variant))
            }
            stream.finish()
        }
    }
}

@Suite("Completions that are made to go on")
struct RethinkerTests {
    private let tokenizer: Tokenizer
    private let end = 3
    private let names = ["right"]

    init() throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "rethinker-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: folder) }  // a leftover in /tmp harms no test
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        try BPETrainer(vocabularySize: 257).train([]).save(to: folder)
        tokenizer = try Tokenizer(folder: folder)
    }

    private func settings(_ lines: [(String, String)] = []) throws -> ForcedRethinking {
        var job = SettingsReader("the job")
        for (key, yaml) in [("probability", "1"), ("min_tokens", "2"), ("max_tokens", "40"), ("cut_probability", "0")]
            + lines
        {
            job.override("forced_rethinking.\(key)", SettingsNode(.scalar(yaml, isQuoted: false), place: "test"))
        }
        let settings = ForcedRethinking(reading: &job, maxCompletionLength: 200)
        try job.finish()
        return try #require(settings)
    }

    private func rollout(_ text: String, sample: Int, finish: FinishReason = .stopToken) -> Rollout {
        let tokens = tokenizer.encode(text) + [0]
        let logs = tokens.indices.map { -0.25 * Float($0 + 1) }
        return Rollout(
            completion: Completion(text: text, tokenIDs: tokens, finishReason: finish), samplingLogProbabilities: logs,
            policyLogProbabilities: logs, sample: sample)
    }

    private func group(_ texts: [String], scores: [Double], row: Int = 0) -> ScoredGroup {
        ScoredGroup(
            group: RolloutGroup(
                prompt: TokenizedPrompt(
                    prompt: Prompt(row: row, source: "test", content: .text("?")), tokenIDs: [5, 6]),
                rollouts: texts.enumerated().map { rollout($1, sample: $0) }, policyVersion: PolicyVersion(0)),
            scores: scores.map { [.value($0)] })
    }

    /// Right when the text ends with 42.
    private func rethinker(
        _ settings: ForcedRethinking, _ writer: Writer, maxCompletionLength: Int = 200, contextLength: Int = 512,
        seed: UInt64 = 1
    ) throws -> Rethinker {
        try Rethinker(
            settings, generator: writer,
            score: { group in
                ScoredGroup(
                    group: group,
                    scores: group.rollouts.map { [.value($0.completion.text.hasSuffix("42") ? 1 : 0)] })
            }, tokenizer: tokenizer, rewardNames: names, maxCompletionLength: maxCompletionLength,
            contextLength: contextLength, seed: seed)
    }

    @Test func whatComesToTheRightAnswerStandsInForItsBeginning() async throws {
        let more = tokenizer.encode(" 42") + [0]
        let writer = Writer(more)
        let before = group(["it is 41", "it is 40"], scores: [0, 0])
        let result = try await rethinker(settings(), writer).rethink([before], step: 3, stop: StopSignal())
        #expect(result.kept.count == 2 && result.metrics["rethinking/kept"] == 2)
        for (index, rollout) in result.groups[0].group.rollouts.enumerated() {
            let first = before.group.rollouts[index]
            let kept = first.completion.tokenIDs.count - 1
            let trigger = rollout.completion.tokenIDs.count - kept - more.count
            #expect(rollout.completion.text.hasPrefix("it is 4") && rollout.completion.text.contains("Wait"))
            #expect(rollout.completion.tokenIDs.suffix(more.count) == more[...])
            #expect(trigger > 0)
            // The doubt is nobody's choice, and has no numbers.
            let isAction = try #require(rollout.isAction)
            #expect(isAction.count == rollout.completion.tokenIDs.count)
            #expect(isAction.enumerated().allSatisfy { $1 == !(kept..<kept + trigger).contains($0) })
            #expect(
                rollout.policyLogProbabilities == first.policyLogProbabilities.prefix(kept)
                    + more.indices.map { -0.5 - Float($0) })
            #expect(result.groups[0].scores[index] == [.value(1)])
            #expect(result.kept[index].completions[0].isAction == isAction)
        }
        let asked = writer.asked.withLock { $0 }
        #expect(Set(asked.map(\.address)).count == 2 && asked.allSatisfy { $0.variant >= 0x1_0000 })
        #expect(asked[0].prompt.tokenIDs.prefix(2) == [5, 6])
    }

    @Test(arguments: [
        (" 41", [(String, String)](), FinishReason.stopToken), (" 42", [("min_tokens", "5")], .stopToken),
        (" 42", [], .length), (" wait wait wait wait 42", [], .stopToken),
        (" 42", [("probability", "1e-9")], .stopToken),
    ])
    func whatDoesNotServeIsDropped(_ text: String, _ lines: [(String, String)], _ finish: FinishReason) async throws {
        let writer = Writer(tokenizer.encode(text) + [0], finish: finish)
        let before = group(["it is 41", "it is 40"], scores: [0, 0])
        let result = try await rethinker(settings(lines), writer).rethink([before], step: 3, stop: StopSignal())
        #expect(result.groups == [before] && result.kept.isEmpty)
    }

    @Test func onlySoManyOfAPromptAreReplaced() async throws {
        let writer = Writer(tokenizer.encode(" 42") + [0])
        let before = group(["1", "2", "3", "4"], scores: [0, 0, 0, 0])
        let result = try await rethinker(settings(), writer).rethink([before], step: 0, stop: StopSignal())
        #expect(result.kept.count == 2 && result.metrics["rethinking/forced"] == 4)
        #expect(result.groups[0].group.rollouts[2] == before.group.rollouts[2])
    }

    /// 3 of 4 are right: above 0.7 the wrong one is left alone.
    @Test func anEasyGroupsWrongOnesAreLeftAlone() async throws {
        let writer = Writer(tokenizer.encode(" 42") + [0])
        let easy = group(["1", "2", "3", "4"], scores: [1, 1, 1, 0])
        _ = try await rethinker(settings(), writer).rethink([easy], step: 0, stop: StopSignal())
        #expect(writer.asked.withLock { $0.map { $0.variant & 0xFFFF } } == [0, 1, 2])
    }

    @Test func itIsCutBackToBeforeTheAnswer() async throws {
        let writer = Writer(tokenizer.encode(" 42") + [0])
        let before = group(["so #### 41"], scores: [0])
        let result = try await rethinker(settings([("cut_probability", "1")]), writer).rethink(
            [before], step: 0, stop: StopSignal())
        #expect(result.groups[0].group.rollouts[0].completion.text.hasPrefix("so \n\nWait"))
    }

    @Test func aCompletionThatWasCutOffIsNotEligible() async throws {
        let writer = Writer(tokenizer.encode(" 42") + [0])
        var before = group(["1"], scores: [0])
        before.group.rollouts[0].completion.finishReason = .length
        _ = try await rethinker(settings(), writer).rethink([before], step: 0, stop: StopSignal())
        #expect(writer.asked.withLock { $0.isEmpty })
    }

    /// A prompt of 2 tokens, 8 that are kept and the 6 of the shortest doubt, the others have 36 and more: 17 tokens of a
    /// completion, or 19 of context, leave that one 3 for what follows and the others none.
    @Test(arguments: [(17, 512), (200, 19)])
    func aDoubtThatLeavesNoRoomIsNotRaised(_ limit: Int, _ context: Int) async throws {
        let before = (0..<60).map { group(["it is 41"], scores: [0], row: $0) }
        for (least, expected) in [("3", ["\n\nWait"]), ("4", [])] as [(String, [String])] {
            let writer = Writer(tokenizer.encode(" 41") + [0])
            let lines = [("min_tokens", least), ("max_tokens", "8")]
            let result = try await rethinker(
                settings(lines), writer, maxCompletionLength: limit, contextLength: context
            ).rethink(before, step: 2, stop: StopSignal())
            let asked = writer.asked.withLock { $0 }
            let doubts = try asked.map { try tokenizer.decode(Array($0.prompt.tokenIDs.dropFirst(10))) }
            #expect(Set(doubts) == Set(expected) && asked.count < 60)
            #expect(result.metrics["rethinking/forced"] == Double(asked.count))
            #expect(result.groups == before && result.kept.isEmpty)
        }
    }

    /// A fifth bare, three tenths a question, the rest by the answer: of 4,000 addressed draws within four deviations.
    @Test func choicesAreAddressedAndHaveTheirShares() async throws {
        let writer = Writer(tokenizer.encode(" 41") + [0])
        let groups = (0..<1000).map { group(["1", "2", "3", "4"], scores: [0, 0, 0, 0], row: $0) }
        let half = try settings([("probability", "0.65")])
        _ = try await rethinker(half, writer).rethink(groups, step: 7, stop: StopSignal())
        let asked = writer.asked.withLock { $0 }
        let deviation = (0.65 * 0.35 / 4000).squareRoot()
        #expect(abs(Double(asked.count) / 4000 - 0.65) < 4 * deviation)
        let again = Writer(tokenizer.encode(" 41") + [0])
        _ = try await rethinker(half, again).rethink(groups.reversed(), step: 7, stop: StopSignal())
        #expect(Set(again.asked.withLock { $0.map(\.address) }) == Set(asked.map(\.address)))
        let texts = try asked.map { try tokenizer.decode(Array($0.prompt.tokenIDs.dropFirst(3))) }
        for (trigger, share) in [(0.1, 0.2), (0.3, 0.3), (0.9, 0.5)] {
            let count = texts.count { $0 == Rethinker.trigger(trigger, isRight: false) }
            let deviation = (share * (1 - share) / Double(asked.count)).squareRoot()
            #expect(abs(Double(count) / Double(asked.count) - share) < 4 * deviation)
        }
    }

    /// Right ones gain 0.1 for one wait or two. Others lose 0.2 a wait, down to −0.1, and what is below that stays.
    @Test func naturalDoubtIsRewarded() async throws {
        let texts = ["42", "wait 42", "Wait, wait 42", "wait wait wait 42", "wait 41", "wait wait 41", "41", "wait 0"]
        let before = group(texts, scores: [1, 1, 1, 1, 0, 0.35, 0, -3])
        let lines = [("probability", "0"), ("natural_bonus", "0.1"), ("natural_penalty", "0.2")]
        let writer = Writer([0])
        let result = try await rethinker(settings(lines), writer).rethink([before], step: 0, stop: StopSignal())
        let scores = result.groups[0].scores.compactMap { $0[0].score }
        #expect(zip(scores, [1, 1.1, 1.1, 0.4, -0.1, -0.05, 0, -3]).allSatisfy { abs($0 - $1) < 1e-12 }, "\(scores)")
        #expect(result.metrics["rethinking/natural"] == 0.75 && result.metrics["rethinking/forced"] == 0)
        #expect(writer.asked.withLock { $0.isEmpty } && result.groups[0].group == before.group)
    }

    /// Without an answer the reward is at most −0.1, whatever was said and however right it was; doubt counts where there
    /// is one.
    @Test func aCompletionWithoutAnAnswerIsOfNoValue() async throws {
        let texts = ["#### 42", "42", "wait #### 42", "wait 42", "41", "#### 41", "<answer>41", "no", "[42]"]
        let before = group(texts, scores: [1, 1, 1, 1, 0, 0, 0, -3, 1])
        func scores(_ lines: [(String, String)]) async throws -> (scores: [Double], metrics: Metrics) {
            let result = try await rethinker(settings([("probability", "0")] + lines), Writer([0])).rethink(
                [before], step: 0, stop: StopSignal())
            return (result.groups[0].scores.compactMap { $0[0].score }, result.metrics)
        }
        let alone = try await scores([("no_answer_reward", "-0.1")])
        #expect(alone.scores == [1, -0.1, 1, -0.1, -0.1, 0, 0, -3, -0.1])
        #expect(abs((alone.metrics["rethinking/no_answer"] ?? 0) - 5.0 / 9) < 1e-12)
        #expect(alone.metrics["rethinking/natural"] == nil)
        let both = try await scores([
            ("no_answer_reward", "-0.1"), ("natural_bonus", "0.1"), ("natural_penalty", "0.2"),
            ("answer_markers", "####"),
        ])
        #expect(both.scores == [1, -0.1, 1.1, -0.1, -0.1, 0, -0.1, -3, -0.1])
        #expect(abs((both.metrics["rethinking/natural"] ?? 0) - 2.0 / 9) < 1e-12)
    }

    /// "it is 41 Wait… 42" doubts because it was made to: its score is the reward's own.
    @Test func forcedDoubtEarnsNothing() async throws {
        let writer = Writer(tokenizer.encode(" 42") + [0])
        let result = try await rethinker(settings([("natural_bonus", "0.1")]), writer).rethink(
            [group(["it is 41"], scores: [0])], step: 0, stop: StopSignal())
        #expect(result.groups[0].scores == [[.value(1)]] && result.kept.count == 1)
    }

    @Test func anotherRewardThanTheOneThatIsThereIsRefused() throws {
        #expect(throws: JobError.self) {
            try rethinker(settings([("reward", "style")]), Writer([0]))
        }
    }
}
