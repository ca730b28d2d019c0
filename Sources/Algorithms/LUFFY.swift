internal import Foundation
package import Records
internal import Tensors

/// Settings of ``LUFFY``.
package struct LUFFYSettings: Sendable, Equatable {
    /// γ of the shaping p/(p + γ).
    package let shaping: Double
    /// Weight of the entropy bonus; 0 for none.
    package let entropyCoefficient: Double

    package init(shaping: Double = 0.1, entropyCoefficient: Double = 0.001) {
        self.shaping = shaping
        self.entropyCoefficient = entropyCoefficient
    }

    package init(reading job: inout SettingsReader) {
        shaping = job.read(
            "luffy.shaping", default: 0.1, .above(0),
            "γ in a demonstration token's weight p/(p + γ): the smaller, the more of the gradient comes from rare tokens (arXiv:2504.14945)."
        )
        entropyCoefficient = job.read(
            "luffy.entropy_coef", default: 0.001, .atLeast(0),
            "Weight of the mean entropy, subtracted from the loss; 0 for none.")
    }
}

extension LUFFYSettings: Objective {
    package var terms: [String] { ["rollouts", "demonstrations"] + (entropyCoefficient != 0 ? ["entropy"] : []) }
    package var drivenByAdvantages: any Objective { LUFFYSettings(shaping: shaping, entropyCoefficient: 0) }
    package var aggregation: LossAggregation { .sequenceMeanTokenSumOverLimit }
    package func loss(_ inputs: PolicyLossInputs) throws -> LossResult { try LUFFY.loss(inputs, self) }
}

/// LUFFY (Yan et al. 2025, arXiv:2504.14945): a demonstration in the group of its prompt, off-policy and with shaped
/// weights.
///
///     the policy's own tokens    l_t = −ρ_t·A,      ρ_t = π(y_t) / π_old(y_t), not clipped
///     a demonstration's          l_t = −f(p_t)·A,   p_t = π(y_t),  f(p) = p/(p + γ);  the writer's probability is 1
///     L = Σ l_t / (N_seq·L_max) − c·H
///
/// A is r minus the mean over the group, the demonstration among it, without a deviation (`DemonstratedGroups` in
/// Credit). The gradient of a demonstrated token weighs p·γ/(p + γ)²: ¼ at p = γ, and falls as p/γ below, where plain
/// imitation would have 1. No KL. The mean over sequences spans the optimizer step; the published code sums each
/// micro-batch instead, so that its step depends on the cut.
package enum LUFFY {
    /// This micro-batch's share of the loss.
    ///
    /// Metrics: `policy_loss`, `entropy`, `demonstrations/probability` and `demonstrations/weight` (f averaged over
    /// their tokens).
    ///
    /// - Throws: `TensorError.shape` for a tensor that is not `[actionTokens]`, ``LossError`` for entropies that are
    ///   needed and absent.
    package static func loss(_ inputs: PolicyLossInputs, _ settings: LUFFYSettings) throws -> LossResult {
        try inputs.requireShapes("luffy")
        var report = LossReport()
        let old = try inputs.oldOrCurrent
        var factors = try ImportanceRatio.token.ratios(policy: inputs.logProbabilities, old: old, inputs.spans)
        if let mask = inputs.demonstrationMask {
            // p/(p + γ) = σ(log p − log γ)
            let shaped = try (inputs.logProbabilities - log(settings.shaping)).sigmoid()
            factors = try shaped * mask + factors * (1 - mask)
            try noteDemonstrations(inputs.logProbabilities, shaped, mask, in: &report)
        }
        let perToken = try -(factors * inputs.advantages)
        var loss = try settings.aggregation.total(perToken, inputs.spans, inputs.denominators)
        try report.note("policy_loss", loss, .total)
        func share(_ isDemonstration: Bool) throws -> Tensor {
            let mask =
                try inputs.demonstrationMask
                ?? Tensor.zeros(perToken.shape, perToken.elementType, device: perToken.device)
            return try settings.aggregation.total(
                perToken * (isDemonstration ? mask : 1 - mask), inputs.spans, inputs.denominators)
        }
        var terms: [() throws -> Tensor] = [{ try share(false) }, { try share(true) }]
        if settings.entropyCoefficient != 0 {
            let bonus = try EntropyBonus.meanEntropy(inputs, "luffy") * settings.entropyCoefficient
            loss = try loss - bonus
            terms.append { try -bonus }
        }
        try inputs.noteEntropy(in: &report)
        return LossResult(loss: loss, report: report, terms: terms)
    }

    private static func noteDemonstrations(
        _ logProbabilities: Tensor, _ shaped: Tensor, _ mask: Tensor, in report: inout LossReport
    ) throws {
        try report.note([logProbabilities.detached().exp(), shaped, mask]) { columns, metrics in
            for (index, name) in ["probability", "weight"].enumerated() {
                metrics.set(
                    "demonstrations/\(name)", zip(columns[index], columns[2]).filter { $1 != 0 }.map(\.0), .mean)
            }
        }
    }
}
