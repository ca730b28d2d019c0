import Planning
import Testing

@Suite("The search")
struct PlanSearchTests {
    private let cluster = Toy.cluster(nodes: 2, devices: 2)

    private func search(_ seed: UInt64 = 1, enumerated: Int, proposals: Int = 400) throws -> SearchResult {
        var options = PlanSearch.Options()
        options.enumerated = enumerated
        options.proposals = proposals
        options.layouts = [.generate: [.bf16], .infer: [.bf16], .train: [.fp32Master]]
        options.offloads = false
        return try PlanSearch(
            cluster, models: Toy.models, graph: Toy.graph, costs: Toy.costs(cluster), options: options
        ).run(seed: seed)
    }

    /// Two nodes of two devices, three calls: every plan against what the seeds, the descent and the chain come to.
    @Test func findsTheBestOfASmallSpace() throws {
        let every = try search(enumerated: .max)
        #expect(Double(every.evaluated) == every.space)
        let found = try search(enumerated: 0)
        #expect(found.evaluated < every.evaluated)
        #expect(found.iterationNanoseconds == every.iterationNanoseconds)
    }

    @Test func isNeverWorseThanItsSeeds() throws {
        for seed in 0..<5 as Range<UInt64> {
            let found = try search(seed, enumerated: 0, proposals: 20)
            #expect(!found.seedNanoseconds.isEmpty)
            #expect(found.seedNanoseconds.allSatisfy { found.iterationNanoseconds <= $0 })
        }
    }

    @Test func theSameSeedTakesTheSameWay() throws {
        let (one, two) = (try search(7, enumerated: 0), try search(7, enumerated: 0))
        #expect(one.plan == two.plan && one.trace == two.trace && one.evaluated == two.evaluated)
        #expect(one.plan.planHash == two.plan.planHash)
    }

    @Test func whatItReturnsKeepsTheRules() throws {
        let found = try search(enumerated: 0)
        #expect(found.plan.problems().isEmpty)
        let timeline = try PlanSimulator(found.plan, costs: Toy.costs(cluster)).validate()
        #expect(timeline.iterationNanoseconds == found.iterationNanoseconds)
        #expect(timeline.peakBytes.max() == found.peakBytes)
    }

    /// 20 bytes a parameter do not fit, 6 and what a step needs do: moments must wait on the host.
    @Test func movesWhatDoesNotFitToTheHost() throws {
        let one = Toy.cluster(nodes: 1, devices: 1)
        func run(_ bytes: Int) throws -> SearchResult {
            var cluster = one
            cluster.memoryBytes = bytes
            var options = PlanSearch.Options()
            options.layouts = [.generate: [.bf16, .int8], .infer: [.bf16], .train: [.fp32Master]]
            return try PlanSearch(
                cluster, models: Toy.models, graph: Toy.graph, costs: Toy.costs(cluster), options: options
            ).run()
        }
        let roomy = try run(1 << 30)
        #expect(roomy.plan.assignments["actor_train"]?.after == [.dropGradients])
        // As little as can be, by halving.
        var (low, high) = (1 << 20, roomy.peakBytes * 2)
        while high - low > 1 << 12 {
            let middle = (low + high) / 2
            do {
                _ = try run(middle)
                high = middle
            } catch { low = middle }
        }
        let tight = try run(high)
        #expect(tight.peakBytes < roomy.peakBytes)
        #expect(
            tight.plan.assignments["actor_train"]?.after.contains(.offloadOptimizer) == true
                || tight.plan.assignments["ref_inf"]?.after.contains(.offloadWeights) == true)
        let error = #expect(throws: PlanError.self) { _ = try run(1 << 20) }
        #expect(error?.problems.allSatisfy { $0.rule == .memory } == true)
    }
}
