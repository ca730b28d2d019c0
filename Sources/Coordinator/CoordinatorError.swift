package import Records

/// A run that cannot go on.
package enum CoordinatorError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The recipe has a call and the run no part that answers it.
    case missingPart(String, call: String)
    /// Generation ended without this prompt's completions.
    case lostGroup(prompt: String)
    /// A group was sampled by weights that the step may not learn from: they are so many optimizer steps older.
    case stale(step: Int, sampledBy: PolicyVersion, learnedBy: PolicyVersion, bound: Int)
    /// The recipe cannot sample a batch before its step.
    case cannotSampleAhead(recipe: String)
    /// A batch that was sampled ahead is not of the prompts of its step.
    case foreignBatch(step: Int)
    /// Another process of the run could not do its part of a step.
    case rank(Int, message: String)
    /// Dynamic sampling ended with too few groups that differ.
    case tooFewLiveGroups(kept: Int, wanted: Int, waves: Int, reward: String)

    /// Weights, logits or losses are no longer finite: those of the weights after a step, 0 for the model that the run
    /// starts from. The last good checkpoint is from before; `nil` for none.
    case diverged(step: Int, NotFinite, lastGoodCheckpoint: Int?)

    package var description: String {
        switch self {
        case .missingPart(let part, let call): "the recipe's call '\(call)' needs a \(part), and the run has none"
        case .lostGroup(let prompt): "generation ended without the completions of \(prompt)"
        case .stale(let step, let sampled, let learned, let bound):
            "step \(step): its batch was sampled by version \(sampled.number) of the weights, and version "
                + "\(learned.number) would learn from it; max_staleness allows \(bound) optimizer steps between them here"
        case .cannotSampleAhead(let recipe):
            "max_staleness is for a recipe that begins with 'generate' in every step, found \(recipe)"
        case .foreignBatch(let step):
            "step \(step): the batch that was sampled ahead is not of the step's prompts; resume with the batch sizes "
                + "of the checkpoint"
        case .rank(let rank, let message): "rank \(rank): \(message)"
        case .diverged(0, let found, _): "before the first step: \(found)"
        case .diverged(let step, let found, let checkpoint):
            "diverged at step \(step): \(found.subject) are not finite (NaN or infinity), and are not saved; "
                + (checkpoint.map { "the last good checkpoint is checkpoint-\($0). " }
                    ?? "there is no checkpoint from before. ")
                + "Lower learning_rate or weight_decay, or set max_grad_norm and beta"
        case .tooFewLiveGroups(let kept, let wanted, let waves, let reward):
            "dynamic sampling: after \(waves) waves \(kept) of \(wanted) groups have completions that \(reward) "
                + "tells apart; the set may be too easy or too hard for the policy. Raise "
                + "dynamic_sampling_max_waves, or set dynamic_sampling_exhausted: partial"
        }
    }
}
