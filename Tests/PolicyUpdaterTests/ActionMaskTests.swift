import Algorithms
import Foundation
import Models
import PolicyUpdater
import Records
import Tensors
import Testing

@TensorActor @Suite("Tokens that the policy did not choose", .timeLimit(.minutes(10)))
struct ActionMaskTests {
    private let gradients = UpdateGradientTests()

    /// GRPO with k3, token by token over Double: only actions have a loss, and only they are counted.
    private func lossByLoops(
        _ batch: UpdateBatch, _ type: GRPOSettings.LossType, weights: [String: [Double]]? = nil
    ) throws -> Double {
        let policy = try TinyPolicy.logProbabilities(of: batch, weights: weights, temperature: 0.7)
        var total = 0.0
        let completions = batch.groups.flatMap(\.completions)
        let actions = policy.flatMap { $0.map(\.count) }.reduce(0, +)
        for (completion, own) in zip(completions, policy.flatMap(\.self)) {
            var sum = 0.0
            for action in own.indices {
                let ratio = exp(own[action] - Double(completion.oldLogProbabilities[action]))
                let advantage = completion.advantages[0][action]
                let d = own[action] - Double(completion.referenceLogProbabilities[action])
                sum += -min(ratio * advantage, max(0.8, min(1.2, ratio)) * advantage) + 0.3 * (exp(-d) - 1 + d)
            }
            total += type == .grpo ? sum / Double(own.count) / Double(completions.count) : sum / Double(actions)
        }
        return total
    }

    @Test(arguments: [GRPOSettings.LossType.grpo, .dapo])
    func lossAndGradientAreThoseOfLoopsThatSkipThem(_ type: GRPOSettings.LossType) async throws {
        let objective = GRPOSettings(lossType: type, klCoefficient: 0.3, correctsKLBias: false)
        let batch = try await ExampleBatch.withForcedTokens(temperature: 0.7)
        let found = try await gradients.gradient(objective, batch, maxTokens: 9, temperature: 0.7)
        #expect(abs(found.loss - (try lossByLoops(batch, type))) < 1e-12)
        // the same tokens, were all of them chosen, give another loss
        let chosen = try await ExampleBatch.mixed(temperature: 0.7)
        #expect(abs(found.loss - (try lossByLoops(chosen, type))) > 1e-3)
        try await gradients.expectTheSlope(of: found, tolerance: 1e-6) { try lossByLoops(batch, type, weights: $0) }
    }

    @Test(arguments: UpdateGradientTests.objectives.filter { $0 != "cispo" && !$0.hasSuffix("mismatch") })
    func everyObjectiveDescendsItsLoss(_ name: String) async throws {
        try await gradients.expectTheSlopeOfTheLoss(
            UpdateGradientTests.objective(name), ExampleBatch.withForcedTokens(temperature: 0.7), tolerance: 1e-6)
    }

    @Test func logProbsAreThoseOfActionsBehindAllThatWasRead() async throws {
        let batch = try await ExampleBatch.withForcedTokens()
        let policy = try TinyPolicy(SupervisedFineTuning(), .plain(learningRate: 0, maxTokensPerMicroBatch: 9))
        let found = try await policy.updater.logProbabilities(batch, under: .oldPolicy).tokens
        let expected = try TinyPolicy.logProbabilities(of: batch)
        #expect(found.map { $0.map(\.count) } == [[2, 2, 1], [3, 2], [2, 4]])
        for (a, b) in zip(found.joined().joined(), expected.joined().joined()) { #expect(abs(Double(a) - b) < 1e-6) }
    }

    /// The forced tokens of one completion become others. What comes before them does not see it, what comes behind
    /// does; and where only an action before them is learned from, the gradient is the same to the bit: none of it goes
    /// through the forced tokens' own log-probs.
    @Test func whatTheyAreIsReadAndNotTrained() async throws {
        let given = try await ExampleBatch.withForcedTokens()
        var other = given
        other.groups[1].completions[0].tokenIDs[1] = 5
        other.groups[1].completions[0].tokenIDs[2] = 0
        #expect(other.groups[1].completions[0].tokenIDs != given.groups[1].completions[0].tokenIDs)
        let policy = try TinyPolicy(SupervisedFineTuning(), .plain(learningRate: 0))
        let before = try await policy.updater.logProbabilities(given, under: .oldPolicy).tokens[1][0]
        let after = try await policy.updater.logProbabilities(other, under: .oldPolicy).tokens[1][0]
        #expect(before[0] == after[0] && before[1] != after[1] && before[2] != after[2])

        let remax = ReMaxSettings()
        func gradient(_ batch: UpdateBatch, advantages: [Double]) async throws -> UpdateGradientTests.Gradient {
            var batch = batch
            for group in batch.groups.indices {
                for index in batch.groups[group].completions.indices {
                    let count = batch.groups[group].completions[index].actionCount
                    batch.groups[group].completions[index].advantages =
                        [group == 1 && index == 0 ? advantages : [Double](repeating: 0, count: count)]
                }
            }
            return try await gradients.gradient(remax, batch)
        }
        let first = try await gradient(given, advantages: [1, 0, 0])
        #expect(try await gradient(other, advantages: [1, 0, 0]).distance(from: first) < 1e-14)
        let last = try await gradient(given, advantages: [0, 0, 1])
        #expect(try await gradient(other, advantages: [0, 0, 1]).distance(from: last) > 0.01)
    }

    @Test(arguments: UpdateGradientTests.objectives)
    func wherePolicyChoseAllItIsAsIfNothingWereSaid(_ name: String) async throws {
        let objective = try UpdateGradientTests.objective(name)
        let plain = try await UpdateGradientTests.batch(for: objective)
        var said = plain
        for group in said.groups.indices {
            for index in said.groups[group].completions.indices {
                let count = said.groups[group].completions[index].tokenIDs.count
                said.groups[group].completions[index].isAction = [Bool](repeating: true, count: count)
            }
        }
        let a = try await gradients.gradient(objective, plain, maxTokens: 14)
        let b = try await gradients.gradient(objective, said, maxTokens: 14)
        #expect(a.loss.bitPattern == b.loss.bitPattern)
        #expect(a.values.mapValues { $0.map(\.bitPattern) } == b.values.mapValues { $0.map(\.bitPattern) })
        for (metric, value) in a.metrics.entries where !metric.hasPrefix("timing_s/") {
            #expect(b.metrics[metric] == value, "\(metric)")
        }
    }

    /// A completion without an action is read by nobody; it still counts as a sequence.
    @Test func aCompletionWithoutActionsTrainsNothing() async throws {
        let given = try await ExampleBatch.mixed()
        var more = given
        more.groups[0].completions.append(
            UpdateCompletion(tokenIDs: [1, 4], isAction: [false, false]))
        #expect(more.actionTokenCount == given.actionTokenCount && more.completionCount == given.completionCount + 1)
        #expect(MicroBatchPlan(more, maxTokens: nil) == MicroBatchPlan(given, maxTokens: nil))
        let dapo = try UpdateGradientTests.objective("dapo")
        #expect(try await gradients.gradient(dapo, more).distance(from: gradients.gradient(dapo, given)) < 1e-14)
        let rloo = try UpdateGradientTests.objective("rloo")
        let (eight, seven) = (
            try await gradients.gradient(rloo, more).loss, try await gradients.gradient(rloo, given).loss
        )
        #expect(abs(eight * 8 - seven * 7) < 1e-12)
    }

    /// A pass reads all tokens: the prompt of 4 and completions of 3 and 6, of which 2 and 4 are actions.
    @Test func everyTokenCountsAsRead() async throws {
        let batch = try await ExampleBatch.withForcedTokens()
        #expect(batch.actionTokenCount == 16)
        let piece = MicroBatchPlan(batch, maxTokens: 13).microBatches.joined().first { $0.group == 2 }
        #expect(piece?.tokenCount == 13)
    }

    /// V of the states before actions, and of the state behind the last token whoever wrote it: those of the same
    /// tokens, all chosen.
    @Test func valuesStandAtActions() async throws {
        let batch = try await ExampleBatch.withForcedTokens()
        let all = try await ExampleBatch.mixed()
        let policy = try TinyPolicy(
            PPOSettings(), .plain(learningRate: 0),
            valueHead: Tensor((0..<8).map { 0.3 * Double($0) - 1 }, shape: [1, 8]))
        let (found, whole) = (try await policy.updater.values(batch), try await policy.updater.values(all))
        for (group, completions) in batch.groups.map(\.completions).enumerated() {
            for (index, completion) in completions.enumerated() {
                let positions = completion.isAction.map { flags in flags.indices.filter { flags[$0] } }
                let expected =
                    positions.map { $0.map { whole.tokens[group][index][0][$0] } } ?? whole.tokens[group][index][0]
                #expect(found.tokens[group][index][0].count == expected.count)
                for (a, b) in zip(found.tokens[group][index][0], expected) { #expect(abs(a - b) < 1e-6) }
                #expect(abs(found.ends[group][index][0] - whole.ends[group][index][0]) < 1e-6)
            }
        }
    }

    @Test func arraysThatDoNotFitTheActionsAreRefusedByIndex() async throws {
        func refusal(_ change: (inout UpdateCompletion) -> Void) async throws -> String {
            var batch = try await ExampleBatch.withForcedTokens()
            change(&batch.groups[1].completions[0])
            let policy = try TinyPolicy(UpdateGradientTests.objective("dapo"), .plain(learningRate: 0))
            let error = await #expect(throws: UpdateError.self) { try await policy.updater.train(batch) }
            return error.map { "\($0)" } ?? "accepted"
        }
        #expect(
            try await refusal { $0.advantages = [[1, 1, 1, 1, 1]] }
                == "update batch, group 1, completion 0: 5 advantages for 3 actions")
        #expect(
            try await refusal { $0.isAction = [true, false] }
                == "update batch, group 1, completion 0: 2 isAction for 5 tokens")
    }
}
