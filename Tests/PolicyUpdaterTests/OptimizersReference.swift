import Foundation
import PolicyUpdater
import Testing

/// The numbers of `Tests/References/optimizers.py`, and the gradients that it makes them of.
enum OptimizersReference {
    struct Step: Decodable, Sendable {
        /// From 0.
        let step: Int
        let parameters: [String: [Double]]
    }

    struct LowRank: Decodable, Sendable, CustomTestStringConvertible {
        let projector: String
        let remainder: String
        let scale: Double
        let remainder_scale: Double
        let steps: [Step]

        var testDescription: String { "\(projector), \(remainder)" }

        var settings: LowRankSettings {
            LowRankSettings(
                rank: 2, projector: .init(rawValue: projector)!, updateEvery: 3, scale: scale,
                remainder: .init(rawValue: remainder)!, remainderScale: remainder_scale)
        }
    }

    struct Spikes: Decodable, Sendable {
        /// Steps between two resets; 0 for none.
        let resets: Int
        let steps: [Step]
    }

    struct Bytes: Decodable, Sendable {
        let shape: [Int]
        /// What is kept of all numbers: each of so many.
        let every: Int
        /// After the fourth and the eighth step.
        let steps: [[Double]]
        let first_bytes: [Int]
        let second_bytes: [Int]
        let first_scales: [Double]
        let second_scales: [Double]
        let signed_map: [Double]
        let unsigned_map: [Double]
    }

    private struct File: Decodable, Sendable {
        let shapes: [String: [Int]]
        let lion: [Step]
        let low_rank: [LowRank]
        let stable_spam: [Spikes]
        let adamw_8bit: Bytes
    }

    private static let file: File = {
        let url = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../References/optimizers.json")
        do {
            return try JSONDecoder().decode(File.self, from: Data(contentsOf: url))
        } catch {
            preconditionFailure("\(url.path): \(error)")
        }
    }()

    static var shapes: [String: [Int]] { file.shapes }
    static var lion: [Step] { file.lion }
    static var lowRank: [LowRank] { file.low_rank }
    static var stableSPAM: [Spikes] { file.stable_spam }
    static var bytes: Bytes { file.adamw_8bit }

    /// The order in which the script counts the parameters.
    private static let names = [
        "model.embed_tokens.weight", "model.layers.0.mlp.down_proj.weight", "model.layers.0.mlp.up_proj.weight",
        "model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.k_proj.weight", "model.norm.weight",
    ]

    /// The script's `numbers`: a linear congruence.
    static func numbers(_ count: Int, seed: Int) -> [Double] {
        var state = seed * 7919 + 12345
        return (0..<count).map { _ in
            state = (1_103_515_245 * state + 12345) % 2_147_483_648
            return Double(state) / 1_073_741_824 - 1
        }
    }

    static var start: [String: [Double]] { values { numbers($0, seed: $1) } }

    static func gradients(_ step: Int, hasSpike: Bool = false) -> [String: [Double]] {
        let scale = hasSpike && step == 2 ? 50.0 : 1
        return values { numbers($0, seed: 100 * (step + 1) + $1).map { scale * $0 } }
    }

    private static func values(_ make: (_ count: Int, _ index: Int) -> [Double]) -> [String: [Double]] {
        Dictionary(
            uniqueKeysWithValues: names.enumerated().map { ($1, make(shapes[$1]!.reduce(1, *), $0)) })
    }
}
