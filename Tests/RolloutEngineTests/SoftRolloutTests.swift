import Algorithms
import Foundation
import Models
import Records
import RolloutEngine
import Tensors
import TestSupport
import Testing

@TensorActor @Suite("Completions that think in mixtures of tokens")
struct SoftRolloutTests {
    private let fixture: RolloutFixture

    init() throws { fixture = try RolloutFixture() }

    private func settings(
        _ noise: SoftNoise, topK: Int = 4, topP: Double = 1, thinkEnd: Int = 263,
        coldStop: SoftThinkingSettings.ColdStop? = nil,
        isGreedy: Bool = false, stops: Set<Int> = [], length: Int = 8
    ) throws -> SamplingSettings {
        SamplingSettings(
            temperature: 0.9, isGreedy: isGreedy, maxCompletionLength: length, stopTokenIDs: stops,
            softThinking: SoftThinkingSettings(
                noise: noise, support: SoftSupport(topK: topK, topP: topP), temperature: 1.3, thinkEndTokenID: thinkEnd,
                coldStop: coldStop))
    }

    nonisolated static let noises: [SoftNoise] = [
        .none, .gumbel(GumbelNoise(temperature: 0.6)), .dirichlet(DirichletNoise(concentration: 4)),
        .gaussian(GaussianNoise(deviation: 0.1)), .embedding(EmbeddingNoise(deviation: 0.2)),
        .gumbel(GumbelNoise(followsRelease: true)),
    ]

    /// The embedding as rows of plain numbers.
    private func table() throws -> [[Double]] {
        let flat = try fixture.model.embedding.doubles()
        return stride(from: 0, to: flat.count, by: 32).map { Array(flat[$0..<$0 + 32]) }
    }

    /// Every step's distribution again, by a full forward pass over inputs that plain loops make of the record. The
    /// sixth sure step ends the thinking, unless the word has led a mixture before.
    @Test(arguments: noises)
    func aFullPassOverTheRecordSeesTheSameDistributions(_ noise: SoftNoise) async throws {
        let requests = fixture.requests(4, samples: 3)
        let coldStop = SoftThinkingSettings.ColdStop(entropyNats: 50, steps: 6)
        let groups = try await collected(
            fixture.engine(rows: 7).generate(requests, settings: settings(noise, coldStop: coldStop), step: 2))
        var compared = 0
        for group in groups {
            for rollout in group.rollouts {
                let end = try #require(rollout.completion.tokenIDs.firstIndex(of: 263))
                #expect(end <= 5)
                compared += try expectAFullPass(over: rollout, behind: group.prompt.tokenIDs, noise, end: end)
            }
        }
        #expect(compared > 50)
    }

    /// Whether ends of thinking are words, and not what was drawn: see ``SoftThinkingSettings``.
    private func endsAreWords(_ noise: SoftNoise) -> Bool { noise.density.map { $0.release != nil } ?? true }

    /// Compares what a rollout recorded with a full pass over the inputs that its record stands for.
    ///
    /// - Parameter end: The position of the token that ended the thinking.
    /// - Returns: Soft tokens compared.
    private func expectAFullPass(over rollout: Rollout, behind prompt: [Int], _ noise: SoftNoise, end: Int) throws
        -> Int
    {
        let table = try table()
        let record = try #require(rollout.softTokens)
        let tokens = rollout.completion.tokenIDs
        let isForced = rollout.isAction.map { !$0[end] } ?? false
        #expect(rollout.isAction == (isForced ? tokens.indices.map { $0 != end } : nil))
        #expect(record.actionCount == rollout.actionCount)
        for array in [rollout.policyLogProbabilities, rollout.samplingLogProbabilities] {
            #expect(array.count == rollout.actionCount)
        }
        // A word that was led to is soft, one that was set is no action, and both are words where ends are.
        let endIsSoft = !isForced && !endsAreWords(noise)
        #expect(!(isForced && endsAreWords(noise)))
        #expect(record.positions == Array(0..<(endIsSoft ? end + 1 : end)))
        #expect(record.boundary == (endIsSoft ? end : nil))
        #expect(record.answerStart == (isForced ? end : end + 1))
        let ids = SoftTokens.pieces(record.ids, record.supportSizes)
        let values = SoftTokens.pieces(record.values, record.componentCounts)
        let parameters = SoftTokens.pieces(record.parameters, record.componentCounts)
        var inputs = prompt.map { table[$0] }
        for (position, token) in tokens.enumerated() {
            guard position < end else {
                inputs.append(table[token])
                continue
            }
            let weights = noise.weights(Array(values[position])).map(Double.init)
            inputs.append(
                weights.isEmpty
                    ? values[position].map(Double.init)
                    : (0..<32).map { dimension in
                        zip(weights, ids[position]).reduce(0) { $0 + $1.0 * table[Int($1.1)][dimension] }
                    })
        }
        let hidden = try Tensor.withoutGradients {
            try fixture.model.hiddenStates(
                embeddings: Tensor(inputs.flatMap { $0.map(Float.init) }, shape: [inputs.count, 32]),
                layout: SequenceLayout(sequenceLengths: [inputs.count]))
        }
        for (action, position) in rollout.actionPositions.enumerated() {
            let token = tokens[position]
            let state = try hidden.narrow(axis: 0, start: prompt.count - 1 + position, count: 1)
            let logits = try state.linear(weight: fixture.model.head).doubles()
            guard record.supportSizes[action] > 0 else {
                let scaled = logits.map { exp($0 / 0.9) }
                let expected = log(scaled[token] / scaled.reduce(0, +))
                #expect(abs(Double(rollout.policyLogProbabilities[action]) - expected) < 1e-4)
                continue
            }
            let powers = ids[position].map { exp(logits[Int($0)] / 1.3) }
            let shares = powers.map { $0 / powers.reduce(0, +) }
            let expected: [Double] =
                if noise.perturbsEmbedding {
                    (0..<32).map { dimension in
                        zip(shares, ids[position]).reduce(0) { $0 + $1.0 * table[Int($1.1)][dimension] }
                    }
                } else {
                    shares.map { log($0) }
                }
            for (found, wanted) in zip(parameters[position], expected) {
                #expect(abs(Double(found) - wanted) < 1e-4, "\(noise)")
            }
            let all = logits.map { exp($0 / 1.3) }
            let total = all.reduce(0, +)
            let entropy = -all.reduce(0) { $0 + $1 / total * log($1 / total) }
            #expect(abs(Double(record.entropies[position]) - entropy) < 1e-4)
            #expect(Set(ids[position].map(Int.init)).contains(token))
        }
        return record.count
    }

    @Test(arguments: noises)
    func drawsDoNotDependOnTheBatch(_ noise: SoftNoise) async throws {
        let settings = try settings(noise, coldStop: .init(entropyNats: 50, steps: 5))
        let requests = fixture.requests(5, samples: 3)
        let together = try await collected(fixture.engine().generate(requests, settings: settings, step: 5))
        let narrow = try await collected(
            fixture.engine(rows: 4, prefillTokens: 5).generate(requests.reversed(), settings: settings, step: 5))
        for (a, b) in zip(together.flatMap(\.rollouts), narrow.flatMap(\.rollouts)) {
            #expect(a.completion == b.completion)
            for (p, q) in zip(a.softTokens?.values ?? [], b.softTokens?.values ?? [0]) { #expect(abs(p - q) < 1e-4) }
        }
        #expect(try await collected(fixture.engine().generate(requests, settings: settings, step: 5)) == together)
        let otherStep = try await collected(fixture.engine().generate(requests, settings: settings, step: 6))
        let isSilent = noise == .none
        #expect(
            (otherStep.map { $0.rollouts.map { $0.softTokens?.values } }
                == together.map { $0.rollouts.map { $0.softTokens?.values } }) == isSilent)
    }

    @Test func oneWordWithoutNoiseIsGreedyDecoding() async throws {
        let requests = fixture.requests(4, samples: 1)
        let soft = try await collected(
            fixture.engine().generate(requests, settings: settings(.none, topK: 1), step: 0))
        let greedy = try await collected(
            fixture.engine().generate(
                requests, settings: SamplingSettings(isGreedy: true, maxCompletionLength: 8), step: 0))
        #expect(soft.map { $0.rollouts[0].completion.tokenIDs } == greedy.map { $0.rollouts[0].completion.tokenIDs })
        #expect(soft.allSatisfy { $0.rollouts[0].softTokens?.largestWeights.allSatisfy { $0 == 1 } ?? false })
    }

    /// Whatever word leads the second or a later step of a completion is declared the end of thinking, then a stop
    /// token. The step was drawn as before, is scored as before, and what goes in behind it is the word. Only where
    /// ends are words is it scored as one.
    @Test(arguments: noises)
    func theThinkEndTokenSwitchesOnTheVeryNextToken(_ noise: SoftNoise) async throws {
        let requests = fixture.requests(6, samples: 1)
        let free = try await collected(fixture.engine().generate(requests, settings: settings(noise), step: 1))
        var switched = 0
        for (request, group) in zip(requests, free) {
            let leading = group.rollouts[0].completion.tokenIDs
            guard let position = leading.indices.first(where: { $0 >= 1 && !leading[..<$0].contains(leading[$0]) })
            else {
                continue
            }
            switched += 1
            let ended = try await collected(
                fixture.engine().generate(
                    [request], settings: settings(noise, thinkEnd: leading[position]), step: 1))[0].rollouts[0]
            #expect(Array(ended.completion.tokenIDs[...position]) == Array(leading[...position]))
            #expect(try expectAFullPass(over: ended, behind: request.prompt.tokenIDs, noise, end: position) >= position)
            #expect(ended.lacksAnswer == (position == 7))
            let stopped = try await collected(
                fixture.engine().generate(
                    [request], settings: settings(noise, stops: [leading[position]]), step: 1))[0].rollouts[0]
            #expect(stopped.completion.finishReason == .stopToken && stopped.lacksAnswer)
            #expect(stopped.completion.tokenIDs == Array(leading[...position]))
            let whole = try #require(group.rollouts[0].softTokens)
            for rollout in [ended, stopped] {
                let record = try #require(rollout.softTokens)
                #expect((record.supportSizes[position] == 0) == endsAreWords(noise))
                guard record.supportSizes[position] > 0 else { continue }
                let drawn = whole.componentCounts[...position].reduce(0, +)
                #expect(record.values.count == drawn)
                for (p, q) in zip(record.values, whole.values) { #expect(abs(p - q) < 1e-4) }
                let density = group.rollouts[0].policyLogProbabilities[position]
                #expect(abs(rollout.policyLogProbabilities[position] - density) < 1e-3 * max(1, abs(density)))
            }
        }
        #expect(switched >= 3)
    }

    @Test func greedyRowsDrawNothing() async throws {
        let noise = SoftNoise.gumbel(GumbelNoise())
        let requests = fixture.requests(3, samples: 1)
        let settings = try settings(noise, coldStop: .init(entropyNats: 50, steps: 4), isGreedy: true)
        let one = try await collected(fixture.engine().generate(requests, settings: settings, step: 0))
        let other = try await collected(fixture.engine(seed: 99).generate(requests, settings: settings, step: 7))
        #expect(one.map(\.rollouts) == other.map(\.rollouts))
    }
}
