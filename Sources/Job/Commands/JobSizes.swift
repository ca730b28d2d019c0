internal import Foundation
internal import Methods
package import Models
package import Planning
internal import PolicyUpdater
internal import RewardModels

/// What a job's own files say of its calls: shapes of models, lengths of texts, bytes of optimizers.
struct JobSizes {
    let shapes: [String: ModelShape]
    let promptTokens: Int
    /// `nil` for the longest that may be sampled.
    let newTokens: Int?
    let optimizers: [String: CallSpec.Work.Optimizer]
    let shards: Shards

    /// Ranks that may share a layer: as many as the job says, or those that it and its model allow.
    struct Shards {
        /// Where it is trained.
        let training: [Int]
        /// Where it is sampled from.
        let generation: [Int]

        static let whole = Shards(training: [1], generation: [1])
    }

    /// - Parameter given: Tokens of a prompt; `nil` reads the prompt set.
    init(_ job: ResolvedJob, folder base: URL, promptTokens given: Int?) throws {
        let model = try ModelSource(job.model.path, job.model.reading, trained: job.model.trained)
        if let given {
            (promptTokens, newTokens) = (given, nil)
        } else {
            let longest = try RunPrompts(job, model, RunPromptSets(job.data, base: base)).longest(among: 256)
            (promptTokens, newTokens) = (max(1, longest.prompt), longest.completion)
        }
        let configuration = model.configuration
        func sizes(_ key: String, _ size: Int, _ problems: [(key: String, problem: String)]) -> [Int] {
            guard !job.isGiven(key) else { return [size] }
            return [1]
                + [2, 4, 8].filter { problems.isEmpty && configuration.problem(tensorParallel: $0) == nil }
        }
        let own = job.tensorParallelism
        shards = Shards(
            training: sizes(
                TensorParallelism.trainingKey, own.size,
                TensorParallelism.problems(job.method, job.plan, job.model, job.optimizer, job.staleness)),
            generation: job.recipe.generates
                ? sizes(
                    TensorParallelism.generationKey, own.generationSize,
                    TensorParallelism.generationProblems(job.plan, job.model, job.staleness)) : [1])
        (shapes, optimizers) = try Self.models(of: job, model, folder: base)
    }

    /// The models of a job's roles and what those that are trained step with; a reference that is the policy has none of
    /// its own.
    static func models(
        of job: ResolvedJob, _ model: ModelSource, folder base: URL
    ) throws -> (shapes: [String: ModelShape], optimizers: [String: CallSpec.Work.Optimizer]) {
        var shapes = ["actor": ModelShape(model.configuration)]
        if let teacher = job.plan.reference?.model { shapes["reference"] = try PlanMaking.shape(of: teacher) }
        for (role, reference) in job.rewards?.modelRoles ?? [] {
            let classifier = try ClassifierConfiguration(
                folder: RewardModelSettings.folder(of: reference, base: base))
            shapes[role] = ModelShape(classifier.trunk).withValues()
        }
        var optimizers = ["actor": optimizer(of: job, model.trained, model.configuration)]
        if case .separate(let name, _) = job.plan.critic?.form {
            let critic = try CriticSource(name, of: model).configuration(of: model)
            shapes["critic"] = ModelShape(critic).withValues(job.plan.critic?.heads ?? 1)
            optimizers["critic"] = optimizer(of: job, model.trained, critic)
        }
        return (shapes, optimizers)
    }

    /// What steps what is trained of a model.
    private static func optimizer(
        of job: ResolvedJob, _ trained: TrainedWeights, _ model: ModelConfiguration
    ) -> CallSpec.Work.Optimizer {
        let (shapes, type) = (trained.shapes(in: model), job.model.dtype.masterType)
        return CallSpec.Work.Optimizer(
            name: job.optimizer.rule.name, parameters: shapes.reduce(0) { $0 + $1.count },
            stateBytes: shapes.reduce(0) { $0 + job.optimizer.stateBytes(of: $1.name, shape: $1.shape, type) })
    }
}

extension ModelShape {
    /// The shape that a configuration states.
    package init(_ configuration: ModelConfiguration) {
        self.init(
            layers: configuration.layers, hiddenSize: configuration.hiddenSize,
            intermediateSize: configuration.intermediateSize, heads: configuration.heads,
            keyValueHeads: configuration.keyValueHeads, headSize: configuration.headSize,
            vocabularySize: configuration.vocabularySize, output: configuration.tiesEmbeddings ? .tied : .head,
            normalizesQueriesAndKeys: configuration.normalizesQueriesAndKeys)
        if configuration.biases.queryKeyValue { biases.insert(.queryKeyValue) }
        if configuration.biases.attentionOutput { biases.insert(.attentionOutput) }
        if configuration.biases.feedForward { biases.insert(.feedForward) }
    }
}
