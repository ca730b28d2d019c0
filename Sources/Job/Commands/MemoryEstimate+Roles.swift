internal import Methods
internal import Models
internal import Placement
internal import Planning
internal import PolicyUpdater
internal import Tensors

/// Bytes of a model that is trained, the policy or a critic of its own weights, in one process.
package struct TrainedRole: Sendable, Equatable {
    /// The model under adapters, which is not trained; 0 without adapters, and of a critic on the policy's base.
    package let frozenBase: Int
    /// What of a model without adapters is not trained.
    let untrained: Int
    /// What is trained: all parameters or some, or adapters; of layers that processes share, the largest part.
    let weights: Int
    /// The same of whole layers.
    let wholeWeights: Int
    /// Copies of the weights that passes read, where these compute in a narrower type.
    let copies: Int
    /// What the optimizer keeps of them here: AdamW's two moments, or less.
    package let optimizerState: Int
    /// The same where it lies in memory and not in a file.
    let heldState: Int
    /// What other processes keep of that, which comes here to be saved.
    let stateElsewhere: Int
    /// What the optimizer keeps of whole layers, on all processes together.
    let wholeState: Int
    /// What a step brings into memory of state in a file: that of one parameter.
    let stateOfAStep: Int
    /// What its longest pass keeps for its way back, with the logits of the tokens that it scores.
    let kept: Int
    /// The head's gradient, which is whole before any of that is freed.
    let headGradient: Int
    /// Whether one pass takes a whole optimizer step.
    let isOnePass: Bool

    /// Of every number that is trained.
    var gradients: Int { weights }
    /// What lies there all the time.
    var held: Int { frozenBase + untrained + weights + copies + heldState }
    /// The same with gradients.
    package var training: Int { held + gradients }
    /// What passes have beside that: later ones make a second gradient of the head, to be added to the first.
    package var activations: Int { kept + (isOnePass ? 1 : 2) * headGradient }
    /// The most that there is of activations and gradients. Those of a single pass are made while what it keeps goes;
    /// later passes meet those of the first.
    var passing: Int { isOnePass ? max(kept, gradients) + headGradient : activations + gradients }

    /// A critic is whole on each of all processes, whoever shares the policy's layers, and scores no words.
    init(_ model: ModelConfiguration, _ run: MemoryEstimate.Settings, isCritic: Bool) {
        let (master, compute) = (run.type.masterType, run.type.elementType)
        let ranks = isCritic ? 1 : run.tensorParallel
        let isAdapted = model.adapters != nil
        let trained = run.trained.shapes(in: model)
        let parts = trained.map { $0.largestPart(of: ranks) }
        wholeWeights = trained.reduce(0) { $0 + $1.count } * master.byteCount
        weights = parts.reduce(0) { $0 + $1.count } * master.byteCount
        frozenBase = isAdapted && !(isCritic && run.criticSharesBase) ? model.parameterBytes(compute, run.base) : 0
        untrained = isAdapted ? 0 : model.parameterBytes(master) - wholeWeights
        copies = isAdapted || master == compute ? 0 : model.parameterBytes(compute)

        wholeState = trained.reduce(0) { $0 + run.optimizer.stateBytes(of: $1.name, shape: $1.shape, master) }
        let states = parts.map { run.optimizer.stateBytes(of: $0.name, shape: $0.shape, master) }
        let state = states.reduce(0, +)
        optimizerState = MemoryEstimate.share(state, isCritic ? run.replicas * run.tensorParallel : run.replicas)
        heldState = run.offloadsOptimizer ? 0 : optimizerState
        stateElsewhere = run.offloadsOptimizer ? 0 : state - optimizerState
        stateOfAStep = run.offloadsOptimizer ? states.max() ?? 0 : 0

        // The first and the last parameter: the embedding, and the head or, where that is the embedding, the last norm.
        let ends = [model.parameterShapes.first, model.parameterShapes.last]
        let learnsWords = trained.contains { $0.shape.first == model.vocabularySize && ends.contains($0) }
        let words = MemoryEstimate.share(model.vocabularySize, ranks)
        let logits = isCritic ? 0 : ScoredLogits.trainedBytes(rows: run.sizes.rowsPerPass, words: words)
        let bytesPerToken = model.activationBytesPerToken(
            compute, checkpointsBlocks: run.sizes.checkpointsBlocks, base: run.base, ranks: ranks)
        let unread = max(0, run.sizes.tokensPerPass - run.sizes.rowsPerPass)
        let unwanted = isCritic || run.sizes.checkpointsBlocks ? 0 : unread
        kept =
            run.sizes.tokensPerPass * bytesPerToken + logits
            - unwanted * model.unwantedBytesPerToken(compute, ranks: ranks)
        headGradient = learnsWords && !isCritic ? words * model.hiddenSize * 4 : 0
        isOnePass = run.sizes.isOnePass
    }
}

/// Bytes of a policy that is scored with and not trained: the reference, or a teacher.
package struct ReferenceRole: Sendable, Equatable {
    /// Which of the two it is.
    let name: String
    /// What it does not share with the policy.
    package let weights: Int
    /// How much of that is pages of its files, in memory while they are read alone: all or nothing.
    let mapped: Int

    /// What lies there all the time.
    var held: Int { weights - mapped }

    /// `nil` for a run that has none.
    init?(_ run: MemoryEstimate.Settings, _ policy: TrainedRole) {
        guard let reference = run.reference else { return nil }
        name = run.teacher == nil ? "reference" : "teacher"
        let compute = run.type.elementType
        // Under adapters it is the policy without them, unless it follows these.
        let followed = reference.sync == nil ? 0 : run.adaptedSums
        let trained = policy.wholeWeights / run.type.masterType.byteCount * compute.byteCount
        weights = run.teacher?.parameterBytes(compute) ?? (run.model.adapters != nil ? followed : trained)
        mapped = run.mapsReference ? weights : 0
    }
}

/// Bytes of what is made of the policy's weights after a step, to sample and to score with, and goes before the next.
struct SampledWeights {
    /// Packed matrices, or sums with what adapters add.
    let view: Int
    /// What making that takes for a moment, before there are keys and values.
    let summing: Int
    /// Whole weights of what is trained, brought together from processes that have parts of them.
    let gathered: Int
    /// Parts to sample with where they are other ones than those that are trained.
    let parts: Int
    /// All that a step samples with: of parts, whole weights come together for what scores and saves alone.
    let whileSampling: Int

    /// All that is scored with, saved, and sampled alone with.
    var whole: Int { view + gathered }

    init(_ run: MemoryEstimate.Settings, _ policy: TrainedRole) {
        let (model, ranks) = (run.model, run.generationParallel)
        let packed = model.packedBytes(run.layout, ranks: ranks)
        // Who samples alone beside others reads sums of whole matrices, and nothing packed.
        let sums = ranks > 1 && run.samplesAlone ? run.adaptedSums : packed > 0 ? 0 : run.adaptedSums / ranks
        view = packed + sums
        summing = model.summingBytes(run.layout, compute: run.type.elementType, of: run.base, ranks: ranks)
        gathered = run.tensorParallel > 1 ? policy.wholeWeights : 0
        let areOthers = run.tensorParallel > 1 && ![1, run.tensorParallel].contains(ranks)
        let cut = run.trained.shapes(in: model).filter { $0.sharedAxis != nil }
        let numbers = cut.reduce(0) { $0 + $1.largestPart(of: ranks).count }
        parts = areOthers ? numbers * run.type.masterType.byteCount : 0
        whileSampling = view + parts + (ranks > 1 && run.residency != .keep ? 0 : gathered)
    }
}
