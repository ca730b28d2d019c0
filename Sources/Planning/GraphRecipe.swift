package import Records

// A method's step as a graph, from its own recipe.

/// What a step recipe leaves open: which rewards there are, whose the critic is, how much there is to do.
package struct GraphSettings: Sendable {
    /// Reward and cost models, one call each.
    package var rewardModels: [String]
    /// Milliseconds of the rewards that are programs; `nil` where there are none.
    package var rewardMilliseconds: Int?
    package var critic: Critic
    /// Prompts of an iteration.
    package var prompts: Int
    package var promptTokens: Int
    /// Tokens of each completion.
    package var newTokens: Int
    /// Optimizer steps of a pass over the sequences.
    package var miniBatches: Int
    /// Passes over the sequences of an iteration: a training call reads so many times as many.
    package var passes: Int
    package var recomputes: Bool
    /// What each trained role steps with, by its name; AdamW where it is not said.
    package var optimizers: [String: CallSpec.Work.Optimizer]

    package enum Critic: Sendable, Hashable {
        case none
        /// A head on the policy.
        case shared
        /// A model that is trained beside it.
        case separate
    }

    package init(
        rewardModels: [String] = [], rewardMilliseconds: Int? = nil, critic: Critic = .none, prompts: Int,
        promptTokens: Int, newTokens: Int, miniBatches: Int = 1, passes: Int = 1, recomputes: Bool = true,
        optimizers: [String: CallSpec.Work.Optimizer] = [:]
    ) {
        self.optimizers = optimizers
        self.passes = passes
        self.rewardModels = rewardModels
        self.rewardMilliseconds = rewardMilliseconds
        self.critic = critic
        self.prompts = prompts
        self.promptTokens = promptTokens
        self.newTokens = newTokens
        self.miniBatches = miniBatches
        self.recomputes = recomputes
    }
}

extension DataflowGraph {
    /// The graph of a recipe's usual step.
    ///
    ///     generate                → actor_gen of each variant, a greedy one beside it; rewards of what they sampled
    ///     infer(reference)        → ref_inf      infer(oldPolicy) → actor_inf      infer(critic) → critic_inf
    ///     train                   → actor_train, and critic_train where the critic is a model of its own
    ///     demonstrate, compare    → rows of the data set that the training call reads too
    ///
    /// Credit and weighing are sums over scores, of no length here.
    package init(_ recipe: StepRecipe, _ settings: GraphSettings) {
        var builder = RecipeGraph(settings)
        for call in recipe.calls { builder.add(call) }
        self.init(name: recipe.method, calls: builder.calls)
    }
}

private struct RecipeGraph {
    let settings: GraphSettings
    var calls: [CallSpec] = []
    /// What generation or the data set gives: keys of sequences.
    private var sampled: [String] = []
    private var read: [String] = []
    /// What the training calls read beside the sequences.
    private var targets: [String] = []
    private var sequences = 0
    /// Of those that follow one prompt.
    private var samples = 1

    init(_ settings: GraphSettings) { self.settings = settings }

    private func work(_ sequences: Int, ofPrompt samples: Int) -> CallSpec.Work {
        CallSpec.Work(
            sequences: sequences, promptTokens: settings.promptTokens, newTokens: settings.newTokens,
            completionsPerPrompt: samples, recomputes: settings.recomputes)
    }

    mutating func add(_ call: StepCall) {
        switch call {
        case .demonstrate:
            read.append("demonstrations")
            sequences += settings.prompts
        case .compare:
            read.append("pairs")
            samples = max(samples, 2)
            sequences += 2 * settings.prompts
        case .generate(let samples, let greedy, let variants): generate(samples, greedy, variants)
        case .rethink, .credit, .weigh: break
        case .infer(let role):
            switch role {
            case .sampler: break
            case .oldPolicy: infer("actor_inf", "actor", "old_log_probs")
            case .reference: infer("ref_inf", "reference", "ref_log_probs")
            // The value head of a shared trunk is read with the policy's weights.
            case .critic: infer("critic_inf", settings.critic == .separate ? "critic" : "actor", "values")
            }
        case .train: train()
        }
    }

    private mutating func generate(_ samples: Int, _ greedy: Bool, _ variants: [PromptVariant]) {
        let isPlain = variants.count == 1
        self.samples = max(self.samples, samples)
        for variant in variants {
            let suffix = isPlain ? "" : "_\(variant.name)"
            add("actor_gen\(suffix)", "sequences\(suffix)", settings.prompts * samples, ofPrompt: samples)
            sampled.append("sequences\(suffix)")
            reward(of: "sequences\(suffix)", suffix, settings.prompts * samples)
            sequences += settings.prompts * samples
        }
        guard greedy else { return }
        // The greedy completion is a baseline: it is scored and not learned from.
        add("actor_gen_greedy", "greedy_sequences", settings.prompts, ofPrompt: 1)
        reward(of: "greedy_sequences", "_greedy", settings.prompts)
    }

    private mutating func add(_ name: String, _ output: String, _ sequences: Int, ofPrompt samples: Int) {
        calls.append(
            CallSpec(
                name, .generate, role: "actor", inputs: ["prompts"], outputs: [output],
                work: work(sequences, ofPrompt: samples)))
    }

    private mutating func reward(of key: String, _ suffix: String, _ sequences: Int) {
        for model in settings.rewardModels {
            let output = "\(model)_scores\(suffix)"
            calls.append(
                CallSpec(
                    "\(model)_inf\(suffix)", .infer, role: model, inputs: [key], outputs: [output],
                    work: work(sequences, ofPrompt: 1)))
            targets.append(output)
        }
        guard let milliseconds = settings.rewardMilliseconds else { return }
        var own = work(sequences, ofPrompt: 1)
        own.hostMilliseconds = milliseconds
        calls.append(
            CallSpec(
                "rewards\(suffix)", .host, role: nil, inputs: [key], outputs: ["scores\(suffix)"], work: own))
        targets.append("scores\(suffix)")
    }

    private mutating func infer(_ name: String, _ role: String, _ output: String) {
        calls.append(
            CallSpec(
                name, .infer, role: role, inputs: sampled + read, outputs: [output],
                work: work(sequences, ofPrompt: samples)))
        targets.append(output)
    }

    private mutating func train() {
        var own = work(sequences * settings.passes, ofPrompt: samples)
        own.miniBatches = settings.miniBatches * settings.passes
        for role in ["actor"] + (settings.critic == .separate ? ["critic"] : []) {
            own.optimizer = settings.optimizers[role]
            calls.append(
                CallSpec(
                    "\(role)_train", .train, role: role, inputs: sampled + read + targets, outputs: [], work: own))
        }
    }
}
