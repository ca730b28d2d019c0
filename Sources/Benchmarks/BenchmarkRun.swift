internal import Algorithms
internal import Foundation
internal import Job
package import Models
package import Placement
internal import PolicyUpdater
internal import Records
internal import RolloutEngine
internal import Tensors

/// Times the parts of a training step on a model folder, with the same engine, credit and updater that a job uses.
package struct BenchmarkRun: Sendable {
    private let model: ModelSource
    private let workload: Workload
    private let threads: Int
    private let maxTokensPerMicroBatch: Int
    private let layout: GenerationLayout
    private let optimizer: OptimizerSettings
    private let residency: Residency
    private let forwardCacheBytes: Int
    private let adapterRank: Int?
    private let base: WeightStorage
    /// Where the model is written as a step leaves it, by the step's number from 0.
    private let folders: [Int: URL]

    /// - Parameters:
    ///   - threads: `nil` uses every core.
    ///   - maxTokensPerMicroBatch: Packed tokens of one backward pass; it decides the peak of memory.
    ///   - optim: What makes a step of a gradient, as a job's `optim`.
    ///   - lowRank: The keys below a job's `low_rank`, as it writes them.
    ///   - adamEpsilon: AdamW's ε: far above the gradients it makes the step one along them, which another trainer's
    ///     can be compared with. Adam's first step is else their sign, and where a gradient is 0 that of rounding.
    ///   - adapterRank: Of adapters on every projection, which are trained in place of the model; `nil` trains the
    ///     model.
    ///   - layout: How the weights lie while completions are sampled.
    ///   - residency: What becomes of memory that a phase has no more use for.
    ///   - forwardCacheBytes: Most bytes of what sampling keeps for the update of a step.
    ///   - base: What the matrices under adapters are kept as.
    ///   - firstStepFolder: Where the model is written as the first step leaves it, to be compared with another
    ///     trainer's.
    ///   - lastStepFolder: The same of the last step.
    /// - Throws: What is wrong with the folder or the optimizer's name, or a workload longer than the model's context.
    package init(
        model name: String, workload: Workload, threads: Int?, maxTokensPerMicroBatch: Int,
        optim: String = "adamw_torch", lowRank: [String: String] = [:], learningRate: Double = 1e-6,
        adamEpsilon: Double = 1e-8, adapterRank: Int? = nil, base: WeightStorage = .whole,
        layout: GenerationLayout = .packed, residency: Residency = .release, forwardCacheBytes: Int = 0,
        firstStepFolder: String? = nil, lastStepFolder: String? = nil
    ) throws {
        func scalar(_ text: String, of flag: String) -> SettingsNode {
            SettingsNode(.scalar(text, isQuoted: false), place: flag)
        }
        var members = [SettingsNode.Member("optim", scalar(optim, of: "--optim"))]
        if !lowRank.isEmpty {
            let keys = lowRank.sorted { $0.key < $1.key }.map {
                SettingsNode.Member($0.key, scalar($0.value, of: "--low-rank"))
            }
            members.append(.init("low_rank", SettingsNode(.map(keys), place: "--low-rank")))
        }
        var named = SettingsReader("--optim", members)
        let rule = OptimizerRule(reading: &named)
        try named.finishAll()
        optimizer = OptimizerSettings(
            rule: rule, learningRate: learningRate, epsilon: adamEpsilon,
            schedule: LearningRateSchedule(.constant, totalSteps: workload.steps + 1))
        model = try ModelSource(name, adapterRank: adapterRank, base: base)
        _ = try model.promptLimit(asked: workload.promptTokens, completion: workload.completionTokens)
        self.workload = workload
        self.maxTokensPerMicroBatch = maxTokensPerMicroBatch
        self.layout = workload.samples && base == .whole ? layout : .shared
        self.adapterRank = adapterRank
        self.base = base
        let saved = [(0, firstStepFolder), (workload.steps, lastStepFolder)].compactMap { step, path in
            path.map { (step, URL(filePath: $0)) }
        }
        folders = Dictionary(uniqueKeysWithValues: saved)
        self.residency = residency
        let isKept = workload.part == .step && workload.samples && base == .whole && layout != .int8
        self.forwardCacheBytes = isKept ? forwardCacheBytes : 0
        self.threads = threads ?? ProcessInfo.processInfo.activeProcessorCount
    }

    /// Measures. The first repetition warms up and is left out.
    package func run() async throws -> BenchmarkReport {
        let ceilings = try await MachineCeilings.measured(threads: threads)
        let parts = try await parts()
        let pairs = workload.algorithm == .dpo ? try await pairs(parts.updater) : []
        let clock = ContinuousClock()
        var times = (generation: [Double](), update: [Double](), step: [Double]())
        var rollouts: UpdateBatch?
        var controlled = ControlledStep(workload.controllers)
        var control = (own: [Double](), gradients: [Double](), passes: 0)
        for step in 0...workload.steps {
            let start = clock.now
            let batch: UpdateBatch
            if workload.algorithm == .dpo {
                batch = pairs[step]
            } else if workload.part == .update, let rollouts {
                batch = rollouts
            } else {
                let groups = try await sample(parts.engine, parts.sampling, step: step, scored: controlled)
                batch = try await controlled.credit(groups, at: step, parts.updater)
            }
            rollouts = batch
            let sampled = clock.now
            if workload.part != .rollout { controlled.observe(try await parts.updater.train(batch)) }
            let end = clock.now
            if let folder = folders[step] { try await save(parts.policy, to: folder) }
            guard step > 0 else {
                _ = parts.phases.takeMetrics()
                continue
            }
            control.own.append(controlled.seconds)
            control.gradients.append(controlled.gradientSeconds)
            control.passes = controlled.backwardPasses
            times.generation.append((sampled - start) / .seconds(1) - controlled.gradientSeconds)
            times.update.append((end - sampled) / .seconds(1))
            times.step.append((end - start) / .seconds(1))
        }
        let cost = ControllerCost(
            names: workload.controllers.map(\.rawValue), seconds: Spread(control.own),
            gradients: control.passes > 0 ? Spread(control.gradients) : nil, backwardPasses: control.passes)
        let facts = try await EnvironmentReport.facts()
        return BenchmarkReport(
            model: model.folder.lastPathComponent, parameters: model.configuration.parameterCount, workload: workload,
            threads: threads, step: Spread(times.step),
            generation: workload.samples ? Spread(times.generation) : nil,
            update: workload.part == .rollout ? nil : Spread(times.update),
            controllers: workload.controllers.isEmpty ? nil : cost, ceilings: ceilings,
            peakResidentBytes: ProcessMemory.peakResidentBytes, estimatedPeakBytes: estimate.peak,
            optimizerStateBytes: estimate.policy.optimizerState, adapterRank: adapterRank,
            residency: residency, memory: parts.phases.takeMetrics(), facts: facts)
    }

    /// The workload's own estimate; a rollout alone keeps nothing for a backward pass.
    private var estimate: MemoryEstimate {
        var run = MemoryEstimate.Settings(
            model.configuration,
            MemoryEstimate.Sizes(
                promptLength: workload.promptTokens, completionLength: workload.completionTokens,
                completionsPerPrompt: workload.completions,
                completionsPerOptimizerStep: workload.part == .rollout ? 0 : workload.prompts * workload.completions,
                rows: min(workload.prompts * workload.completions, 256),
                maxTokensPerMicroBatch: maxTokensPerMicroBatch))
        (run.base, run.layout, run.residency) = (base, layout, residency)
        (run.optimizer, run.forwardCacheLimit) = (optimizer, forwardCacheBytes)
        return MemoryEstimate(run)
    }

    private struct Parts: Sendable {
        let policy: ReallocatingActor
        let engine: RolloutEngine
        let sampling: SamplingSettings
        let updater: PolicyUpdater
        let phases: PhaseLog
    }

    @TensorActor private func parts() throws -> Parts {
        let policy = try ReallocatingActor(
            role: "actor", parameters: model.trainingStart(), packing: model.configuration.packing(layout),
            residency: residency)
        let plan =
            workload.algorithm == .dpo ? PartPlan(DPOSettings(), on: .pairs) : PartPlan(GRPOSettings())
        let updater = try PolicyUpdater(
            policy: policy, configuration: model.configuration, parts: [plan],
            bringsReference: workload.algorithm == .dpo,
            settings: UpdaterSettings(
                optimizer: optimizer, maxCompletionLength: workload.completionTokens,
                maxTokensPerMicroBatch: maxTokensPerMicroBatch))
        let phases = PhaseLog(isKept: false)
        phases.follow([policy])
        // No stop tokens: every completion has its full length, so the work is fixed.
        let engine = RolloutEngine(
            policy: policy, configuration: model.configuration, tokenizer: model.tokenizer, seed: 0,
            limits: BatchLimits(rows: min(workload.prompts * workload.completions, 256)))
        if forwardCacheBytes > 0 {
            let cache = ForwardCache(model.configuration, limit: forwardCacheBytes)
            (engine.forwardCache, updater.forwardCache) = (cache, cache)
        }
        return Parts(
            policy: policy, engine: engine, sampling: SamplingSettings(maxCompletionLength: workload.completionTokens),
            updater: updater, phases: phases)
    }

    /// The pairs of every repetition with the log-probs of the policy as it starts, which is the reference.
    ///
    /// The tokens are those of ``RandomTokens``: behind a prompt's come the chosen completion's, then the rejected
    /// one's.
    private func pairs(_ updater: PolicyUpdater) async throws -> [UpdateBatch] {
        let (start, length) = (workload.promptTokens, workload.completionTokens)
        var batches: [UpdateBatch] = []
        for step in 0...workload.steps {
            let groups = (0..<workload.prompts).map { index in
                func ids(_ positions: Range<Int>) -> [Int] {
                    positions.map {
                        RandomTokens.id(
                            row: step * workload.prompts + index, position: $0, below: model.tokenizer.vocabularySize)
                    }
                }
                return UpdateGroup(
                    promptTokenIDs: ids(0..<start),
                    completions: [start..<start + length, start + length..<start + 2 * length].map {
                        UpdateCompletion(tokenIDs: ids($0))
                    })
            }
            var part = UpdatePart(.pairs, groups)
            part.takeReference(
                try await updater.logProbabilities(UpdateBatch(parts: [part]), under: .oldPolicy).tokens)
            batches.append(UpdateBatch(parts: [part]))
        }
        return batches
    }

    @TensorActor private func save(_ policy: ReallocatingActor, to folder: URL) async throws {
        _ = try await policy.infer { lease in
            guard model.configuration.adapters != nil else {
                return try ModelFolder.save(
                    configuration: model.configuration, parameters: lease.masters, to: folder)
            }
            try ModelFolder.saveAdapters(
                configuration: model.configuration, parameters: lease.masters, baseName: model.baseName, to: folder)
        }
    }

    /// One rollout with its scores.
    private func sample(
        _ engine: RolloutEngine, _ sampling: SamplingSettings, step: Int, scored: ControlledStep
    ) async throws -> [ScoredGroup] {
        var groups: [ScoredGroup] = []
        for try await group in engine.generate(requests(step: step), settings: sampling, step: step) {
            groups.append(ScoredGroup(group: group, scores: group.rollouts.map(scored.scores)))
        }
        return groups.sorted { $0.group.prompt.prompt.row < $1.group.prompt.prompt.row }
    }

    /// Different prompts of random token ids, new ones in each repetition.
    private func requests(step: Int) -> [RolloutRequest] {
        (0..<workload.prompts).map { index in
            let row = step * workload.prompts + index
            let ids = (0..<workload.promptTokens).map { position in
                RandomTokens.id(row: row, position: position, below: model.tokenizer.vocabularySize)
            }
            let prompt = Prompt(row: row, source: "bench", content: .text(""))
            return RolloutRequest(
                prompt: TokenizedPrompt(prompt: prompt, tokenIDs: ids), samples: workload.completions)
        }
    }
}

/// Token ids that depend on their position alone.
enum RandomTokens {
    /// - Returns: An id in `0 ..< limit`, from the finaliser of splitmix64 over row and position.
    static func id(row: Int, position: Int, below limit: Int) -> Int {
        let bits = UInt64(truncatingIfNeeded: row) << 32 ^ UInt64(truncatingIfNeeded: position)
        return Int(mix64(bits) % UInt64(limit))
    }
}
