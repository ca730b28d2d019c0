/// What reallocations take on a cluster; remembers what it has worked out.
///
/// A step takes `elements·bytes / intraGBps` inside a node, or over `interGBps` for each node that receives, on
/// everyone who takes part; the slowest device counts.
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
            guard let held = ShardedModel(shape, source.strategy, ranks: source.mesh.ranks(in: cluster)),
                let needed = ShardedModel(shape, target.strategy, ranks: target.mesh.ranks(in: cluster))
            else { return nil }
            let plan = TransferPlan(from: held, to: needed, devicesPerNode: cluster.devicesPerNode)
            known[key] = (plan.secondsPerByte(cluster), plan.pieces.map(\.elements).max() ?? 0)
        }
        return known[key].map { known in
            let steps = Self.stepSeconds
            return Cost(
                nanoseconds: Int(((known.seconds * Double(bytes) + steps) * 1e9).rounded()),
                stagingBytes: 2 * known.largestPiece * bytes)
        }
    }
}

extension TransferPlan {
    /// Seconds for elements of one byte, by the slowest device.
    func secondsPerByte(_ cluster: Cluster) -> Double {
        var seconds = [Double](repeating: 0, count: cluster.devices)
        for step in steps where !step.isLocal {
            let elements = Double(pieces[step.piece].elements)
            let home = step.sender / devicesPerNode
            var changes = 0
            var last = -1
            var isInside = true
            for receiver in step.receivers {
                let node = receiver / devicesPerNode
                if node != home { isInside = false }
                if node != last { changes += 1 }
                last = node
            }
            let time =
                isInside ? elements / (cluster.intraGBps * 1e9) : elements / (cluster.interGBps * 1e9) * Double(changes)
            seconds[step.sender] += time
            for receiver in step.receivers { seconds[receiver] += time }
        }
        return seconds.max() ?? 0
    }

    /// Nanoseconds on a cluster, for elements of so many bytes.
    package func nanoseconds(on cluster: Cluster, elementSize: Int) -> Int {
        Int((secondsPerByte(cluster) * Double(elementSize) * 1e9).rounded())
    }
}
