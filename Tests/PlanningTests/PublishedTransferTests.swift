import Planning
import Testing

/// ReaL's planner, from its stored table and an independent implementation of its algorithm.
@Suite("The published transfer plans: cut lists and costs")
struct PublishedTransferTests {
    private static func shape(_ name: String) throws -> ModelShape { try #require(ModelShape.published[name]) }

    @Test func parameterCounts() throws {
        #expect(try Self.shape("codellama-34b").parameterCount == 33_743_970_304)
        #expect(try Self.shape("llama-2-7b").parameterCount == 6_738_415_616)
    }

    @Test(arguments: [
        ("llama-2-7b", 2, [0, 17, 34]), ("llama-2-7b", 4, [0, 9, 17, 25, 34]),
        ("llama-2-7b", 8, [0, 5, 9, 13, 17, 21, 25, 29, 34]), ("llama-2-13b", 4, [0, 11, 21, 31, 42]),
        ("codellama-34b", 3, [0, 17, 33, 50]), ("codellama-34b", 8, [0, 7, 13, 19, 25, 31, 37, 43, 50]),
        ("llama-2-70b", 8, [0, 11, 21, 31, 41, 51, 61, 71, 82]),
    ])
    func cuts(_ model: String, _ stages: Int, _ expected: [Int]) throws {
        #expect(try Self.shape(model).cuts(stages: stages) == expected)
    }

    struct Golden: Sendable, CustomStringConvertible {
        var model: String
        var from: Strategy
        var to: Strategy
        var microseconds: Int
        var description: String { "\(model) \(from) -> \(to)" }

        init(_ model: String, _ from: (Int, Int, Int), _ to: (Int, Int, Int), _ microseconds: Int) {
            self.model = model
            self.from = Strategy(from.0, from.1, from.2)
            self.to = Strategy(to.0, to.1, to.2)
            self.microseconds = microseconds
        }
    }

    static let golden: [Golden] = {
        let large = "codellama-34b"
        let small = "llama-2-7b"
        return [
            Golden(large, (1, 1, 4), (1, 1, 4), 309346), Golden(large, (1, 8, 1), (8, 1, 1), 302338),
            Golden(large, (2, 1, 8), (4, 1, 6), 1_905_825), Golden(large, (1, 1, 4), (4, 1, 1), 30000),
            Golden(large, (1, 4, 2), (1, 1, 8), 399366), Golden(large, (8, 1, 3), (16, 1, 1), 356570),
            Golden(large, (4, 1, 1), (1, 1, 4), 399346), Golden(large, (2, 8, 2), (1, 8, 1), 217158),
            Golden(large, (4, 4, 1), (10, 2, 2), 403620), Golden(large, (1, 1, 4), (1, 2, 2), 169676),
            Golden(large, (4, 2, 5), (4, 2, 8), 977701), Golden(large, (1, 8, 2), (2, 4, 6), 1_474_425),
            Golden(large, (2, 2, 1), (4, 1, 1), 129838), Golden(large, (2, 4, 5), (4, 4, 2), 47731),
            Golden(large, (4, 2, 8), (8, 1, 8), 96546), Golden(large, (1, 8, 1), (1, 1, 8), 519392),
            Golden(large, (1, 8, 1), (3, 8, 2), 658634), Golden(large, (2, 2, 2), (1, 8, 8), 7_603_618),
            Golden(small, (1, 4, 2), (1, 1, 8), 175790), Golden(small, (1, 2, 4), (1, 1, 8), 115785),
            Golden(small, (1, 1, 8), (1, 4, 2), 43947), Golden(small, (1, 8, 1), (1, 1, 8), 295798),
            Golden(small, (2, 1, 4), (1, 2, 4), 87892), Golden(small, (2, 4, 2), (4, 1, 4), 134490),
            Golden(small, (2, 8, 1), (1, 1, 16), 1_484_379),
        ]
    }()

    /// Source ranks are the first of the cluster, target ranks the last; the published values are cut to whole
    /// microseconds, ±1.
    @Test(arguments: golden)
    func costs(_ example: Golden) throws {
        let shape = try Self.shape(example.model)
        let world = max(example.from.size, example.to.size)
        let source = try #require(ShardedModel(shape, example.from, ranks: Array(0..<example.from.size)))
        let target = try #require(
            ShardedModel(shape, example.to, ranks: Array(world - example.to.size..<world)))
        let plan = TransferPlan(from: source, to: target, devicesPerNode: 8, policy: .published)
        #expect(abs(plan.publishedMicroseconds - example.microseconds) <= 1, "\(plan.publishedMicroseconds)")
    }
}
