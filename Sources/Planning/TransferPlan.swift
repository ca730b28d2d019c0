/// How the weights of a model get from the devices that hold them in one layout to those that need them in another.
///
/// Stages that overlap give pieces, one for each pair of shards that overlap; every replica of the source holds a
/// piece, and every replica of the target needs it. Every rank walks the same list of steps. After it each element of
/// the target is written exactly once.
package struct TransferPlan: Sendable {
    package let source: ShardedModel
    package let target: ShardedModel
    package let devicesPerNode: Int
    package let policy: SenderPolicy
    package let pieces: [Piece]
    /// In the order of source stage, target stage, source shard, target shard, sender; copies first.
    package let steps: [Step]

    /// What is needed by the same devices and held by the same devices.
    package struct Piece: Sendable, Hashable {
        package var sourceStage: Int
        package var targetStage: Int
        /// `nil` for what every shard of the source holds.
        package var sourceShard: Int?
        /// `nil` for what every shard of the target needs.
        package var targetShard: Int?
        /// Layers of the target.
        package var layers: Range<Int>
        package var elements: Int
    }

    /// One piece on its way.
    package struct Step: Sendable, Hashable {
        /// Index into ``TransferPlan/pieces``.
        package var piece: Int
        package var sender: Int
        /// The devices that get it from the sender; the sender alone for a copy from one of its buffers to another.
        package var receivers: [Int]

        /// Whether nothing leaves the device.
        package var isLocal: Bool { receivers == [sender] }
    }

    /// Who sends what several devices hold.
    package enum SenderPolicy: Sendable {
        /// As ReaL's planner does it, for its published costs: what every shard holds travels with each pair of shards,
        /// one device of a node serves the others even where they hold the piece, and nodes that hold nothing all ask
        /// the same node.
        case published
        /// What a device holds it copies; nodes that hold nothing are spread over those that do.
        case balanced
    }

    /// - Parameter devicesPerNode: Ranks r and s share a node when r / devicesPerNode = s / devicesPerNode.
    package init(
        from source: ShardedModel, to target: ShardedModel, devicesPerNode: Int, policy: SenderPolicy = .balanced
    ) {
        let degrees = (source.strategy.tensor, target.strategy.tensor)
        self.init(
            from: source, to: target, devicesPerNode: devicesPerNode, policy: policy,
            counts: PairCounts(source.shape, degrees, policy))
    }

    /// With the counts of both degrees, worked out before.
    init(
        from source: ShardedModel, to target: ShardedModel, devicesPerNode: Int, policy: SenderPolicy = .balanced,
        counts: PairCounts
    ) {
        precondition(source.shape == target.shape && devicesPerNode >= 1)
        self.source = source
        self.target = target
        self.devicesPerNode = devicesPerNode
        self.policy = policy
        pieces = Self.pieces(source, target, counts)
        var steps: [Step] = []
        for (index, piece) in pieces.enumerated() {
            let holders = source.ranks(stage: piece.sourceStage, shard: piece.sourceShard)
            let needers = target.ranks(stage: piece.targetStage, shard: piece.targetShard)
            let senders = Senders(holders: holders, needers: needers, devicesPerNode: devicesPerNode, policy: policy)
            steps += senders.copies.map { Step(piece: index, sender: $0, receivers: [$0]) }
            steps += senders.sends.map { Step(piece: index, sender: $0.sender, receivers: $0.receivers) }
        }
        self.steps = steps
    }

    /// Bytes that cross a wire, counted once for each receiver.
    package func wireBytes(elementSize: Int) -> Int {
        steps.reduce(0) { $0 + ($1.isLocal ? 0 : pieces[$1.piece].elements * elementSize * $1.receivers.count) }
    }

    // MARK: Pieces

    private static func pieces(_ source: ShardedModel, _ target: ShardedModel, _ counts: PairCounts) -> [Piece] {
        var pieces: [Piece] = []
        for sourceStage in 0..<source.strategy.pipeline {
            for targetStage in 0..<target.strategy.pipeline {
                let layers = shared(source, sourceStage, target, targetStage)
                guard !layers.isEmpty else { continue }
                for (pair, elements) in counts.elements(of: layers) {
                    pieces.append(
                        Piece(
                            sourceStage: sourceStage, targetStage: targetStage, sourceShard: pair.source,
                            targetShard: pair.target, layers: layers, elements: elements))
                }
            }
        }
        return pieces
    }

    /// The layers of the target's stage that the source's stage holds; a tied head may be read from the embedding.
    private static func shared(
        _ source: ShardedModel, _ sourceStage: Int, _ target: ShardedModel, _ targetStage: Int
    ) -> Range<Int> {
        let needed = target.layers(ofStage: targetStage)
        return source.strategy.pipeline == 1 ? needed : needed.clamped(to: source.layers(ofStage: sourceStage))
    }
}

// MARK: - Senders

/// Who copies and who sends one piece.
struct Senders {
    var copies: [Int] = []
    var sends: [(sender: Int, receivers: [Int])] = []

    init(holders: [Int], needers: [Int], devicesPerNode: Int, policy: TransferPlan.SenderPolicy) {
        // By rank and by node: a search makes thousands of plans.
        let ranks = max(holders.max() ?? 0, needers.max() ?? 0) + 1
        let nodes = (ranks - 1) / devicesPerNode + 1
        var holds = [Bool](repeating: false, count: ranks)
        var holding = [[Int]](repeating: [], count: nodes)
        var needing = holding
        for rank in holders.sorted() {
            holds[rank] = true
            holding[rank / devicesPerNode].append(rank)
        }
        for rank in needers.sorted() {
            if policy == .balanced, holds[rank] {
                copies.append(rank)
            } else {
                needing[rank / devicesPerNode].append(rank)
            }
        }
        let servers = holding.indices.filter { !holding[$0].isEmpty }
        var load = needing.map { $0.isEmpty ? 0 : 1 }
        var served = [[Int]](repeating: [], count: nodes)
        for slot in needing.indices where !needing[slot].isEmpty {
            guard holding[slot].isEmpty else {
                served[slot].append(slot)
                continue
            }
            guard let server = servers.min(by: { (load[$0], $0) < (load[$1], $1) }) else { continue }
            served[server].append(slot)
            if policy == .balanced { load[server] += 1 }
        }
        for server in servers where !served[server].isEmpty {
            let receivers = served[server].flatMap { needing[$0] }
            let sender = holding[server].first { receivers.contains($0) } ?? holding[server][0]
            if receivers.contains(sender) { copies.append(sender) }
            let others = receivers.filter { $0 != sender }
            if !others.isEmpty { sends.append((sender, others)) }
        }
        sends.sort { $0.sender < $1.sender }
    }
}
