import Planning

extension TransferPlan {
    /// What ReaL's estimator says a plan takes, in microseconds (its stored table; the planner has its own).
    ///
    /// A rank pays 0.03 s for each piece it stores, and for each step that it sends or receives in the bytes of
    /// half-precision weights over 1800 Gbit/s inside a node, or over 200 Gbit/s for each node with a device that needs
    /// it. The slowest rank counts.
    var publishedMicroseconds: Int {
        var seconds: [Int: Double] = [:]
        for piece in pieces {
            for (slot, rank) in target.ranks.enumerated() {
                let (stage, _, shard) = target.strategy.coordinates(of: slot)
                guard stage == piece.targetStage, piece.targetShard ?? shard == shard else { continue }
                seconds[rank, default: 0] += 0.03
            }
        }
        let copies = Set(steps.filter(\.isLocal).map { [$0.piece, $0.sender] })
        for step in steps where !step.isLocal {
            let bits = Double(pieces[step.piece].elements * 2 * 8)
            // A sender that needs the piece itself is one of those that need it.
            let needers = step.receivers + (copies.contains([step.piece, step.sender]) ? [step.sender] : [])
            let nodes = Set(needers.map { $0 / devicesPerNode })
            let isInside = nodes == [step.sender / devicesPerNode]
            let gigabit = 1_073_741_824.0
            let time = isInside ? bits / (1800 * gigabit) : bits / (200 * gigabit) * Double(nodes.count)
            for rank in step.receivers + [step.sender] { seconds[rank, default: 0] += time }
        }
        return Int((seconds.values.max() ?? 0) * 1e6)
    }
}
