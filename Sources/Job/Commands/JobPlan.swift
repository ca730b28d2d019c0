package import Foundation
internal import Models
internal import RewardModels

/// What a job will take, worked out before anything is loaded.
package struct JobPlan {
    private let job: ResolvedJob
    private let model: ModelSource
    private let prompts: RunPrompts
    private let rewardModels: Int
    private let evaluated: [EvaluatedSet]
    private let teacher: TeacherSource?
    private let critic: CriticSource?
    private let criticModel: ModelConfiguration?
    private let ranks: Int

    /// Reads the model's configuration and the prompt set; no weights.
    ///
    /// - Parameters:
    ///   - ranks: Processes of the run.
    ///   - progress: Is told of the rows that are read.
    /// - Throws: The errors a run would begin with: a missing folder, a device that is not there, a bad row, a prompt
    ///   that is too long.
    package init(_ job: ResolvedJob, folder base: URL, ranks: Int = 1, progress: ProgressNote? = nil) throws {
        self.job = job
        self.ranks = ranks
        model = try ModelSource(
            job.model.path, job.model.reading, trained: job.model.trained, device: job.model.device)
        try job.require(model, base: base)
        try job.requireOwnOutput(model, base: base)
        prompts = try RunPrompts(job, model, RunPromptSets(job.data, base: base), progress: progress)
        teacher = try job.plan.reference?.model.map { [model] in try TeacherSource($0, of: model) }
        if case .separate(let name, _) = job.plan.critic?.form {
            critic = try CriticSource(name, of: model)
        } else {
            critic = nil
        }
        criticModel = try critic?.configuration(of: model)
        let evaluation = try EvaluationPrompts(job, model, base: base)
        _ = try EvaluationPairs(job, model, base: base)
        let guarded = try GuardedSets(job, model, base: base)
        let sampled = [evaluation?.prompts] + guarded.all.map(\.content.prompts)
        evaluated = sampled.compactMap { $0.map { EvaluatedSet($0) } }
        let rewards = job.rewards?.entries ?? []
        try RewardAssembly.check(rewards)
        let folders = try rewards.compactMap(\.modelReference).map {
            try RewardModelSettings.folder(of: $0, base: base)
        }
        rewardModels = try folders.reduce(0) { bytes, folder in
            try bytes + ClassifierConfiguration(folder: folder).trunk.parameterBytes(.float32)
        }
    }

    /// Whether the reference, or the teacher in its place, is read from its files' pages.
    private var mapsReference: Bool {
        guard let reference = job.plan.reference, reference.sync == nil else { return false }
        if teacher == nil, model.isAdapted { return false }
        // A folder that has its configuration alone can be planned with.
        let files = try? (teacher?.model ?? model).mappable(job.model.dtype)
        return files != nil
    }

    /// The plan as YAML comments, so that what `--dry-run` prints is still the job.
    package var comments: String {
        get throws {
            let memory = MemoryEstimate(
                job, model.configuration, trained: Set(model.trainedNames), teacher: teacher?.model.configuration,
                mapsReference: mapsReference, rewardModels: rewardModels, critic: criticModel,
                criticTrained: criticModel.map { Set(model.trained.names(in: $0)) },
                criticSharesBase: critic?.sharesBase ?? false,
                promptLength: try prompts.longestPrompt(among: 256), pairs: prompts.pairs, evaluated: evaluated,
                ranks: ranks)
            var lines = try ModelFolder.summary(ofGGUF: model.folder).map { ["model: \($0)"] } ?? []
            lines += prompts.lines
            lines.append(job.batches.line)
            lines.append("\(try prompts.maxSteps(job)) optimizer steps")
            lines += model.trainedLines
            if let critic, model.isAdapted {
                lines.append(
                    "the critic trains its value head and adapters of its own over "
                        + (critic.sharesBase ? "the policy's base" : "a base of its own, \(critic.folder.path)"))
            }
            lines.append("recipe: " + job.recipe.words)
            lines += [job.staleness.line].compactMap(\.self) + job.tensorParallelism.lines
            if let placement = job.placement { lines.append(placement.line) }
            if ranks > 1 {
                lines.append(
                    "\(ranks) processes, each with its share of every step; the memory that follows is that of the first"
                )
            }
            lines += memory.lines
            return lines.map { "# \($0)\n" }.joined()
        }
    }
}
