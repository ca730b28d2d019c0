import Foundation
import JSON
import Job
import Planning
import Testing

@Suite("Plans beside what they took")
struct PlanMeasurementTests {
    private static let shape = ModelShape(
        layers: 2, hiddenSize: 32, intermediateSize: 96, heads: 2, keyValueHeads: 2, vocabularySize: 257)

    /// Told apart by its rows at once.
    private func candidate(_ rows: Int, seconds: Double, bytes: Int = 770_000_000) -> LocalPlans.Candidate {
        let cluster = Cluster(
            nodes: 1, devicesPerNode: 1, memoryBytes: rows << 20, intraGBps: 1, interGBps: 1, hbmGBps: 1, peakTFLOPs: 1)
        let plan = ExecutionPlan(
            cluster: cluster, models: ["actor": Self.shape], graph: DataflowGraph(name: "none", calls: []),
            assignments: [:])
        return LocalPlans.Candidate(
            plan: plan, nanoseconds: Int(seconds * 1e9), peakBytes: bytes, fits: true, generation: .fp32Packed,
            sequencesOfPass: 4, rows: rows)
    }

    private func measured(_ seconds: Double, bytes: Int? = nil, fullness: Double? = nil) -> PlanMeasurement.Measured {
        .init(seconds: seconds, peakBytes: bytes, fullness: fullness)
    }

    /// Predicted 1, 2 and 4 s, measured 2, 1 and 4 s, and one that failed: the chosen one is the second, twice as slow as
    /// the fastest; |ln ½| + |ln 2| + |ln 1| over three; 10⁹ bytes, 230 MB of them the process's own, off by 2 and by 1 of
    /// two that have them.
    private var measurement: PlanMeasurement {
        PlanMeasurement(
            [
                .init(candidate(8, seconds: 1), measured(2, bytes: 500_000_000, fullness: 0.5)),
                .init(candidate(16, seconds: 2), measured(1, bytes: 1_000_000_000, fullness: 1)),
                .init(candidate(32, seconds: 4), measured(4)),
                .init(candidate(64, seconds: 5), nil, failure: "killed"),
            ], of: 9)
    }

    @Test func theChosenOneHasARankAndTheEstimatorAnError() throws {
        let found = measurement
        #expect(found.rank == 2 && found.timesFastest == 2)
        #expect(abs(try #require(found.meanErrors.seconds) - 2 * log(2) / 3) < 1e-12)
        #expect(abs(try #require(found.meanErrors.bytes) - log(2) / 2) < 1e-12)
        let text = found.text
        for words in [
            "3 of 9 plans that fit were run", "it ranks 2 among those", "2.00 times as long as the fastest",
            "seconds are off by a factor of 1.59", "bytes are off by a factor of 1.41", "only 50.0 %", ": killed",
            "failed",
        ] {
            #expect(text.contains(words), "\(words) in \(text)")
        }
    }

    @Test func aProgramReadsTheSame() throws {
        let read = try JSONValue(parsing: Array(measurement.json.serialized.utf8))
        #expect(read["plans"]?.double == 9 && read["rank"]?.double == 2 && read["times_fastest"]?.double == 2)
        let rows = try #require(read["measured"]?.elements)
        #expect(rows.compactMap { $0["rank"]?.double } == [2, 1, 3])
        #expect(rows.compactMap { $0["iteration_s"]?.double } == [1, 2, 4, 5])
        #expect(rows.compactMap { $0["measured_s"]?.double } == [2, 1, 4])
        #expect(rows[3]["failure"]?.string == "killed" && rows[0]["rows"]?.double == 8)
        #expect(Set(rows.compactMap { $0["plan_hash"]?.string }).count == 4)
    }

    /// Where the chosen one failed it has no rank, and where nothing was run there is no error.
    @Test func whatFailedHasNoRank() {
        let failed = PlanMeasurement([.init(candidate(8, seconds: 1), nil, failure: "killed")], of: 1)
        #expect(failed.rank == nil && failed.timesFastest == nil && failed.meanErrors.seconds == nil)
        #expect(failed.text.contains("0 of 1 plans that fit were run"))
    }
}
