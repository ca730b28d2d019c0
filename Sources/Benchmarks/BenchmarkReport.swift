internal import Evaluation
internal import Job
package import Placement
package import Records

/// What a benchmark measured, for people and as one JSON object.
package struct BenchmarkReport: Sendable {
    package let model: String
    package let parameters: Int
    package let workload: Workload
    package let threads: Int
    /// Seconds of one repetition.
    package let step: Spread
    /// Seconds of sampling and credit; `nil` when only updates were timed.
    package let generation: Spread?
    /// Seconds of the optimizer step; `nil` when only rollouts were timed.
    package let update: Spread?
    /// `nil` without any.
    package let controllers: ControllerCost?
    package let ceilings: MachineCeilings
    /// The most memory the process held, ceilings' matrices included.
    package let peakResidentBytes: Int
    /// What ``Job/MemoryEstimate`` says of this model and step.
    package let estimatedPeakBytes: Int
    /// What ``Job/MemoryEstimate`` says of the optimizer's state.
    package let optimizerStateBytes: Int
    /// The rank of the adapters that are trained; `nil` where the model itself is.
    package let adapterRank: Int?
    /// What becomes of memory that a phase has no more use for.
    package let residency: Residency
    /// The peaks of the measured phases and what was held at most, as a run's `memory/…`.
    package let memory: Metrics
    /// Machine and versions.
    package let facts: [(name: String, value: String)]

    package init(
        model: String, parameters: Int, workload: Workload, threads: Int, step: Spread, generation: Spread?,
        update: Spread?, controllers: ControllerCost? = nil, ceilings: MachineCeilings, peakResidentBytes: Int,
        estimatedPeakBytes: Int, optimizerStateBytes: Int, adapterRank: Int? = nil,
        residency: Residency = .release, memory: Metrics = Metrics(),
        facts: [(name: String, value: String)]
    ) {
        (self.residency, self.memory) = (residency, memory)
        self.model = model
        self.parameters = parameters
        self.workload = workload
        self.threads = threads
        self.step = step
        self.generation = generation
        self.update = update
        self.controllers = controllers
        self.ceilings = ceilings
        self.peakResidentBytes = peakResidentBytes
        self.estimatedPeakBytes = estimatedPeakBytes
        self.optimizerStateBytes = optimizerStateBytes
        self.adapterRank = adapterRank
        self.facts = facts
    }

    /// Sampled tokens a second of the whole repetition; for updates, tokens learned from.
    package var tokensPerSecond: Double { Double(workload.newTokens) / step.median }

    /// Useful operations a second, over the matrix rate.
    package var fractionOfCeiling: Double {
        workload.usefulOperations(parameters: parameters, trainsAdapters: adapterRank != nil) / step.median
            / (ceilings.gigaflops * 1e9)
    }

    /// One line a number.
    package var text: String {
        let size =
            "\(workload.prompts) × \(workload.completions), \(workload.promptTokens) + \(workload.completionTokens)"
        var lines = facts.map { "\($0.name): \($0.value)" }
        lines.append(
            "\(model): \(NumberText.compact(Double(parameters) / 1e6)) M parameters, \(size) tokens, \(threads) threads"
        )
        lines.append("\(workload.part.rawValue) of \(workload.algorithm.rawValue): \(Self.seconds(step))")
        if let generation { lines.append("generation: \(Self.seconds(generation))") }
        if let update { lines.append("update: \(Self.seconds(update))") }
        if let controllers {
            lines.append(
                "controllers (\(controllers.names.joined(separator: ", "))): \(Self.seconds(controllers.seconds)), \(share(controllers.seconds)) of the step"
            )
            if let gradients = controllers.gradients {
                lines.append(
                    "gradients of each reward: \(controllers.backwardPasses) more forward and backward passes, \(Self.seconds(gradients)), \(share(gradients)) of the step"
                )
            }
        }
        lines.append("\(NumberText.compact(tokensPerSecond)) tokens/s")
        lines.append(
            "machine: \(NumberText.compact(ceilings.gigaflops)) GFLOP/s, "
                + "\(NumberText.compact(ceilings.gigabytesPerSecond)) GB/s; "
                + "useful work runs at \(NumberText.compact(100 * fractionOfCeiling)) % of the matrix rate")
        lines.append(
            "peak memory: \(NumberText.gibibytes(Double(peakResidentBytes))), estimated before: "
                + "\(NumberText.gibibytes(Double(estimatedPeakBytes)))"
        )
        let phases = memory.entries.filter { $0.name.hasSuffix(Self.peak) }.map { name, value in
            "\(Self.short(name).dropLast(Self.peak.count)) \(NumberText.gibibytes(value * 1e9))"
        }
        if !phases.isEmpty {
            lines.append("residency \(residency.rawValue), peaks by phase: " + phases.joined(separator: ", "))
        }
        return lines.joined(separator: "\n")
    }

    private static let peak = "_peak_gb"

    /// The name of a number behind `memory/`.
    private static func short(_ name: String) -> String { String(name.dropFirst("memory/".count)) }

    /// One line; the numbers' units are in their names.
    package var json: String {
        JSONText.object([
            ("trainer", JSONText.string("plumbline")),
            ("step_s", Self.object(step)), ("generation_s", generation.map(Self.object) ?? "null"),
            ("update_s", update.map(Self.object) ?? "null"), ("controllers", controllersJSON),
            ("tokens_per_s", JSONText.number(tokensPerSecond)),
            ("ceiling_gflops", JSONText.number(ceilings.gigaflops)),
            ("ceiling_gbps", JSONText.number(ceilings.gigabytesPerSecond)),
            ("fraction_of_ceiling", JSONText.number(fractionOfCeiling)),
            ("peak_rss_bytes", "\(peakResidentBytes)"), ("estimated_peak_bytes", "\(estimatedPeakBytes)"),
            ("optimizer_state_bytes", "\(optimizerStateBytes)"),
            ("memory", JSONText.object(memory.entries.map { (Self.short($0.name), JSONText.number($0.value)) })),
            ("workload", workloadJSON),
            ("machine", JSONText.object(facts.map { ($0.name, JSONText.string($0.value)) })),
        ])
    }

    private func share(_ part: Spread) -> String { "\(NumberText.compact(100 * part.median / step.median)) %" }

    private var controllersJSON: String {
        guard let controllers else { return "null" }
        return JSONText.object([
            ("names", "[\(controllers.names.map(JSONText.string).joined(separator: ", "))]"),
            ("seconds", Self.object(controllers.seconds)),
            ("share_of_step", JSONText.number(controllers.seconds.median / step.median)),
            ("backward_passes", "\(controllers.backwardPasses)"),
            ("gradients_s", controllers.gradients.map(Self.object) ?? "null"),
            (
                "gradients_share_of_step",
                controllers.gradients.map { JSONText.number($0.median / step.median) } ?? "null"
            ),
        ])
    }

    private var workloadJSON: String {
        JSONText.object([
            ("part", JSONText.string(workload.part.rawValue)),
            ("algorithm", JSONText.string(workload.algorithm.rawValue)), ("model", JSONText.string(model)),
            ("parameters", "\(parameters)"), ("prompts", "\(workload.prompts)"),
            ("completions", "\(workload.completions)"), ("prompt_tokens", "\(workload.promptTokens)"),
            ("completion_tokens", "\(workload.completionTokens)"), ("steps", "\(workload.steps)"),
            ("lora_rank", adapterRank.map { "\($0)" } ?? "null"), ("threads", "\(threads)"),
            ("residency", JSONText.string(residency.rawValue)),
        ])
    }

    private static func object(_ spread: Spread) -> String {
        JSONText.object([
            ("median", JSONText.number(spread.median)), ("p10", JSONText.number(spread.p10)),
            ("p90", JSONText.number(spread.p90)),
        ])
    }

    private static func seconds(_ spread: Spread) -> String {
        "\(NumberText.compact(spread.median)) s (p10 \(NumberText.compact(spread.p10)), p90 "
            + "\(NumberText.compact(spread.p90)))"
    }
}
