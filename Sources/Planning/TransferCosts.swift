/// What reallocations take on a cluster; remembers what it has worked out.
///
/// A step takes its bytes over `intraGBps` inside a node. Every other node that needs them gets them once, over
/// `interGBps`, at one of its devices, which hands them on inside; the sender pays for each such node. Links carry both
/// ways at once. The slowest device counts.
struct TransferCosts {
    /// What a reallocation takes.
    struct Cost {
        var nanoseconds: Int
        /// On each device: twice the largest piece.
        var stagingBytes: Int
    }

    private struct Key: Hashable {
        var shape: Int
        var source: Mesh
        var from: Strategy
        var target: Mesh
        var to: Strategy
    }

    /// Seconds that a step takes beside its bytes.
    private static let stepSeconds = 0.0001

    private let cluster: Cluster
    private var shapes: [ModelShape: Int] = [:]
    private var known: [Key: (seconds: Double, largestPiece: Int)] = [:]
    private var cuts: [Pair: [Int]] = [:]
    private var counts: [Pair: PairCounts] = [:]

    /// A shape with the stages of its layers, or the shards on both sides.
    private struct Pair: Hashable {
        var shape: Int
        var first: Int
        var second = 0
    }

    init(_ cluster: Cluster) { self.cluster = cluster }

    /// - Parameter bytes: Of an element on its way.
    mutating func cost(
        _ shape: ModelShape, from source: Assignment, to target: Assignment, bytes: Int
    ) -> Cost? {
        let number = shapes[shape] ?? shapes.count
        shapes[shape] = number
        let key = Key(
            shape: number, source: source.mesh, from: source.strategy, target: target.mesh, to: target.strategy)
        if known[key] == nil {
            guard let held = sharded(shape, number, source), let needed = sharded(shape, number, target) else {
                return nil
            }
            let degrees = (source.strategy.tensor, target.strategy.tensor)
            let pair = Pair(shape: number, first: degrees.0, second: degrees.1)
            let common = counts[pair] ?? PairCounts(shape, degrees, .balanced)
            counts[pair] = common
            let plan = TransferPlan(
                from: held, to: needed, devicesPerNode: cluster.devicesPerNode, counts: common)
            known[key] = (plan.secondsPerByte(cluster), plan.pieces.map(\.elements).max() ?? 0)
        }
        return known[key].map { known in
            let steps = Self.stepSeconds
            return Cost(
                nanoseconds: Nanoseconds.rounded((known.seconds * Double(bytes) + steps) * 1e9),
                stagingBytes: 2 * known.largestPiece * bytes)
        }
    }

    /// The weights in an assignment; `nil` for fewer layers than stages.
    private mutating func sharded(_ shape: ModelShape, _ number: Int, _ assignment: Assignment) -> ShardedModel? {
        let stages = Pair(shape: number, first: assignment.strategy.pipeline)
        guard let own = cuts[stages] ?? shape.cuts(stages: stages.first) else { return nil }
        cuts[stages] = own
        return ShardedModel(shape, assignment.strategy, ranks: assignment.mesh.ranks(in: cluster), cuts: own)
    }
}

extension TransferPlan {
    /// Seconds for elements of one byte, by the slowest device.
    func secondsPerByte(_ cluster: Cluster) -> Double {
        var sent = [Double](repeating: 0, count: cluster.devices)
        var received = sent
        let (inside, between) = (1 / (cluster.intraGBps * 1e9), 1 / (cluster.interGBps * 1e9))
        for step in steps where !step.isLocal {
            let elements = Double(pieces[step.piece].elements)
            let home = step.sender / devicesPerNode
            var first = 0
            while first < step.receivers.count {
                let node = step.receivers[first] / devicesPerNode
                var end = first
                // Of another node one device has the piece come in, the one that has the least to take.
                var landing = step.receivers[first]
                while end < step.receivers.count, step.receivers[end] / devicesPerNode == node {
                    let receiver = step.receivers[end]
                    if received[receiver] < received[landing] { landing = receiver }
                    end += 1
                }
                sent[step.sender] += elements * (node == home ? inside : between)
                for receiver in step.receivers[first..<end] {
                    received[receiver] += elements * (node != home && receiver == landing ? between : inside)
                }
                first = end
            }
        }
        return max(sent.max() ?? 0, received.max() ?? 0)
    }

    /// Nanoseconds on a cluster, for elements of so many bytes.
    package func nanoseconds(on cluster: Cluster, elementSize: Int) -> Int {
        Nanoseconds.rounded(secondsPerByte(cluster) * Double(elementSize) * 1e9)
    }
}
