internal import Evaluation
package import JSON
internal import Job

/// Why a measurement of a suite has no numbers.
package struct SuiteFailure: Error, Sendable, Equatable {
    /// In the width of a cell.
    package let short: String
    /// How it ended.
    package let words: String
    /// What became of its process; `nil` where that ended with status 0 and yet gave no numbers, or never began.
    package let ending: ProcessFailure.Ending?

    package init(_ error: any Error) {
        let process = error as? ProcessFailure
        short = process?.short ?? "failed"
        words = process?.words ?? "\(error)"
        ending = process?.ending
    }
}

/// One trainer's step, as the object that its process printed last says.
package struct StepMeasurement: Sendable {
    /// The median.
    package let seconds: Double
    /// The 10th to 90th percentile of the steps; `nil` where the process does not say.
    package let range: (p10: Double, p90: Double)?
    /// `nil` where nothing is sampled.
    package let generationSeconds: Double?
    /// `nil` where nothing is learned, and where the process does not say.
    package let updateSeconds: Double?
    package let fractionOfCeiling: Double?
    package let peakBytes: Double?
    /// What a plain matrix product reached in the same process, 10⁹ operations a second; of Plumbline alone.
    package let gigaflops: Double?
    package let parameters: Int?
    /// The most that a weight differs from the other trainer's after one step, and the most that one has moved;
    /// `nil` where that was not compared.
    package private(set) var weightDifference: (most: Double, moved: Double)?

    /// - Throws: `JobError` for an object without `step_s`.
    package init(_ object: JSONValue, of trainer: String) throws {
        guard let step = Self.median(object["step_s"]) else {
            throw JobError(place: trainer, message: "what it printed last has no step_s")
        }
        seconds = step
        range = object["step_s"]?["p10"]?.double.flatMap { p10 in
            object["step_s"]?["p90"]?.double.map { (p10, $0) }
        }
        generationSeconds = Self.median(object["generation_s"])
        updateSeconds = Self.median(object["update_s"])
        fractionOfCeiling = object["fraction_of_ceiling"]?.double
        peakBytes = object["peak_rss_bytes"]?.double
        gigaflops = object["ceiling_gflops"]?.double
        parameters = object["workload"]?["parameters"]?.int
        compare(with: object)
    }

    /// Takes the difference of the weights from an object that has one.
    mutating func compare(with object: JSONValue) {
        weightDifference = object["weight_difference"]?.double.flatMap { most in
            object["weight_move"]?.double.map { (most, $0) }
        }
    }

    /// A number, or the median of a spread.
    private static func median(_ value: JSONValue?) -> Double? { value?.double ?? value?["median"]?.double }

    static let heading = [
        "model", "step", "trainer", "step s", "p10–p90", "generation s", "tokens/s", "of ceiling", "peak GiB",
        "× Plumbline", "weights apart",
    ]

    /// - Parameters:
    ///   - tokens: Of the completions of a step.
    ///   - own: Plumbline's, in the row of a peer.
    package func row(_ names: [String], tokens: Int, beside own: StepMeasurement? = nil) -> [String] {
        names + [
            NumberText.compact(seconds), rangeText, generationSeconds.map { NumberText.compact($0) } ?? "",
            NumberText.compact(Double(tokens) / seconds),
            fractionOfCeiling.map { "\(NumberText.compact(100 * $0)) %" } ?? "",
            peakBytes.map { NumberText.compact($0 / 1_073_741_824) } ?? "",
            own.map { NumberText.compact(seconds / $0.seconds) } ?? "",
            weightDifference.map { "\(NumberText.compact($0.most)) of \(NumberText.compact($0.moved))" } ?? "",
        ]
    }

    /// Empty where the process does not say.
    var rangeText: String {
        range.map { "\(NumberText.compact($0.p10))–\(NumberText.compact($0.p90))" } ?? ""
    }

    /// What a step with adapters takes of the whole model's, in words.
    package func remark(beside whole: StepMeasurement) -> String {
        let memory = peakBytes.flatMap { own in
            whole.peakBytes.map { ", in \(NumberText.compact(own / $0)) of its memory" }
        }
        let times = NumberText.compact(whole.seconds / seconds)
        return "a step with adapters is \(times) times as fast as the whole model's" + (memory ?? "")
    }
}

/// Completions of one prompt sampled by llama.cpp, so many rows at once.
package struct PeerRollout: Equatable, Sendable {
    package let rows: Int
    package let tokensPerSecond: Double
    /// Without the prompt and without drawing.
    package let decodedTokensPerSecond: Double?

    /// - Returns: The measurements of an object's `rollouts`.
    /// - Throws: `JobError` for an object of another form.
    package static func all(in object: JSONValue) throws -> [PeerRollout] {
        guard let list = object["rollouts"]?.elements else {
            throw JobError(place: Peer.llamaCpp.rawValue, message: "what it printed last has no rollouts")
        }
        return try list.map { one in
            guard let rows = one["rows"]?.int, let rate = one["tokens_per_s"]?.double else {
                throw JobError(
                    place: Peer.llamaCpp.rawValue, message: "a rollout of what it printed has no rows or tokens_per_s")
            }
            return PeerRollout(
                rows: rows, tokensPerSecond: rate, decodedTokensPerSecond: one["decoded_tokens_per_s"]?.double)
        }
    }

    static let heading = [
        "model", "weights", "rows at once", "Plumbline tokens/s", "llama.cpp tokens/s", "decoding alone",
        "× llama.cpp",
    ]

    /// - Parameters:
    ///   - own: Plumbline's tokens a second.
    ///   - peer: `nil` where llama.cpp is left out.
    package static func row(
        _ names: [String], rows: Int, own: Result<Double, SuiteFailure>, peer: Result<PeerRollout, SuiteFailure>?
    ) -> [String] {
        let (ours, theirs) = (try? own.get(), try? peer?.get())
        func text(_ value: Double?) -> String { value.map { NumberText.compact($0) } ?? "" }
        return names + [
            "\(rows)", own.cell { NumberText.compact($0) },
            peer?.cell { NumberText.compact($0.tokensPerSecond) } ?? "", text(theirs?.decodedTokensPerSecond),
            text(ours.flatMap { ours in theirs.map { ours / $0.tokensPerSecond } }),
        ]
    }
}

extension Result where Failure == SuiteFailure {
    /// The cell of a table.
    func cell(_ text: (Success) -> String) -> String {
        switch self {
        case .success(let value): text(value)
        case .failure(let failure): failure.short
        }
    }
}
