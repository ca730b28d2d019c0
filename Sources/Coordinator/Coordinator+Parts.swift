package import Credit
internal import Records

extension Coordinator {
    /// The parts behind the seams.
    package struct Parts: Sendable {
        package var prompts: any PromptSource
        /// Where steps imitate beside sampling.
        package var demonstrations: (any DemonstrationSource)?
        /// Where completions are made to go on.
        package var rethinking: (any Rethinking)?
        package var generator: (any Generating)?
        package var scorer: (any Scoring)?
        package var creditRule: (any CreditRule)?
        /// Move weights of the credit rule's streams.
        package var controllers: RewardControllers
        /// The batch that was sampled ahead, between steps; `nil` in a run that keeps none.
        package var ahead: RolloutsAhead?
        /// Replaces completions that teach nothing; `nil` leaves them.
        package var replay: ReplayBuffer?
        /// Weighs the parts of a batch; `nil` where their weights stay.
        package var weighing: (any PartWeighing)?
        package var updater: any Updating
        package var observer: any StepObserver
        package var evaluator: (any Evaluating)?
        package var saver: any Saving
        /// The other processes of the run; `nil` for one alone.
        package var team: RankTeam?

        package init(
            prompts: any PromptSource, demonstrations: (any DemonstrationSource)? = nil,
            rethinking: (any Rethinking)? = nil, generator: (any Generating)? = nil,
            scorer: (any Scoring)? = nil, creditRule: (any CreditRule)? = nil,
            controllers: RewardControllers = RewardControllers(), ahead: RolloutsAhead? = nil,
            replay: ReplayBuffer? = nil, weighing: (any PartWeighing)? = nil, updater: any Updating,
            observer: any StepObserver, evaluator: (any Evaluating)? = nil, saver: any Saving, team: RankTeam? = nil
        ) {
            self.team = team
            self.controllers = controllers
            self.ahead = ahead
            self.replay = replay
            self.weighing = weighing
            self.prompts = prompts
            self.demonstrations = demonstrations
            self.rethinking = rethinking
            self.generator = generator
            self.scorer = scorer
            self.creditRule = creditRule
            self.updater = updater
            self.observer = observer
            self.evaluator = evaluator
            self.saver = saver
        }
    }

    /// Checks a recipe against the parts before anything runs.
    static func requireParts(of recipe: StepRecipe, in parts: Parts) throws(CoordinatorError) {
        for call in recipe.calls + (recipe.warmup?.calls ?? []) + (recipe.interlude?.calls ?? []) {
            switch call {
            case .generate:
                if parts.generator == nil { throw .missingPart("generator", call: "generate") }
                if parts.scorer == nil { throw .missingPart("scorer", call: "generate") }
            case .demonstrate:
                // Without sampling the prompts' own completions are imitated.
                if recipe.generates, parts.demonstrations == nil {
                    throw .missingPart("source of demonstrations", call: "demonstrate")
                }
            case .credit: if parts.creditRule == nil { throw .missingPart("credit rule", call: "credit") }
            case .weigh: if parts.weighing == nil { throw .missingPart("weighing of parts", call: "weigh") }
            case .rethink: if parts.rethinking == nil { throw .missingPart("rethinker", call: "rethink") }
            case .compare, .infer, .train: break
            }
        }
    }

    /// Checks that a recipe's batches can be sampled before their steps: each step begins with its only sampling, and
    /// makes nothing of it by weights that must be the sampler's.
    static func requireAhead(_ recipe: StepRecipe) throws(CoordinatorError) {
        guard recipe.samplesFirst else { throw .cannotSampleAhead(recipe: recipe.words) }
    }
}
