internal import Foundation
internal import Records

/// The state of a search: what was simulated, and the best of it. A state is a candidate's index for each call.
struct SearchChain {
    /// What a simulated plan is worth.
    struct Score {
        var nanoseconds: Int
        var peakBytes: Int
        var isFeasible: Bool
        /// Nanoseconds of reallocation beyond the share of an iteration that it may have.
        var excess: Int

        /// What the chain goes by: a plan that does not fit counts three times as long, and excess ten times.
        var energy: Double { Double(nanoseconds) * (isFeasible ? 1 : 3) + 10 * Double(excess) }
    }

    struct Found {
        var state: [Int]
        var score: Score

        /// Those that fit first, of these those that move little, then the shorter, the smaller, the earlier.
        func isBetter(than other: Found) -> Bool {
            if score.isFeasible != other.score.isFeasible { return score.isFeasible }
            if (score.excess == 0) != (other.score.excess == 0) { return score.excess == 0 }
            let (own, its) = (score, other.score)
            if (own.nanoseconds, own.peakBytes) != (its.nanoseconds, its.peakBytes) {
                return (own.nanoseconds, own.peakBytes) < (its.nanoseconds, its.peakBytes)
            }
            return state.lexicographicallyPrecedes(other.state)
        }
    }

    enum Origin { case seed, move }

    private let candidates: [[PricedAssignment]]
    private let capacity: Int
    private let devices: Int
    private var builder: AugmentedGraphBuilder
    private var known: [[Int]: Score] = [:]
    private(set) var best: Found?
    private(set) var evaluated = 0
    private(set) var trace: [SearchResult.Improvement] = []
    private(set) var seedNanoseconds: [Int] = []

    init(
        _ cluster: Cluster, _ models: [String: ModelShape], _ graph: DataflowGraph,
        _ candidates: [[PricedAssignment]]
    ) throws(PlanError) {
        self.candidates = candidates
        capacity = cluster.usableBytes
        devices = cluster.devices
        builder = try AugmentedGraphBuilder(cluster, models, graph)
    }

    /// Simulates a plan, once.
    mutating func score(_ state: [Int]) -> Score {
        if let score = known[state] { return score }
        let priced = zip(candidates, state).map { own, choice in own.isEmpty ? nil : own[choice] }
        let graph = builder.build(priced)
        var schedule = Schedule(graph, devices: devices, iterations: 5)
        schedule.run()
        let peak = schedule.peakBytes().max() ?? 0
        let moved = graph.nodes.reduce(0) { $0 + ($1.kind == .reallocate ? $1.nanoseconds : 0) }
        let allowed = Int(PlanSearch.reallocationShare * Double(schedule.iterationNanoseconds))
        let score = Score(
            nanoseconds: schedule.iterationNanoseconds, peakBytes: peak, isFeasible: peak <= capacity,
            excess: max(0, moved - allowed))
        evaluated += 1
        known[state] = score
        keep(Found(state: state, score: score))
        return score
    }

    /// Keeps a plan where it is the best so far.
    private mutating func keep(_ found: Found) {
        if let best, !found.isBetter(than: best) { return }
        best = found
        if found.score.isFeasible {
            trace.append(.init(evaluated: evaluated, nanoseconds: found.score.nanoseconds))
        }
    }

    mutating func consider(_ state: [Int], as origin: Origin) {
        let score = score(state)
        if origin == .seed, score.isFeasible, score.excess == 0 { seedNanoseconds.append(score.nanoseconds) }
    }

    /// Every plan there is.
    mutating func enumerate() {
        var state = [Int](repeating: 0, count: candidates.count)
        while true {
            _ = score(state)
            known.removeAll(keepingCapacity: true)
            guard let index = state.indices.last(where: { state[$0] + 1 < candidates[$0].count }) else { return }
            state[index] += 1
            for later in state.indices where later > index { state[later] = 0 }
        }
    }

    /// Moves one call after another to its best among its 50 fastest candidates, until nothing moves, at most three
    /// rounds.
    mutating func descend(from seed: [Int]) {
        var state = seed
        for _ in 0..<3 {
            let before = state
            for call in candidates.indices {
                var best = Found(state: state, score: score(state))
                for choice in 0..<min(50, candidates[call].count) {
                    var moved = state
                    moved[call] = choice
                    let found = Found(state: moved, score: score(moved))
                    let isCloser = found.score.energy < best.score.energy
                    if isCloser || found.score.energy == best.score.energy && found.isBetter(than: best) {
                        best = found
                    }
                }
                state = best.state
            }
            if state == before { return }
        }
    }

    /// A Metropolis chain from the best plan so far; a draw is addressed by the seed and its number.
    mutating func anneal(seed: UInt64, proposals: Int) {
        let calls = candidates.indices.filter { candidates[$0].count > 1 }
        guard let start = best, proposals > 0 else { return }
        let changes = calls.reduce(0) { $0 + candidates[$1].count - 1 }
        guard changes > 0 else { return }
        func draw(_ number: Int, _ slot: UInt64) -> UInt64 { mix64(mix64(seed) ^ mix64(UInt64(number) &* 4 &+ slot)) }
        var state = start.state
        var energy = start.score.energy
        for number in 0..<proposals {
            // Uniform over every change of one call.
            var change = Int(draw(number, 0) % UInt64(changes))
            var moved = state
            for call in calls {
                let own = candidates[call].count - 1
                if change < own {
                    moved[call] = change < state[call] ? change : change + 1
                    break
                }
                change -= own
            }
            let temperature = 0.3e9 * pow(0.1, Double(number) / Double(max(1, proposals - 1)))
            let proposed = score(moved).energy
            let uniform = Double(draw(number, 1) >> 11) * 0x1p-53
            if proposed <= energy || uniform < exp((energy - proposed) / temperature) {
                state = moved
                energy = proposed
            }
        }
    }
}
