import Foundation
import PolicyUpdater
import Testing

/// The numbers of `Tests/References/optimizer.py`.
enum OptimizerReference {
    struct Schedule: Decodable, Sendable, CustomTestStringConvertible {
        let name: String
        let warmup: Int
        let total: Int
        let num_decay_steps: Int?
        let min_lr_ratio: Double?
        let min_lr_rate: Double?
        /// One per step, three beyond the total.
        let factors: [Double]

        var testDescription: String { "\(name), warm-up \(warmup) of \(total)" }

        var shape: LearningRateSchedule.Shape {
            switch name {
            case "constant": .constant
            case "constant_with_warmup": .constantWithWarmup
            case "linear": .linear
            case "cosine": .cosine
            case "cosine_with_min_lr": .cosineWithMinimum(ratio: min_lr_rate!)
            default: .warmupStableDecay(decaySteps: num_decay_steps!, minimumRatio: min_lr_ratio ?? 0)
            }
        }
    }

    struct Trajectory: Decodable, Sendable {
        struct Step: Decodable, Sendable {
            let gradients: [String: [Double]]
            let norm: Double
            let learning_rate: Double
            let parameters: [String: [Double]]
        }

        let shapes: [String: [Int]]
        let decayed: [String]
        let start: [String: [Double]]
        let steps: [Step]
    }

    private struct File: Decodable, Sendable {
        let float64: Trajectory
        let float32: Trajectory
        let schedules: [Schedule]
    }

    private static let file: File = {
        let url = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../References/optimizer.json")
        do {
            return try JSONDecoder().decode(File.self, from: Data(contentsOf: url))
        } catch {
            preconditionFailure("\(url.path): \(error)")
        }
    }()

    static var float64: Trajectory { file.float64 }
    static var float32: Trajectory { file.float32 }
    static var schedules: [Schedule] { file.schedules }
}
