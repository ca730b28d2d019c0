import Algorithms
import Foundation
import Tensors
import TestSupport
import Testing

@TensorActor @Suite("What holds for every method's loss")
struct LossInvariantTests {
    @Test(arguments: try NamedObjective.all)
    func theGradientIsTheLosssSlope(_ method: NamedObjective) throws {
        let example = LossExample(seed: 5)
        let gradient = try example.evaluate(method.objective).gradient
        var (frozen, objective) = (example, method.objective)
        if method.name == "dapo, k2" {
            // sg(ρ) is a constant, too: the same loss has it as each token's weight of an uncorrected k2.
            frozen.klWeights = zip(example.policy, example.old).map { exp($0 - $1) }
            objective = GRPOSettings(
                clip: .init(upperBound: .dual(3)), klCoefficient: 0.3, klEstimator: .k2, correctsKLBias: false)
        }
        if method.name == "cispo" {
            // Its weights min(ρ, 5) are constants. The loss whose slope it descends has them in the advantages:
            // −w·A·log π over all tokens.
            frozen.advantages = example.advantages.indices.map {
                min(exp(example.policy[$0] - example.old[$0]), 5) * example.advantages[$0]
            }
            objective = ReMaxSettings(reduction: .tokenMean)
        }
        let differences = try frozen.centralDifferences(objective)
        #expect(relativeDistance(gradient, differences) < 1e-6)
        #expect(relativeDistance(gradient.map(-), differences) > 1)
    }

    @Test(arguments: try NamedObjective.all)
    func cuttingIntoMicroBatchesChangesNothing(_ method: NamedObjective) throws {
        let example = LossExample(seed: 6)
        let whole = try example.evaluate(method.objective)
        for cut in [[[0, 1], [2, 3], [4, 5]], [[0], [1, 2, 3, 4], [5]], [[0, 1, 2, 3, 4], [5]]] {
            let parts = try cut.map { try example.evaluate(method.objective, completions: $0) }
            #expect(abs(parts.map(\.loss).reduce(0, +) - whole.loss) < 1e-14)
            #expect(relativeDistance(parts.flatMap(\.gradient), whole.gradient) < 1e-14)
            var metrics = LossMetrics()
            for part in parts { metrics.combine(part.metrics) }
            #expect(Set(metrics.names) == Set(whole.metrics.names))
            for (name, value) in whole.metrics.metrics.entries {
                let combined = try #require(metrics.metrics[name])
                #expect(abs(combined - value) < 1e-12, "\(name)")
            }
        }
    }

    @Test(arguments: try NamedObjective.all)
    func theOrderOfCompletionsChangesNothing(_ method: NamedObjective) throws {
        let example = LossExample(seed: 7)
        let order = [3, 5, 0, 4, 2, 1]
        let whole = try example.evaluate(method.objective)
        let turned = try example.evaluate(method.objective, completions: order)
        #expect(abs(turned.loss - whole.loss) < 1e-14)
        #expect(relativeDistance(turned.gradient, order.flatMap { whole.gradient[example.ranges[$0]] }) < 1e-14)
    }

    /// Tokens with weight 1 have the gradient of the loss with its KL term, tokens with weight 0 that of the loss
    /// without.
    @Test func theKLTermActsWhereItsWeightIsNotZero() throws {
        let example = LossExample(seed: 9)
        let with = GRPOSettings(klCoefficient: 0.3)
        let (inputs, policy, _) = try example.inputs()
        let weights = example.lengths.enumerated().flatMap { [Double](repeating: $0 == 1 ? 0 : 1, count: $1) }
        var weighted = inputs
        weighted.klWeights = try Tensor(weights)
        try with.loss(weighted).loss.backward()
        let found = try #require(policy.gradient).doubles()
        let (all, none) = (
            try example.evaluate(with).gradient, try example.evaluate(GRPOSettings(klCoefficient: 0)).gradient
        )
        #expect(relativeDistance(all, none) > 0.01)
        for token in found.indices {
            #expect(abs(found[token] - (weights[token] == 1 ? all : none)[token]) < 1e-15)
        }
    }

    @Test(arguments: try NamedObjective.all)
    func singlePrecisionStaysClose(_ method: NamedObjective) throws {
        let example = LossExample(seed: 8)
        let (exact, single) = (
            try example.evaluate(method.objective), try example.evaluate(method.objective, type: .float32)
        )
        #expect(abs(single.loss - exact.loss) < 2e-6)
        #expect(relativeDistance(single.gradient, exact.gradient) < 1e-5)
    }

    /// Advantages of 0, as equal rewards give them, and no KL or entropy term.
    @Test(arguments: ["dr_grpo", "gspo", "grpo, sequence mismatch", "remax", "remax, clipped", "rloo", "ppo", "cispo"])
    func withoutAdvantagesTheGradientIsExactlyZero(_ name: String) throws {
        let method = try #require(try NamedObjective.all.first { $0.name == name })
        var example = LossExample(seed: 9)
        example.advantages = example.advantages.map { _ in 0 }
        #expect(try example.evaluate(method.objective).gradient.allSatisfy { $0 == 0 })
    }

    @Test(arguments: try NamedObjective.all)
    func aBatchWithoutTokensHasALossOfZero(_ method: NamedObjective) throws {
        var example = LossExample(seed: 9)
        example.lengths = [0, 0]
        let found = try example.evaluate(method.objective)
        #expect(found.loss == 0)
        #expect(found.gradient.isEmpty)
        #expect(found.metrics.metrics.entries.allSatisfy { $0.value.isFinite })
    }

    @Test(arguments: try NamedObjective.all)
    func aTensorOfTheWrongLengthIsRefused(_ method: NamedObjective) throws {
        var inputs = try LossExample(seed: 9).inputs().inputs
        inputs.logProbabilities = try Tensor([-1.0, -1.0])
        #expect(throws: TensorError.self) { try method.objective.loss(inputs) }
    }

    @Test(arguments: try NamedObjective.all)
    func whatTheSettingsNeedMustBeThere(_ method: NamedObjective) throws {
        let objective = method.objective
        var inputs = try LossExample(seed: 9).inputs().inputs
        inputs.referenceLogProbabilities = nil
        #expect(isRefused(objective, inputs) == objective.needsReference)
        inputs = try LossExample(seed: 9).inputs().inputs
        inputs.entropies = try inputs.entropies?.detached()
        #expect(isRefused(objective, inputs) == method.name.hasSuffix("and entropy"))
    }

    private func isRefused(_ objective: Objective, _ inputs: PolicyLossInputs) -> Bool {
        do {
            _ = try objective.loss(inputs)
            return false
        } catch {
            return error is LossError
        }
    }
}
