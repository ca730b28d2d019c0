import Algorithms
import Foundation
import Tensors
import Testing

@TensorActor @Suite("What a loss reports")
struct LossReportTests {
    /// Completions of two, no and three tokens.
    @Test func columnsOfAnyTypeAreReducedAsSaid() throws {
        let spans = try CompletionSpans(lengths: [2, 0, 3])
        var report = LossReport()
        try report.note("mean", Tensor([1.0, 2, 3, 4, 5] as [Float]), .mean)
        try report.note("low", Tensor([1.0, 2, 3, 4, 5.5]), .minimum, over: spans)  // means 1.5 and 12.5/3
        try report.note("high", Tensor([1.0, 2, 3, 4, 5.5]), .maximum, over: spans)
        try report.note("share", Tensor([true, false, true, true, false]), .mean)
        try report.note("count", Tensor([true, false, true, true, false]), .total)
        try report.note([Tensor([1.0, 2]), Tensor([0.25])]) { columns, metrics in
            metrics.set("product", columns[0].map { $0 * columns[1][0] }, .total)
            metrics.set("again", metrics["count"] == .total(3) ? [1] : [], .mean)
        }
        try report.note("nothing", Tensor([Double]()), .maximum)
        let loss = try Tensor([0.1]).requiringGradient()
        let found = try LossResult(loss: loss * 2, report: report).read()
        #expect(found.loss == 0.2)
        #expect(found.metrics.names == ["mean", "low", "high", "share", "count", "product", "again"])
        #expect(found.metrics["mean"] == .mean(sum: 15, count: 5))
        #expect(found.metrics["low"] == .minimum(1.5) && found.metrics["high"] == .maximum(12.5 / 3))
        #expect(found.metrics["share"] == .mean(sum: 3, count: 5) && found.metrics["count"] == .total(3))
        #expect(found.metrics["product"] == .total(0.75) && found.metrics["again"] == .mean(sum: 1, count: 1))
    }

    @Test func twoLossesAddUpInTheTypeOfTheFirst() throws {
        func result(_ name: String, _ loss: Tensor) throws -> LossResult {
            var report = LossReport()
            try report.note(name, loss, .total)
            return LossResult(loss: loss, report: report)
        }
        let sum = try result("a", Tensor([0.5] as [Float])).adding(result("b", Tensor([0.1])))
        #expect(sum.loss.elementType == .float32)
        let found = try sum.read()
        #expect(found.loss == Double(Float(0.6)) && found.metrics["a"] == .total(0.5))
        #expect(found.metrics["b"] == .total(0.1))  // a column keeps its own precision
    }

    /// Each read of a tensor's elements waits for the device. The report's is the only one a loss has.
    @Test func noLossReadsATensorItself() throws {
        let room = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appending(path: "Sources/Algorithms")
        let files = try FileManager.default.contentsOfDirectory(at: room, includingPropertiesForKeys: nil)
        let reads = [".doubles()", ".floats()", ".item()", ".integers()", ".booleans()"]
        let found = try files.filter { file in
            let text = try String(contentsOf: file, encoding: .utf8)
            return reads.contains { text.contains($0) }
        }
        #expect(found.map(\.lastPathComponent) == ["LossReport.swift"])
    }
}
