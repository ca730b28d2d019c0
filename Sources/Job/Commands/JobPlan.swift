package import Foundation
internal import Models
internal import Records
internal import RewardModels

/// What a job will take, worked out before anything is loaded.
package struct JobPlan {
    let job: ResolvedJob
    let model: ModelSource
    let prompts: RunPrompts
    let rewardModels: Int
    /// Prompts that the run samples completions of without learning from these, and the tokens of the longest.
    let evaluated: [(prompts: Int, longest: Int)]
    let teacher: TeacherSource?
    let critic: CriticSource?
    let criticModel: ModelConfiguration?
    let ranks: Int

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
        evaluated = sampled.compactMap(\.self).map { prompts in
            (prompts: prompts.count, longest: prompts.map(\.tokenIDs.count).max() ?? 0)
        }
        let rewards = job.rewards?.entries ?? []
        try RewardAssembly.check(rewards, folder: base)
        let folders = try rewards.compactMap(\.modelReference).map {
            try RewardModelSettings.folder(of: $0, base: base)
        }
        rewardModels = try folders.reduce(0) { bytes, folder in
            try bytes + ClassifierConfiguration(folder: folder).trunk.parameterBytes(.float32)
        }
    }

    /// The plan as YAML comments, so that what `--dry-run` prints is still the job.
    package var comments: String {
        get throws {
            let memory = try memory()
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
            lines += [memory.line, try disk(memory)]
            return lines.map { "# \($0)\n" }.joined()
        }
    }

    /// What the run's checkpoints and its final model take at most, unless optimizer steps are skipped.
    private func disk(_ memory: MemoryEstimate) throws -> String {
        let (steps, every) = (try prompts.maxSteps(job), job.run.saveSteps)
        let saves = steps / every + (steps % every == 0 ? 0 : 1)
        // The newest is there before the oldest goes, and the best stays beside them.
        let most = job.run.saveTotalLimit.map { max($0, 2) + (job.run.bestMetric == nil ? 1 : 2) } ?? saves
        let count = min(saves, most)
        // Numbers of steps that nobody takes are allowed.
        let bytes = Int(min(Double(count) * Double(memory.checkpoint) + Double(memory.savedModel), 1e18))
        let all = count == 1 ? "its one checkpoint is kept" : "all \(count) are kept"
        // After a skipped step none goes until a save without one.
        let more = saves > count ? ", more while optimizer steps are being skipped" : ""
        let kept =
            job.run.saveTotalLimit.map { "save_total_limit is \($0): up to \(count) at a time\(more)" }
            ?? "save_total_limit is not set: \(all)"
        return "disk, about \(MemoryEstimate.text(bytes)) for checkpoints of \(MemoryEstimate.text(memory.checkpoint)) "
            + "and the final model; \(kept)"
    }
}
