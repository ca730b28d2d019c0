import Credit
import Foundation
import Testing

/// What `Tests/References/nelder_mead.py` wrote.
private struct ScipyReference: Decodable {
    struct Case: Decodable {
        var name: String
        var simplex: [[Double]]
        var bounds: [[Double]]?
        var points: [[Double]]
    }
    var cases: [Case]
}

@Suite("Nelder and Mead's search")
struct NelderMeadTests {
    private static let names = ["x", "y", "z"]

    private func quadratic(_ p: [Double]) -> Double {
        3 * pow(p[0] - 0.3, 2) + pow(p[1] + 0.2, 2) + 0.5 * (p[0] - 0.3) * (p[1] + 0.2)
    }
    private func rosenbrock(_ p: [Double]) -> Double { pow(1 - p[0], 2) + 100 * pow(p[1] - p[0] * p[0], 2) }
    private func valley(_ p: [Double]) -> Double { abs(p[0] - 1) + 2 * abs(p[1] - p[0]) + 4 * abs(p[2] + p[1]) }

    private func point(_ numbers: [Double]) -> NelderMead.Point {
        Dictionary(uniqueKeysWithValues: zip(Self.names, numbers))
    }
    private func numbers(_ point: NelderMead.Point) -> [Double] { Self.names.compactMap { point[$0] } }

    private func search(
        _ simplex: [[Double]], bounds: [[Double]]? = nil, tolerance: Double = 0, cacheDistance: Double = -1
    ) -> NelderMead {
        let ranges = simplex[0].indices.map { bounds.map { $0 }?[$0] ?? [-1e6, 1e6] }.map { $0[0]...$0[1] }
        return NelderMead(
            simplex: simplex.map(point),
            .init(
                bounds: Dictionary(uniqueKeysWithValues: zip(Self.names, ranges)), tolerance: tolerance,
                cacheDistance: cacheDistance))
    }

    /// Point for point, with bounds too.
    @Test func itGoesWhereScipyGoes() throws {
        let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "nelder_mead.json")
        let reference = try JSONDecoder().decode(ScipyReference.self, from: Data(contentsOf: file))
        #expect(reference.cases.count == 4)
        for example in reference.cases {
            let function = ["rosenbrock": rosenbrock, "valley": valley][example.name] ?? quadratic
            var search = search(example.simplex, bounds: example.bounds)
            for (index, expected) in example.points.enumerated() {
                let asked = numbers(try #require(search.point))
                let distance = zip(asked, expected).map { abs($0 - $1) }.max() ?? 1
                #expect(distance < 1e-9, "\(example.name), point \(index): \(asked), \(expected)")
                guard distance < 1e-9 else { break }
                search.tell(function(asked))
            }
        }
    }

    @Test func itFindsTheLowPoints() throws {
        for (function, start, expected) in [
            (quadratic, [[0.0, 0], [1, 0.1], [0.2, 0.9]], [0.3, -0.2]),
            (rosenbrock, [[-1.2, 1.0], [-1, 1.3], [-0.7, 0.8]], [1, 1]),
        ] {
            var search = search(start, tolerance: 1e-12)
            while let asked = search.point, search.evaluated.count < 2000 { search.tell(function(numbers(asked))) }
            let best = numbers(try #require(search.best).point)
            #expect(zip(best, expected).allSatisfy { abs($0 - $1) < 1e-4 }, "\(best)")
            #expect(search.point == nil)  // it ended by its tolerance
        }
    }

    /// Told by name: another order of names is the same search.
    @Test func pointsGoByNameAndNotByIndex() throws {
        let turned = search([[0.0, 0], [1, 0.1], [0.2, 0.9]])
        var (one, other) = (
            turned,
            NelderMead(
                simplex: [["y": 0, "x": 0], ["y": 0.1, "x": 1], ["y": 0.9, "x": 0.2]], turned.settings)
        )
        for _ in 0..<40 {
            #expect(one.point == other.point)
            one.tell(quadratic(numbers(try #require(one.point))))
            other.tell(quadratic(numbers(try #require(other.point))))
        }
    }

    /// A point within 5e-3 of a known one in every number is not asked for again.
    @Test func knownPointsAreNotAskedForAgain() throws {
        var search = search([[0.0, 0], [1, 0.1], [0.2, 0.9]], cacheDistance: 5e-3)
        var asked: [[Double]] = []
        while let next = search.point, asked.count < 500 {
            let numbers = numbers(next)
            #expect(!asked.contains { zip($0, numbers).allSatisfy { abs($0 - $1) <= 5e-3 } })
            asked.append(numbers)
            search.tell(quadratic(numbers))
        }
        #expect(search.point == nil && search.cacheHits > 0 && asked.count == search.evaluated.count)
        let best = numbers(try #require(search.best).point)
        #expect(abs(best[0] - 0.3) < 0.02 && abs(best[1] + 0.2) < 0.02)
    }

    @Test func aSearchGoesThroughAFileToTheBit() throws {
        var whole = search([[-1.2, 1.0], [-1, 1.3], [-0.7, 0.8]])
        for _ in 0..<23 { whole.tell(rosenbrock(numbers(try #require(whole.point)))) }
        var read = try JSONDecoder().decode(NelderMead.self, from: JSONEncoder().encode(whole))
        #expect(read == whole)
        for _ in 0..<60 {
            whole.tell(rosenbrock(numbers(try #require(whole.point))))
            read.tell(rosenbrock(numbers(try #require(read.point))))
            #expect(read == whole)
        }
    }
}
