/// How many elements of a model each pair of a source's and a target's shards has in common.
struct PairCounts {
    /// `nil` for every shard.
    struct Pair: Hashable, Comparable {
        var source: Int?
        var target: Int?

        /// By source, then target; what every shard has comes first.
        static func < (left: Pair, right: Pair) -> Bool {
            (left.source ?? -1, left.target ?? -1) < (right.source ?? -1, right.target ?? -1)
        }
    }

    private let shape: ModelShape
    private let embedding: [Pair: Int]
    private let block: [Pair: Int]
    private let lastBlock: [Pair: Int]
    private let output: [Pair: Int]

    init(_ shape: ModelShape, _ degrees: (source: Int, target: Int), _ policy: TransferPlan.SenderPolicy) {
        self.shape = shape
        func count(_ layer: Int) -> [Pair: Int] {
            var counts: [Pair: Int] = [:]
            for region in Self.regions(of: shape.tensors(ofLayer: layer), degrees, policy) {
                counts[region.pair, default: 0] += region.block.count
            }
            return counts
        }
        embedding = count(0)
        block = count(1)
        lastBlock = shape.layers > 1 ? count(shape.layers) : block
        output = count(shape.layers + 1)
    }

    /// Of some layers, in the order of the pairs, none of them empty.
    func elements(of layers: Range<Int>) -> [(Pair, Int)] {
        var counts: [Pair: Int] = [:]
        func add(_ more: [Pair: Int], times factor: Int = 1) {
            for (pair, count) in more { counts[pair, default: 0] += factor * count }
        }
        if layers.contains(0) { add(embedding) }
        add(block, times: layers.clamped(to: 1..<max(1, shape.layers)).count)
        if layers.contains(shape.layers) { add(lastBlock) }
        if layers.contains(shape.layers + 1) { add(output) }
        return counts.filter { $0.value > 0 }.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    }

    /// What every pair has in common of some tensors, in their order.
    static func regions(
        of tensors: [LogicalTensor], _ degrees: (source: Int, target: Int), _ policy: TransferPlan.SenderPolicy
    ) -> [(pair: Pair, tensor: Int, section: Int, block: Block)] {
        var regions: [(Pair, Int, Int, Block)] = []
        for (index, tensor) in tensors.enumerated() {
            for (number, section) in tensor.sections.enumerated() {
                let isWhole = (
                    !tensor.isCut(section, by: degrees.source), !tensor.isCut(section, by: degrees.target)
                )
                for pair in pairs(isWhole, degrees, policy) {
                    let held = tensor.block(of: section, shard: pair.source ?? 0, of: degrees.source)
                    let needed = tensor.block(of: section, shard: pair.target ?? 0, of: degrees.target)
                    let common = held.intersection(needed)
                    if common.count > 0 { regions.append((pair, index, number, common)) }
                }
            }
        }
        return regions
    }

    private static func pairs(
        _ isWhole: (source: Bool, target: Bool), _ degrees: (source: Int, target: Int),
        _ policy: TransferPlan.SenderPolicy
    ) -> [Pair] {
        switch policy {
        case .balanced:
            let sources: [Int?] = isWhole.source ? [nil] : Array(0..<degrees.source)
            let targets: [Int?] = isWhole.target ? [nil] : Array(0..<degrees.target)
            return sources.flatMap { source in targets.map { Pair(source: source, target: $0) } }
        case .published:
            return (0..<degrees.source).flatMap { source in
                (0..<degrees.target).filter { target in
                    source * degrees.target < (target + 1) * degrees.source
                        && target * degrees.source < (source + 1) * degrees.target
                }.map { Pair(source: source, target: $0) }
            }
        }
    }
}
