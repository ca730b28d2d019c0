package import Methods
package import Models
package import Placement
package import PolicyUpdater

extension MemoryEstimate {
    /// What of a run decides what it holds: one process that trains a whole model and nothing else, unless it is set.
    package struct Settings: Sendable {
        /// The policy's.
        package var model: ModelConfiguration
        package var sizes: Sizes
        /// What passes compute in.
        package var type: JobElementType = .float32
        /// What is trained of the policy, and of a critic.
        package var trained: TrainedWeights = .all
        /// What the matrices under adapters are kept as.
        package var base: WeightStorage = .whole
        package var optimizer: OptimizerSettings = .init(schedule: .init(.constant, totalSteps: 1))
        /// Whether what it keeps lies in a file, of which a step has one parameter's in memory.
        package var offloadsOptimizer = false
        package var reference: MethodPlan.Reference?
        /// The reference's configuration where it is another model.
        package var teacher: ModelConfiguration?
        /// Whether the reference is the pages of its files, in memory while it scores alone.
        package var mapsReference = false
        /// That of a critic of its own weights, trained in the policy's steps; `nil` without one.
        package var critic: ModelConfiguration?
        /// Whether its adapters are trained on the policy's base.
        package var criticSharesBase = false
        /// Bytes of the weights of reward models, held for the whole run.
        package var rewardModels = 0
        /// How the weights lie while completions are sampled.
        package var layout: GenerationLayout = .shared
        /// Whether what sampling needs stays in memory while the weights are trained.
        package var residency: Residency = .release
        /// How many processes share what is trained; each reads whole weights to score, and has what is not trained whole.
        package var tensorParallel = 1
        /// How many share what is sampled with, and its cache; of parts that are trained each reads whole ones to sample
        /// where it is 1, and has its part beside them where it is another number.
        package var generationParallel = 1
        /// How many have the same of what is trained, and keep a share of the optimizer's state each; to save it, the first
        /// has all.
        package var replicas = 1
        /// Whether some completions, as those of evaluations, are sampled by a process alone where several sample together.
        package var samplesAlone = false
        /// Bytes of keys and values of what a process samples alone beside the completions that are learned from: each has
        /// a cache of its own.
        package var otherCaches: [Int] = []
        /// Most bytes of the products that sampling keeps for the update.
        package var forwardCacheLimit = 0
        /// Whether the policy's own log-probs are computed apart from training; the reference's are where there is one.
        package var scoresPolicy = false
        /// Whether a step is foreseen, to weigh the parts of a batch.
        package var takesMetaGradient = false
        /// Gradients that a step compares before it is taken, one of each stream of advantages; 0 for none.
        package var comparedStreams = 0
        /// Gradients that a step measures its parts by, beside their sum; 0 for none.
        package var measuredParts = 0

        package init(_ model: ModelConfiguration, _ sizes: Sizes) { (self.model, self.sizes) = (model, sizes) }

        /// What sampling keeps of one token for the update.
        var productBytesPerToken: Int { ForwardCache.bytesPerToken(model, type.elementType) }
        /// Sums of matrices with what adapters add to them: of a base in eight bits there are none.
        var adaptedSums: Int { base == .int8 ? 0 : model.adaptedMatrixCount * type.elementType.byteCount }
    }

    /// How much a step samples and learns from.
    package struct Sizes: Sendable {
        package var promptLength: Int
        package var completionLength: Int
        package var completionsPerPrompt: Int
        package var completionsPerOptimizerStep: Int
        /// Completions decoded at a time; 0 for a method that does not generate.
        package var rows: Int
        /// Prompts whose keys and values are kept for them; `nil` for a share of one for each row.
        package var promptSlots: Int?
        package var maxTokensPerMicroBatch: Int
        package var checkpointsBlocks: Bool

        package init(
            promptLength: Int, completionLength: Int, completionsPerPrompt: Int, completionsPerOptimizerStep: Int,
            rows: Int, promptSlots: Int? = nil, maxTokensPerMicroBatch: Int, checkpointsBlocks: Bool = false
        ) {
            (self.promptLength, self.completionLength) = (promptLength, completionLength)
            self.completionsPerPrompt = completionsPerPrompt
            self.completionsPerOptimizerStep = completionsPerOptimizerStep
            (self.rows, self.promptSlots) = (rows, promptSlots)
            self.maxTokensPerMicroBatch = maxTokensPerMicroBatch
            self.checkpointsBlocks = checkpointsBlocks
        }

        private var group: Int { promptLength + completionsPerPrompt * completionLength }
        private var groups: Int {
            (completionsPerOptimizerStep + completionsPerPrompt - 1) / max(completionsPerPrompt, 1)
        }

        /// Tokens that sampling keeps keys and values of.
        var cachedTokens: Int {
            rows * completionLength
                + (promptSlots.map { $0 * promptLength } ?? rows * (promptLength / max(completionsPerPrompt, 1)))
        }
        /// Packed tokens of an optimizer step: each prompt once.
        var tokensPerStep: Int { groups * group }
        /// Whether one backward pass takes the whole optimizer step.
        var isOnePass: Bool { tokensPerStep <= maxTokensPerMicroBatch }
        /// Packed tokens of the longest backward pass: whole groups where they fit.
        var tokensPerPass: Int {
            if isOnePass { return tokensPerStep }
            return group <= maxTokensPerMicroBatch ? maxTokensPerMicroBatch / group * group : maxTokensPerMicroBatch
        }
        /// Completion tokens of that pass, each of which is scored. A completion is never cut.
        var rowsPerPass: Int {
            let completions = completionsPerPrompt * completionLength
            guard group > maxTokensPerMicroBatch, !isOnePass else { return tokensPerPass / group * completions }
            return min(completions, max(completionLength, maxTokensPerMicroBatch - promptLength))
        }
    }
}
