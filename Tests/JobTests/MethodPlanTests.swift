import Algorithms
import Credit
import Foundation
import Job
import Methods
import Records
import Tensors
import Testing

/// Two prompts with three completions each, with all numbers that a method can ask for.
struct PlanExample {
    let rewards = [[1.0, 0.25, -0.5], [0.5, 2, 0.75]]
    let greedy = [0.4, 0.9]
    let lengths = [[2, 1, 3], [1, 3, 2]]
    /// `[completion][token]` over both groups; small floats, so that Float holds them.
    var old: [[Double]] { numbers { -0.5 - 0.0625 * Double($0) } }
    var reference: [[Double]] { numbers { -0.625 - 0.0625 * Double($0 * $0 % 7) } }
    var policy: [[Double]] { numbers { -0.5 - 0.0625 * Double($0) + 0.25 * sin(Double(3 * $0 + 1)) } }
    var values: [[Double]] { numbers { 0.25 * Double($0 % 4) - 0.25 } }
    var counts: [Int] { lengths.flatMap(\.self) }
    var flatRewards: [Double] { rewards.flatMap(\.self) }
    var tokens: Int { counts.reduce(0, +) }

    private func numbers(_ value: (Int) -> Double) -> [[Double]] {
        var start = 0
        return counts.map { count in
            defer { start += count }
            return (start..<start + count).map(value)
        }
    }

    private func grouped(_ rows: [[Double]]) -> [[[Float]]] {
        [rows.prefix(3), rows.suffix(3)].map { $0.map { $0.map(Float.init) } }
    }

    var creditBatch: CreditBatch {
        let groups = rewards.indices.map { group in
            let rollouts = lengths[group].enumerated().map { sample, length in
                let own = old[3 * group + sample].map(Float.init)
                return Rollout(
                    completion: Completion(
                        text: "", tokenIDs: Array(repeating: 7, count: length), finishReason: .stopToken),
                    samplingLogProbabilities: own, policyLogProbabilities: own, sample: sample)
            }
            let prompt = TokenizedPrompt(
                prompt: Prompt(row: group, source: "test", content: .text("?")), tokenIDs: [1, 2])
            return ScoredGroup(
                group: RolloutGroup(prompt: prompt, rollouts: rollouts, policyVersion: PolicyVersion(0)),
                scores: rewards[group].map { [.value($0)] }, greedyScores: [.value(greedy[group])])
        }
        return CreditBatch(
            groups: groups, oldLogProbabilities: grouped(old), referenceLogProbabilities: grouped(reference),
            values: CriticValues(grouped(values).map { $0.map { [$0] } }))
    }

    /// Advantages `[completion][token]` and the loss that a job's method makes of the example.
    func run(_ plan: MethodPlan) throws -> (advantages: [[Double]], loss: Double) {
        let credited = try plan.credit?.credit(creditBatch)
        let part = credited?.update.parts.first
        let completions = part?.groups.flatMap(\.completions)
        let advantages =
            completions?.map { $0.mixedAdvantages(part?.streamWeights ?? [1]) } ?? old.map { $0.map { _ in 0 } }
        // No two completions have the same log-probs: those say which of them are learned from.
        let learned = completions?.compactMap { own in
            old.firstIndex { $0.map(Float.init) == own.rolloutLogProbabilities }
        }
        let rows = learned ?? Array(counts.indices)
        func tensor(_ numbers: [[Double]]) throws -> Tensor { try Tensor(rows.flatMap { numbers[$0] }) }
        let lengths = rows.map { counts[$0] }
        let inputs = PolicyLossInputs(
            logProbabilities: try tensor(policy), oldLogProbabilities: try tensor(old),
            rolloutLogProbabilities: try tensor(old), referenceLogProbabilities: try tensor(reference),
            advantages: try Tensor(zip(rows, advantages).flatMap { $1.isEmpty ? old[$0].map { _ in 0 } : $1 }),
            entropies: try tensor(counts.map { Array(repeating: 0, count: $0) }),
            spans: try CompletionSpans(lengths: lengths),
            denominators: Denominators(tokens: lengths.reduce(0, +), sequences: rows.count, maxCompletionLength: 8))
        return (advantages, try plan.parts[0].objective.loss(inputs).read().loss)
    }
}

/// The methods by plain loops over Double, from their papers.
struct PlanLoops {
    let example = PlanExample()
    let beta = 0.05

    typealias Result = (advantages: [[Double]]?, loss: Double)

    /// Σ over later tokens, the token itself included.
    private func toGo(_ row: [Double]) -> [Double] { row.indices.map { row[$0...].reduce(0, +) } }
    private var k1: [[Double]] { zip(example.old, example.reference).map { zip($0, $1).map { $0 - $1 } } }

    private func perToken(_ advantage: [Double]) -> [[Double]] {
        zip(advantage, example.counts).map { Array(repeating: $0, count: $1) }
    }

    private func whitened(_ rows: [[Double]]) -> [[Double]] {
        let all = rows.flatMap(\.self)
        let mean = all.reduce(0, +) / Double(all.count)
        let variance = all.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(all.count - 1)
        return rows.map { $0.map { ($0 - mean) / (variance + 1e-8).squareRoot() } }
    }

    /// −min(ρA, clip(ρ)A) plus what is added, at every token.
    private func clipped(
        _ advantages: [[Double]], dual: Double = .infinity, adding: (Double) -> Double = { _ in 0 }
    ) -> [[Double]] {
        example.counts.indices.map { row in
            advantages[row].indices.map { token in
                let (own, a) = (example.policy[row][token], advantages[row][token])
                let ratio = exp(own - example.old[row][token])
                return -min(min(ratio, dual) * a, max(0.8, min(1.2, ratio)) * a)
                    + adding(own - example.reference[row][token])
            }
        }
    }

    private func sequenceMean(_ losses: [[Double]]) -> Double {
        losses.reduce(0) { $0 + $1.reduce(0, +) / Double($1.count) } / Double(losses.count)
    }

    private func groups(_ rewards: [Double], _ of: ([Double]) -> [Double]) -> [Double] {
        of(Array(rewards.prefix(3))) + of(Array(rewards.suffix(3)))
    }

    private func standardized(_ rewards: [Double]) -> [Double] {
        groups(rewards) { group in
            let mean = group.reduce(0, +) / 3
            let deviation = (group.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 2).squareRoot()
            return group.map { ($0 - mean) / (deviation + 1e-4) }
        }
    }

    func of(_ method: String) -> Result {
        let policy = example.policy
        switch method {
        case "sft": return (nil, -policy.joined().reduce(0, +) / Double(example.tokens))
        case "best_of_k":
            let best = [0, 4]  // rewards 1 and 2
            let tokens = best.flatMap { policy[$0] }
            return (nil, -tokens.reduce(0, +) / Double(tokens.count))
        case "grpo", "soft_grpo", "amft":
            let advantages = perToken(standardized(example.flatRewards))
            let k3 = clipped(advantages, dual: method == "soft_grpo" ? 3 : .infinity) { beta * (exp(-$0) - 1 + $0) }
            return (advantages, sequenceMean(k3))
        case "grpo in the reward":
            let rewards = zip(example.flatRewards, k1).map { $0 - beta * $1.reduce(0, +) }
            let advantages = perToken(standardized(rewards))
            return (advantages, sequenceMean(clipped(advantages)))
        case "remax", "reinforce":
            let baselines = example.greedy.flatMap { Array(repeating: method == "remax" ? $0 : 0, count: 3) }
            let advantages = k1.indices.map { row in
                toGo(k1[row]).map { example.flatRewards[row] - baselines[row] - beta * $0 }
            }
            let products = zip(advantages, policy).map { zip($0, $1).map { -$0 * $1 }.reduce(0, +) }
            return (
                advantages, products.reduce(0, +) / Double(method == "remax" ? example.tokens : products.count)
            )
        case "gdc":  // β = 2; the weights of a group of three are far below the cap
            let weights = example.counts.indices.map { row in
                exp(example.flatRewards[row] / 2 - k1[row].reduce(0, +))
            }
            let advantages = perToken(groups(weights) { group in group.map { $0 / (group.reduce(0, +) / 3) - 1 } })
            let products = zip(advantages, policy).map { zip($0, $1).map { -$0 * $1 }.reduce(0, +) }
            return (advantages, products.reduce(0, +) / Double(products.count))
        case "distill":  // the reverse KL by sampled tokens, without rewards: A = log π_T − log π
            let advantages = k1.map { $0.map { -$0 } }
            return (advantages, clipped(advantages).joined().reduce(0, +) / Double(example.tokens))
        case "luffy":
            let advantages = perToken(
                groups(example.flatRewards) { group in group.map { $0 - group.reduce(0, +) / 3 } })
            let products = example.counts.indices.map { row in
                zip(advantages[row], zip(policy[row], example.old[row])).reduce(0) { $0 - $1.0 * exp($1.1.0 - $1.1.1) }
            }
            return (advantages, products.reduce(0, +) / (6 * 8))
        case "srft":  // the entropies of the example are 0
            let signs = perToken(example.flatRewards.map { $0 > 0 ? 1 : -1 })
            let losses = zip(signs, policy).map { zip($0, $1).reduce(0) { $0 + ($1.0 > 0 ? -0.1 * $1.1 : $1.1) } }
            return (signs, losses.reduce(0, +) / Double(example.tokens))
        case "rloo":
            let rewards = zip(example.flatRewards, k1).map { $0 - beta * $1.reduce(0, +) }
            let advantages = groups(rewards) { group in group.map { $0 - (group.reduce(0, +) - $0) / 2 } }
            let losses = advantages.indices.map { row in
                let ratio = exp(zip(policy[row], example.old[row]).reduce(0) { $0 + $1.0 - $1.1 })
                return -min(ratio * advantages[row], max(0.8, min(1.2, ratio)) * advantages[row])
            }
            return (perToken(advantages), losses.reduce(0, +) / Double(losses.count))
        case "reinforce_pp":
            let centred = groups(example.flatRewards) { group in group.map { $0 - group.reduce(0, +) / 3 } }
            let advantages = whitened(perToken(centred))
            return (advantages, sequenceMean(clipped(advantages) { beta * $0 * $0 / 2 }))
        case "reinforce_pp plain":
            let advantages = whitened(
                zip(example.flatRewards, k1).map { reward, row in toGo(row).map { reward - beta * $0 } })
            return (advantages, sequenceMean(clipped(advantages)))
        default:  // ppo
            let advantages = example.counts.indices.map { row in
                let values = example.values[row] + [0]
                var rewards = k1[row].map { -beta * $0 }
                rewards[rewards.count - 1] += example.flatRewards[row]
                let errors = rewards.indices.map { rewards[$0] + values[$0 + 1] - values[$0] }
                return errors.indices.map { start in
                    errors[start...].enumerated().reduce(0) { $0 + pow(0.95, Double($1.offset)) * $1.element }
                }
            }
            let white = whitened(advantages)
            return (white, clipped(white).joined().reduce(0, +) / Double(example.tokens))
        }
    }
}

@TensorActor @Suite("From a job file to loss and credit: every method is its paper")
struct MethodPlanTests {
    /// A method as a job names it, with a change of estimator, reach or form that makes another method of it.
    struct Case: Sendable, CustomTestStringConvertible {
        var name: String
        var lines: String
        var other: String
        var testDescription: String { name }
    }

    nonisolated static let cases = [
        Case(name: "sft", lines: "algorithm: sft", other: "algorithm: best_of_k\nnum_generations: 4"),
        Case(
            name: "grpo",
            lines: "algorithm: grpo\nloss_type: grpo\nbeta: 0.05\nuse_bias_correction_kl: false",
            other: "kl_estimator: k2"),
        Case(
            name: "grpo in the reward", lines: "algorithm: grpo\nloss_type: grpo\nbeta: 0.05\nkl_placement: reward",
            other: "scale_rewards: batch"),
        Case(name: "remax", lines: "algorithm: remax\nbeta: 0.05", other: "remax_kl: one_step"),
        Case(name: "reinforce", lines: "algorithm: reinforce\nbeta: 0.05", other: "remax_kl: one_step"),
        Case(name: "gdc", lines: "algorithm: gdc\nbeta: 2", other: "beta: 1"),
        Case(name: "rloo", lines: "algorithm: rloo\nnum_generations: 4", other: "ratio_clip: false"),
        Case(
            name: "reinforce_pp", lines: "algorithm: reinforce_pp\nbeta: 0.05",
            other: "reinforce_pp_baseline: none"),
        Case(
            name: "reinforce_pp plain", lines: "algorithm: reinforce_pp\nbeta: 0.05\nreinforce_pp_baseline: none",
            other: "reinforce_pp_baseline: group"),
        Case(name: "ppo", lines: "algorithm: ppo", other: "lam: 0.5"),
        Case(name: "best_of_k", lines: "algorithm: best_of_k\nnum_generations: 4", other: "algorithm: grpo"),
        Case(
            name: "amft",
            lines: "algorithm: amft\namft: {rl: grpo}\nloss_type: grpo\nbeta: 0.05\nuse_bias_correction_kl: false",
            other: "amft: {rl: reinforce}"),
        Case(
            name: "luffy", lines: "algorithm: luffy\nluffy: {entropy_coef: 0}", other: "algorithm: srft"),
        Case(
            name: "distill",
            lines: "algorithm: distill\nteacher_model_name_or_path: t\ndistill: {form: sampled, reward_weight: 0}",
            other: "distill: {form: sampled, reward_weight: 1}"),
        Case(name: "srft", lines: "algorithm: srft", other: "srft: {rl_scale: 0.2}"),
        Case(name: "soft_grpo", lines: "algorithm: soft_grpo\nbeta: 0.05\ndelta: 3", other: "epsilon: 0.1"),
    ]

    private func job(_ lines: String) throws -> ResolvedJob {
        // Of two lines with one key the last counts where a test changes its case.
        var members: [(key: String, line: String)] = []
        for line in lines.split(separator: "\n").map(String.init) {
            let key = String(line.prefix { $0 != ":" })
            members.removeAll { $0.key == key }
            members.append((key, line))
        }
        let isSFT = members.contains { $0.line == "algorithm: sft" }
        let text =
            "model_name_or_path: m\ndataset_name: p\noutput_dir: o\n" + (isSFT ? "" : "reward_funcs: accuracy_reward\n")
            + members.map { $0.line + "\n" }.joined()
        return try ResolvedJob(JobFile(text: text, name: "job.yaml", folder: URL(filePath: "/jobs")))
    }

    @Test(arguments: cases)
    func theFileBecomesThePapersNumbers(_ example: Case) throws {
        let found = try PlanExample().run(job(example.lines).plan)
        let expected = PlanLoops().of(example.name)
        if let advantages = expected.advantages {
            for (a, b) in zip(found.advantages.joined(), advantages.joined()) {
                #expect(abs(a - b) < 1e-12, "advantages \(found.advantages), expected \(advantages)")
            }
        }
        #expect(abs(found.loss - expected.loss) < 1e-12, "loss \(found.loss), expected \(expected.loss)")
    }

    /// Each comparison can fail: one other line in the file, and the numbers are another method's.
    @Test(arguments: cases)
    func anotherEstimatorReachOrFormIsTold(_ example: Case) throws {
        let found = try PlanExample().run(job(example.lines + "\n" + example.other).plan)
        #expect(abs(found.loss - PlanLoops().of(example.name).loss) > 1e-6)
    }

    /// With a limit a critic has a head for each reward, and one more for a KL in the reward, which ppo has unless β is 0.
    @Test(
        arguments: [
            ("", [1]), ("constraints: [{reward: accuracy_reward, limit: 0.5, kind: at_least}]", [1, 0.4]),
            ("constraints: [{reward: accuracy_reward, limit: 0.5, kind: at_least}]\nbeta: 0", [1]),
        ] as [(String, [Double])])
    func whatEachHeadOfACriticCounts(_ lines: String, _ weights: [Double]) throws {
        let critic = try #require(job("algorithm: ppo\n" + lines).plan.critic)
        #expect(critic.settings.headWeights(critic.heads) == weights)
    }

    @Test func everyMethodOfTheCatalogueIsHere() {
        let names = Set(Self.cases.map { $0.name.prefix { $0 != " " } }.map(String.init))
        // Those that compare pairs have no rollouts: their numbers are DPOTests' and TRLPreferenceStepTests'.
        #expect(names == Set(MethodCatalogue.shipped.filter { !$0.defaults.comparesPairs }.map { $0.name }))
    }
}
