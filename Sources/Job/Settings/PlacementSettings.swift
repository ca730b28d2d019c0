internal import Coordinator
internal import Foundation
internal import Methods
internal import Models
package import Planning
internal import Records
internal import RolloutEngine
internal import Runs

/// `placement:`, a plan that the run carries out.
///
/// Of the plan come the layout that is trained and the one that is sampled from, how passes are cut, how many rows are
/// decoded at once, and the number of ranks; a key of the job that says otherwise is refused.
package struct PlacementSettings: Sendable {
    /// As the job names it.
    package let path: String
    package let plan: ExecutionPlan
    /// Identifies the plan, whatever its file's spaces.
    package let planHash: String

    private let trainer: CallSpec
    private let home: Assignment
    private let sampler: (call: CallSpec, own: Assignment)?

    /// Reads the plan and fills in the keys that it decides.
    ///
    /// - Parameter folder: Relative paths start here; `nil` where keys are explained and no file is meant.
    init?(reading job: inout SettingsReader, folder: URL?) {
        let given: String? = job.read(
            "placement", optional: nil,
            "A plan.json from plumbline plan --job that the run carries out: it decides dtype, generation_layout, max_tokens_per_micro_batch, max_concurrent_completions, tensor_parallel_size, generation_tensor_parallel_size, offload_optimizer and the number of processes; a key that says otherwise is refused. Relative to the job file (on the command line, to the working directory). A resumed run keeps its plan."
        )
        guard let given, let folder else { return nil }
        let read: ExecutionPlan
        do {
            read = try PlanMaking.plan(given.hasPrefix("/") ? URL(filePath: given) : folder.appending(path: given))
        } catch {
            job.refuse("placement", "placement: \(error)")
            return nil
        }
        let problems = read.problems() + read.runProblems
        for problem in problems { job.refuse("placement", "\(given): \(problem)") }
        guard problems.isEmpty, let trainer = read.graph.trainingCall(ofRole: "actor"),
            let home = read.assignments[trainer.name]
        else { return nil }
        let sampled = read.graph.calls.first { $0.kind == .generate }
        sampler = sampled.flatMap { call in read.assignments[call.name].map { (call, $0) } }
        (path, plan, planHash) = (given, read, read.planHash)
        (self.trainer, self.home) = (trainer, home)
        for decision in decisions { job.fill(decision.key, decision.value, from: "placement: \(given)") }
    }

    /// A key of the job that the plan decides.
    private struct Decision {
        let key: String
        let value: String
        /// The call whose assignment says so, and where in it.
        let call: CallSpec
        let field: String
        /// What that is to the job; `nil` for the key's value.
        var meaning: String?
        /// Whether a job says otherwise.
        let differs: (Reading) -> Bool
    }

    private var decisions: [Decision] {
        let type: JobElementType = home.layout == .fp32Master ? .float32 : .bfloat16
        let offloads = home.after.contains(.offloadOptimizer)
        let tokens = trainer.work.tokens(of: ExecutionPlan.sequences(of: trainer.work, home))
        let trained = [
            Decision(
                key: "dtype", value: type.rawValue, call: trainer, field: "the layout \(home.layout.rawValue)"
            ) { $0.model.dtype != type },
            Decision(
                key: TensorParallelism.trainingKey, value: "\(home.strategy.tensor)", call: trainer,
                field: "tp \(home.strategy.tensor)"
            ) { $0.tensorParallelism.size != home.strategy.tensor },
            Decision(
                key: "offload_optimizer", value: "\(offloads)", call: trainer,
                field: "after \(offloads ? "with" : "without") offloadOptimizer"
            ) { ($0.optimizerOffload.folder != nil) != offloads },
            Decision(
                key: "max_tokens_per_micro_batch", value: "\(tokens)", call: trainer,
                field: "microbatches \(home.microBatches)", meaning: "\(tokens) tokens a pass"
            ) {
                let asked = Self.sequences(of: trainer.work, maxTokens: $0.maxTokensPerMicroBatch)
                return ExecutionPlan.pieces(of: trainer.work, home, sequences: asked) != home.microBatches
            },
        ]
        guard let (call, own) = sampler else { return trained }
        let layout: GenerationLayout =
            switch own.layout {
            case .fp32Packed: .packed
            case .int8: .int8
            case .fp32Master, .bf16, .bf16WithMaster: .shared
            }
        let rows = ExecutionPlan.sequences(of: call.work, own)
        let sampled = [
            Decision(
                key: TensorParallelism.generationKey, value: "\(own.strategy.tensor)", call: call,
                field: "tp \(own.strategy.tensor)"
            ) { $0.tensorParallelism.generationSize != own.strategy.tensor },
            Decision(
                key: "generation_layout", value: layout.rawValue, call: call, field: "the layout \(own.layout.rawValue)"
            ) { $0.model.generationLayout != layout },
            Decision(
                key: "max_concurrent_completions", value: "\(rows)", call: call,
                field: "microbatches \(own.microBatches)", meaning: "\(rows) rows at once"
            ) {
                guard let given = $0.concurrent else { return false }
                return ExecutionPlan.pieces(of: call.work, own, sequences: given) != own.microBatches
            },
        ]
        return trained + sampled
    }

    /// The sequences that so many tokens are, all of full length; one at least.
    static func sequences(of work: CallSpec.Work, maxTokens: Int) -> Int {
        var fitting = 1
        while fitting < work.sequences, work.tokens(of: fitting + 1) <= maxTokens { fitting += 1 }
        return fitting
    }

    // MARK: Checks

    /// Refuses what the job says otherwise, and a plan of another job.
    func check(_ reading: Reading, _ job: inout SettingsReader) {
        for decision in decisions where decision.differs(reading) {
            let key = decision.key
            job.refuse(
                key,
                "\(key) is \(job.entry(key)?.value ?? "not set"), and \(path) says \(decision.field) of "
                    + "\(decision.call.name), which is \(decision.meaning ?? "\(key) \(decision.value)"); "
                    + "leave \(key) or placement out")
        }
        if reading.staleness.generationRanks > 0 {
            job.refuse(
                "generation_ranks",
                "generation_ranks is \(reading.staleness.generationRanks), and the calls of \(path) are on all ranks; "
                    + "leave generation_ranks or placement out")
        }
        if reading.model.residency == .keep {
            job.refuse(
                "residency",
                "residency is keep, and the calls of \(path) drop what a phase no longer needs; leave residency or "
                    + "placement out")
        }
        for difference in differences(from: reading.graph(promptTokens: 1), generates: reading.plan.recipe.generates) {
            job.refuse(
                "placement",
                "\(path) is a plan of another job: \(difference); make one with plumbline plan --job")
        }
    }

    /// In what the calls of the plan are not those of the job. Lengths of prompts are estimates, and so is what a
    /// method that samples nothing reads.
    private func differences(from own: DataflowGraph, generates: Bool) -> [String] {
        let calls = own.calls.filter { $0.kind != .host }
        let planned = plan.graph.calls.filter { $0.kind != .host }
        var differences = planned.filter { own.call(named: $0.name) == nil }.map { "it has the call \($0.name)" }
        for call in calls {
            guard let other = plan.graph.call(named: call.name) else {
                differences.append("it has no call \(call.name)")
                continue
            }
            if other.kind != call.kind || other.role != call.role {
                differences.append(
                    "\(call.name) is to \(other.kind.rawValue) with \(other.role ?? "nobody"), not to "
                        + "\(call.kind.rawValue) with \(call.role ?? "nobody")")
            }
            var numbers = [
                ("sequences", other.work.sequences, call.work.sequences),
                ("completionsPerPrompt", other.work.completionsPerPrompt, call.work.completionsPerPrompt),
                ("miniBatches", other.work.miniBatches, call.work.miniBatches),
            ]
            if generates { numbers.append(("newTokens", other.work.newTokens, call.work.newTokens)) }
            differences += numbers.filter { $0.1 != $0.2 }.map { "\(call.name) has \($0) \($1), the job \($2)" }
        }
        return differences
    }

    /// Refuses a run of another number of processes.
    ///
    /// - Throws: ``JobError`` with what to type.
    func require(ranks: Int) throws(JobError) {
        let planned = plan.cluster.devices
        guard ranks != planned else { return }
        throw JobError(
            place: "placement",
            message: "\(path) is for \(planned) process\(planned == 1 ? "" : "es"), and the run has \(ranks); type "
                + (planned == 1 ? "plumbline train JOB" : "plumbline launch -n \(planned) train JOB")
                + ", or make a plan with plumbline plan --job JOB -n \(ranks)")
    }

    /// Refuses a run of other models than the plan is for, or one that steps with something else.
    ///
    /// - Parameter base: The job file's folder.
    /// - Throws: ``JobError`` with the first difference, and the errors of models that cannot be read.
    func require(_ model: ModelSource, of job: ResolvedJob, base: URL) throws {
        let own = try JobSizes.models(of: job, model, folder: base)
        guard let found = difference(of: own, in: job) else { return }
        throw JobError(
            place: "placement",
            message: "\(path) is a plan of another job: \(found); make one with plumbline plan --job")
    }

    private func difference(
        of own: (shapes: [String: ModelShape], optimizers: [String: CallSpec.Work.Optimizer]), in job: ResolvedJob
    ) -> String? {
        for role in plan.graph.roles {
            // A reference is the policy as it starts, unless it is another model.
            guard let planned = plan.models[role],
                let found = own.shapes[role] ?? (role == "reference" ? own.shapes["actor"] : nil), planned != found
            else { continue }
            let other = role == "actor" ? job.model.path : "that of the job"
            return "its \(role) has \(planned.layers) layers of \(planned.hiddenSize), "
                + "\(planned.heads) heads and \(planned.vocabularySize) words, or differs in something smaller; "
                + "\(other) has \(found.layers) of \(found.hiddenSize), \(found.heads) and \(found.vocabularySize)"
        }
        for call in plan.graph.calls where call.kind == .train {
            let role = call.role ?? ""
            guard let planned = call.work.optimizer, let found = own.optimizers[role], planned != found
            else { continue }
            return "\(planned.name) over \(planned.parameters) numbers trains its \(role), here it is "
                + "\(found.name) over \(found.parameters)"
        }
        guard trainer.work.recomputes != job.checkpointsBlocks else { return nil }
        return "gradient_checkpointing is \(trainer.work.recomputes) there, and \(job.checkpointsBlocks) here"
    }

    /// What a start under a plan, or without one, says of the checkpoint that it goes on from.
    ///
    /// - Throws: ``JobError`` where both have a plan and not the same.
    static func notices(resuming checkpoint: CheckpointFolder, _ placement: PlacementSettings?) throws -> [String] {
        let saved = try CheckpointManifest(readingFrom: checkpoint.url)?.planHash
        switch (saved, placement) {
        case (nil, nil): return []
        case (nil, let placement?):
            return ["note: the checkpoint was made without a plan; from here on it is \(placement.path)"]
        case (let saved?, nil):
            return ["note: the checkpoint was made under the plan \(saved.prefix(12)); from here on the keys decide"]
        case (let saved?, let placement?):
            guard saved != placement.planHash else { return [] }
            throw JobError(
                place: checkpoint.url.path,
                message: "it was made under the plan \(saved.prefix(12)), and placement: \(placement.path) is "
                    + "\(placement.planHash.prefix(12)); go on with the plan it had, or leave placement out and set the "
                    + "keys it stands for")
        }
    }

    /// One line for the start of a run.
    package var line: String {
        "placement: \(path), planHash \(planHash.prefix(12)), \(plan.cluster.devices) "
            + "rank\(plan.cluster.devices == 1 ? "" : "s")"
    }
}

extension ResolvedJob {
    /// Refuses a run of another number of processes than the job's plan is for, or than can share its layers.
    ///
    /// - Throws: ``JobError`` with what to type.
    package func require(ranks: Int) throws(JobError) {
        try placement?.require(ranks: ranks)
        try tensorParallelism.require(ranks: ranks)
    }

    /// Refuses other models than those of the job's plan, or one whose layers the processes cannot share.
    ///
    /// - Parameter base: The job file's folder.
    func require(_ model: ModelSource, base: URL) throws {
        try placement?.require(model, of: self, base: base)
        try tensorParallelism.require(model)
    }
}
