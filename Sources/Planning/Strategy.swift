internal import JSON

/// How many ways a call's work is cut: pipeline stages, shards of a layer, replicas.
package struct Strategy: Sendable, Hashable, CustomStringConvertible {
    /// Pipeline stages.
    package var pipeline: Int
    /// Shards of each layer.
    package var tensor: Int
    /// Replicas, each with its share of the sequences.
    package var data: Int

    package init(_ pipeline: Int, _ tensor: Int, _ data: Int) {
        self.pipeline = pipeline
        self.tensor = tensor
        self.data = data
    }

    /// Devices it takes.
    package var size: Int { pipeline * tensor * data }

    package var description: String { "pp\(pipeline) tp\(tensor) dp\(data)" }

    /// A device's index among those of its call: stages outermost, shards innermost.
    ///
    /// This order is the plan file's, that of ReaL's table of costs, and that of a run's groups, whose ranks stand one after
    /// the other. It has a price where the degree changes. Of tp 4 → tp 2 on four ranks each holds a quarter: 0 and 3
    /// lack one more of their halves, 1 and 2 hold the wrong one and lack two, six in all. With the replicas inside the shards
    /// (HybridFlow's strides, arXiv:2409.19256) 0 and 1 would share the first half, and four would move; but ranks
    /// that compute a layer together would be dp ranks apart, on several nodes where replicas are.
    func localRank(stage: Int, replica: Int, shard: Int) -> Int { (stage * data + replica) * tensor + shard }

    /// What an index among the devices of a call stands for.
    package func coordinates(of localRank: Int) -> (stage: Int, replica: Int, shard: Int) {
        (localRank / (data * tensor), localRank / tensor % data, localRank % tensor)
    }
}

/// A model on devices: which device holds which shard of which stage.
package struct ShardedModel: Sendable, Hashable {
    package let shape: ModelShape
    package let strategy: Strategy
    /// Devices by their index, see ``Strategy/localRank(stage:replica:shard:)``; their numbers count through the nodes.
    package let ranks: [Int]
    /// Where the pipeline cuts the layers.
    package let cuts: [Int]

    /// `nil` where there are fewer layers than stages, or another number of devices than the strategy takes.
    package init?(_ shape: ModelShape, _ strategy: Strategy, ranks: [Int]) {
        guard strategy.pipeline >= 1, strategy.tensor >= 1, strategy.data >= 1, ranks.count == strategy.size,
            let cuts = shape.cuts(stages: strategy.pipeline)
        else { return nil }
        self.init(shape, strategy, ranks: ranks, cuts: cuts)
    }

    /// With cuts that are known: the shape's own into as many stages.
    init(_ shape: ModelShape, _ strategy: Strategy, ranks: [Int], cuts: [Int]) {
        self.shape = shape
        self.strategy = strategy
        self.ranks = ranks
        self.cuts = cuts
    }

    /// The layers of a stage. A tied head is none where the only stage has the embedding.
    package func layers(ofStage stage: Int) -> Range<Int> {
        let end = cuts[stage + 1]
        return cuts[stage]..<(shape.output == .tied && strategy.pipeline == 1 ? end - 1 : end)
    }

    /// The devices of a stage with a shard, every replica; those of all shards without one.
    func ranks(stage: Int, shard: Int?) -> [Int] {
        (0..<strategy.data).flatMap { replica in
            (shard.map { $0...$0 } ?? 0...strategy.tensor - 1).map {
                ranks[strategy.localRank(stage: stage, replica: replica, shard: $0)]
            }
        }
    }
}
