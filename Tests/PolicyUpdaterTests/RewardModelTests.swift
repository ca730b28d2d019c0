import Algorithms
import Foundation
import Models
import PolicyUpdater
import Records
import Tensors
import TestSupport
import Testing

@TensorActor @Suite("A reward model learns from pairs")
struct RewardModelTests {
    private static let head = (0..<16).map { 0.4 - 0.11 * Double($0 % 9) }

    /// Pairs of both of two heads, one with a margin.
    private let part = {
        var groups = [
            ExampleBatch.group([1, 2, 3], [[4, 5], [6, 0, 1, 2]]), ExampleBatch.group([5], [[2, 2, 6, 4, 1], [0]]),
            ExampleBatch.group([6, 6], [[1, 1, 3], [5, 0, 2]]),
        ]
        (groups[0].head, groups[1].margin) = (1, 0.5)
        return UpdatePart(.pairs, groups)
    }()

    private func policy(maxTokens: Int? = nil) throws -> TinyPolicy {
        try TinyPolicy(
            parts: [PartPlan(BradleyTerrySettings(centering: 0.1, headCount: 2), on: .pairs)],
            .plain(learningRate: 0.01, maxTokensPerMicroBatch: maxTokens), valueHead: Tensor(Self.head, shape: [2, 8]))
    }

    /// Scores of one sequence a pass: w_head · h of its last token.
    private func scores(_ weights: [String: [Double]], _ head: [Double]) throws -> [[Double]] {
        let model = try Transformer(configuration: TinyPolicy.configuration(), parameters: TinyPolicy.tensors(weights))
        return try part.groups.map { group in
            try group.completions.map { completion in
                let tokens = group.promptTokenIDs + completion.tokenIDs
                let states = try Tensor.withoutGradients {
                    try model.hiddenStates(
                        tokens: Tensor(tokens), layout: SequenceLayout(sequenceLengths: [tokens.count])
                    ).doubles()
                }
                return zip(states.suffix(8), head[8 * group.head..<8 * group.head + 8]).reduce(0) { $0 + $1.0 * $1.1 }
            }
        }
    }

    private func lossByLoops(_ weights: [String: [Double]], _ head: [Double]) throws -> Double {
        zip(try scores(weights, head), part.groups).reduce(0) { sum, pair in
            let (chosen, rejected) = (pair.0[0], pair.0[1])
            let (difference, whole) = (chosen - rejected - pair.1.margin, chosen + rejected)
            return sum + (log(1 + exp(-difference)) + 0.1 * whole * whole) / 3
        }
    }

    private func gradients(_ policy: TinyPolicy) async throws -> (loss: Double, gradients: [String: [Double]]) {
        var found: (Double, [String: [Double]]) = (0, [:])
        _ = try await policy.updater.lend { point in
            let taken = try policy.updater.gradients(of: part, by: policy.updater.parts[0], at: point)
            found = (taken.loss, try taken.gradients.gradients.doubles())
            return .skipped(0)
        }
        return found
    }

    @Test func theGradientsOfTrunkAndHeadsAreCentralDifferences() async throws {
        let (loss, gradients) = try await gradients(policy())
        let weights = try TinyPolicy.weights()
        #expect(abs(loss - (try lossByLoops(weights, Self.head))) < 1e-9)
        var compared = 0
        for (name, values) in gradients {
            for index in stride(from: 0, to: values.count, by: 5) {
                func moved(_ by: Double) throws -> Double {
                    var (weights, head) = (weights, Self.head)
                    if weights[name] == nil { head[index] += by } else { weights[name]![index] += by }
                    return try lossByLoops(weights, head)
                }
                let difference = (try moved(1e-5) - moved(-1e-5)) / 2e-5
                #expect(abs(difference - values[index]) < 1e-6 * max(1, abs(difference)), "\(name)[\(index)]")
                compared += 1
            }
        }
        #expect(compared > 60 && gradients["score.weight"]?.count == 16)
    }

    @Test func howTheBatchIsCutChangesNothingButRounding() async throws {
        let (whole, cut) = (try await gradients(policy()), try await gradients(policy(maxTokens: 6)))
        #expect(abs(whole.loss - cut.loss) < 1e-12)
        for (name, values) in whole.gradients { #expect(relativeDistance(cut.gradients[name]!, values) < 1e-9) }
    }

    @Test func scoresAndMeasuresAreThoseOfOneSequenceAPass() async throws {
        let policy = try policy(maxTokens: 9)
        let found = try await policy.updater.scores(of: part, by: policy.updater.parts[0])
        let expected = try scores(TinyPolicy.weights(), Self.head)
        #expect(relativeDistance(found.flatMap(\.self), expected.flatMap(\.self)) < 1e-9)
        let measured = try await policy.updater.measure(part, by: policy.updater.parts[0])
        #expect(abs(measured.loss - (try lossByLoops(TinyPolicy.weights(), Self.head))) < 1e-9)
    }

    /// Ranks that wait hear that this one is still there, because others get the tensors' thread between passes; each of
    /// these pairs is one. Whoever asked for the thread before the first pass is heard before the last.
    @Test func anEvaluationLetsOthersInBetweenItsPasses() async throws {
        let policy = try policy(maxTokens: 1)
        let many = UpdatePart(.pairs, (0..<20).flatMap { _ in part.groups })
        let plan = policy.updater.parts[0]
        func asked() -> StopSignal {
            let stop = StopSignal()
            Task { @TensorActor in stop.request() }
            return stop
        }
        await #expect(throws: StopRequested.self) {
            _ = try await policy.updater.scores(of: many, by: plan, stop: asked())
        }
        await #expect(throws: StopRequested.self) {
            _ = try await policy.updater.measure(many, by: plan, stop: asked())
        }
    }

    @Test func aPairOfAHeadThatIsNotThereIsRefused() async throws {
        var part = part
        part.groups[2].head = 2
        let policy = try policy()
        await #expect(throws: UpdateError.self) { try await policy.updater.train(UpdateBatch(parts: [part])) }
    }
}
