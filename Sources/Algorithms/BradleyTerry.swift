package import Records
package import Tensors

/// A loss on what linear heads say of whole completions: that of a reward model.
package protocol ScoreObjective: Objective {
    /// Heads on the trunk.
    var headCount: Int { get }

    /// This micro-batch's share of the loss.
    func loss(_ inputs: PairScores) throws -> LossResult
}

extension ScoreObjective {
    package var needsAdvantages: Bool { false }
    package var aggregation: LossAggregation { .sequenceMeanTokenSum }

    package func loss(_ inputs: PolicyLossInputs) throws -> LossResult {
        throw LossError.missing("the scores of heads", method: "reward_model")
    }
}

/// What is known of a micro-batch's pairs.
package struct PairScores {
    /// Each side's score by the head of its pair, `[pairs, 2]`, the chosen side first; carries the gradient.
    package let scores: Tensor
    /// By how much the chosen side is to be better, one a pair.
    package let margins: [Double]
    package let denominators: Denominators

    package init(scores: Tensor, margins: [Double], denominators: Denominators) {
        self.scores = scores
        self.margins = margins
        self.denominators = denominators
    }
}

/// Settings of ``BradleyTerry``, with TRL's names and defaults.
package struct BradleyTerrySettings: Sendable, Equatable, ScoreObjective {
    /// c: how much scores are drawn towards a mean of 0.
    package let centering: Double
    package let headCount: Int

    package init(centering: Double = 0, headCount: Int = 1) {
        self.centering = centering
        self.headCount = headCount
    }

    package init(reading job: inout SettingsReader, headCount: Int) {
        self.headCount = headCount
        let given: Double? = job.read(
            "center_rewards_coefficient", optional: nil, .atLeast(0),
            "c: adds c·(score of chosen + score of rejected)² to keep scores near 0 (arXiv:2312.09244); 0.01 is usual, off unless set."
        )
        centering = given ?? 0
    }

    package func loss(_ inputs: PairScores) throws -> LossResult { try BradleyTerry.loss(inputs, self) }
}

/// The likelihood of preferences by Bradley and Terry (1952), as reward models are trained on it (Ouyang et al. 2022,
/// arXiv:2203.02155, Eq. 1; margins: Touvron et al. 2023, arXiv:2307.09288, Eq. 2).
///
///     L = (1/pairs) Σ [ −log σ(s⁺ − s⁻ − m) + c·(s⁺ + s⁻)² ]
package enum BradleyTerry {
    /// This micro-batch's share of the loss. Metrics by TRL's names: `accuracy` (the share of s⁺ above s⁻; a tie is
    /// none), `margin`, `min_reward|mean_reward|max_reward`.
    ///
    /// - Throws: `TensorError.shape` for scores that are not two for each margin.
    package static func loss(_ inputs: PairScores, _ settings: BradleyTerrySettings) throws -> LossResult {
        let scores = inputs.scores
        guard scores.shape == [inputs.margins.count, 2] else {
            throw TensorError.shape(
                operation: "reward_model", expected: "[\(inputs.margins.count), 2]", got: scores.shape)
        }
        let (chosen, rejected) = (try scores.selected(axis: 1, at: 0), try scores.selected(axis: 1, at: 1))
        let difference = try chosen - rejected
        let margins = try Tensor(inputs.margins).to(scores.elementType).to(scores.device)
        var perPair = try -(difference - margins).logSigmoid()
        if settings.centering > 0 { perPair = try perPair + (chosen + rejected).square() * settings.centering }
        var report = LossReport()
        try report.note("accuracy", difference.detached().greater(than: 0), .mean)
        try report.note("margin", difference, .mean)
        let all = try scores.reshaped([scores.count])
        try report.note("min_reward", all, .minimum)
        try report.note("mean_reward", all, .mean)
        try report.note("max_reward", all, .maximum)
        return LossResult(
            loss: try perPair.sum() * (1 / Double(max(inputs.denominators.sequences, 1))), report: report)
    }
}
