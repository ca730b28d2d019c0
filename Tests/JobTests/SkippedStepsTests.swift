import Coordinator
import Foundation
import Job
import Records
import TestSupport
import Testing

@Suite("A policy that gives no finite loss any more is told from a bad batch")
struct SkippedStepsTests {
    private func report(_ step: Int, skipped: Int) -> StepReport {
        var metrics = Metrics()
        metrics["skipped_steps", .last] = Double(skipped)
        return StepReport(step: step, metrics: metrics, groups: [], credits: [])
    }

    /// Steps 4 to 13 are skipped: at the tenth in a row the run ends, and the weights after step 3 are named.
    @Test func tenInARowEndTheRun() throws {
        var skips = SkippedSteps(firstStep: 0)
        for step in 1...12 { try skips.note(report(step, skipped: max(0, step - 3))) }
        #expect(throws: NotFinite("the losses or gradients of 10 steps in a row", since: 3)) {
            try skips.note(report(13, skipped: 10))
        }
    }

    /// A checkpoint was made after 50 skipped steps: they are not this start's.
    @Test func thoseBeforeACheckpointDoNotCount() throws {
        var skips = SkippedSteps(firstStep: 100)
        for step in 101...150 { try skips.note(report(step, skipped: 50)) }
    }

    /// Nine in a row and one that is taken, again and again; then reports of four optimizer steps, one of them skipped.
    @Test func fewerDoNot() throws {
        var skips = SkippedSteps(firstStep: 0)
        var skipped = 0
        for step in 1...60 {
            skipped += step % 10 == 0 ? 0 : 1
            try skips.note(report(step, skipped: skipped))
        }
        for round in 1...20 { try skips.note(report(60 + 4 * round, skipped: skipped + round)) }
    }
}

@Suite("Counters of a checkpoint that no run can have written are refused")
struct ForgedProgressTests {
    @Test(arguments: ["step", "rolloutStep", "tokens", "threads", "unconcludedSince"], [Int.max, -1])
    func namedWithTheirFile(_ name: String, _ value: Int) async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "progress-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }  // a leftover in /tmp harms no test
        var progress: [String: Any] = ["step": 4, "rolloutStep": 4, "tokens": 10]
        if name != "threads" { progress[name] = value }
        let content: [String: Any] = ["progress": progress, "threads": name == "threads" ? value : 1]
        try JSONSerialization.data(withJSONObject: content).write(to: folder.appending(path: "progress.json"))
        let state = ProgressState(threads: 2)
        let error = await #expect(throws: JobError.self) { try await state.restore(from: folder) }
        #expect(error?.description.contains("\(name) is \(value)") == true, "\(error?.description ?? "")")
        #expect(state.progress.step == 0 && state.threads == 2)  // unchanged
    }
}

@Suite("The progress in a checkpoint")
struct SavedProgressTests {
    /// Read with its keys in another order.
    @Test func equalStatesAreEqualFiles() async throws {
        let folder = try TemporaryFolder()
        _ = try folder.file(
            "progress.json",
            """
            {"threads": 3, "progress": {"unconcludedSince": 2, "tokens": 10, "step": 4, "rolloutStep": 4, "newestSince": 3},
            "bestValue": 0.5, "bestStep": 2}
            """)
        let state = ProgressState(threads: 1)
        try await state.restore(from: folder.url)
        try await state.save(to: folder.url)
        let sorted =
            #"{"bestStep":2,"bestValue":0.5,"progress":{"newestSince":3,"rolloutStep":4,"step":4,"tokens":10,"#
            + #""unconcludedSince":2},"threads":3}"#
        #expect(try text(of: folder.url.appending(path: "progress.json")) == sorted)
    }

    /// A best step of a checkpoint from before its metric was kept stands, as under the same metric. It is none under
    /// another one or the other direction, and waits where this start ranks nothing.
    @Test(
        arguments: [
            (ProgressState.Ranking(metric: "reward", isGreater: true), true),
            (ProgressState.Ranking(metric: "loss", isGreater: true), false),
            (ProgressState.Ranking(metric: "reward", isGreater: false), false), (nil, true),
        ] as [(ranking: ProgressState.Ranking?, stands: Bool)])
    func theBestIsThatOfItsMetric(_ start: (ranking: ProgressState.Ranking?, stands: Bool)) async throws {
        for (by, stands) in [(#","bestBy":{"isGreater":true,"metric":"reward"}"#, start.stands), ("", true)] {
            let folder = try TemporaryFolder()
            _ = try folder.file(
                "progress.json",
                #"{"bestStep":2,"bestValue":0.5,"progress":{"rolloutStep":4,"step":4,"tokens":10},"threads":1"# + by
                    + "}")
            let state = ProgressState(threads: 1, ranking: start.ranking)
            try await state.restore(from: folder.url)
            #expect(state.progress.step == 4)
            #expect((state.best?.step == 2) == stands && (state.best == nil) != stands)
            #expect(state.notices.count == (stands ? 0 : 1))
        }
    }
}
