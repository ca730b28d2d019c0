internal import Evaluation
internal import Foundation
internal import Job

/// One trainer's step, as the object that its process printed last says.
package struct StepMeasurement {
    package let seconds: Double
    /// `nil` where nothing is sampled.
    package let generationSeconds: Double?
    package let fractionOfCeiling: Double?
    package let peakBytes: Double?
    /// The most that a weight differs from the other trainer's after one step, and the most that one has moved;
    /// `nil` where that was not compared.
    package let weightDifference: (most: Double, moved: Double)?

    /// - Throws: `JobError` for an object without `step_s`.
    package init(_ object: [String: Any], of trainer: String) throws {
        guard let step = Self.median(object["step_s"]) else {
            throw JobError(place: trainer, message: "what it printed last has no step_s")
        }
        seconds = step
        generationSeconds = Self.median(object["generation_s"])
        weightDifference = (object["weight_difference"] as? Double).flatMap { most in
            (object["weight_move"] as? Double).map { (most, $0) }
        }
        fractionOfCeiling = object["fraction_of_ceiling"] as? Double
        peakBytes = object["peak_rss_bytes"] as? Double
    }

    /// A number, or the median of a spread.
    private static func median(_ value: Any?) -> Double? {
        (value as? Double) ?? (value as? [String: Any])?["median"] as? Double
    }

    static let heading = [
        "model", "step", "trainer", "step s", "generation s", "tokens/s", "of ceiling", "peak GiB", "× Plumbline",
        "weights apart",
    ]

    /// - Parameters:
    ///   - tokens: Of the completions of a step.
    ///   - own: Plumbline's, in the row of a peer.
    package func row(_ names: [String], tokens: Int, beside own: StepMeasurement? = nil) -> [String] {
        names + [
            NumberText.compact(seconds), generationSeconds.map { NumberText.compact($0) } ?? "",
            NumberText.compact(Double(tokens) / seconds),
            fractionOfCeiling.map { "\(NumberText.compact(100 * $0)) %" } ?? "",
            peakBytes.map { NumberText.compact($0 / 1_073_741_824) } ?? "",
            own.map { NumberText.compact(seconds / $0.seconds) } ?? "",
            weightDifference.map { "\(NumberText.compact($0.most)) of \(NumberText.compact($0.moved))" } ?? "",
        ]
    }
}

extension StepMeasurement {
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
package struct PeerRollout: Equatable {
    package let rows: Int
    package let tokensPerSecond: Double
    /// Without the prompt and without drawing.
    package let decodedTokensPerSecond: Double?

    /// - Returns: The measurements of an object's `rollouts`.
    /// - Throws: `JobError` for an object of another form.
    package static func all(in object: [String: Any]) throws -> [PeerRollout] {
        guard let list = object["rollouts"] as? [[String: Any]] else {
            throw JobError(place: Peer.llamaCpp.rawValue, message: "what it printed last has no rollouts")
        }
        return try list.map { one in
            guard let rows = one["rows"] as? Int, let rate = one["tokens_per_s"] as? Double else {
                throw JobError(
                    place: Peer.llamaCpp.rawValue, message: "a rollout of what it printed has no rows or tokens_per_s")
            }
            return PeerRollout(
                rows: rows, tokensPerSecond: rate, decodedTokensPerSecond: one["decoded_tokens_per_s"] as? Double)
        }
    }

    static let heading = [
        "model", "weights", "rows at once", "Plumbline tokens/s", "llama.cpp tokens/s", "decoding alone",
        "× llama.cpp",
    ]

    /// - Parameter own: Plumbline's tokens a second.
    package func row(_ names: [String], own: Double) -> [String] {
        names + [
            "\(rows)", NumberText.compact(own), NumberText.compact(tokensPerSecond),
            decodedTokensPerSecond.map { NumberText.compact($0) } ?? "", NumberText.compact(own / tokensPerSecond),
        ]
    }
}
