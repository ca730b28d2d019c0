internal import Foundation
internal import Models
internal import Placement
internal import Planning

/// Bytes that a process of a run holds at its peak: what its roles hold all the time, and what each phase of a step has
/// beside that.
///
/// Calibrated against `plumbline bench`, which prints it beside what it measured.
package struct MemoryEstimate: Sendable {
    /// What a run does at a time, each with its own memory; in words, what happens meanwhile.
    package enum Phase: String, Sendable, CaseIterable {
        case handingOver = "weights are made ready to sample with"
        case sampling = "completions are sampled"
        /// Those of evaluations, and others that are not learned from.
        case samplingAlone = "completions beside a step's are sampled"
        case scoring = "completions are scored"
        case comparing = "gradients of streams are compared"
        case measuring = "gradients of parts are measured"
        case foreseeing = "a step is foreseen"
        case updating = "the policy's gradients are made"
        case updatingCritic = "the critic's gradients are made"
        case stepping = "the optimizer steps"
        case saving = "a checkpoint is saved"
    }

    /// The process without a model (code, libraries, thread stacks) and what its heap holds back.
    static let process = 230_000_000

    private let run: Settings
    package let policy: TrainedRole
    /// `nil` without one of its own weights.
    package let critic: TrainedRole?
    package let reference: ReferenceRole?
    private let sampled: SampledWeights
    /// Products of sampled completions that wait for the update.
    package let forwardCache: Int

    package init(_ run: Settings) {
        self.run = run
        policy = TrainedRole(run.model, run, isCritic: false)
        critic = run.critic.map { TrainedRole($0, run, isCritic: true) }
        reference = ReferenceRole(run, policy)
        sampled = SampledWeights(run, policy)
        forwardCache = min(run.forwardCacheLimit, run.sizes.tokensPerStep * run.productBytesPerToken)
    }

    // MARK: Phases

    /// What is held in every phase.
    private var throughout: Int {
        Self.process + run.rewardModels + policy.held + (critic?.held ?? 0) + (reference?.held ?? 0)
    }

    /// What each phase holds beside that.
    private var phases: [(name: Phase, bytes: Int)] {
        Phase.allCases.compactMap { phase in bytes(of: phase).map { (name: phase, bytes: $0) } }
    }

    /// `nil` for a phase that the run does not have.
    private func bytes(of phase: Phase) -> Int? {
        let (gradients, passes) = (policy.gradients, policy.passing)
        switch phase {
        case .handingOver: return sampled.whileSampling + sampled.summing
        case .sampling: return run.sizes.rows > 0 ? sampled.whileSampling + ownCache + forwardCache : nil
        case .samplingAlone: return run.otherCaches.max().map { sampled.whole + $0 }
        case .scoring:
            guard reference != nil || run.scoresPolicy else { return nil }
            let logits = ScoredLogits.bytes(rows: run.sizes.rowsPerPass, words: run.model.vocabularySize)
            return sampled.whole + logits + forwardCache + (reference?.mapped ?? 0)
        case .comparing:
            // All gradients but the last are there while that one's passes are made, and all products still wait.
            guard run.comparedStreams > 0 else { return nil }
            return staying + passes + (run.comparedStreams - 1) * gradients + forwardCache
        case .measuring:
            // They lie beside their sum, whose pass is over when the last of them comes.
            guard run.measuredParts > 0 else { return nil }
            return staying + max(passes, 2 * gradients) + (run.measuredParts - 1) * gradients
        case .foreseeing:
            // The gradients of both parts, what they answer, and the weights that a step would write.
            guard run.takesMetaGradient else { return nil }
            return staying + policy.activations + 6 * gradients + forwardCache
        case .updating:
            guard !policy.isOnePass else { return staying + passes }
            // The first pass meets no gradients yet, the second those of the first.
            return staying + max(policy.activations + waiting(behind: 1), passes + waiting(behind: 2))
        case .updatingCritic:
            // Beside the policy's gradients: no step is taken before both have theirs.
            return critic.map { staying + gradients + $0.passing }
        case .stepping:
            let state = max(policy.stateOfAStep, critic?.stateOfAStep ?? 0)
            return staying + gradients + (critic?.gradients ?? 0) + state
        case .saving:
            // Of parts it comes together in a file.
            let state = run.tensorParallel > 1 ? 0 : policy.stateElsewhere
            return sampled.whole + state + (critic?.stateElsewhere ?? 0)
        }
    }

    /// Keys and values of the completions that are learned from.
    private var ownCache: Int {
        run.sizes.cachedTokens * run.model.keyValueBytesPerToken(run.type.elementType) / run.generationParallel
    }

    /// What sampling needs, where it stays in memory while the weights are trained.
    private var staying: Int {
        run.residency == .keep ? sampled.whole + sampled.parts + run.otherCaches.reduce(ownCache, +) : 0
    }

    /// Products that wait behind so many passes. A pass takes its own layer by layer, as what it keeps for its way back
    /// comes; what waits then is for the others, which may be all that was kept.
    private func waiting(behind passes: Int) -> Int {
        let tokens = max(0, run.sizes.tokensPerStep - passes * run.sizes.tokensPerPass)
        return min(forwardCache, tokens * run.productBytesPerToken)
    }

    // MARK: The peak

    private var fullest: (name: Phase, bytes: Int) { phases.max { $0.bytes < $1.bytes }! }  // every run hands over
    /// When most is held.
    package var peakPhase: Phase { fullest.name }
    /// What is held then.
    package var peak: Int { throughout + fullest.bytes }
    /// Keys and values at most: of the completions that are learned from, or of others.
    package var cache: Int { max(ownCache, run.otherCaches.max() ?? 0) }

    // MARK: The disk

    /// Of the policy's weights as they are published: all of them, or adapters.
    var savedModel: Int { policy.untrained + policy.wholeWeights }
    /// Of a checkpoint, up to what takes little: also what optimizers keep, a critic, and a reference that moves.
    var checkpoint: Int {
        let reference = run.reference?.sync == nil ? 0 : policy.wholeWeights
        return savedModel + policy.wholeState + reference + (critic.map { $0.wholeWeights + $0.wholeState } ?? 0)
    }

    /// For `--dry-run`.
    var line: String {
        let held = run.offloadsOptimizer ? "weights and gradients" : "weights, gradients and moments"
        let moments = Self.text(policy.optimizerState) + (run.offloadsOptimizer ? " beside that in a file" : "")
        let base = policy.frozenBase > 0 ? ", the base under adapters \(Self.text(policy.frozenBase))" : ""
        var parts = ["\(held) \(Self.text(policy.training)) (moments \(moments)\(base))"]
        if let reference, reference.weights > 0 {
            let pages = reference.mapped > 0 ? " (its file's own pages, while it scores)" : ""
            parts.append("\(reference.name) \(Self.text(reference.weights))\(pages)")
        }
        if let critic { parts.append("the critic \(Self.text(critic.training))") }
        if run.rewardModels > 0 { parts.append("reward models \(Self.text(run.rewardModels))") }
        let keys = cache > 0 ? " (or, while generating, keys and values \(Self.text(cache)))" : ""
        parts.append("activations of a micro-batch \(Self.text(policy.activations))\(keys)")
        if forwardCache > 0 { parts.append("outputs kept for the update \(Self.text(forwardCache))") }
        return "memory, about \(Self.text(peak)) when every completion has its full length, at its peak while "
            + peakPhase.rawValue + ": " + parts.joined(separator: ", ")
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

    /// The largest of so many parts.
    static func share(_ whole: Int, _ parts: Int) -> Int { (whole + parts - 1) / parts }

    static func text(_ bytes: Int) -> String {
        bytes < 1_000_000_000 ? "\((bytes + 999_999) / 1_000_000) MB" : String(format: "%.1f GB", Double(bytes) / 1e9)
    }
}
