import Records
import Testing

@Suite("Metrics of several optimizer steps")
struct MetricsTests {
    private func steps(_ reduction: Metrics.Reduction) -> [Metrics] {
        [4, 1, 7].map { value in
            var metrics = Metrics()
            metrics["x", reduction] = value
            return metrics
        }
    }

    @Test(arguments: [(Metrics.Reduction.mean, 4.0), (.sum, 12), (.min, 1), (.max, 7), (.last, 7)])
    func theDeclaredReductionCounts(_ reduction: Metrics.Reduction, _ expected: Double) {
        #expect(Metrics.reduced(steps(reduction))["x"] == expected)
    }

    /// A name says nothing: an average of lengths stays one, however it ends.
    @Test func nothingIsReadOffTheName() {
        var (one, other) = (Metrics(), Metrics())
        one["ratio/max"] = 1
        other["ratio/max"] = 4
        #expect(Metrics.reduced([one, other])["ratio/max"] == 2.5)
    }

    @Test func aStepWithoutTheNumberIsLeftOutAndTheOrderIsThatOfTheFirstSeen() {
        var (one, other) = (Metrics(), Metrics())
        one["a"] = 2
        other["b", .last] = 3
        other["a"] = 4
        let row = Metrics.reduced([one, other])
        #expect(row.names == ["a", "b"])
        #expect(row["a"] == 3 && row["b"] == 3)
    }

    /// What is set again, merged or put together keeps what was declared where it was measured.
    @Test func theReductionTravels() {
        var steps = steps(.max)
        steps[0]["x"] = 9
        var merged = Metrics()
        merged.merge(steps[0])
        #expect(Metrics.reduced([merged, steps[1]])["x"] == 9)
        steps[0]["x"] = nil
        #expect(steps[0].names.isEmpty)
    }
}
