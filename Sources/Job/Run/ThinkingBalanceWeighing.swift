internal import Coordinator
internal import Credit
internal import Foundation
internal import Methods
internal import Records
internal import Runs

/// α of a run: fixed, or moved by calibrations on the way.
actor ThinkingBalanceWeighing: PartWeighing, Checkpointable {
    nonisolated let stateName = "mixing"
    private let plan: ThinkingBalancePlan
    /// `nil` where α stays.
    private let calibrator: ThinkingBalanceCalibrator?
    private var weight: ThinkingBalance
    private var marked: ThinkingBalance

    init(_ plan: ThinkingBalancePlan, _ calibrator: ThinkingBalanceCalibrator?) {
        self.plan = plan
        self.calibrator = calibrator
        weight = plan.weight
        marked = plan.weight
    }

    /// Of thinking and of empty pairs, as they are now.
    var weights: [Double] { [weight.alpha, 1 - weight.alpha] }

    /// `bvpo/alpha`, and in a step with a calibration its terms.
    func weigh(
        _ batch: UpdateBatch, at progress: RunProgress, stop: StopSignal
    ) async throws -> (weights: [Double], metrics: Metrics) {
        var metrics = Metrics()
        if let calibration = plan.calibration, let calibrator, progress.step.isMultiple(of: calibration.steps) {
            let start = ContinuousClock.now
            let found = try await calibrator.estimate(alpha: weight.alpha, step: progress.step, stop: stop)
            metrics = found.metrics
            if let estimate = found.estimate { metrics.merge(weight.take(estimate, ThinkingBalance.Bounds())) }
            metrics["timing_s/calibration"] = (ContinuousClock.now - start) / .seconds(1)
        }
        metrics["bvpo/alpha", .last] = weight.alpha
        return (weights, metrics)
    }

    /// The gradients that move α are the calibration's own.
    func observe(_ training: Metrics) -> String? { nil }

    func mark() { marked = weight }
    func rewind() { weight = marked }

    // MARK: Checkpointable

    private static let fileName = "alpha.json"

    func save(to folder: URL) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        try FileOperations.system.writeFile(Array(encoder.encode(weight)), folder.appending(path: Self.fileName))
    }

    func restore(from folder: URL) throws {
        let saved = try Data(contentsOf: folder.appending(path: Self.fileName))
        weight = try JSONDecoder().decode(ThinkingBalance.self, from: saved)
        marked = weight
    }
}
