import Algorithms
import Credit
import Foundation
import Models
import Placement
import PolicyUpdater
import Records
import Tensors
import Testing

/// Training steps as TRL took them, by `References/trl_full_step.py`: what went in, and what came out.
struct TRLSteps: Decodable {
    struct Group: Decodable {
        let prompt: [Int]
        let completions: [[Int]]
        let rewards: [Double]
    }

    struct Case: Decodable {
        /// `[group][completion]`
        let advantages: [[Double]]
        /// One a step; the norm before the clip.
        let loss: [Double]
        let gradNorm: [Double]
        /// `[group][completion][token]`; only where TRL works them out, as the next two.
        let old_per_token_logps: [[[Double]]]?
        let ref_per_token_logps: [[[Double]]]?
        /// Sums over each completion.
        let old_logps: [[Double]]?
    }

    let learningRate: Double
    let weightDecay: Double
    let maxGradientNorm: Double
    let maxCompletionLength: Int
    let groups: [Group]
    let cases: [String: Case]

    static let folder = URL(filePath: #filePath).deletingLastPathComponent().appending(
        path: "../References/trl_full_step")

    init() throws {
        self = try JSONDecoder().decode(
            TRLSteps.self, from: Data(contentsOf: Self.folder.appending(path: "steps.json")))
    }

    /// The weights after a step, counted from 1.
    @TensorActor static func weights(_ name: String, after step: Int) throws -> [String: [Float]] {
        let file = try TensorFile(url: folder.appending(path: "\(name).safetensors"))
        let names = file.names.filter { $0.hasPrefix("\(step)/") }
        return try Dictionary(
            uniqueKeysWithValues: names.map { (String($0.dropFirst(2)), try file.tensor(named: $0).floats()) })
    }
}

/// What the project makes of the same input.
private struct OwnSteps {
    var advantages: [[Double]] = []
    var old: [[[Float]]]?
    var reference: [[[Float]]]?
    var loss: [Double] = []
    var gradNorm: [Double] = []
    var weights: [[String: [Float]]] = []
}

@TensorActor @Suite("Whole training steps equal TRL's: credit, loss, gradient, clip and AdamW")
struct TRLStepTests {
    private let trl: TRLSteps

    init() throws { trl = try TRLSteps() }

    // MARK: The methods, with TRL's defaults

    private func objective(_ name: String) throws -> Objective {
        switch name {
        case "grpo": GRPOSettings()
        case "grpo_kl": GRPOSettings(lossType: .grpo, klCoefficient: 0.04)
        default: RLOOSettings()
        }
    }

    private func rule(
        _ name: String, scaling: GroupBaselineSettings.Scaling = .group, penalty: KLToGo? = nil
    ) throws -> any CreditRule {
        let rewards = RewardCombination(names: ["given"])
        guard name == "rloo" else {
            return GroupBaseline(rewards: rewards, settings: GroupBaselineSettings(scaling: scaling))
        }
        let usual = KLToGo(coefficient: 0.05, estimator: .k1, reach: .completion)
        return LeaveOneOut(rewards: rewards, settings: LeaveOneOutSettings(penalty: penalty ?? usual))
    }

    // MARK: The steps

    /// Takes the steps as a run does: old and reference log-probs, credit, then all optimizer steps on the same
    /// completions.
    private func steps(_ objective: Objective, _ rule: any CreditRule, count: Int) async throws -> OwnSteps {
        try TensorEngine.setThreadCount(1)  // a team of threads costs more than these matrices
        let start = try ModelFolder.load(TRLSteps.folder)
        let file = try TensorFile(url: TRLSteps.folder.appending(path: "reference.safetensors"))
        let reference = try ReallocatingActor(
            role: "reference",
            parameters: ParameterSet(
                frozen: Dictionary(uniqueKeysWithValues: file.names.map { ($0, try file.tensor(named: $0)) })))
        let policy = try ReallocatingActor(role: "policy", parameters: ParameterSet(trainable: start.parametersByName))
        let optimizer = OptimizerSettings(
            learningRate: trl.learningRate, weightDecay: trl.weightDecay, maxGradientNorm: trl.maxGradientNorm,
            schedule: LearningRateSchedule(.constant, totalSteps: count))
        let updater = try PolicyUpdater(
            policy: policy, configuration: start.configuration, reference: reference,
            parts: [PartPlan(objective)],
            settings: UpdaterSettings(optimizer: optimizer, maxCompletionLength: trl.maxCompletionLength))

        var own = OwnSteps()
        let unscored = UpdateBatch(
            groups: trl.groups.map { group in
                UpdateGroup(
                    promptTokenIDs: group.prompt, completions: group.completions.map { UpdateCompletion(tokenIDs: $0) })
            })
        if count > 1 { own.old = try await updater.logProbabilities(unscored, under: .oldPolicy).tokens }
        own.reference = try await updater.logProbabilities(unscored, under: .reference).tokens
        let credited = try rule.credit(
            CreditBatch(
                groups: scoredGroups(own.old), oldLogProbabilities: own.old, referenceLogProbabilities: own.reference))
        own.advantages = credited.credits.map { $0.map { $0.advantage ?? .nan } }
        for _ in 0..<count {
            let metrics = try await updater.train(credited.update)
            own.loss.append(try #require(metrics["loss"]))
            own.gradNorm.append(try #require(metrics["grad_norm"]))
            own.weights.append(
                try await policy.infer { lease in try lease.parameters.mapValues { try $0.floats() } }.value)
        }
        return own
    }

    /// The completions as if they had been sampled: the sampler's log-probs are the policy's own, or nobody's.
    private func scoredGroups(_ old: [[[Float]]]?) -> [ScoredGroup] {
        trl.groups.enumerated().map { index, group in
            let prompt = Prompt(row: index, source: "trl", content: .text("prompt \(index)"))
            let rollouts = group.completions.enumerated().map { sample, ids in
                let sampled = old?[index][sample] ?? Array(repeating: 0, count: ids.count)
                return Rollout(
                    completion: Completion(text: "", tokenIDs: ids), samplingLogProbabilities: sampled,
                    policyLogProbabilities: sampled, sample: sample)
            }
            return ScoredGroup(
                group: RolloutGroup(
                    prompt: TokenizedPrompt(prompt: prompt, tokenIDs: group.prompt), rollouts: rollouts,
                    policyVersion: PolicyVersion(0)),
                scores: group.rewards.map { [.value($0)] })
        }
    }

    // MARK: Side by side

    /// What differs, with the largest distance: weights, advantages and loss by 1e-6 absolutely, the norm by 1e-5
    /// relatively.
    private func differences(_ own: OwnSteps, from name: String) throws -> [String: Double] {
        let expected = try #require(trl.cases[name])
        var found: [String: Double] = [:]
        func note(_ what: String, _ distance: Double, _ limit: Double) {
            if !(distance <= limit) { found[what] = max(found[what] ?? 0, distance) }
        }
        for (a, b) in zip(own.advantages.joined(), expected.advantages.joined()) {
            note("advantages", abs(a - b), 1e-6)
        }
        for (own, trl) in [(own.old, expected.old_per_token_logps), (own.reference, expected.ref_per_token_logps)] {
            guard let own, let trl else { continue }
            for (a, b) in zip(own.joined().joined(), trl.joined().joined()) {
                note("log-probs", abs(Double(a) - b), 1e-5)
            }
        }
        for (own, trl) in zip(own.old?.joined() ?? [].joined(), expected.old_logps?.joined() ?? [].joined()) {
            note("log-probs", abs(own.reduce(0) { $0 + Double($1) } - trl), 5e-5)
        }
        for step in expected.loss.indices {
            note("loss", abs(own.loss[step] - expected.loss[step]), 1e-6)
            note("norm", abs(own.gradNorm[step] / expected.gradNorm[step] - 1), 1e-5)
            let weights = try TRLSteps.weights(name, after: step + 1)
            #expect(Set(weights.keys) == Set(own.weights[step].keys))
            for (tensor, values) in weights {
                for (a, b) in zip(try #require(own.weights[step][tensor]), values) {
                    note("weights", Double(abs(a - b)), 1e-6)
                }
            }
        }
        return found
    }

    @Test(arguments: ["grpo", "grpo_kl", "rloo"])
    func everyNumberIsTRLs(_ name: String) async throws {
        let count = try #require(trl.cases[name]).loss.count
        let own = try await steps(objective(name), rule(name), count: count)
        #expect(own.advantages.map(\.count) == trl.groups.map(\.completions.count))
        let found = try differences(own, from: name)
        #expect(found.isEmpty, "\(found)")
        // The steps are no small matter: every one moved weights thousands of times as far as the tolerance.
        let start = try TensorFile(url: TRLSteps.folder.appending(path: "model.safetensors"))
        for weights in own.weights {
            let moved = try weights.map { name, values in
                zip(values, try start.tensor(named: name).floats()).map { abs($0 - $1) }.max() ?? 0
            }
            #expect(try #require(moved.max()) > 4e-3)
        }
    }

    /// A step of another method, near as it may be, is told from TRL's by its weights.
    @Test func anotherEstimatorReachOrScaleIsNotTRLs() async throws {
        func differ(_ name: String, _ objective: Objective? = nil, _ rule: (any CreditRule)? = nil) async throws -> Bool
        {
            let count = try #require(trl.cases[name]).loss.count
            let own = try await steps(objective ?? self.objective(name), rule ?? self.rule(name), count: count)
            return try differences(own, from: name)["weights"] ?? 0 > 1e-5
        }
        func kl(
            _ estimator: KLEstimator = .k3, lossType: GRPOSettings.LossType = .grpo, correctsBias: Bool = true,
            level: ImportanceRatio = .token
        ) throws -> Objective {
            GRPOSettings(
                lossType: lossType, importanceLevel: level, klCoefficient: 0.04, klEstimator: estimator,
                correctsKLBias: correctsBias)
        }
        // The ratio as a weight of k2 has the gradient of the ratio times k3, d·∇log π: their steps are one.
        #expect(try await !differ("grpo_kl", kl(.k2)))
        #expect(try await differ("grpo_kl", kl(correctsBias: false)))
        #expect(try await differ("grpo_kl", kl(lossType: .dapo)))
        #expect(try await differ("grpo_kl", GRPOSettings(lossType: .grpo)))
        #expect(try await differ("grpo", nil, rule("grpo", scaling: .none)))
        #expect(try await differ("grpo", nil, rule("grpo", scaling: .batch)))
        #expect(try await differ("grpo", GRPOSettings(lossType: .grpo)))
        // The ratio of single tokens in place of whole completions, and a penalty of half the size.
        #expect(try await differ("rloo", GRPOSettings(lossType: .grpo)))
        #expect(try await differ("rloo", nil, rule("rloo", penalty: KLToGo(coefficient: 0.025, reach: .completion))))
    }
}
