internal import Evaluation
package import JSON
internal import Job

/// How a step of one prompt grows with its completions.
package struct StepGrowth: Sendable {
    /// How many completions the prompt has in each measurement.
    package static let completions = [4, 16, 64]

    package let model: String
    /// In the order of ``completions``, as far as they are measured.
    package var outcomes: [Result<StepMeasurement, SuiteFailure>]

    package init(model: String, outcomes: [Result<StepMeasurement, SuiteFailure>] = []) {
        (self.model, self.outcomes) = (model, outcomes)
    }

    /// What one more completion takes of one part of a step.
    package struct Slopes: Sendable, Equatable {
        package let part: String
        /// Seconds a completion, from each number of ``completions`` to the next: the difference of the seconds over
        /// that of the completions. `nil` where one of both was not measured.
        package let seconds: [Double?]
        /// The last over the first: 1 where a step grows as its completions do.
        package var ratio: Double? {
            seconds.first.flatMap { $0 }.flatMap { first in seconds.last.flatMap { $0 }.map { $0 / first } }
        }
    }

    /// The slopes of the whole step and of its parts.
    package var slopes: [Slopes] {
        Self.parts.map { name, seconds in
            let measured = Self.completions.indices.map { index in
                index < outcomes.count ? (try? outcomes[index].get()).flatMap(seconds) : nil
            }
            return Slopes(
                part: name,
                seconds: Self.completions.indices.dropFirst().map { index in
                    guard let (before, after) = Self.both(measured[index - 1], measured[index]) else { return nil }
                    return (after - before) / Double(Self.completions[index] - Self.completions[index - 1])
                })
        }
    }

    private static let parts: [(String, @Sendable (StepMeasurement) -> Double?)] = [
        ("step", { $0.seconds }), ("generation", { $0.generationSeconds }), ("update", { $0.updateSeconds }),
    ]

    private static func both(_ first: Double?, _ second: Double?) -> (Double, Double)? {
        first.flatMap { first in second.map { (first, $0) } }
    }

    /// The heading, and a row a part.
    package var table: [[String]] {
        let pairs = zip(Self.completions, Self.completions.dropFirst())
        let heading =
            ["model", "part"] + Self.completions.map { "\($0) completions s" }
            + pairs.map { "\($0)→\($1) ms each" } + ["ratio"]
        return [heading]
            + zip(Self.parts, slopes).map { part, slopes in
                [model, part.0]
                    + Self.completions.indices.map { index in
                        guard index < outcomes.count else { return "" }
                        return outcomes[index].cell { part.1($0).map { NumberText.compact($0) } ?? "" }
                    } + slopes.seconds.map { $0.map { NumberText.compact(1000 * $0) } ?? "" }
                    + [slopes.ratio.map { NumberText.compact($0) } ?? ""]
            }
    }

    package var json: JSONValue {
        .array(
            slopes.map { slopes in
                .object([
                    "model": .string(model), "part": .string(slopes.part),
                    "completions": .array(Self.completions.map { .number($0) }),
                    "seconds_per_completion": .array(slopes.seconds.map { $0.map { .number($0) } ?? .null }),
                    "ratio": slopes.ratio.map { .number($0) } ?? .null,
                ])
            })
    }
}

/// What a longer prompt adds to sampling as many completions.
package struct PromptGrowth: Sendable {
    package static let promptTokens = [32, 256]
    package static let completions = 16

    package let model: String
    /// In the order of ``promptTokens``, as far as they are measured.
    package var outcomes: [Result<StepMeasurement, SuiteFailure>]

    package init(model: String, outcomes: [Result<StepMeasurement, SuiteFailure>] = []) {
        (self.model, self.outcomes) = (model, outcomes)
    }

    /// The heading and a row.
    package var table: [[String]] {
        let measured = outcomes.compactMap { try? $0.get().seconds }
        let isWhole = measured.count == Self.promptTokens.count
        return [
            ["model", "completions sampled"] + Self.promptTokens.map { "prompt of \($0) s" } + ["ratio"],
            [model, "\(Self.completions)"]
                + Self.promptTokens.indices.map { index in
                    index < outcomes.count ? outcomes[index].cell { NumberText.compact($0.seconds) } : ""
                } + [isWhole ? NumberText.compact(measured[measured.count - 1] / measured[0]) : ""],
        ]
    }
}

/// A prompt that is read, and one token drawn.
package struct Prefill: Sendable {
    package let model: String
    package let promptTokens: Int
    /// Parameters of the output head, which the last token alone meets.
    package let headParameters: Int
    package let outcome: Result<StepMeasurement, SuiteFailure>

    package init(
        model: String, promptTokens: Int, headParameters: Int, outcome: Result<StepMeasurement, SuiteFailure>
    ) {
        self.model = model
        self.promptTokens = promptTokens
        self.headParameters = headParameters
        self.outcome = outcome
    }

    /// Useful operations a second, over the matrix rate; `nil` where the process does not say what is needed for it.
    ///
    ///     2·((P − H)·tokens + H)     (P parameters, H of them the head's; attention's own products are left out)
    package var fractionOfCeiling: Double? {
        guard let step = try? outcome.get(), let parameters = step.parameters, let gigaflops = step.gigaflops else {
            return nil
        }
        let operations = 2 * (Double(parameters - headParameters) * Double(promptTokens) + Double(headParameters))
        return operations / step.seconds / (gigaflops * 1e9)
    }

    static let heading = ["model", "prompt tokens", "prefill s", "p10–p90", "tokens/s", "of ceiling"]

    package var row: [String] {
        let step = try? outcome.get()
        return [
            model, "\(promptTokens)", outcome.cell { NumberText.compact($0.seconds) }, step?.rangeText ?? "",
            step.map { NumberText.compact(Double(promptTokens) / $0.seconds) } ?? "",
            fractionOfCeiling.map { "\(NumberText.compact(100 * $0)) %" } ?? "",
        ]
    }

    package var json: JSONValue {
        .object([
            "model": .string(model), "prompt_tokens": .number(promptTokens),
            "fraction_of_ceiling": fractionOfCeiling.map { .number($0) } ?? .null,
        ])
    }
}

/// Seconds from the start of the command to its first token.
package struct StartUp: Sendable {
    package static let runs = 5

    package let spread: Spread
    package let best: Double

    /// - Parameter seconds: At least one.
    package init(seconds: [Double]) {
        spread = Spread(seconds)
        best = seconds.min() ?? spread.median
    }

    static let heading = ["model", "first token, best s", "median s", "p10–p90"]

    package static func row(_ model: String, _ outcome: Result<StartUp, SuiteFailure>) -> [String] {
        let found = try? outcome.get()
        return [model, outcome.cell { NumberText.compact($0.best) }]
            + (found.map { found in
                [
                    NumberText.compact(found.spread.median),
                    "\(NumberText.compact(found.spread.p10))–\(NumberText.compact(found.spread.p90))",
                ]
            } ?? [])
    }

    package var json: JSONValue {
        .object([
            "first_token_s": .object([
                "median": .number(spread.median), "p10": .number(spread.p10), "p90": .number(spread.p90),
                "best": .number(best),
            ])
        ])
    }
}
