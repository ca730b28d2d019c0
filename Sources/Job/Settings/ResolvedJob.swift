package import Coordinator
internal import Credit
internal import Foundation
package import Methods
package import PolicyUpdater
package import Records
internal import RewardInterface
package import RolloutEngine
internal import ShippedRewards

/// A job in which every choice is made: defaults that depend on the method are filled in, and values that contradict
/// each other have been refused. Every setting is where it is used; ``subscript(_:)`` and ``yaml`` know them all by
/// name.
package struct ResolvedJob: Sendable {
    package let model: ModelSettings
    package let data: DataSettings
    /// `nil` for a method that does not generate.
    package let rewards: RewardEntries?
    package let sampling: SamplingSettings
    /// Completions decoded at once; `nil` for as many as a step has.
    package let concurrentCompletions: Int?
    package let batches: BatchArithmetic
    /// `nil` where every group is taken.
    package let dynamicSampling: DynamicSampling?
    /// How far behind the policy rollouts may be, and who samples them.
    package let staleness: Staleness
    /// The method's name, and what a step of it is made of.
    package let method: String
    package let plan: MethodPlan
    /// Its schedule's length is known once the prompts are.
    package let optimizer: OptimizerSettings
    package let maxTokensPerMicroBatch: Int
    package let checkpointsBlocks: Bool
    /// Most bytes of what sampling keeps for the update; 0 where it keeps nothing.
    package let forwardCacheBytes: Int
    package let partGradientSteps: Int
    package let run: RunSettings
    /// Whether the limits of constraints are chosen by the run's evaluations.
    package let searchesLimits: Bool
    /// The plan that the run carries out; `nil` where the keys say everything.
    package let placement: PlacementSettings?
    /// How many processes compute each layer of a training pass together.
    package let tensorParallelism: TensorParallelism
    /// Where what the optimizer keeps waits between steps.
    package let optimizerOffload: OptimizerOffload
    package let notices: [String]

    /// What was read, in order.
    private let entries: [SettingsReader.Entry]
    private let file: JobFile
    private let catalogue: MethodCatalogue

    package var recipe: StepRecipe { plan.recipe }
    /// Whether every prompt row needs a completion to imitate.
    package var needsCompletions: Bool { plan.demonstrations?.needsCompletions ?? !recipe.generates }

    /// - Parameters:
    ///   - catalogue: The methods a job may name.
    ///   - rewardNames: What the rewards call themselves once they are open; by default what the job calls them.
    /// - Throws: ``JobError`` with everything that is wrong at once.
    package init(
        _ file: JobFile, catalogue: MethodCatalogue = MethodCatalogue(), rewardNames: [String]? = nil
    ) throws(JobError) {
        var job = file.reader
        let method = catalogue.choose(&job)
        // What else is wrong, and what is missing, depends on the method that was meant.
        if let unknown = job.wrongValue(of: "algorithm") { throw JobError([unknown]) }
        let read = Reading(&job, method, rewardNames, folder: file.folder)
        JobKeys(catalogue).judgeUnread(of: &job, method)
        do throws(SettingsError) { try job.finish() } catch { throw JobError(error) }
        (model, data, rewards, sampling) = (read.model, read.data, read.rewards, read.sampling)
        (concurrentCompletions, batches, dynamicSampling) = (read.concurrent, read.batches, read.dynamicSampling)
        (plan, optimizer, run, staleness) = (read.plan, read.optimizer, read.run, read.staleness)
        (maxTokensPerMicroBatch, checkpointsBlocks) = (read.maxTokensPerMicroBatch, read.checkpointsBlocks)
        (searchesLimits, partGradientSteps) = (read.searchesLimits, read.partGradientSteps)
        forwardCacheBytes = read.forwardCacheBytes
        (placement, tensorParallelism) = (read.placement, read.tensorParallelism)
        optimizerOffload = read.optimizerOffload
        self.method = method.name
        entries = job.entries
        self.file = file
        self.catalogue = catalogue
        notices =
            job.notices
            + (job.ignored.isEmpty
                ? [] : ["without effect for \(method.name): " + job.ignored.joined(separator: ", ")])
    }

    /// The same job with the names that its rewards have once they are open.
    package func naming(rewards names: [String]) throws(JobError) -> ResolvedJob {
        try ResolvedJob(file, catalogue: catalogue, rewardNames: names)
    }

    /// A setting as YAML; `nil` for a key that the job has no use for.
    package subscript(key: String) -> String? { entries.first { $0.key == key }?.value }

    /// Every key the job has, in order.
    var keys: [String] { entries.map(\.key) }

    /// Whether the file or an override gives a key.
    func isGiven(_ key: String) -> Bool { entries.first { $0.key == key }?.isGiven ?? false }

    /// Every setting as YAML, but those that say where a start begins.
    var values: [String: String] {
        let starts = ["resume_from_checkpoint", "overwrite_output_dir"]
        return Dictionary(uniqueKeysWithValues: entries.filter { !starts.contains($0.key) }.map { ($0.key, $0.value) })
    }

    /// The job as YAML; read again from the same folder, it gives the same job.
    package var yaml: String {
        "# The resolved job: every value this run uses.\n" + entries.map { "\($0.key): \($0.value)\n" }.joined()
    }
}

/// One pass over the settings of a job, in the order in which a resolved job lists them.
struct Reading {
    let model: ModelSettings
    let data: DataSettings
    let rewards: RewardEntries?
    let sampling: SamplingSettings
    let concurrent: Int?
    let batches: BatchArithmetic
    let dynamicSampling: DynamicSampling?
    let staleness: Staleness
    let plan: MethodPlan
    let optimizer: OptimizerSettings
    let maxTokensPerMicroBatch: Int
    let checkpointsBlocks: Bool
    let forwardCacheBytes: Int
    let partGradientSteps: Int
    let run: RunSettings
    let searchesLimits: Bool
    let placement: PlacementSettings?
    let tensorParallelism: TensorParallelism
    let optimizerOffload: OptimizerOffload

    /// - Parameter folder: The job file's; `nil` where keys are explained and there is no file.
    init(
        _ job: inout SettingsReader, _ method: any Method.Type, _ rewardNames: [String]? = nil, folder: URL? = nil
    ) {
        let defaults = method.defaults(reading: &job)
        placement = PlacementSettings(reading: &job, folder: folder)
        let generates = defaults.batches != nil
        model = ModelSettings(reading: &job, generates: generates)
        data = DataSettings(reading: &job, learnsRows: method == SFTMethod.self)
        rewards = generates ? RewardEntries(reading: &job, for: method.name, isNeeded: defaults.needsRewards) : nil
        let names = rewardNames ?? rewards?.entries.map { $0.knownName ?? $0.reference } ?? []
        var control = generates ? Self.control(&job, rewards, names, namesAreFinal: rewardNames != nil) : nil
        control?.seed = UInt64(model.seed)
        searchesLimits = control?.search != nil
        sampling =
            generates
            ? SamplingSettings(reading: &job, temperature: defaults.temperature)
            : defaults.comparesPairs
                ? SamplingSettings()
                : SamplingSettings(maxCompletionLength: SamplingSettings.completionLength(reading: &job))
        concurrent =
            generates
            ? job.read(
                "max_concurrent_completions", optional: nil, .from(1, to: 1_000_000),
                "Completions decoded at once, in evaluations too; by default all of the step, up to 256 and 2 GiB of keys and values."
            )
            : nil
        batches = BatchArithmetic(
            reading: &job, defaults.batches, completionsPerRow: defaults.comparesPairs ? 2 : 1)
        dynamicSampling =
            generates
            ? DynamicSampling(
                reading: &job, rewards: names, streams: control?.constraints.map(\.reward) ?? [],
                generations: batches.generations) : nil
        staleness = generates ? Staleness(reading: &job) : .none
        if let dynamicSampling, dynamicSampling.maxWaves == nil, staleness.generationRanks > 0 {
            job.refuse(
                "dynamic_sampling_max_waves",
                "dynamic_sampling_max_waves is 0, and with generation_ranks a stop waits for the last wave; expected a limit"
            )
        }
        plan =
            method.init(
                reading: &job,
                SharedSettings(
                    sampling: sampling, batches: batches, control: control,
                    samplerIsExact: model.dtype != .bfloat16 && model.generationLayout != .int8
                        && staleness.maxSteps == 0, maxStaleness: staleness.maxSteps,
                    drops: model.trained.drops)
            ).plan
        if staleness.maxSteps > 0 { Self.checkStaleness(of: plan, method.name, &job) }
        if dynamicSampling != nil, plan.credit?.needsDifferences == false {
            job.notice(
                "dynamic_sampling leaves out prompts whose completions have equal rewards; \(method.name) learns from them, too"
            )
        }
        maxTokensPerMicroBatch = job.read(
            "max_tokens_per_micro_batch", default: 16_384, .atLeast(1),
            "Tokens of one forward and backward pass; a group that does not fit is cut between completions.")
        checkpointsBlocks = job.read(
            "gradient_checkpointing", default: false,
            "Recomputes each block in the backward pass: less memory, a third more work. Off unless set (TRL: on) (arXiv:1604.06174)."
        )
        forwardCacheBytes =
            generates
            ? Self.forwardCache(
                &job, isUsed: Self.repeatsProducts(plan, model, batches, staleness) && !checkpointsBlocks) : 0
        partGradientSteps = job.read(
            "gradient_part_steps", default: 0, .from(0, to: 1_000_000),
            "Measures the parts of a mixed loss's gradient every so many optimizer steps: imitation and reward of amft, teacher and rewards of distill, the terms of luffy and srft, both kinds of bvpo's pairs, replay, rethinking. gradient_parts/NAME/norm is a part's weighted norm, gradient_parts/NAME/share its share of the step's gradient. Each part costs a forward and a backward pass and the memory of a gradient; 0 measures none."
        )
        job.ignore("gradient_part_steps", when: plan.parts.flatMap(\.gradientNames).count < 2)
        optimizer = OptimizerSettings(reading: &job, learningRate: defaults.learningRate)
        if plan.weighing?.utility?.lookAhead.stepModel == .adam, !optimizer.hasDerivative {
            job.refuse(
                "amft.step_model",
                "amft.step_model is adam, and a step of \(optimizer.stepName) cannot be differentiated; expected plain, "
                    + "or optim: adamw_torch or adamw_8bit without stable_spam"
            )
        }
        model.trained.advise(optimizer.learningRate, reading: &job)
        let isEvaluated = defaults.comparesPairs || generates && (defaults.needsRewards || !names.isEmpty)
        run = RunSettings(
            reading: &job, method: method.name, isEvaluated: isEvaluated, samples: generates,
            hasRewards: !names.isEmpty, learnsTexts: plan.heads == nil, maxSteps: data.maxSteps,
            gold: control?.search?.gold, samplesAhead: staleness.maxSteps > 0)
        if let control, control.dynamic.isGuided {
            job.check(
                run.evaluation != nil, "dynamic_weights.method",
                "eval_steps beside hypervolume, which learns from evaluations")
        }
        if control?.search != nil, data.testSplit == "test" {
            job.refuse(
                "dataset_test_split",
                "dataset_test_split is test, and threshold_search chooses limits by its evaluations; name rows that no result is reported on, such as eval"
            )
        }
        if plan.reference?.sync != nil, model.base != .whole {
            job.refuse(
                "sync_ref_model",
                "sync_ref_model is true with load_in_8bit, whose matrices cannot move in small steps; expected false, or load_in_8bit: false"
            )
        }
        if plan.reference?.sync != nil, model.dtype == .bfloat16 {
            job.refuse(
                "sync_ref_model",
                "sync_ref_model with dtype bfloat16: small moves of the reference would be lost to rounding; use float32"
            )
        }
        if let steps = data.maxSteps {
            do throws(SettingsError) { _ = try optimizer.with(totalSteps: steps) } catch {
                for problem in error.problems { job.refuse("warmup_steps", problem.message) }
            }
        }
        tensorParallelism = TensorParallelism(
            reading: &job, method: method.name, plan: plan, model: model, optimizer: optimizer, staleness: staleness)
        optimizerOffload = OptimizerOffload(
            reading: &job, outputDirectory: run.outputDirectory, device: model.device)
        placement?.check(self, &job)
    }

    /// Bytes of what sampling keeps for the update.
    private static func forwardCache(_ job: inout SettingsReader, isUsed: Bool) -> Int {
        let gigabytes = job.read(
            "forward_cache_gb", default: 2.5, .from(0, to: 1_000_000),
            "GB of projection and attention outputs kept from sampling, which saves the update a third of its operations (half with adapters); 0 keeps none. What does not fit is computed again; results differ by rounding. Single process only, for an optimizer step on a whole rollout at the weights that sampled it. No effect with bfloat16, int8 layouts, load_in_8bit, lora_dropout, soft thinking, forced_rethinking, luffy and srft (whose groups all hold another's completion), gradient_checkpointing, max_staleness or several optimizer steps per rollout."
        )
        job.ignore("forward_cache_gb", when: !isUsed)
        return isUsed ? Int(gigabytes * 1e9) : 0
    }

    /// Whether an update multiplies the same tokens with the same weights that sampling has multiplied.
    private static func repeatsProducts(
        _ plan: MethodPlan, _ model: ModelSettings, _ batches: BatchArithmetic, _ staleness: Staleness
    ) -> Bool {
        model.dtype != .bfloat16 && model.generationLayout != .int8 && model.base == .whole && !model.trained.drops
            && plan.softThinking == nil && plan.rethinking == nil && !(plan.credit is DemonstratedGroups)
            && staleness.maxSteps == 0
            && staleness.generationRanks == 0
            && batches.completionsPerOptimizerStep >= batches.completionsPerRolloutStep
    }

    /// Refuses to sample ahead where a step cannot take a batch that is there already, or would learn from it as if its
    /// own weights had sampled it.
    private static func checkStaleness(of plan: MethodPlan, _ method: String, _ job: inout SettingsReader) {
        if plan.rethinking != nil {
            job.refuse(
                "max_staleness",
                "max_staleness is 1 with forced_rethinking, whose completions newer weights would continue; expected 0"
            )
        } else if !plan.recipe.samplesFirst {
            job.refuse(
                "max_staleness",
                "max_staleness is 1, and \(method) is \(plan.recipe.words); expected 0, or a method whose every step begins with generate and learns without weighing parts"
            )
        } else if plan.recipe.calls.contains(.infer(.sampler)) || plan.parts[0].objective.weighsSampler {
            return
        } else if job.entry("importance_sampling_correction") != nil {
            job.refuse(
                "importance_sampling_correction",
                "importance_sampling_correction is none with max_staleness 1, where older weights have sampled; expected token_truncate or another form, or bypass_old_log_probs: true"
            )
        } else if job.entry("bypass_old_log_probs") != nil {
            job.refuse(
                "max_staleness",
                "max_staleness is 1, and \(method) has no importance_sampling_correction; expected bypass_old_log_probs: true beside it, so that its ratio is to the weights that sampled"
            )
        } else {
            job.refuse(
                "max_staleness",
                "max_staleness is 1, and the loss of \(method) has no ratio to the weights that sampled; expected 0")
        }
    }

    /// What the job says of the weights of its rewards, with the ranges of those that ship.
    private static func control(
        _ job: inout SettingsReader, _ rewards: RewardEntries?, _ names: [String], namesAreFinal: Bool
    ) -> RewardControl {
        let shipped = Dictionary(
            ShippedRewards.catalogue.types.map { ($0.name, $0.range) }, uniquingKeysWith: { first, _ in first })
        let entries = rewards?.entries ?? []
        // Each entry is one reward, open or not.
        let ranges = entries.count == names.count ? entries.map { shipped[$0.reference] } : names.map { shipped[$0] }
        return RewardControl(
            reading: &job, rewards: zip(names, ranges).map { RewardControl.Reward($0, range: $1) },
            namesAreFinal: namesAreFinal || entries.allSatisfy { $0.knownName != nil })
    }
}
