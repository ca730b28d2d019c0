internal import Algorithms
internal import Coordinator
internal import Methods
internal import Models
internal import PolicyUpdater
internal import Records

/// `tensor_parallel_size:` and `generation_tensor_parallel_size:`, how many processes of a run compute each layer
/// together, each with a part of its weights: of a training pass, with their gradients and what the optimizer keeps of
/// them, and of sampling, with their keys and values. Scoring reads whole weights. What is not trained,
/// as a model under adapters, is whole in each, which reads its part of it.
package struct TensorParallelism: Sendable, Equatable {
    /// Processes that share a layer in training passes.
    package let size: Int
    /// Processes that share a layer while sampling.
    package let generationSize: Int

    static let trainingKey = "tensor_parallel_size"
    static let generationKey = "generation_tensor_parallel_size"

    /// Reads the keys, and refuses by name what of the job reads whole weights in what is to be shared.
    init(
        reading job: inout SettingsReader, method: String, plan: MethodPlan, model: ModelSettings,
        optimizer: OptimizerSettings, staleness: Staleness
    ) {
        size = job.read(
            Self.trainingKey, default: 1, .from(1, to: 64),
            "How many consecutive processes of plumbline launch or torchrun compute each layer of a training pass together (Megatron's tensor parallelism, arXiv:1909.08053). Each holds a part of the heads, the feed-forward part and the vocabulary, with its gradients and moments; norms are whole on each. It divides the number of processes, the model's heads, key and value heads and intermediate_size; passes are divided among the groups. Scoring, evaluations, checkpoints and sampling without generation_tensor_parallel_size read whole weights, gathered when first needed and dropped while the next step is trained. Weights frozen by use_peft or trainable are whole on each process, which computes with its part of them; only adapters or trained weights are divided and gathered. A separate critic is whole on each, and its passes and moments are divided among all; one on the policy's trunk is divided with it. Checkpoints continue under any number."
        )
        generationSize =
            plan.recipe.generates
            ? job.read(
                Self.generationKey, default: 1, .from(1, to: 64),
                "How many consecutive processes sample together, each with its part of the weights and of the keys and values (TRL's vllm_tensor_parallel_size, verl's rollout.tensor_model_parallel_size): they decode the completions of all of them, then each goes on with its own. It divides what tensor_parallel_size does. If both are equal, the trained parts are sampled with directly; from whole weights, each process reads its part; neither sends anything. Between two other numbers, each process is sent what it lacks of its part, once per step. Completions match those of one process to rounding; evaluations sample in the first process alone."
            ) : 1
        if size > 1 {
            Self.refuse(Self.trainingKey, size, Self.problems(method, plan, model, optimizer, staleness), &job)
        }
        if generationSize > 1 {
            Self.refuse(Self.generationKey, generationSize, Self.generationProblems(plan, model, staleness), &job)
        }
    }

    private static func refuse(
        _ key: String, _ size: Int, _ problems: [(key: String, problem: String)], _ job: inout SettingsReader
    ) {
        for (cause, problem) in problems {
            job.refuse(
                job.isGiven(cause) ? cause : key,
                "\(key) is \(size), and \(problem), which is not built for layers that processes share; expected 1")
        }
    }

    /// A matrix in eight bits is kept in an order of its own, of which a part is no narrower matrix.
    private static let inEightBits = ("load_in_8bit", "load_in_8bit keeps the model under adapters in eight bits")

    /// What of a job needs whole layers where it samples, each with its key.
    static func generationProblems(
        _ plan: MethodPlan, _ model: ModelSettings, _ staleness: Staleness
    ) -> [(key: String, problem: String)] {
        var problems: [(String, String)] = []
        if model.dtype == .bfloat16 { problems.append(("dtype", "dtype is bfloat16")) }
        if model.generationLayout == .int8 {
            problems.append(("generation_layout", "generation_layout is int8"))
        }
        if model.base != .whole { problems.append(Self.inEightBits) }
        if plan.softThinking != nil { problems.append(("algorithm", "completions think in mixtures of words")) }
        if staleness.generationRanks > 0 {
            problems.append(("generation_ranks", "generation_ranks is \(staleness.generationRanks)"))
        }
        return problems
    }

    /// What of a job needs whole layers where it trains, each with its key.
    static func problems(
        _ method: String, _ plan: MethodPlan, _ model: ModelSettings, _ optimizer: OptimizerSettings,
        _ staleness: Staleness
    ) -> [(key: String, problem: String)] {
        var problems: [(String, String)] = []
        if model.dtype == .bfloat16 { problems.append(("dtype", "dtype is bfloat16")) }
        if model.base != .whole { problems.append(Self.inEightBits) }
        if !optimizer.stepsElementByElement {
            problems.append(("optim", "the step of \(optimizer.stepName) reads whole matrices or blocks of them"))
        }
        if plan.heads != nil { problems.append(("algorithm", "\(method) trains the heads of a reward model")) }
        if plan.softThinking != nil { problems.append(("algorithm", "\(method) learns from mixtures of words")) }
        if plan.parts.contains(where: \.objective.needsExactDivergence) {
            problems.append(("algorithm", "the loss reads a divergence over the whole vocabulary"))
        }
        if plan.reference?.sync != nil {
            problems.append(("sync_ref_model", "the reference follows the policy (sync_ref_model)"))
        }
        if case .thinkingBalance(let balance) = plan.weighing, balance.calibration != nil {
            problems.append(("bvpo", "bvpo measures its gradients by a sketch"))
        }
        if staleness.generationRanks > 0 {
            problems.append(("generation_ranks", "generation_ranks is \(staleness.generationRanks)"))
        }
        return problems
    }

    /// The keys that ask for shared layers, with their numbers.
    private var asked: [(key: String, size: Int)] {
        let all: [(key: String, size: Int)] = [
            (Self.trainingKey, size), (Self.generationKey, generationSize),
        ]
        return all.filter { $0.size > 1 }
    }

    /// Refuses a model whose layers so many processes cannot share.
    func require(_ model: ModelSource) throws(JobError) {
        for (key, size) in asked {
            guard let problem = model.configuration.problem(tensorParallel: size) else { continue }
            throw JobError(place: key, message: "is \(size), and \(problem) (\(model.folder.path))")
        }
    }

    /// Refuses a run of a number of processes that it does not divide.
    func require(ranks: Int) throws(JobError) {
        for (key, size) in asked where ranks % size != 0 {
            let run = ranks == 1 ? "the run is one process" : "the run has \(ranks) processes"
            throw JobError(
                place: key,
                message:
                    "is \(size), and \(run); expected a divisor of their number: start it with plumbline launch -n "
                    + "\(size) train, or leave the key out")
        }
    }

    /// What comes of it, as `--dry-run` and the start of a run print it.
    package var lines: [String] {
        var lines: [String] = []
        if size > 1 {
            lines.append(
                "each layer of a training pass is shared by \(size) processes (tensor_parallel_size: \(size)); "
                    + (generationSize > 1 ? "scoring reads" : "sampling and scoring read") + " whole weights")
        }
        if generationSize > 1 {
            lines.append(
                "\(generationSize) processes sample together, each with a part of every layer "
                    + "(generation_tensor_parallel_size: \(generationSize))")
        }
        return lines
    }
}
