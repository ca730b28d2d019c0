/// A method's loss with its settings: what an updater minimizes without knowing which method it is.
package protocol Objective: Sendable {
    /// Whether the loss reads the reference policy's log-probs of the tokens.
    var needsReference: Bool { get }
    /// Whether the loss reads the divergence from the reference policy over the whole vocabulary.
    var needsExactDivergence: Bool { get }
    /// Which divergence that is: 1 for KL(π‖π_ref), 0 for KL(π_ref‖π), between them the generalized Jensen–Shannon
    /// divergence.
    var divergenceBeta: Double { get }
    /// Whether the loss reads the sampler's own log-probs.
    var needsRolloutLogProbabilities: Bool { get }
    /// Whether the loss weighs tokens by the old policy over the one that sampled them, π_old/π_sampler.
    var weighsSampler: Bool { get }
    /// Whether the loss reads advantages.
    var needsAdvantages: Bool { get }
    /// Whether the loss reads the mean entropy of the whole step. A step of several micro-batches then costs a forward
    /// pass more.
    var needsMeanEntropy: Bool { get }
    /// What the loss is a sum of, by name, where it mixes several ends; empty where it is one.
    var terms: [String] { get }
    /// The loss without what every stream of advantages would have alike: an entropy bonus, a value loss, a teacher's
    /// divergence. A KL term stays.
    var drivenByAdvantages: any Objective { get }
    /// How the losses of single tokens become one number.
    var aggregation: LossAggregation { get }

    /// This micro-batch's share of the loss.
    ///
    /// - Throws: `TensorError.shape` for a tensor that is not `[actionTokens]`, ``LossError`` for an input that is
    ///   absent.
    func loss(_ inputs: PolicyLossInputs) throws -> LossResult
}

extension Objective {
    package var needsReference: Bool { false }
    package var needsExactDivergence: Bool { false }
    package var divergenceBeta: Double { 1 }
    package var needsRolloutLogProbabilities: Bool { false }
    package var weighsSampler: Bool { false }
    package var needsAdvantages: Bool { true }
    package var needsMeanEntropy: Bool { false }
    package var terms: [String] { [] }
    package var drivenByAdvantages: any Objective { self }
}
