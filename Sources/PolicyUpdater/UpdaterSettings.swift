package import Records

/// Settings of ``PolicyUpdater``.
package struct UpdaterSettings: Sendable, Equatable {
    package let optimizer: OptimizerSettings
    /// The job's limit on a completion's tokens: L of Dr. GRPO.
    package let maxCompletionLength: Int
    /// Tokens of one forward and backward pass, prompts included; `nil` computes a batch in one. Never changes the result.
    package let maxTokensPerMicroBatch: Int?
    /// Whether activations inside a block are computed again in the backward pass instead of being kept.
    package let checkpointsBlocks: Bool
    /// How the reference policy follows the policy; `nil` leaves it as loaded.
    package let referenceSync: ReferenceSync?

    /// - Throws: `SettingsError` with everything that is wrong.
    package init(
        optimizer: OptimizerSettings, maxCompletionLength: Int = 512,
        maxTokensPerMicroBatch: Int? = nil, checkpointsBlocks: Bool = false, referenceSync: ReferenceSync? = nil
    ) throws(SettingsError) {
        var problems = Problems("updater")
        problems.require(maxCompletionLength >= 1, "maxCompletionLength", maxCompletionLength, "at least 1")
        if let maxTokensPerMicroBatch {
            problems.require(
                maxTokensPerMicroBatch >= 1, "maxTokensPerMicroBatch", maxTokensPerMicroBatch, "at least 1")
        }
        try problems.throwIfAny()
        self.optimizer = optimizer
        self.maxCompletionLength = maxCompletionLength
        self.maxTokensPerMicroBatch = maxTokensPerMicroBatch
        self.checkpointsBlocks = checkpointsBlocks
        self.referenceSync = referenceSync
    }
}

/// Moves the reference policy towards the policy every few steps (TR-DPO, Gorbatovski et al. 2024, arXiv:2404.09656).
///
///     π_ref ← α·π + (1 − α)·π_ref      after every optimizer step whose number divides by `everySteps`
package struct ReferenceSync: Sendable, Equatable {
    /// α, TRL's `ref_model_mixup_alpha`.
    package let mixupAlpha: Double
    /// TRL's `ref_model_sync_steps`.
    package let everySteps: Int

    /// - Throws: `SettingsError` with everything that is wrong.
    package init(mixupAlpha: Double = 0.6, everySteps: Int = 512) throws(SettingsError) {
        var problems = Problems("referenceSync")
        problems.require(0 < mixupAlpha && mixupAlpha <= 1, "mixupAlpha", mixupAlpha, "above 0 and at most 1")
        problems.require(everySteps >= 1, "everySteps", everySteps, "at least 1")
        try problems.throwIfAny()
        self.mixupAlpha = mixupAlpha
        self.everySteps = everySteps
    }
}
