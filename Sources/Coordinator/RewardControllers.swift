package import Credit
package import Foundation
internal import Records
internal import Runs
internal import Synchronization

/// The controllers of a run as one value: a step that is given up takes an older copy back.
package struct ControllerBank: Sendable {
    package private(set) var controllers: [any RewardController]
    /// Weighs imitation against reward; `nil` where a step has no such weight.
    package private(set) var mixture: MixtureController?
    /// Steps that a controller let pass because a number was not finite, by its name.
    package private(set) var skippedUpdates: [String: Int] = [:]

    /// - Parameter controllers: Each of another name, and no two that move the same weight.
    package init(_ controllers: [any RewardController] = [], mixture: MixtureController? = nil) {
        precondition(Set(controllers.map(\.name)).count == controllers.count, "one controller a name")
        self.controllers = controllers
        self.mixture = mixture
    }

    /// What the next step's weights are, by the streams' names.
    package var weights: [String: Double] {
        controllers.reduce(into: [:]) { all, controller in
            all.merge(controller.weights) { _, _ in preconditionFailure("two controllers move one weight") }
        }
    }

    /// Shows every controller a step.
    ///
    /// - Returns: Their metrics, and `controllers/skipped_updates` once there are any; what they have to say.
    mutating func observe(_ step: ObservedStep) -> (metrics: Metrics, notes: [String]) {
        var metrics = Metrics()
        var notes: [String] = []
        for place in controllers.indices {
            guard let update = controllers[place].update(step) else {
                skippedUpdates[controllers[place].name, default: 0] += 1
                continue
            }
            metrics.merge(update.metrics)
            if let note = update.note { notes.append(note) }
        }
        noteSkipped(in: &metrics)
        return (metrics, notes)
    }

    /// Weighs the parts of the step that comes.
    mutating func weigh(_ meta: MetaGradient?) -> Metrics {
        var metrics = meta?.metrics ?? Metrics()
        if let update = mixture?.weigh(meta) {
            metrics = update.metrics
        } else if mixture != nil {
            skippedUpdates[Self.mixtureName, default: 0] += 1
        }
        noteSkipped(in: &metrics)
        return metrics
    }

    /// Shows the mixture what the step's training measured.
    ///
    /// - Returns: What a person should read.
    mutating func note(entropy: Double?) -> String? { entropy.flatMap { mixture?.note(entropy: $0) } }

    private func noteSkipped(in metrics: inout Metrics) {
        let skipped = skippedUpdates.values.reduce(0, +)
        if skipped > 0 { metrics["controllers/skipped_updates", .last] = Double(skipped) }
    }

    private static let mixtureName = "mixture"

    private struct Saved: Codable {
        var skippedUpdates: [String: Int]
    }

    private static func file(of name: String, in folder: URL) -> URL { folder.appending(path: "\(name).json") }

    private static let countersName = "skipped_updates.json"

    /// One file a controller, and one of what was skipped.
    func write(to folder: URL) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        for controller in controllers {
            try FileOperations.system.writeFile(
                Array(controller.encodedState(with: encoder)), Self.file(of: controller.name, in: folder))
        }
        if let mixture {
            try FileOperations.system.writeFile(
                Array(encoder.encode(mixture.state)), Self.file(of: Self.mixtureName, in: folder))
        }
        try FileOperations.system.writeFile(
            Array(encoder.encode(Saved(skippedUpdates: skippedUpdates))), folder.appending(path: Self.countersName))
    }

    /// Changes nothing when it throws.
    mutating func read(from folder: URL) throws {
        var restored = self
        for place in controllers.indices {
            try restored.controllers[place].takeState(
                from: Data(contentsOf: Self.file(of: controllers[place].name, in: folder)), with: JSONDecoder())
        }
        if restored.mixture != nil {
            restored.mixture?.state = try JSONDecoder().decode(
                MixtureController.State.self, from: Data(contentsOf: Self.file(of: Self.mixtureName, in: folder)))
        }
        restored.skippedUpdates =
            try JSONDecoder().decode(
                Saved.self, from: Data(contentsOf: folder.appending(path: Self.countersName))
            ).skippedUpdates
        self = restored
    }
}

/// The controllers between steps: what a checkpoint holds. The Coordinator works on a value of its own and leaves it here when it saves.
package final class RewardControllers: Checkpointable {
    package let stateName = "controllers"
    private let kept: Mutex<ControllerBank>

    package init(_ controllers: [any RewardController] = [], mixture: MixtureController? = nil) {
        kept = Mutex(ControllerBank(controllers, mixture: mixture))
    }

    package var bank: ControllerBank { kept.withLock { $0 } }

    /// Takes over what a finished step has left.
    package func take(_ bank: ControllerBank) { kept.withLock { $0 = bank } }

    package func save(to folder: URL) throws { try bank.write(to: folder) }

    package func restore(from folder: URL) throws { try kept.withLock { try $0.read(from: folder) } }
}
