internal import Coordinator
internal import Methods
internal import Models
internal import Placement
internal import PolicyUpdater
internal import Records
internal import RolloutEngine

extension JobPlan {
    /// What the first of the run's processes holds, which saves and evaluates.
    func memory() throws -> MemoryEstimate {
        let longest = try prompts.longest(among: 256)
        let (prompt, completion) = (longest.prompt, longest.completion ?? job.sampling.maxCompletionLength)
        let (tensorParallel, together) = (job.tensorParallelism.size, job.tensorParallelism.generationSize)
        // Of a run in two sides both count: what a rank of either takes.
        let samplers = job.staleness.generationRanks > 0 ? job.staleness.generationRanks : ranks
        let replicas = max(1, (ranks - job.staleness.generationRanks) / tensorParallel)
        let sampled = job.recipe.sampled
        let requests = job.batches.promptsPerStep * sampled.variants
        let shared = min(MemoryEstimate.share(requests * together, samplers), requests)
        let limits = BatchLimits(job)
        let tokenBytes = model.configuration.keyValueBytesPerToken(job.model.dtype.elementType)
        let rows = limits.rows(
            wanted: shared * sampled.completions, bytesPerToken: tokenBytes / together, promptLength: prompt,
            completionLength: completion)
        var run = MemoryEstimate.Settings(
            model.configuration,
            MemoryEstimate.Sizes(
                promptLength: prompt, completionLength: completion, completionsPerPrompt: job.batches.generations,
                completionsPerOptimizerStep: MemoryEstimate.share(job.batches.completionsPerOptimizerStep, replicas),
                rows: job.recipe.generates ? rows : 0, promptSlots: job.recipe.generates ? min(rows, shared) : 0,
                maxTokensPerMicroBatch: job.maxTokensPerMicroBatch, checkpointsBlocks: job.checkpointsBlocks))
        (run.type, run.trained, run.base) = (job.model.dtype, model.trained, job.model.base)
        (run.optimizer, run.offloadsOptimizer) = (job.optimizer, job.optimizerOffload.folder != nil)
        (run.reference, run.teacher) = (job.plan.reference, teacher?.model.configuration)
        run.mapsReference = mapsReference
        (run.critic, run.criticSharesBase) = (criticModel, critic?.sharesBase ?? false)
        run.rewardModels = rewardModels
        run.layout = job.recipe.generates ? job.model.generationLayout : .shared
        run.residency = job.model.residency
        (run.tensorParallel, run.generationParallel, run.replicas) = (tensorParallel, together, replicas)
        let utility = job.plan.weighing?.utility
        run.samplesAlone =
            job.run.evaluation != nil || !job.run.guards.isEmpty || job.plan.rethinking != nil
            || utility?.utility == .reward
        let evaluatedLength = job.sampling.maxCompletionLength
        var others = evaluated.map { ($0.prompts, job.run.generations, $0.longest, evaluatedLength) }
        if let utility, utility.utility == .reward {
            others.append((utility.prompts, utility.generations, prompt, completion))
        }
        if let calibration = job.plan.weighing?.calibration {
            others.append((calibration.prompts, calibration.drawnTraces, prompt, calibration.traceLength))
        }
        run.otherCaches = others.map { prompts, samples, promptLength, completionLength in
            let rows = limits.rows(
                wanted: prompts * samples, bytesPerToken: tokenBytes, promptLength: promptLength,
                completionLength: completionLength)
            return (rows * completionLength + min(rows, prompts) * promptLength) * tokenBytes
        }
        run.forwardCacheLimit = ranks == 1 ? job.forwardCacheBytes : 0
        run.scoresPolicy = job.recipe.calls.contains(.infer(.oldPolicy))
        run.takesMetaGradient = utility != nil
        run.comparedStreams = job.plan.comparedStreams
        let parts = job.plan.parts.flatMap(\.gradientNames).count
        run.measuredParts = job.partGradientSteps > 0 && parts > 1 ? parts : 0
        return MemoryEstimate(run)
    }

    /// Whether the reference, or the teacher in its place, is read from its files' pages.
    private var mapsReference: Bool {
        guard let reference = job.plan.reference, reference.sync == nil else { return false }
        // Some losses read the reference while gradients are taken.
        if job.plan.parts.contains(where: { $0.objective.needsExactDivergence }) { return false }
        if job.model.residency == .keep { return false }
        if teacher == nil, model.isAdapted { return false }
        // A folder that has its configuration alone can be planned with.
        let files = try? (teacher?.model ?? model).mappable(job.model.dtype)
        return files != nil
    }
}

extension StepRecipe {
    /// What the call that samples most asks of each prompt: variants of it, and completions of each, the greedy one
    /// included.
    fileprivate var sampled: (variants: Int, completions: Int) {
        let all = calls + (warmup?.calls ?? []) + (interlude?.calls ?? [])
        let found = all.map { call -> (variants: Int, completions: Int) in
            guard case .generate(let samples, let greedy, let variants) = call else { return (0, 0) }
            return (variants.count, samples + (greedy ? 1 : 0))
        }
        return found.max { $0.variants * $0.completions < $1.variants * $1.completions } ?? (0, 0)
    }
}
