package import Foundation
package import Records

/// Settings of ``PolicyUpdater``.
package struct UpdaterSettings: Sendable, Equatable {
    package let optimizer: OptimizerSettings
    /// The job's limit on a completion's tokens: L of Dr. GRPO.
    package let maxCompletionLength: Int
    /// Tokens of one forward and backward pass, prompts included; `nil` computes a batch in one. Never changes the
    /// result.
    package let maxTokensPerMicroBatch: Int?
    /// Whether activations inside a block are computed again in the backward pass instead of being kept.
    package let checkpointsBlocks: Bool
    /// How the reference policy follows the policy; `nil` leaves it as loaded.
    package let referenceSync: ReferenceSync?
    /// Optimizer steps from one measurement of the gradients of a loss's parts to the next; 0 for none.
    package let partGradientSteps: Int
    /// Addresses what is dropped of adapters' inputs, together with the step.
    package let dropoutSeed: UInt64
    /// Where what the optimizer keeps lies in a file between steps; `nil` for memory.
    package let stateFolder: URL?
    /// Where what ranks keep of parameters that they share comes together to be saved, in a file; `nil` for memory.
    package let scratchFolder: URL?

    package init(
        optimizer: OptimizerSettings, maxCompletionLength: Int = 512,
        maxTokensPerMicroBatch: Int? = nil, checkpointsBlocks: Bool = false, referenceSync: ReferenceSync? = nil,
        partGradientSteps: Int = 0, dropoutSeed: UInt64 = 0, stateFolder: URL? = nil, scratchFolder: URL? = nil
    ) {
        self.scratchFolder = scratchFolder
        self.stateFolder = stateFolder
        self.dropoutSeed = dropoutSeed
        self.optimizer = optimizer
        self.maxCompletionLength = maxCompletionLength
        self.maxTokensPerMicroBatch = maxTokensPerMicroBatch
        self.checkpointsBlocks = checkpointsBlocks
        self.referenceSync = referenceSync
        self.partGradientSteps = partGradientSteps
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

    package init(mixupAlpha: Double = 0.6, everySteps: Int = 512) {
        self.mixupAlpha = mixupAlpha
        self.everySteps = everySteps
    }

    /// `nil` where the reference stays as loaded.
    ///
    /// - Parameter hasReference: Whether the method loads a reference policy.
    package init?(reading job: inout SettingsReader, hasReference: Bool) {
        let isWanted = job.read(
            "sync_ref_model", default: false,
            "Moves the reference towards the policy every ref_model_sync_steps optimizer steps (TR-DPO, arXiv:2404.09656)."
        )
        mixupAlpha = job.read(
            "ref_model_mixup_alpha", default: 0.6, .above(0, atMost: 1),
            "π_ref ← α π + (1 − α) π_ref at each sync (arXiv:2404.09656).")
        everySteps = job.read(
            "ref_model_sync_steps", default: 512, .atLeast(1),
            "Optimizer steps between two syncs of the reference (arXiv:2404.09656).")
        if isWanted, !hasReference {
            job.refuse(
                "sync_ref_model", "sync_ref_model needs a reference policy, and the job loads none; set beta above 0")
        }
        guard isWanted else {
            job.ignore("ref_model_mixup_alpha", "ref_model_sync_steps")
            return nil
        }
    }
}
