import Models
import Records
import RolloutEngine
import Tensors
import Testing
import Tokenization

@TensorActor @Suite("Sampled completions")
struct RolloutEngineTests {
    private let fixture: RolloutFixture

    init() throws { fixture = try RolloutFixture() }

    @Test func everyRequestGetsItsCompletions() async throws {
        let settings = SamplingSettings(maxCompletionLength: 7)
        let requests = fixture.requests(9, samples: 3, greedy: true)
        let groups = try await collected(fixture.engine(rows: 8).generate(requests, settings: settings, step: 2))
        #expect(groups.map(\.prompt) == requests.map(\.prompt))
        for group in groups {
            #expect(group.policyVersion == PolicyVersion(4))
            #expect(group.rollouts.map(\.sample) == [0, 1, 2])
            for rollout in group.rollouts + [try #require(group.greedy)] {
                #expect(rollout.completion.tokenIDs.count == 7)
                #expect(rollout.completion.finishReason == .length)
                #expect(rollout.samplingLogProbabilities.count == 7 && rollout.policyLogProbabilities.count == 7)
                #expect(
                    try rollout.completion.textWithSpecials == fixture.tokenizer.decode(rollout.completion.tokenIDs))
            }
            #expect(group.greedy?.samplingLogProbabilities == Array(repeating: 0, count: 7))
        }
    }

    @Test func drawsDoNotDependOnTheBatch() async throws {
        let settings = SamplingSettings(maxCompletionLength: 12)
        let requests = fixture.requests(6, samples: 4)
        let together = try await collected(fixture.engine().generate(requests, settings: settings, step: 5))
        let narrow = try await collected(
            fixture.engine(rows: 3, prefillTokens: 5).generate(requests, settings: settings, step: 5))
        let reversed = try await collected(
            fixture.engine(rows: 7).generate(Array(requests.reversed()), settings: settings, step: 5))
        for other in [narrow, reversed] {
            for (a, b) in zip(together, other) {
                #expect(a.rollouts.map(\.completion) == b.rollouts.map(\.completion))
                for (first, second) in zip(a.rollouts, b.rollouts) {
                    for (p, q) in zip(first.policyLogProbabilities, second.policyLogProbabilities) {
                        #expect(abs(p - q) < 1e-4)
                    }
                }
            }
        }
        let again = try await collected(fixture.engine().generate(requests, settings: settings, step: 5))
        #expect(again == together)
        let nextStep = try await collected(fixture.engine().generate(requests, settings: settings, step: 6))
        #expect(nextStep.map(\.rollouts) != together.map(\.rollouts))
        let otherSeed = try await collected(fixture.engine(seed: 18).generate(requests, settings: settings, step: 5))
        #expect(otherSeed.map(\.rollouts) != together.map(\.rollouts))
    }

    @Test func everyTokenIsTheOneItsAddressedUniformPicks() async throws {
        let settings = SamplingSettings(temperature: 0.8, maxCompletionLength: 6)
        let groups = try await collected(
            fixture.engine(rows: 4).generate(fixture.requests(3, samples: 2), settings: settings, step: 9))
        for group in groups {
            for rollout in group.rollouts {
                var tokens = group.prompt.tokenIDs
                for (index, token) in rollout.completion.tokenIDs.enumerated() {
                    let logits = try Tensor(fixture.logits(after: tokens).map { Double($0) / 0.8 })
                    let probabilities = try logits.softmax(axis: 0).doubles()
                    let uniform = RandomAddress(
                        step: 9, row: group.prompt.prompt.row, sample: rollout.sample, token: index
                    ).uniform(seed: 17, stream: .sample)
                    let before = probabilities[..<token].reduce(0, +)
                    #expect(before - 1e-4 < uniform && uniform < before + probabilities[token] + 1e-4)
                    tokens.append(token)
                }
            }
        }
    }

    /// Three variants of the same prompt in one batch: the first draws what a step without variants draws, the others
    /// draws of their own.
    @Test func variantsOfAPromptHaveDrawsOfTheirOwn() async throws {
        let settings = SamplingSettings(maxCompletionLength: 12)
        let plain = fixture.requests(1, samples: 2)
        let requests = (0..<3).map { RolloutRequest(prompt: plain[0].prompt, samples: 2, variant: $0) }
        let alone = try await collected(fixture.engine().generate(plain, settings: settings, step: 2))
        let groups = try await collected(fixture.engine().generate(requests, settings: settings, step: 2))
            .sorted { $0.variant < $1.variant }
        #expect(groups.map(\.variant) == [0, 1, 2])
        let tokens = groups.map { $0.rollouts.map(\.completion.tokenIDs) }
        #expect(tokens[0] == alone[0].rollouts.map(\.completion.tokenIDs))
        #expect(Set(tokens.joined()).count == 6)
        let again = try await collected(fixture.engine().generate([requests[2]], settings: settings, step: 2))
        #expect(again[0].rollouts.map(\.completion.tokenIDs) == tokens[2])  // whatever else is in the batch
    }

    @Test func greedyIsTheArgmaxOfFullForwardPasses() async throws {
        let settings = SamplingSettings(maxCompletionLength: 10)
        let groups = try await collected(
            fixture.engine().generate(fixture.requests(4, samples: 2, greedy: true), settings: settings, step: 0))
        for group in groups {
            var tokens = group.prompt.tokenIDs
            for token in try #require(group.greedy).completion.tokenIDs {
                let logits = try fixture.logits(after: tokens)
                #expect(logits.firstIndex(of: try #require(logits.max())) == token)
                tokens.append(token)
            }
        }
        let onlyGreedy = try await collected(
            fixture.engine().generate(fixture.requests(4, samples: 0, greedy: true), settings: settings, step: 1))
        #expect(onlyGreedy.map(\.greedy?.completion) == groups.map(\.greedy?.completion))
        #expect(onlyGreedy.allSatisfy { $0.rollouts.isEmpty })
    }

    /// The baseline is the reward of the policy's own argmax, so the penalty that shapes its samples is not for it. A
    /// run that is greedy as a whole asks for the penalty itself.
    @Test func aBaselineIsTheArgmaxWithoutThePenalty() async throws {
        func greedy(_ penalty: Double, wholeRun: Bool) async throws -> [[Int]] {
            let settings = SamplingSettings(
                repetitionPenalty: penalty, isGreedy: wholeRun, maxCompletionLength: 9)
            let requests = fixture.requests(4, samples: wholeRun ? 1 : 2, greedy: !wholeRun)
            return try await collected(fixture.engine().generate(requests, settings: settings, step: 0)).map {
                try #require(wholeRun ? $0.rollouts[0] : $0.greedy).completion.tokenIDs
            }
        }
        let plain = try await greedy(1, wholeRun: true)
        #expect(try await greedy(1.9, wholeRun: false) == plain)
        #expect(try await greedy(1.9, wholeRun: true) != plain)
    }

    @Test(arguments: [1.0, 0.6]) func policyLogProbabilitiesEqualThoseScoredAgain(_ temperature: Double) async throws {
        let settings = SamplingSettings(
            temperature: temperature, topK: 40, topP: 0.95, repetitionPenalty: 1.1, maxCompletionLength: 15)
        let groups = try await collected(
            fixture.engine(rows: 5).generate(fixture.requests(5, samples: 3), settings: settings, step: 0))
        let layout = try SequenceLayout(
            groups: groups.map { ($0.prompt.tokenIDs.count, $0.rollouts.map(\.completion.tokenIDs.count)) })
        let tokens = groups.flatMap { $0.prompt.tokenIDs + $0.rollouts.flatMap(\.completion.tokenIDs) }
        let hidden = try fixture.model.hiddenStates(tokens: Tensor(tokens), layout: layout)
        let scores = try Tensor.tokenScores(
            hidden: hidden.rows(at: layout.predictionIndices), head: fixture.model.head,
            targets: Tensor(layout.completionTokenIndices.map { tokens[$0] }), temperature: temperature)
        let recorded = groups.flatMap { $0.rollouts.flatMap(\.policyLogProbabilities) }
        for (sampled, scored) in zip(recorded, try scores.logProbabilities.floats()) {
            #expect(abs(sampled - scored) < 1e-4)
        }
        // Filters move mass to what they keep.
        let sampling = groups.flatMap { $0.rollouts.flatMap(\.samplingLogProbabilities) }
        #expect(sampling != recorded && sampling.count == recorded.count)
    }

    @Test func stopTokensEndCompletionsAndStay() async throws {
        let free = SamplingSettings(maxCompletionLength: 20)
        let requests = fixture.requests(4, samples: 3)
        let unstopped = try await collected(fixture.engine().generate(requests, settings: free, step: 3))
        let stopToken = unstopped[0].rollouts[0].completion.tokenIDs[4]
        let settings = SamplingSettings(maxCompletionLength: 20, stopTokenIDs: [stopToken])
        let groups = try await collected(fixture.engine(rows: 5).generate(requests, settings: settings, step: 3))
        for (group, whole) in zip(groups, unstopped) {
            for (rollout, long) in zip(group.rollouts, whole.rollouts) {
                let all = long.completion.tokenIDs
                let end = all.firstIndex(of: stopToken)
                #expect(rollout.completion.tokenIDs == (end.map { Array(all[...$0]) } ?? all))
                #expect(rollout.completion.finishReason == (end == nil ? .length : .stopToken))
            }
        }
    }

    @Test func stopStringsMatchAcrossTokens() async throws {
        let free = SamplingSettings(maxCompletionLength: 24)
        let requests = fixture.requests(3, samples: 2)
        let unstopped = try await collected(fixture.engine().generate(requests, settings: free, step: 3))
        let target = unstopped[1].rollouts[1].completion
        // The last byte-whole character of one token and the first of the next.
        let pieces = try target.tokenIDs.map { try fixture.tokenizer.decode([$0]) }
        let border = try #require(
            pieces.indices.dropLast().first {
                !pieces[$0].isEmpty && !pieces[$0].contains("\u{FFFD}") && !pieces[$0 + 1].contains("\u{FFFD}")
                    && !pieces[$0 + 1].isEmpty
            })
        let stop = String(pieces[border].unicodeScalars.last!) + String(pieces[border + 1].unicodeScalars.first!)
        let settings = SamplingSettings(maxCompletionLength: 24, stopStrings: [stop])
        let groups = try await collected(fixture.engine().generate(requests, settings: settings, step: 3))
        let stopped = groups[1].rollouts[1].completion
        #expect(stopped.finishReason == .stopString(stop))
        #expect(stopped.tokenIDs == Array(target.tokenIDs.prefix(stopped.tokenIDs.count)))
        #expect(stopped.tokenIDs.count <= border + 2)
        #expect(!stopped.text.contains(stop) && target.text.hasPrefix(stopped.text + stop))
        #expect(stopped.textWithSpecials.contains(stop))
    }

    @Test func completionsEndWhereTheContextEnds() async throws {
        let short = try RolloutFixture(contextLength: 16)
        let settings = SamplingSettings(maxCompletionLength: 30)
        let groups = try await collected(
            short.engine().generate(short.requests(3, samples: 1), settings: settings, step: 0))
        for group in groups {
            #expect(group.prompt.tokenIDs.count + group.rollouts[0].completion.tokenIDs.count == 16)
            #expect(group.rollouts[0].completion.isTruncated)
        }
    }

    @Test func requestsThatCannotBeMetAreRefusedBeforeAnythingIsSampled() async throws {
        let engine = try fixture.engine()
        let settings = SamplingSettings(maxCompletionLength: 4)
        let sound = fixture.requests(1, samples: 1)[0]
        func refusal(_ tokens: [Int], samples: Int = 1) async -> RolloutError? {
            var request = sound
            request.prompt.tokenIDs = tokens
            request.samples = samples
            do {
                _ = try await collected(engine.generate([sound, request], settings: settings, step: 0))
                return nil
            } catch {
                return error as? RolloutError
            }
        }
        #expect(await refusal([]) == .emptyPrompt(prompt: "test row 0"))
        #expect(
            await refusal(Array(repeating: 1, count: 256))
                == .promptTooLong(prompt: "test row 0", tokens: 256, contextLength: 256))
        let vocabulary = fixture.configuration.vocabularySize
        #expect(
            await refusal([vocabulary])
                == .unknownToken(prompt: "test row 0", token: vocabulary, vocabularySize: vocabulary))
        #expect(await refusal([1], samples: 0) == .sampleCount(prompt: "test row 0", samples: 0))
    }

    @Test func aStopInTheMiddleEndsTheStreamAndFreesThePolicy() async throws {
        let stop = StopSignal()
        let settings = SamplingSettings(maxCompletionLength: 40)
        let engine = try fixture.engine(rows: 4)
        var received = 0
        await #expect(throws: StopRequested.self) {
            for try await _ in engine.generate(
                fixture.requests(20, samples: 2), settings: settings, step: 0, stop: stop)
            {
                received += 1
                stop.request()
            }
        }
        #expect(received >= 1 && received < 20)
        #expect(fixture.policy.phase == .idle(PolicyVersion(4)))
        let after = try await collected(
            engine.generate(fixture.requests(1, samples: 1), settings: settings, step: 0))
        #expect(after.count == 1)
    }

    @Test func aStreamThatNobodyReadsEndsTheWork() async throws {
        let settings = SamplingSettings(maxCompletionLength: 200)
        let engine = try fixture.engine(rows: 2)
        let requests = fixture.requests(200, samples: 2)
        let reader = Task { @TensorActor in
            for try await _ in engine.generate(requests, settings: settings, step: 0) { break }
        }
        _ = await reader.result
        // The next call waits for the phase lock: it comes at once when the abandoned work has ended.
        let clock = ContinuousClock()
        let waited = try await clock.measure {
            _ = try await collected(
                engine.generate(
                    fixture.requests(1, samples: 1), settings: SamplingSettings(maxCompletionLength: 1), step: 0))
        }
        #expect(waited < .seconds(20))
    }

    /// The tensor thread is given to others between two passes: another task's turns count them, however busy the machine
    /// is. Every turn goes through the pool of threads, which gives them in no strict order.
    @Test(arguments: [(rows: 64, passes: 32), (rows: 16, passes: 4 * 32), (rows: 1, passes: 64 * 32)])
    func rowsOfABatchShareItsPasses(_ rows: Int, _ passes: Int) async throws {
        @TensorActor final class Counter { var turns = 0 }
        let counter = Counter()
        let policy = fixture.policy
        let other = Task { @TensorActor in
            while !Task.isCancelled {
                if case .generating = policy.phase { counter.turns += 1 }
                await Task.yield()
            }
        }
        let groups = try await collected(
            fixture.engine(rows: rows).generate(
                fixture.requests(8, samples: 8), settings: SamplingSettings(maxCompletionLength: 32), step: 0))
        let turns = counter.turns
        other.cancel()
        #expect(groups.flatMap(\.rollouts).map(\.completion.tokenIDs.count) == Array(repeating: 32, count: 64))
        #expect((passes / 4...passes * 4).contains(turns), "\(turns) turns")  // one row at a time: 2,048
    }
}
