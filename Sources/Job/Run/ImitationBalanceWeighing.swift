internal import Coordinator
internal import Credit
internal import Foundation
internal import Methods
internal import Records
internal import Runs

/// μ of a run that imitates and is rewarded: what demonstrations and rollouts count in a step.
actor ImitationBalanceWeighing: PartWeighing, Checkpointable {
    nonisolated let stateName = "mixture"
    /// What meta-gradients are taken of; `nil` takes none.
    private let utility: HeldOutUtility?
    private var controller: ImitationBalanceController
    private var marked: ImitationBalanceController.State

    init(_ controller: ImitationBalanceController, _ utility: HeldOutUtility?) {
        self.controller = controller
        self.utility = utility
        marked = controller.state
    }

    /// `amft/mu` and what moved it; `amft/skipped_updates` counts the steps whose numbers were not finite.
    func weigh(
        _ batch: UpdateBatch, at progress: RunProgress, stop: StopSignal
    ) async throws -> (weights: [Double], metrics: Metrics) {
        var meta: MetaGradient?
        var metrics = Metrics()
        if controller.wantsMetaGradient, let utility {
            let start = ContinuousClock.now
            var weighed = batch
            for (index, weight) in weights(of: batch).enumerated() { weighed.parts[index].weight = weight }
            meta = try await utility.metaGradient(of: weighed, step: progress.rolloutStep, stop: stop)
            metrics["timing_s/meta_gradient"] = (ContinuousClock.now - start) / .seconds(1)
        }
        metrics.merge(controller.weigh(meta)?.metrics ?? meta?.metrics ?? Metrics())
        let skipped = controller.state.skipped
        if skipped > 0 { metrics["amft/skipped_updates", .last] = Double(skipped) }
        return (weights(of: batch), metrics)
    }

    private func weights(of batch: UpdateBatch) -> [Double] {
        batch.parts.map { $0.kind == .demonstrations ? controller.demonstrationWeight : controller.rolloutWeight }
    }

    func observe(_ training: Metrics) -> String? { training["entropy"].flatMap { controller.note(entropy: $0) } }

    func mark() async {
        marked = controller.state
        await utility?.mark()
    }

    func rewind() async {
        controller.state = marked
        await utility?.rewind()
    }

    // MARK: Checkpointable

    private static let fileName = "mu.json"

    func save(to folder: URL) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        try FileOperations.system.writeFile(
            Array(encoder.encode(controller.state)), folder.appending(path: Self.fileName))
    }

    func restore(from folder: URL) throws {
        let saved = try Data(contentsOf: folder.appending(path: Self.fileName))
        controller.state = try JSONDecoder().decode(ImitationBalanceController.State.self, from: saved)
        marked = controller.state
    }
}
