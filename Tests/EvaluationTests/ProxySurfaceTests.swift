import Evaluation
import Testing

@Suite("Proxy points against surfaces that are known")
struct ProxySurfaceTests {
    /// Means of two rewards that lie nowhere on a line.
    private let means: [[Double]] = (0..<16).map { step -> [Double] in
        [Double(step * 7 % 16) / 16, Double(step * 5 % 11) / 4]
    }

    private func surface(
        _ means: [[Double]], _ gold: ([Double]) -> Double
    ) -> ProxySurface? {
        ProxySurface(means.map { .init(rewards: $0, gold: gold($0)) })
    }

    /// 1 − (x − 0.3)² − 0.1·(y − 1.2)² + 0.05·(x − 0.3)(y − 1.2) is highest at (0.3, 1.2), where it is 1.
    @Test func theHighestPointInside() throws {
        let gold = { (r: [Double]) -> Double in
            let (x, y) = (r[0] - 0.3, r[1] - 1.2)
            return 1 - x * x - 0.1 * y * y + 0.05 * x * y
        }
        let found = try #require(surface(means, gold))
        #expect(abs(found.highest.rewards[0] - 0.3) < 1e-9 && abs(found.highest.rewards[1] - 1.2) < 1e-9)
        #expect(abs(found.highest.gold - 1) < 1e-9 && abs(found.explained - 1) < 1e-9)
        #expect(abs(found.gold(at: [0.9, 0.1]) - gold([0.9, 0.1])) < 1e-9)
    }

    /// One reward pulls the other along: the joint point of x·y-shaped gold is no pair of the separate ones.
    @Test func theJointPointIsNotTheSeparateOnes() throws {
        let gold = { (r: [Double]) -> Double in
            let (x, y) = (r[0] - 0.4, r[1] - 1)
            return -x * x - 0.2 * y * y - 0.5 * x * y
        }
        // Means that rise together.
        let together: [[Double]] = (0..<12).map { step -> [Double] in
            let wave = Double(step * 5 % 7) / 10
            return [Double(step) / 12, Double(step) / 5 + wave]
        }
        let joint = try #require(surface(together, gold)).highest.rewards
        #expect(abs(joint[0] - 0.4) < 1e-8 && abs(joint[1] - 1) < 1e-8)
        let alone = together.map { ProxySurface.Observation(rewards: [$0[0]], gold: gold($0)) }
        let separate = try #require(ProxySurface(alone)).highest.rewards
        #expect(abs(separate[0] - 0.4) > 0.01)
    }

    /// −(x − 5)² grows as far as anything was seen; x² is highest at an end; a saddle on an edge.
    @Test func aTopThatWasNotSeenIsTheEdge() throws {
        let x: [[Double]] = means.map { [$0[0]] }
        let rising = try #require(surface(x) { -($0[0] - 5) * ($0[0] - 5) })
        #expect(abs(rising.highest.rewards[0] - 15.0 / 16) < 1e-12)
        let convex = try #require(surface(x) { ($0[0] - 0.2) * ($0[0] - 0.2) })
        #expect(abs(convex.highest.rewards[0] - 15.0 / 16) < 1e-12)
        // y² − (x − 0.5)²: up to the largest y, 10/4, and there as near to 0.5 as was seen, x = 11/16.
        let saddle = try #require(surface(means) { $0[1] * $0[1] - ($0[0] - 0.5) * ($0[0] - 0.5) })
        #expect(abs(saddle.highest.rewards[0] - 11.0 / 16) < 1e-12 && abs(saddle.highest.rewards[1] - 2.5) < 1e-12)
    }

    /// x·y over means of which one falls while the other rises: highest of all in the corner where both are large, where
    /// nothing was seen; of what was, in the middle of the outermost line, y = 1.1 − x.
    @Test func aCornerThatNobodyVisitedIsNoPlaceToGo() throws {
        let opposed: [[Double]] = (0...10).map { step -> [Double] in
            [Double(step) / 10, 1 - Double(step) / 10 + 0.05 * Double(step % 3)]
        }
        let found = try #require(surface(opposed) { $0[0] * $0[1] }).highest
        #expect(abs(found.rewards[0] - 0.55) < 1e-7 && abs(found.rewards[1] - 0.55) < 1e-7)
        #expect(abs(found.gold - 0.3025) < 1e-7)
    }

    @Test func noiseLowersWhatIsExplainedAndMovesThePointLittle() throws {
        let noises: [Double] = [0.02, -0.02, 0.01, -0.01]
        let noisy = means.enumerated().map { index, rewards -> ProxySurface.Observation in
            let (x, y) = (rewards[0] - 0.3, rewards[1] - 1.2)
            return ProxySurface.Observation(rewards: rewards, gold: 1 - x * x - 0.1 * y * y + noises[index % 4])
        }
        let found = try #require(ProxySurface(noisy))
        #expect(found.explained > 0.9 && found.explained < 1)
        #expect(abs(found.highest.rewards[0] - 0.3) < 0.1 && abs(found.highest.rewards[1] - 1.2) < 0.3)
    }

    @Test func whatDeterminesNoSurface() {
        #expect(ProxySurface.terms(of: 2) == 6)
        #expect(surface(Array(means.prefix(5))) { $0[0] } == nil)  // too few
        let line: [[Double]] = (0..<12).map { [Double($0), 2 * Double($0)] }
        #expect(surface(line) { $0[0] } == nil)
        let still: [[Double]] = (0..<12).map { [Double($0), 3] }
        #expect(surface(still) { $0[0] } == nil)
        #expect(ProxySurface([]) == nil)
    }
}
