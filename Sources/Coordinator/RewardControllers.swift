package import Credit
package import Foundation
internal import Records
internal import Runs
internal import Synchronization

/// The controllers of a run as one value: a step that is given up takes an older copy back.
package struct ControllerBank: Sendable {
    package private(set) var controllers: [any RewardController]
    /// Steps that a controller let pass because a number was not finite, by its name.
    package private(set) var skippedUpdates: [String: Int] = [:]

    /// - Parameter controllers: Each of another name, and no two that move the same weight.
    package init(_ controllers: [any RewardController] = []) {
        precondition(Set(controllers.map(\.name)).count == controllers.count, "one controller a name")
        self.controllers = controllers
    }

    /// What they make of the weights of the step that begins.
    ///
    /// - Parameter step: Optimizer steps taken so far.
    package func weights(at step: Int) -> StreamWeights {
        controllers.reduce(into: StreamWeights()) { $0.merge($1.weights(at: step)) }
    }

    package var isEmpty: Bool { controllers.isEmpty }
    /// Whether one of them can do nothing before it has seen an evaluation.
    var needsEvaluation: Bool { controllers.contains(where: \.needsEvaluation) }
    /// Why one of them would end the run; `nil` to go on.
    var endsRun: String? { controllers.lazy.compactMap(\.endsRun).first }
    /// Whether one of them compares the gradients of streams.
    var readsGradients: Bool { controllers.contains(where: \.readsGradients) }

    /// Shows every controller the groups that are about to be credited; as ``observe(_:)-(ObservedStep)``.
    mutating func prepare(for batch: CreditBatch, _ rewards: RewardCombination) -> (metrics: Metrics, notes: [String]) {
        learned { $0.prepare(for: batch, rewards) }
    }

    /// Shows every controller a step.
    ///
    /// - Returns: Their metrics, and `controllers/skipped_updates` once there are any; what they have to say.
    mutating func observe(_ step: ObservedStep) -> (metrics: Metrics, notes: [String]) {
        learned { $0.observe(step) }
    }

    /// Shows every controller an evaluation; as ``observe(_:)-(ObservedStep)``.
    mutating func observe(_ evaluation: ObservedEvaluation) -> (metrics: Metrics, notes: [String]) {
        learned { $0.observe(evaluation) }
    }

    /// Shows every controller that reads them the gradients of a step; as ``observe(_:)-(ObservedStep)``.
    mutating func weigh(_ products: StreamProducts, of streams: [String]) -> (metrics: Metrics, notes: [String]) {
        learned { $0.weigh(products, of: streams) }
    }

    /// Shows every controller what a step's training measured; as ``observe(_:)-(ObservedStep)``.
    mutating func observe(trained: Metrics) -> (metrics: Metrics, notes: [String]) {
        learned { $0.observe(trained: trained) }
    }

    private mutating func learned(
        _ learn: (inout any RewardController) -> ControllerUpdate?
    ) -> (metrics: Metrics, notes: [String]) {
        var metrics = Metrics()
        var notes: [String] = []
        for index in controllers.indices {
            guard let update = learn(&controllers[index]) else {
                skippedUpdates[controllers[index].name, default: 0] += 1
                continue
            }
            metrics.merge(update.metrics)
            if let note = update.note { notes.append(note) }
        }
        let skipped = skippedUpdates.values.reduce(0, +)
        if skipped > 0 { metrics["controllers/skipped_updates", .last] = Double(skipped) }
        return (metrics, notes)
    }

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
        try FileOperations.system.writeFile(
            Array(encoder.encode(Saved(skippedUpdates: skippedUpdates))), folder.appending(path: Self.countersName))
    }

    /// The names of the controllers that a checkpoint has states of.
    static func names(in folder: URL) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: folder.path)
            .filter { $0.hasSuffix(".json") && $0 != countersName }.map { String($0.dropLast(".json".count)) }.sorted()
    }

    /// Changes nothing when it throws.
    ///
    /// - Throws: `ControllerStateError` for the states of another job.
    mutating func read(from folder: URL) throws {
        let (mine, saved) = (controllers.map(\.name).sorted(), try Self.names(in: folder))
        guard mine == saved else {
            throw ControllerStateError(
                "\(folder.path): the checkpoint has the controllers \(saved.joined(separator: ", ")); the job has \(mine.joined(separator: ", "))"
            )
        }
        var restored = self
        for index in controllers.indices {
            let file = Self.file(of: controllers[index].name, in: folder)
            do {
                try restored.controllers[index].takeState(from: Data(contentsOf: file), with: JSONDecoder())
            } catch let error as ControllerStateError {
                throw ControllerStateError("\(file.path): \(error)")
            }
        }
        restored.skippedUpdates =
            try JSONDecoder().decode(
                Saved.self, from: Data(contentsOf: folder.appending(path: Self.countersName))
            ).skippedUpdates
        self = restored
    }
}

/// The controllers between steps: what a checkpoint holds. The Coordinator works on a value of its own and leaves it
/// here when it saves.
package final class RewardControllers: Checkpointable {
    package let stateName = "controllers"
    private let kept: Mutex<ControllerBank>

    package init(_ controllers: [any RewardController] = []) {
        kept = Mutex(ControllerBank(controllers))
    }

    package var bank: ControllerBank { kept.withLock { $0 } }

    /// Takes over what a finished step has left.
    package func take(_ bank: ControllerBank) { kept.withLock { $0 = bank } }

    /// The names of the controllers that a checkpoint has states of; none where it has no such folder.
    package static func names(in folder: URL) throws -> [String] {
        FileManager.default.fileExists(atPath: folder.path) ? try ControllerBank.names(in: folder) : []
    }

    package func save(to folder: URL) throws { try bank.write(to: folder) }

    package func restore(from folder: URL) throws { try kept.withLock { try $0.read(from: folder) } }
}
