internal import Methods
package import Models
package import Placement
internal import Planning
package import PolicyUpdater
internal import Records
internal import RolloutEngine
internal import Tensors

/// Bytes a run needs at its peak, from the model's configuration and the sizes of a step.
///
/// Calibrated against `plumbline bench`, which prints it beside what it measured.
package struct MemoryEstimate: Sendable, Equatable {
    /// The sizes that decide it.
    package struct Sizes: Sendable, Equatable {
        package var promptLength: Int
        package var completionLength: Int
        package var completionsPerPrompt: Int
        package var completionsPerOptimizerStep: Int
        /// Completions decoded at a time; 0 for a method that does not generate.
        package var rows: Int
        /// Prompts whose keys and values are kept for them; `nil` for a share of one for each row.
        package var promptSlots: Int?
        package var maxTokensPerMicroBatch: Int
        package var checkpointsBlocks: Bool

        package init(
            promptLength: Int, completionLength: Int, completionsPerPrompt: Int, completionsPerOptimizerStep: Int,
            rows: Int, promptSlots: Int? = nil, maxTokensPerMicroBatch: Int, checkpointsBlocks: Bool
        ) {
            self.promptSlots = promptSlots
            self.promptLength = promptLength
            self.completionLength = completionLength
            self.completionsPerPrompt = completionsPerPrompt
            self.completionsPerOptimizerStep = completionsPerOptimizerStep
            self.rows = rows
            self.maxTokensPerMicroBatch = maxTokensPerMicroBatch
            self.checkpointsBlocks = checkpointsBlocks
        }

        private var group: Int { promptLength + completionsPerPrompt * completionLength }
        private var groups: Int {
            (completionsPerOptimizerStep + completionsPerPrompt - 1) / max(completionsPerPrompt, 1)
        }

        /// Tokens that sampling keeps keys and values of.
        var cachedTokens: Int {
            rows * completionLength
                + (promptSlots.map { $0 * promptLength } ?? rows * (promptLength / max(completionsPerPrompt, 1)))
        }
        /// Packed tokens of an optimizer step: each prompt once.
        var tokensPerStep: Int { groups * group }
        /// Whether one backward pass takes the whole optimizer step.
        var isOnePass: Bool { tokensPerStep <= maxTokensPerMicroBatch }
        /// Packed tokens of the longest backward pass: whole groups where they fit.
        var tokensPerPass: Int {
            if isOnePass { return tokensPerStep }
            return group <= maxTokensPerMicroBatch ? maxTokensPerMicroBatch / group * group : maxTokensPerMicroBatch
        }
        /// Completion tokens of that pass, each of which is scored. A completion is never cut.
        var rowsPerPass: Int {
            let completions = completionsPerPrompt * completionLength
            guard group > maxTokensPerMicroBatch, !isOnePass else { return tokensPerPass / group * completions }
            return min(completions, max(completionLength, maxTokensPerMicroBatch - promptLength))
        }
    }

    /// Weights, and of those that are trained gradients and what the optimizer keeps; with narrower copies of the
    /// weights where the layout has them.
    package let training: Int
    /// The weights under adapters, a part of ``training``; 0 without adapters.
    package let frozenBase: Int
    /// What the optimizer keeps in this process, a part of ``training`` unless it lies in a file: AdamW's two moments, or
    /// less.
    package let optimizerState: Int
    /// Whether it does.
    private let offloadsOptimizer: Bool
    package let reference: Int
    private let referenceName: String
    /// Whether the reference is the pages of its files, in memory while they are read alone.
    private let mapsReference: Bool
    /// Weights of reward models, held for the whole run.
    package let rewardModels: Int
    /// What a critic of its own weights holds, gradients and moments included; 0 without one.
    package let critic: Int
    /// What a backward pass keeps, with the logits of the tokens that it scores, and the head's gradient, which is whole
    /// before any of that is freed.
    package let activations: Int
    /// Keys and values at most: of the completions that are learned from, or of others.
    package let cache: Int
    /// Products of sampled completions that wait for the update.
    package let forwardCache: Int
    /// The process without a model (code, libraries, thread stacks) and what its heap holds back.
    static let process = 230_000_000

    /// At the peak. The cache and the activations are not held at once.
    package let peak: Int

    /// - Parameters:
    ///   - type: What passes compute in.
    ///   - trained: The names of the parameters that are trained, of a model without adapters; `nil` for all. Of one
    ///     with adapters only these are, and its own weights are held in the type of the passes.
    ///   - base: What the matrices under adapters are kept as.
    ///   - hasReference: Whether a frozen reference policy is held in the same type. It shares what is not trained.
    ///   - referenceMoves: Whether it follows the policy, which adapters cannot be shared for.
    ///   - mapsReference: Whether it is the pages of its files, which are in memory while it scores alone.
    ///   - teacher: The reference's configuration where it is another model.
    ///   - rewardModels: Bytes of the weights of reward models.
    ///   - hasCritic: Whether a critic of its own weights is trained too, in the policy's steps: the same of it, or
    ///     adapters where the policy has some.
    ///   - criticModel: Its configuration; `nil` for the policy's.
    ///   - criticTrained: As `trained`, of that.
    ///   - criticSharesBase: Whether its adapters are trained on the policy's base.
    ///   - layout: How the weights lie while completions are sampled.
    ///   - optimizer: Whose state is kept; AdamW's for `nil`.
    ///   - offloadsOptimizer: Whether that lies in a file, of which a step has one parameter's in memory.
    ///   - residency: Whether what sampling needs stays in memory while the weights are trained.
    ///   - tensorParallel: How many processes share what is trained; each reads whole weights to score, and has what is
    ///     not trained whole.
    ///   - generationParallel: How many share what is sampled with, and its cache; of parts that are trained each reads
    ///     whole ones to sample where it is 1, and has its part beside them where it is another number.
    ///   - samplesAlone: Whether some completions, as those of evaluations, are sampled by a process alone where several
    ///     sample together.
    ///   - replicas: How many have the same of what is trained, and keep a share of the optimizer's state each; to save it,
    ///     the first has all.
    ///   - scoresPolicy: Whether the policy's own log-probs are computed apart from training; the reference's are where
    ///     there is one.
    ///   - forwardCacheLimit: Most bytes of the products that sampling keeps for the update.
    ///   - takesMetaGradient: Whether a step is foreseen: the gradients of its parts, what it answers, and the weights
    ///     it would write.
    ///   - streams: Gradients that a step compares before it is taken, one of each stream of advantages; 0 for none.
    ///   - parts: Gradients that a step measures its parts by, beside their sum; 0 for none.
    ///   - otherCaches: Bytes of keys and values of what a process samples alone beside the completions that are learned
    ///     from, as evaluations: each has a cache of its own.
    package init(
        _ model: ModelConfiguration, type: JobElementType, trained: Set<String>? = nil, base: WeightStorage = .whole,
        hasReference: Bool, referenceMoves: Bool = false, mapsReference: Bool = false,
        teacher: ModelConfiguration? = nil, rewardModels: Int = 0, hasCritic: Bool = false,
        criticModel: ModelConfiguration? = nil, criticTrained: Set<String>? = nil, criticSharesBase: Bool = false,
        layout: GenerationLayout = .shared, optimizer: OptimizerSettings? = nil,
        offloadsOptimizer: Bool = false, tensorParallel: Int = 1, generationParallel: Int = 1,
        samplesAlone: Bool = false, replicas: Int = 1, scoresPolicy: Bool = false, takesMetaGradient: Bool = false,
        streams: Int = 0, parts measuredParts: Int = 0, forwardCacheLimit: Int = 0, residency: Residency = .release,
        otherCaches: [Int] = [], _ sizes: Sizes
    ) {
        self.rewardModels = rewardModels
        self.mapsReference = mapsReference
        self.offloadsOptimizer = offloadsOptimizer
        let (master, compute) = (type.masterType, type.elementType)
        let isAdapted = model.adapters != nil
        let all = model.parameterBytes(master)
        let narrow = master == compute ? 0 : model.parameterBytes(compute)
        func stateBytes(of shape: ParameterShape) -> Int {
            optimizer?.stateBytes(of: shape.name, shape: shape.shape, master) ?? 2 * shape.count * master.byteCount
        }
        func held(_ state: Int) -> Int { offloadsOptimizer ? 0 : state }
        let shapes =
            isAdapted ? model.adapterShapes : model.parameterShapes.filter { trained?.contains($0.name) ?? true }
        let parts = shapes.map { $0.largestPart(of: tensorParallel) }
        let whole = shapes.reduce(0) { $0 + $1.count } * master.byteCount
        let weights = parts.reduce(0) { $0 + $1.count } * master.byteCount
        let frozen = isAdapted ? model.parameterBytes(compute, base) : all - whole
        frozenBase = isAdapted ? frozen : 0
        let other = criticModel ?? model
        let criticShapes =
            isAdapted
            ? other.adapterShapes
            : criticModel == nil ? shapes : other.parameterShapes.filter { criticTrained?.contains($0.name) ?? true }
        let criticWhole = criticShapes.reduce(0) { $0 + $1.count } * master.byteCount
        let criticNarrow = master == compute ? 0 : other.parameterBytes(compute)
        let criticBeside =
            isAdapted
            ? (criticSharesBase ? 0 : other.parameterBytes(compute, base))
            : other.parameterBytes(master) - criticWhole + criticNarrow
        let criticState = hasCritic ? held(criticShapes.reduce(0) { $0 + stateBytes(of: $1) }) : 0
        // Whole on each of all ranks, whoever shares the policy's layers.
        let criticShare = Self.share(criticState, replicas * tensorParallel)
        let criticKept = hasCritic ? criticWhole + criticShare + criticBeside : 0
        // Beside the policy's: no step is taken before both have their gradients.
        let criticGradients = hasCritic ? criticWhole : 0
        critic = criticKept + criticGradients
        let copies = isAdapted ? 0 : narrow
        let sums = base == .int8 ? 0 : model.adaptedMatrixCount * compute.byteCount
        let state = parts.reduce(0) { $0 + stateBytes(of: $1) }
        optimizerState = Self.share(state, replicas)
        training = frozen + 2 * weights + held(optimizerState) + copies
        let ownReference = isAdapted ? (referenceMoves ? sums : 0) : whole / master.byteCount * compute.byteCount
        reference = hasReference ? teacher?.parameterBytes(compute) ?? ownReference : 0
        referenceName = teacher == nil ? "reference" : "teacher"
        // The first and the last parameter: the embedding, and the head or, where that is the embedding, the last norm.
        let learnsWords = [model.parameterShapes.first, model.parameterShapes.last].contains { shape in
            shape.map { shape in shape.shape.first == model.vocabularySize && shapes.contains(shape) } ?? false
        }
        let words = Self.share(model.vocabularySize, tensorParallel)
        let head = learnsWords ? words * model.hiddenSize * 4 : 0
        let kept =
            sizes.tokensPerPass
            * model.activationBytesPerToken(
                compute, checkpointsBlocks: sizes.checkpointsBlocks, base: base, ranks: tensorParallel)
            + ScoredLogits.trainedBytes(rows: sizes.rowsPerPass, words: words)
        activations = kept + (sizes.isOnePass ? 1 : 2) * head
        let ownCache = sizes.cachedTokens * model.keyValueBytesPerToken(compute) / generationParallel
        let otherCache = otherCaches.max() ?? 0
        cache = max(ownCache, otherCache)
        let productBytes = ForwardCache.bytesPerToken(model, compute)
        forwardCache = min(forwardCacheLimit, sizes.tokensPerStep * productBytes)
        // A pass takes its own layer by layer, as what it keeps for its way back comes; what waits then is for the others,
        // which may be all that was kept.
        let products = forwardCache
        func waiting(behind passes: Int) -> Int {
            min(products, max(0, sizes.tokensPerStep - passes * sizes.tokensPerPass) * productBytes)
        }
        // In a single pass gradients are made while activations go; later passes meet the gradients of the first.
        let passing = sizes.isOnePass ? max(training - weights + kept, training) + head : training + activations
        // A step has one parameter's state in memory, and no activations any more.
        let stepped = parts + (hasCritic ? criticShapes : [])
        let stepping =
            training + criticGradients + (offloadsOptimizer ? stepped.map { stateBytes(of: $0) }.max() ?? 0 : 0)
        // The first pass meets no gradients yet, the second those of the first.
        let meeting = max(training - weights + waiting(behind: 1), training + waiting(behind: 2)) + activations
        let updating = max(passing, stepping, products > 0 && !sizes.isOnePass ? meeting : 0)
        // The critic's passes follow, beside the policy's gradients; their own come as the policy's do. No word is scored.
        let criticPass =
            sizes.tokensPerPass
            * other.activationBytesPerToken(compute, checkpointsBlocks: sizes.checkpointsBlocks, base: base)
        let criticUpdating =
            training + (sizes.isOnePass ? max(criticPass, criticGradients) : criticPass + criticGradients)
        // Gradients apart from a step's: all but the last are there while that one's passes are made, and all products
        // still wait; those of a loss's parts lie beside their sum, without any.
        let comparing = streams > 0 ? passing + (streams - 1) * weights + products : 0
        let measuring =
            measuredParts > 0
            ? max(passing + (measuredParts - 1) * weights, training + measuredParts * weights) : 0
        let packed = model.packedBytes(layout, ranks: generationParallel)
        let gathered = tensorParallel > 1 ? whole : 0
        let own = frozen + weights + held(optimizerState) + copies
        // Who samples alone beside others reads sums of whole matrices, and nothing packed.
        let wholeSums = generationParallel > 1 && samplesAlone ? sums : 0
        let view = packed + (wholeSums > 0 ? wholeSums : packed > 0 ? 0 : sums / generationParallel)
        // Parts that are sampled with come together for what scores and saves alone, and are other ones than those that
        // are trained where their numbers differ.
        let samplesParts = generationParallel > 1 && residency != .keep
        let movesParts = tensorParallel > 1 && ![1, tensorParallel].contains(generationParallel)
        let cut = shapes.filter { $0.sharedAxis != nil }.map { $0.largestPart(of: generationParallel).count }
        let sampledParts = movesParts ? cut.reduce(0, +) * master.byteCount : 0
        // The cache comes when the view is whole.
        let summing = model.summingBytes(layout, compute: compute, of: base, ranks: generationParallel)
        let generating =
            own + view + max(ownCache + forwardCache, summing) + sampledParts + (samplesParts ? 0 : gathered)
        let samplingAlone = otherCache > 0 ? own + view + gathered + otherCache : 0
        let scored =
            hasReference || scoresPolicy
            ? ScoredLogits.bytes(rows: sizes.rowsPerPass, words: model.vocabularySize) : 0
        let reading = own + view + gathered + scored + forwardCache
        // Of parts it comes together in a file.
        let assembled = (tensorParallel > 1 ? 0 : held(state - optimizerState)) + criticState - criticShare
        let saving = own + view + gathered + assembled
        let foreseeing = takesMetaGradient ? training + activations + 5 * weights + products : 0
        let staying = residency == .keep ? gathered + sampledParts + view + otherCaches.reduce(ownCache, +) : 0
        let trainingPeak =
            max(updating, hasCritic ? criticUpdating : 0, foreseeing, comparing, measuring) + staying
        let most = max(trainingPeak, generating, samplingAlone, reading, saving)
        peak =
            Self.process + rewardModels + criticKept
            + (mapsReference ? max(most, reading + reference) : most + reference)
    }

    /// - Parameters:
    ///   - mapsReference: Whether the reference is the pages of its files.
    ///   - critic: The configuration of a critic of its own weights.
    ///   - criticTrained: The names of its parameters that are trained.
    ///   - criticSharesBase: Whether adapters of a critic are trained on the policy's base.
    ///   - pairs: Of a method that compares them: the longest decides.
    ///   - evaluated: Sets of prompts that the run's evaluations and guards sample completions of.
    ///   - ranks: Processes of the run; the estimate is of the first, which saves and evaluates.
    init(
        _ job: ResolvedJob, _ model: ModelConfiguration, trained: Set<String>? = nil, teacher: ModelConfiguration?,
        mapsReference: Bool, rewardModels: Int, critic: ModelConfiguration? = nil, criticTrained: Set<String>? = nil,
        criticSharesBase: Bool = false, promptLength: Int,
        pairs: PairRows? = nil, evaluated: [EvaluatedSet] = [], ranks: Int = 1
    ) {
        let longest = pairs?.longest
        let prompt = longest?.prompt ?? promptLength
        let completion = longest.map { max(1, ($0.pair - $0.prompt) / 2) } ?? job.sampling.maxCompletionLength
        let (tensorParallel, together) = (job.tensorParallelism.size, job.tensorParallelism.generationSize)
        // Of a run in two sides both count: what a rank of either takes.
        let samplers = job.staleness.generationRanks > 0 ? job.staleness.generationRanks : ranks
        let replicas = max(1, (ranks - job.staleness.generationRanks) / tensorParallel)
        let sampled = job.recipe.sampled
        let requests = job.batches.promptsPerStep * sampled.variants
        let shared = min(Self.share(requests * together, samplers), requests)
        let limits = BatchLimits(job)
        let tokenBytes = model.keyValueBytesPerToken(job.model.dtype.elementType)
        let rows = limits.rows(
            wanted: shared * sampled.completions, bytesPerToken: tokenBytes / together, promptLength: prompt,
            completionLength: completion)
        func cacheBytes(_ prompts: Int, _ samples: Int, promptLength: Int, completionLength: Int) -> Int {
            let rows = limits.rows(
                wanted: prompts * samples, bytesPerToken: tokenBytes, promptLength: promptLength,
                completionLength: completionLength)
            return (rows * completionLength + min(rows, prompts) * promptLength) * tokenBytes
        }
        var otherCaches = evaluated.map { set in
            cacheBytes(
                set.prompts, job.run.generations, promptLength: set.longestPrompt,
                completionLength: job.sampling.maxCompletionLength)
        }
        if let utility = job.plan.weighing?.utility, utility.utility == .reward {
            otherCaches.append(
                cacheBytes(utility.prompts, utility.generations, promptLength: prompt, completionLength: completion))
        }
        if let calibration = job.plan.weighing?.calibration {
            otherCaches.append(
                cacheBytes(
                    calibration.prompts, calibration.drawnTraces, promptLength: prompt,
                    completionLength: calibration.traceLength))
        }
        let parts = job.plan.parts.flatMap(\.gradientNames).count
        // Some losses read the reference while gradients are taken.
        let scoresAlone = !job.plan.parts.contains { $0.objective.needsExactDivergence }
        self.init(
            model, type: job.model.dtype, trained: trained, base: job.model.base,
            hasReference: job.plan.reference != nil, referenceMoves: job.plan.reference?.sync != nil,
            mapsReference: mapsReference && scoresAlone && job.model.residency != .keep, teacher: teacher,
            rewardModels: rewardModels, hasCritic: critic != nil, criticModel: critic, criticTrained: criticTrained,
            criticSharesBase: criticSharesBase,
            layout: job.recipe.generates ? job.model.generationLayout : .shared,
            optimizer: job.optimizer, offloadsOptimizer: job.optimizerOffload.folder != nil,
            tensorParallel: tensorParallel, generationParallel: together,
            samplesAlone: job.run.evaluation != nil || !job.run.guards.isEmpty || job.plan.rethinking != nil
                || job.plan.weighing?.utility?.utility == .reward,
            replicas: replicas,
            scoresPolicy: job.recipe.calls.contains(.infer(.oldPolicy)),
            takesMetaGradient: job.plan.weighing?.utility != nil, streams: job.plan.comparedStreams,
            parts: job.partGradientSteps > 0 && parts > 1 ? parts : 0,
            forwardCacheLimit: ranks == 1 ? job.forwardCacheBytes : 0, residency: job.model.residency,
            otherCaches: otherCaches,
            Sizes(
                promptLength: prompt, completionLength: completion, completionsPerPrompt: job.batches.generations,
                completionsPerOptimizerStep: Self.share(job.batches.completionsPerOptimizerStep, replicas),
                rows: job.recipe.generates ? rows : 0, promptSlots: job.recipe.generates ? min(rows, shared) : 0,
                maxTokensPerMicroBatch: job.maxTokensPerMicroBatch, checkpointsBlocks: job.checkpointsBlocks))
    }

    /// Bytes of a command that samples and trains nothing, in words: weights in float32, packed, and the cache of 128 rows.
    static func sampling(
        _ model: ModelConfiguration, promptLength: Int, completionLength: Int, completionsPerPrompt: Int
    ) -> String {
        let cache =
            128 * (completionLength + promptLength / max(completionsPerPrompt, 1))
            * model.keyValueBytesPerToken(.float32)
        let weights = model.parameterBytes(.float32, .packed) + model.packedBytes(.packed, of: .packed)
        return text(process + weights + cache) + ": weights \(text(weights)), keys and values \(text(cache))"
    }

    /// For `--dry-run`.
    var lines: [String] {
        let held = offloadsOptimizer ? "weights and gradients" : "weights, gradients and moments"
        let moments = Self.text(optimizerState) + (offloadsOptimizer ? " beside that in a file" : "")
        return [
            "memory, about \(Self.text(peak)) when every completion has its full length: \(held) "
                + "\(Self.text(training)) (moments \(moments)"
                + (frozenBase > 0 ? ", the base under adapters \(Self.text(frozenBase))" : "") + ")"
                + (reference > 0
                    ? ", \(referenceName) \(Self.text(reference))"
                        + (mapsReference ? " (its file's own pages, while it scores)" : "") : "")
                + (critic > 0 ? ", the critic \(Self.text(critic))" : "")
                + (rewardModels > 0 ? ", reward models \(Self.text(rewardModels))" : "")
                + ", activations of a micro-batch \(Self.text(activations))"
                + (cache > 0 ? " (or, while generating, keys and values \(Self.text(cache)))" : "")
                + (forwardCache > 0 ? ", outputs kept for the update \(Self.text(forwardCache))" : "")
        ]
    }

    /// The largest of so many parts.
    private static func share(_ whole: Int, _ parts: Int) -> Int { (whole + parts - 1) / parts }

    private static func text(_ bytes: Int) -> String {
        bytes < 1_000_000_000 ? "\((bytes + 999_999) / 1_000_000) MB" : String(format: "%.1f GB", Double(bytes) / 1e9)
    }
}

/// Prompts that a run samples completions of without learning from these.
struct EvaluatedSet {
    let prompts: Int
    /// Its tokens.
    let longestPrompt: Int

    init(_ prompts: [TokenizedPrompt]) {
        self.prompts = prompts.count
        longestPrompt = prompts.map(\.tokenIDs.count).max() ?? 0
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
