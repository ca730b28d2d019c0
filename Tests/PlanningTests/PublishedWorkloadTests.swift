import Foundation
import Planning
import TestSupport
import Testing

extension AnalyticCosts {
    /// Operations of decoding `newTokens` behind prompts, one step for each.
    fileprivate static func decodeOperations(_ work: CallSpec.Work, _ shape: ModelShape) -> Double {
        let (batch, h) = (Double(work.sequences), Double(shape.hiddenSize))
        let (i, v, layers) = (Double(shape.intermediateSize), Double(shape.vocabularySize), Double(shape.layers))
        return (0..<work.newTokens).reduce(0) { sum, step in
            let context = Double(work.promptTokens + step + 1)
            let block = 4 * batch * h * h + 2 * batch * context * h + 3 * batch * h * i
            return sum + 2 * layers * block + 4 * batch * v * h
        }
    }

    /// Operations of one call.
    fileprivate static func operations(_ call: CallSpec, _ shape: ModelShape) -> Double {
        let work = call.work
        return switch call.kind {
        case .generate:
            forwardOperations(work.sequences, work.promptTokens, shape) + decodeOperations(work, shape)
        case .infer: forwardOperations(work.sequences, work.length, shape)
        case .train: 4 * forwardOperations(work.sequences, work.length, shape)
        case .host: 0
        }
    }
}

@Suite("The published workloads through the simulator")
struct PublishedWorkloadTests {
    /// 70B and 70B, 128 new tokens: 247.56 PFLOP an iteration, by an independent count with the same accounting.
    @Test func operationsOfTheLargestWorkload() throws {
        let workload = try #require(PublishedWorkload.all.first { $0.devices == 128 && $0.newTokens == 128 })
        let models = try workload.models()
        let sum = workload.graph.calls.reduce(0.0) { sum, call in
            // The accounting charges every model a head.
            var shape = models[call.role ?? ""]
            shape?.output = .head
            return sum + (shape.map { AnalyticCosts.operations(call, $0) } ?? 0)
        }
        #expect(abs(sum / 1e15 - 247.56) < 0.005, "\(sum / 1e15)")
    }

    private static func seconds(_ plan: ExecutionPlan) throws -> Double {
        Double(try PlanSimulator(plan, costs: AnalyticCosts(plan.cluster)).run().iterationNanoseconds) / 1e9
    }

    /// Mean |ln(model / measured)| over the 33 points is at most 0.08.
    @Test func theHeuristicPlanIsAsLongAsItWasMeasured() throws {
        let errors = try PublishedWorkload.all.map { workload in
            abs(log(try Self.seconds(workload.heuristicPlan()) / workload.heuristicSeconds))
        }
        #expect(errors.count == 33)
        let mean = errors.reduce(0, +) / Double(errors.count)
        #expect(mean <= 0.08, "mean \(mean), worst \(errors.max() ?? 0)")
    }

    private struct Row {
        var workload: PublishedWorkload
        var heuristic: Double
        var searched: Double
        var reallocation: Double
        var searchSeconds: Double
        var evaluated: Int

        var gain: Double { heuristic / searched - 1 }
        var publishedGain: Double { workload.heuristicSeconds / workload.searchedSeconds - 1 }
    }

    private static func search(_ workload: PublishedWorkload) throws -> Row {
        let clock = ContinuousClock()
        let start = clock.now
        let costs = AnalyticCosts(workload.cluster)
        let found = try PlanSearch(
            workload.cluster, models: workload.models(), graph: workload.graph, costs: costs
        ).run(seed: 1)
        let time = (clock.now - start) / .seconds(1)
        let timeline = try PlanSimulator(found.plan, costs: costs).validate()
        return Row(
            workload: workload, heuristic: try seconds(workload.heuristicPlan()),
            searched: Double(found.iterationNanoseconds) / 1e9,
            reallocation: Double(timeline.nanoseconds(of: .reallocate)) / Double(found.iterationNanoseconds),
            searchSeconds: time, evaluated: found.evaluated)
    }

    @Test func theSearchedPlanBeatsTheHeuristic() throws {
        for workload in PublishedWorkload.all.prefix(3) {
            let row = try Self.search(workload)
            #expect(row.gain > 0, "\(workload)")
            #expect(row.reallocation < 0.05)
        }
    }

    /// Spearman's coefficient of two lists without ties.
    private static func rankCorrelation(_ one: [Double], _ other: [Double]) -> Double {
        func ranks(_ values: [Double]) -> [Double] {
            values.map { value in
                let below = values.filter { $0 < value }.count
                let equal = values.filter { $0 == value }.count
                return Double(below) + Double(equal - 1) / 2
            }
        }
        let (a, b) = (ranks(one), ranks(other))
        let mean = Double(a.count - 1) / 2
        let covariance = zip(a, b).reduce(0) { $0 + ($1.0 - mean) * ($1.1 - mean) }
        let (va, vb) = (
            a.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }, b.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
        )
        return covariance / (va * vb).squareRoot()
    }

    /// All 33; prints the table of the documentation.
    @Test(.enabled(if: runsLongTests, "33 searches: make test-long"))
    func allWorkloads() throws {
        let rows = try PublishedWorkload.all.map(Self.search)
        for row in rows {
            let numbers = [
                row.workload.heuristicSeconds, row.heuristic, row.workload.searchedSeconds, row.searched,
                100 * row.publishedGain, 100 * row.gain, 100 * row.reallocation, row.searchSeconds,
            ].map { String(format: "%.1f", $0) }.joined(separator: " | ")
            print("| \(row.workload) | \(numbers) | \(row.evaluated) |")
        }
        #expect(rows.allSatisfy { $0.gain > 0 })
        #expect(rows.allSatisfy { $0.reallocation < 0.05 })
        let times = Self.rankCorrelation(rows.map(\.searched), rows.map(\.workload.searchedSeconds))
        let gains = Self.rankCorrelation(rows.map(\.gain), rows.map(\.publishedGain))
        let optimism = rows.map { abs(log($0.searched / $0.workload.searchedSeconds)) }.reduce(0, +) / 33
        print("rank correlation of times \(times), of gains \(gains); mean |ln| of searched times \(optimism)")
        #expect(times >= 0.9)
        #expect(gains >= 0.6)
        // A small actor beside a larger critic gains more the longer it generates.
        for critic in ["llama-2-13b", "codellama-34b", "llama-2-70b"] {
            let own = rows.filter { $0.workload.actor == "llama-2-7b" && $0.workload.critic == critic }.map(\.gain)
            #expect(own.count == 3 && own == own.sorted(), "7B and \(critic): \(own)")
        }
        let long = rows.filter { $0.workload.newTokens == 896 }
        let isLarge = { (row: Row) in ["codellama-34b", "llama-2-70b"].contains(row.workload.actor) }
        let least = long.filter { !isLarge($0) }.map(\.gain).min() ?? 0
        #expect(long.filter(isLarge).allSatisfy { $0.gain < least })
    }
}
