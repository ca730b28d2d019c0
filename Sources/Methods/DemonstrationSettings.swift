package import Records

/// Where a method that samples has its demonstrations from: the section `demonstrations:`.
package struct DemonstrationSettings: Sendable, Equatable {
    /// `demonstrations.order:`.
    package enum Order: String, SettingsChoice {
        /// Demonstrations of the step's own prompts.
        case prompts
        /// In an order of their own, which depends on the seed.
        case own
    }
    /// `demonstrations.missing:`.
    package enum Missing: String, SettingsChoice { case error, skip }

    /// A prompt file or folder, relative to the job file; `nil` for the completions of the prompt rows.
    package let path: String?
    /// Which file of the folder.
    package let split: String
    package let order: Order
    /// Demonstrations of a step in their own order; `nil` for as many as the step has prompts.
    package let perStep: Int?
    /// What becomes of a prompt without a demonstration.
    package let missing: Missing

    /// - Parameter mayHaveOwnOrder: Whether the method takes demonstrations of other prompts than those it samples.
    package init(reading job: inout SettingsReader, mayHaveOwnOrder: Bool) {
        path = job.read(
            "demonstrations.path", optional: nil,
            "A file or folder of demonstrations, matched by prompt text; by default the completions of the prompt rows."
        )
        split = job.read(
            "demonstrations.split", default: "train", "Which file of the folder to read demonstrations from.")
        order = job.read(
            "demonstrations.order", default: Order.prompts,
            "prompts: a step imitates the demonstrations of the prompts it samples. own: demonstrations come in their own order, so that a few serve many prompts."
        )
        perStep = job.read(
            "demonstrations.per_step", optional: nil, .from(1, to: 1_000_000),
            "Demonstrations per step with demonstrations.order own; by default as many as prompts.")
        missing = job.read(
            "demonstrations.missing", default: Missing.error,
            "What happens to a prompt without a demonstration: error ends the run before it starts, skip learns from its completions alone."
        )
        job.ignore("demonstrations.split", when: path == nil)
        job.ignore("demonstrations.per_step", when: order == .prompts)
        job.ignore("demonstrations.missing", when: order == .own)
        if order == .own, !mayHaveOwnOrder {
            job.refuse(
                "demonstrations.order",
                "demonstrations.order is own; this method puts a demonstration into the group of its prompt, expected prompts"
            )
        }
    }

    /// Of a file, in an order of their own.
    init(path: String, split: String, perStep: Int?) {
        (self.path, self.split, self.perStep) = (path, split, perStep)
        (order, missing) = (.own, .skip)
    }

    /// Whether every row that is sampled must have a completion of its own.
    package var needsCompletions: Bool { path == nil && order == .prompts && missing == .error }
}
