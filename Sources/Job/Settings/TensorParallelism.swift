internal import Algorithms
internal import Coordinator
internal import Methods
internal import Models
internal import PolicyUpdater
internal import Records

/// `tensor_parallel_size:`, how many processes of a run compute each layer of a training pass together, each with a part
/// of its weights, their gradients and what the optimizer keeps of them. Sampling and scoring read whole weights.
package struct TensorParallelism: Sendable, Equatable {
    package let size: Int

    /// - Parameter calls: What the job is made of, to be refused by name where it reads whole weights in its passes.
    init(
        reading job: inout SettingsReader, method: String, plan: MethodPlan, model: ModelSettings,
        optimizer: OptimizerSettings, staleness: Staleness
    ) {
        size = job.read(
            "tensor_parallel_size", default: 1, .from(1, to: 64),
            "Processes of plumbline launch or torchrun, one after the other, that compute each layer of a training pass together (Megatron's tensor parallelism, arXiv:1909.08053): each has a part of the heads, of the feed-forward part and of the words, with its gradients and moments; norms are whole on each. It divides the number of processes, the model's heads, key and value heads and intermediate_size; passes are divided among the groups. Sampling and scoring read whole weights, brought together after each step and gone while the next one is trained. Checkpoints are whole, and go on under any number."
        )
        guard size > 1 else { return }
        for (key, problem) in Self.problems(method, plan, model, optimizer, staleness) {
            job.refuse(
                job.isGiven(key) ? key : "tensor_parallel_size",
                "tensor_parallel_size is \(size), and \(problem), which is not built for layers that processes share; "
                    + "expected 1")
        }
    }

    /// What of a job needs whole layers where it trains, each with its key.
    static func problems(
        _ method: String, _ plan: MethodPlan, _ model: ModelSettings, _ optimizer: OptimizerSettings,
        _ staleness: Staleness
    ) -> [(key: String, problem: String)] {
        var problems: [(String, String)] = []
        if model.dtype == .bfloat16 { problems.append(("dtype", "dtype is bfloat16")) }
        switch model.trained {
        case .all: break
        case .adapters: problems.append(("use_peft", "use_peft trains adapters"))
        case .matching, .half: problems.append(("trainable", "trainable leaves some of the weights as they are"))
        }
        if !optimizer.stepsElementByElement {
            problems.append(("optim", "the step of \(optimizer.stepName) reads whole matrices or blocks of them"))
        }
        if plan.critic != nil { problems.append(("algorithm", "\(method) has a critic")) }
        if plan.heads != nil { problems.append(("algorithm", "\(method) trains the heads of a reward model")) }
        if plan.softThinking != nil { problems.append(("algorithm", "\(method) learns from mixtures of words")) }
        if plan.parts.contains(where: \.objective.needsExactDivergence) {
            problems.append(("algorithm", "the loss reads a divergence over the whole vocabulary"))
        }
        if plan.reference?.sync != nil {
            problems.append(("sync_ref_model", "the reference follows the policy (sync_ref_model)"))
        }
        if case .mixing(let mixing) = plan.weighing, mixing.calibration != nil {
            problems.append(("bvpo", "bvpo measures its gradients by a sketch"))
        }
        if staleness.generationRanks > 0 {
            problems.append(("generation_ranks", "generation_ranks is \(staleness.generationRanks)"))
        }
        return problems
    }

    /// Refuses a model whose layers so many processes cannot share.
    func require(_ model: ModelSource) throws(JobError) {
        guard let problem = model.configuration.problem(tensorParallel: size) else { return }
        throw JobError(place: "tensor_parallel_size", message: "is \(size), and \(problem) (\(model.folder.path))")
    }

    /// Refuses a run of a number of processes that it does not divide.
    func require(ranks: Int) throws(JobError) {
        guard ranks % size != 0 else { return }
        let run = ranks == 1 ? "the run is one process" : "the run has \(ranks) processes"
        throw JobError(
            place: "tensor_parallel_size",
            message: "is \(size), and \(run); expected a divisor of their number: start it with plumbline launch -n "
                + "\(size) train, or leave the key out")
    }

    /// What comes of it, as `--dry-run` and the start of a run print it; `nil` where nothing does.
    package var line: String? {
        guard size > 1 else { return nil }
        return "each layer of a training pass is shared by \(size) processes (tensor_parallel_size: \(size)); "
            + "sampling and scoring read whole weights"
    }
}
