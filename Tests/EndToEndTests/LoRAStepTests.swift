import Algorithms
import Credit
import Foundation
import Models
import Placement
import PolicyUpdater
import Records
import Tensors
import Testing

/// Steps on adapters as peft's and TRL's took them, by `References/peft_lora.py`.
private struct PeftSteps {
    struct Case: Decodable {
        /// One a step; the norm before the clip.
        let loss: [Double]
        let gradNorm: [Double]
    }

    static let folder = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../References/peft_lora")

    let cases: [String: Case]

    init() throws {
        cases = try JSONDecoder().decode(
            [String: Case].self, from: Data(contentsOf: Self.folder.appending(path: "steps.json")))
    }

    /// A and B after a step, counted from 1.
    @TensorActor func adapters(_ name: String, after step: Int) throws -> [String: [Float]] {
        let file = try TensorFile(url: Self.folder.appending(path: "\(name).safetensors"))
        let names = file.names.filter { $0.hasPrefix("\(step)/") }
        return try Dictionary(
            uniqueKeysWithValues: names.map { (String($0.dropFirst(2)), try file.tensor(named: $0).floats()) })
    }
}

/// A policy of adapters on the small Llama that the references were made with.
@TensorActor
struct AdaptedPolicy {
    let base: [String: Tensor]
    let start: [String: Tensor]
    let configuration: ModelConfiguration
    let role: ReallocatingActor

    init(
        layout: ParameterLayout = .shared, heads: [String: Tensor] = [:], name: String = "plain",
        storage: WeightStorage = .whole
    ) throws {
        try TensorEngine.setThreadCount(1)  // a team of threads costs more than these matrices
        let folder = PeftSteps.folder.appending(path: name, directoryHint: .isDirectory).standardizedFileURL
        let adapter = try #require(try AdapterFolder(folder))
        var type = ElementType.float32
        if case .copies(let narrow) = layout { type = narrow }
        let model = try ModelFolder.load(adapter.base, elementType: type, storage: storage)
        base = model.parametersByName
        configuration = try model.configuration.adapted(by: adapter.adapters)
        let own = try adapter.tensors(for: configuration)
        start = try own.mapValues { try $0.clone() }
        role = try ReallocatingActor(
            role: "policy",
            parameters: ParameterSet(
                trainable: own, frozen: base, heads: heads, adapters: configuration.lowRankUpdates),
            layout: layout, verification: .everyHandOver)
    }

    /// The base, with the adapters as they were where `isAdapted`.
    func reference(isAdapted: Bool) throws -> ReallocatingActor {
        let set =
            isAdapted
            ? ParameterSet(frozen: base.merging(start) { $1 }, adapters: configuration.lowRankUpdates)
            : ParameterSet(frozen: base)
        return try ReallocatingActor(role: "reference", parameters: set, verification: .everyHandOver)
    }

    func adapters() async throws -> [String: [Float]] {
        let names = Set(configuration.adapterShapes.map(\.name))
        return try await role.infer { lease in
            try lease.masters.filter { names.contains($0.key) }.mapValues { try $0.floats() }
        }.value
    }

    /// Log-probs of a text's tokens, sampled from (merged) or scored (beside each other).
    func logProbabilities(_ tokens: [Int], sampling: Bool) async throws -> [Double] {
        func score(_ parameters: [String: Tensor]) throws -> [Double] {
            let model = try Transformer(configuration: configuration, parameters: parameters)
            return try Tensor.withoutGradients {
                let hidden = try model.hiddenStates(
                    tokens: Tensor(tokens), layout: SequenceLayout(sequenceLengths: [tokens.count]))
                return try Tensor.tokenScores(
                    hidden: hidden.narrow(axis: 0, start: 0, count: tokens.count - 1), head: model.head,
                    targets: Tensor(Array(tokens.dropFirst())), temperature: 1
                ).logProbabilities.doubles()
            }
        }
        if sampling { return try await role.generate { try score($0.parameters) }.value }
        return try await role.infer { try score($0.parameters) }.value
    }
}

@TensorActor @Suite("LoRA: whole steps equal peft's, and what the owner of the weights lends")
struct LoRAStepTests {
    private let trl: TRLSteps
    private let peft: PeftSteps

    init() throws { (trl, peft) = (try TRLSteps(), try PeftSteps()) }

    /// Of a base in eight bits no sums are made: sampler and trainer read the same bytes, and the adapters beside them.
    @Test func aBaseInEightBitsIsSampledFromAsItIsScored() async throws {
        let (policy, whole) = (try AdaptedPolicy(storage: .int8), try AdaptedPolicy())
        let tokens = Array(trl.groups[0].prompt + trl.groups[0].completions[0])
        let sampled = try await policy.logProbabilities(tokens, sampling: true)
        let scored = try await policy.logProbabilities(tokens, sampling: false)
        #expect(sampled.count == tokens.count - 1 && zip(sampled, scored).allSatisfy { abs($0 - $1) < 1e-6 })
        let others = try await whole.logProbabilities(tokens, sampling: false)
        #expect(zip(others, scored).contains { abs($0 - $1) > 1e-5 })
        let (own, theirs) = (policy.role.footprint(), whole.role.footprint())
        #expect(own.bytes(.adapterSums) == 0 && theirs.bytes(.weights) > own.bytes(.weights))
    }

    private func updater(
        _ policy: AdaptedPolicy, _ plan: PartPlan, reference: ReallocatingActor? = nil, sync: ReferenceSync? = nil
    ) throws -> PolicyUpdater {
        let optimizer = OptimizerSettings(
            learningRate: trl.learningRate, weightDecay: trl.weightDecay, maxGradientNorm: trl.maxGradientNorm,
            schedule: LearningRateSchedule(.constant, totalSteps: 2))
        return try PolicyUpdater(
            policy: policy.role, configuration: policy.configuration, reference: reference, parts: [plan],
            settings: UpdaterSettings(
                optimizer: optimizer, maxCompletionLength: trl.maxCompletionLength, referenceSync: sync))
    }

    /// Takes two steps; every number that differs from the reference's by more than its limit, with the distance.
    private func differences(
        _ name: String, _ policy: AdaptedPolicy, _ updater: PolicyUpdater, _ batch: UpdateBatch
    ) async throws -> [String: Double] {
        let expected = try #require(peft.cases[name])
        var found: [String: Double] = [:]
        var worst: [String: Double] = [:]
        func note(_ what: String, _ distance: Double, _ limit: Double) {
            worst[what] = max(worst[what] ?? 0, distance)
            if !(distance <= limit) { found[what] = max(found[what] ?? 0, distance) }
        }
        for step in 0..<2 {
            let metrics = try await updater.train(batch)
            note("loss", abs(try #require(metrics["loss"]) - expected.loss[step]), 2e-6)
            note("norm", abs(try #require(metrics["grad_norm"]) / expected.gradNorm[step] - 1), 1e-5)
            let own = try await policy.adapters()
            let theirs = try peft.adapters(name, after: step + 1)
            #expect(Set(own.keys) == Set(theirs.keys))
            for (tensor, values) in theirs {
                for (a, b) in zip(try #require(own[tensor]), values) { note("adapters", Double(abs(a - b)), 1e-6) }
            }
        }
        print("two steps of \(name) on adapters against peft's: \(worst.sorted { $0.key < $1.key })")
        return found
    }

    private var pairs: [UpdateGroup] {
        trl.groups.map { group in
            let ordered = zip(group.completions, group.rewards).enumerated().sorted {
                ($1.element.1, $0.offset) < ($0.element.1, $1.offset)
            }.map(\.element.0)
            return UpdateGroup(
                promptTokenIDs: group.prompt,
                completions: [ordered[0], ordered[ordered.count - 1]].map { UpdateCompletion(tokenIDs: $0) })
        }
    }

    @Test func grpoOnATrainedAdapterIsTRLs() async throws {
        let policy = try AdaptedPolicy()
        let updater = try updater(
            policy, PartPlan(GRPOSettings(klCoefficient: 0.04)), reference: policy.reference(isAdapted: true))
        let unscored = UpdateBatch(
            groups: trl.groups.map { group in
                UpdateGroup(
                    promptTokenIDs: group.prompt, completions: group.completions.map { UpdateCompletion(tokenIDs: $0) })
            })
        let old = try await updater.logProbabilities(unscored, under: .oldPolicy).tokens
        let reference = try await updater.logProbabilities(unscored, under: .reference).tokens
        #expect(old == reference)  // the reference is the adapter as it was
        let groups = trl.groups.enumerated().map { index, group in
            ScoredGroup(
                group: RolloutGroup(
                    prompt: TokenizedPrompt(
                        prompt: Prompt(row: index, source: "trl", content: .text("")), tokenIDs: group.prompt),
                    rollouts: group.completions.enumerated().map { sample, ids in
                        Rollout(
                            completion: Completion(text: "", tokenIDs: ids),
                            samplingLogProbabilities: old[index][sample], policyLogProbabilities: old[index][sample],
                            sample: sample)
                    }, policyVersion: PolicyVersion(0)), scores: group.rewards.map { [.value($0)] })
        }
        let rule = GroupBaseline(
            rewards: RewardCombination(names: ["given"]), settings: GroupBaselineSettings(scaling: .group))
        let credited = try rule.credit(
            CreditBatch(groups: groups, oldLogProbabilities: old, referenceLogProbabilities: reference))
        let found = try await differences("grpo", policy, updater, credited.update)
        #expect(found.isEmpty, "\(found)")
    }

    @Test func dpoWithTheBaseAsItsReferenceIsPefts() async throws {
        let policy = try AdaptedPolicy()
        let updater = try updater(
            policy, PartPlan(DPOSettings(beta: 0.1), on: .pairs), reference: policy.reference(isAdapted: false))
        var part = UpdatePart(.pairs, pairs)
        part.takeReference(try await updater.logProbabilities(UpdateBatch(parts: [part]), under: .reference).tokens)
        let found = try await differences("dpo", policy, updater, UpdateBatch(parts: [part]))
        #expect(found.isEmpty, "\(found)")
    }

    @Test func sftIsPefts() async throws {
        let policy = try AdaptedPolicy()
        let updater = try updater(policy, PartPlan(SupervisedFineTuning()))
        let chosen = pairs.map { UpdateGroup(promptTokenIDs: $0.promptTokenIDs, completions: [$0.completions[0]]) }
        let found = try await differences("sft", policy, updater, UpdateBatch(groups: chosen))
        #expect(found.isEmpty, "\(found)")
        // Another scale is another run: the check can fail.
        let other = try AdaptedPolicy(name: "plain")
        let wrong = try self.updater(other, PartPlan(SupervisedFineTuning(), temperature: 1.01))
        #expect(try await differences("sft", other, wrong, UpdateBatch(groups: chosen)).isEmpty == false)
    }

    /// Sampling reads sums, scoring A and B beside W; neither writes the base, whose bits stay.
    @Test(arguments: ["plain", "stabilized"]) func samplingAndScoringAgreeAndTheBaseStays(_ name: String) async throws {
        let policy = try AdaptedPolicy(name: name)
        let before = try policy.base.mapValues { try $0.floats() }
        let tokens = [3, 7, 11, 17, 4, 8, 8, 20, 3]
        var gap = 0.0
        for _ in 0..<2 {
            let sampled = try await policy.logProbabilities(tokens, sampling: true)
            let scored = try await policy.logProbabilities(tokens, sampling: false)
            gap = max(gap, zip(sampled, scored).map { abs($0 - $1) }.max() ?? .infinity)
            let updater = try updater(policy, PartPlan(SupervisedFineTuning()))
            _ = try await updater.train(UpdateBatch(groups: pairs))
            #expect(try await policy.logProbabilities(tokens, sampling: true) != sampled)  // the new sums are read
        }
        print("sampled and scored log-probs with \(name) adapters differ by \(gap) at most")
        #expect(gap < 1e-5)
        #expect(try policy.base.mapValues { try $0.floats() } == before)
        let names = try await policy.role.generate { Set($0.parameters.keys) }.value
        #expect(names == Set(policy.base.keys))
    }

    @Test func theReferenceIsTheBaseToTheBitAndNoCopy() async throws {
        let policy = try AdaptedPolicy()
        let updater = try updater(
            policy, PartPlan(DPOSettings(beta: 0.1), on: .pairs), reference: policy.reference(isAdapted: false))
        let batch = UpdateBatch(parts: [UpdatePart(.pairs, pairs)])
        let plain = try Transformer(configuration: policy.configuration.withoutAdapters, parameters: policy.base)
        let expected = try await PolicyUpdater.logProbabilities(
            batch, of: plain, by: PartPlan(DPOSettings(beta: 0.1), on: .pairs),
            UpdaterSettings(optimizer: OptimizerSettings(schedule: LearningRateSchedule(.constant, totalSteps: 1))))
        #expect(try await updater.logProbabilities(batch, under: .reference).tokens == expected.tokens)
        #expect(try await updater.logProbabilities(batch, under: .oldPolicy).tokens != expected.tokens)
    }

    /// In bfloat16 base and sums are narrow, A and B are not.
    @Test func aNarrowBaseIsNotCopied() async throws {
        let policy = try AdaptedPolicy(layout: .copies(.bfloat16))
        let types = try await policy.role.infer { lease in lease.parameters.mapValues(\.elementType) }
        #expect(types.reallocation.bytes == 0)
        for (name, type) in types.value { #expect(type == (name.contains("lora") ? .float32 : .bfloat16), "\(name)") }
        let sums = try await policy.role.generate { lease in lease.parameters.mapValues(\.elementType) }
        #expect(sums.value.values.allSatisfy { $0 == .bfloat16 })
        #expect(sums.reallocation.bytes == policy.configuration.adaptedMatrixCount * 2)
        let metrics = try await updater(policy, PartPlan(SupervisedFineTuning())).train(UpdateBatch(groups: pairs))
        #expect(try #require(metrics["grad_norm"]) > 0.1)
    }

    /// π_ref ← α·π + (1 − α)·π_ref over the sums W + s·B·A: the reference's matrices move, its other weights are the
    /// base's.
    @Test func aReferenceThatFollowsMixesTheSums() async throws {
        let policy = try AdaptedPolicy()
        let moved = Set(policy.configuration.lowRankUpdates.map(\.weight))
        let own = try policy.base.filter { moved.contains($0.key) }.mapValues { try $0.clone() }
        let reference = try ReallocatingActor(
            role: "reference", parameters: ParameterSet(frozen: policy.base.merging(own) { $1 }))
        let updater = try updater(
            policy, PartPlan(DPOSettings(beta: 0.1), on: .pairs), reference: reference,
            sync: ReferenceSync(mixupAlpha: 0.25, everySteps: 1))
        var part = UpdatePart(.pairs, pairs)
        part.takeReference(try await updater.logProbabilities(UpdateBatch(parts: [part]), under: .reference).tokens)
        _ = try await updater.train(UpdateBatch(parts: [part]))
        let sums = try await policy.role.generate { try $0.parameters.mapValues { try $0.doubles() } }.value
        let found = try await reference.infer { try $0.parameters.mapValues { try $0.doubles() } }.value
        for (name, tensor) in policy.base {
            let base = try tensor.doubles()
            for index in base.indices {
                let expected = moved.contains(name) ? 0.25 * sums[name]![index] + 0.75 * base[index] : base[index]
                #expect(abs(found[name]![index] - expected) < 1e-6)
            }
        }
    }
}
