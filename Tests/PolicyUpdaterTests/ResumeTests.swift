import Algorithms
import Foundation
import Models
import Placement
import PolicyUpdater
import Records
import Tensors
import Testing

@TensorActor @Suite("A resumed updater", .timeLimit(.minutes(10)))
struct ResumeTests {
    private func settings() throws -> UpdaterSettings {
        try .plain(
            learningRate: 0.02, weightDecay: 0.1, maxGradientNorm: 0.5, maxTokensPerMicroBatch: 8,
            schedule: LearningRateSchedule(.cosine, warmup: .steps(1), totalSteps: 6),
            referenceSync: ReferenceSync(mixupAlpha: 0.5, everySteps: 2))
    }

    private func policy(weights: [String: [Double]]? = nil) throws -> TinyPolicy {
        try TinyPolicy(
            GRPOSettings(klCoefficient: 0.2), settings(), weights: weights, type: .float32,
            reference: TinyPolicy.reference(.float32))
    }

    /// The batch of a step; they differ, and one breaks on purpose.
    private func train(_ policy: TinyPolicy, step: Int) async throws -> Metrics {
        var batch = UpdateBatch(groups: [
            ExampleBatch.group([1, step % 7], [[3, 4, 5], [6]]),
            ExampleBatch.group([0], [[2, step % 5], [5, 1, 4, 3]]),
        ])
        let reference = try await policy.updater.logProbabilities(batch, under: .reference).tokens
        for group in batch.groups.indices {
            for index in batch.groups[group].completions.indices {
                batch.groups[group].completions[index].referenceLogProbabilities = reference[group][index]
            }
        }
        if step == 1 { batch.groups[0].completions[0].advantages[0][0] = 1e300 }
        return try await policy.updater.train(batch)
    }

    private func temporaryFolder() throws -> URL {
        let folder = FileManager.default.temporaryDirectory.appending(path: "updater-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        return folder
    }

    @Test func goesOnToTheBit() async throws {
        let folder = try temporaryFolder()
        defer { #expect(throws: Never.self) { try FileManager.default.removeItem(at: folder) } }
        let straight = try policy()
        for step in 0..<3 { _ = try await train(straight, step: step) }
        try await straight.updater.save(to: folder)
        let saved = try straight.parameters.mapValues { try $0.to(.float64).doubles() }
        var expected: [Metrics] = []
        for step in 3..<6 { expected.append(try await train(straight, step: step)) }

        let resumed = try policy(weights: saved)
        try await resumed.updater.restore(from: folder)
        #expect(try resumed.actor.version == PolicyVersion(2))  // three steps, one of them skipped
        #expect(resumed.updater.optimizer.counters.schedulePosition == 3)
        #expect(resumed.updater.optimizer.counters.skippedSteps == 1)
        var found: [Metrics] = []
        for step in 3..<6 { found.append(try await train(resumed, step: step)) }
        #expect(found == expected)
        #expect(try resumed.bits() == straight.bits())

        let forgetful = try policy(weights: saved)  // the check can fail: without its state it is another run
        for step in 3..<6 { _ = try await train(forgetful, step: step) }
        #expect(try forgetful.bits() != straight.bits())
    }

    /// `counters.json` as it was while the policy's had a form of its own.
    @Test func readsCountersOfTheFormerForm() async throws {
        let folder = try temporaryFolder()
        defer { #expect(throws: Never.self) { try FileManager.default.removeItem(at: folder) } }
        let policy = try policy()
        try await policy.updater.save(to: folder)
        try Data(
            #"{"optimizerSteps": 4, "policyVersion": 3, "schedulePosition": 6, "skippedSteps": 2}"#.utf8
        ).write(to: folder.appending(path: "counters.json"))
        try await policy.updater.restore(from: folder)
        #expect(try policy.actor.version == PolicyVersion(3))
        #expect(try policy.reference?.version == PolicyVersion(2))  // moved by every second of four steps
        let counters = policy.updater.optimizer.counters
        #expect(counters.optimizerSteps == 4 && counters.schedulePosition == 6 && counters.skippedSteps == 2)
    }

    @Test func refusesTheStateOfAnotherModelAndStaysAsItWas() async throws {
        let folder = try temporaryFolder()
        defer { #expect(throws: Never.self) { try FileManager.default.removeItem(at: folder) } }
        let policy = try policy()
        _ = try await train(policy, step: 0)
        try await policy.updater.save(to: folder)
        let other = try TinyPolicy(SupervisedFineTuning(), .plain(learningRate: 0.1), type: .float64)
        await #expect(throws: UpdateError.self) { try await other.updater.restore(from: folder) }
        #expect(other.updater.optimizer.counters == OptimizerCounters())
        #expect(try other.actor.version == PolicyVersion(0))
        try Data("{}".utf8).write(to: folder.appending(path: "counters.json"))
        await #expect(throws: (any Error).self) { try await policy.updater.restore(from: folder) }
        #expect(policy.updater.optimizer.counters.schedulePosition == 1)
    }
}
