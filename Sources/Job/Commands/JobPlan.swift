package import Foundation
internal import Models
internal import RewardModels

/// What a job will take, worked out before anything is loaded.
package struct JobPlan {
    private let job: ResolvedJob
    private let model: ModelSource
    private let prompts: RunPrompts
    private let rewardModels: Int

    /// Reads the model's configuration and the prompt set; no weights.
    ///
    /// - Throws: The errors a run would begin with: a missing folder, a bad row, a prompt that is too long.
    package init(_ job: ResolvedJob, folder base: URL) throws {
        self.job = job
        model = try ModelSource(job.settings.modelPath ?? "", templateVariables: job.settings.chatTemplateVariables)
        prompts = try RunPrompts(job.settings, model, base: base)
        let folders = try job.settings.rewards.compactMap(\.modelReference).map {
            try RewardModelSettings.folder(of: $0, base: base)
        }
        rewardModels = try folders.reduce(0) { bytes, folder in
            try bytes + ClassifierConfiguration(folder: folder).trunk.parameterBytes(.float32)
        }
    }

    /// The plan as YAML comments, so that what `--dry-run` prints is still the job.
    package var comments: String {
        get throws {
            let settings = job.settings
            let memory = MemoryEstimate(job, model.configuration, rewardModels: rewardModels)
            var lines = prompts.lines
            lines.append(job.batches.line(generations: settings.numGenerations ?? 1))
            lines.append("\(try prompts.maxSteps(settings, job.batches)) optimizer steps")
            lines.append("recipe: " + job.recipe.calls.map(\.word).joined(separator: " → "))
            lines += memory.lines
            return lines.map { "# \($0)\n" }.joined()
        }
    }
}

/// Bytes a run needs at its peak, from the model's configuration and the job's limits.
struct MemoryEstimate {
    /// Weights, gradients, two moments.
    let training: Int
    let reference: Int
    /// Weights of reward models, held for the whole run.
    let rewardModels: Int
    let activations: Int
    let cache: Int
    /// What the process takes before it has a model: code, libraries, thread stacks.
    static let process = 350_000_000

    init(_ job: ResolvedJob, _ model: ModelConfiguration, rewardModels: Int) {
        self.rewardModels = rewardModels
        let settings = job.settings
        let type = settings.dtype.elementType
        training = 4 * model.parameterBytes(type)
        reference = job.recipe.calls.contains(.infer(.reference)) ? model.parameterBytes(type) : 0
        let tokens = min(
            settings.maxTokensPerMicroBatch, job.batches.completionsPerOptimizerStep * settings.maxCompletionLength * 2)
        activations = tokens * model.activationBytesPerToken(type, checkpointsBlocks: settings.gradientCheckpointing)
        let rows = settings.maxConcurrentCompletions ?? min(job.batches.completionsPerRolloutStep * 2, 256)
        cache = job.recipe.generates ? rows * settings.maxCompletionLength * model.keyValueBytesPerToken(type) : 0
    }

    /// Generation and training take turns; the cache and the activations are not held at once.
    var peak: Int { Self.process + training + reference + rewardModels + max(activations, cache) }

    var lines: [String] {
        [
            "memory, at most \(Self.text(peak)): weights, gradients and moments \(Self.text(training))"
                + (reference > 0 ? ", reference \(Self.text(reference))" : "")
                + (rewardModels > 0 ? ", reward models \(Self.text(rewardModels))" : "")
                + ", activations of a full micro-batch \(Self.text(activations))"
                + (cache > 0 ? " (or, while generating, keys and values \(Self.text(cache)))" : "")
        ]
    }

    private static func text(_ bytes: Int) -> String {
        bytes < 1_000_000_000 ? "\((bytes + 999_999) / 1_000_000) MB" : String(format: "%.1f GB", Double(bytes) / 1e9)
    }
}
