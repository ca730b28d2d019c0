/// Where a pipeline cuts the layers of a model: contiguous, non-empty stages whose sizes differ least.
package enum PipelineCuts {
    /// The cuts of `counts` into `stages`, by dynamic programming over (layers, stages).
    ///
    /// Each prefix keeps the largest and the smallest stage of its best cut only, as the published planner does (ReaL's
    /// `datapack`); of cuts that are equally good the later one is taken.
    ///
    /// - Returns: `stages + 1` numbers from 0 to `counts.count`: stage i holds the layers from cut i to below cut i +
    ///   1; `nil` when there are fewer layers than stages.
    package static func cuts(_ counts: [Int], stages: Int) -> [Int]? {
        let n = counts.count
        guard stages >= 1, stages <= n else { return nil }
        /// The best cut of a prefix into so many stages.
        struct Best {
            var spread = Int.max
            var largest = 0
            var smallest = 0
            var lastCut = 0
        }
        var sums = [0]
        for count in counts { sums.append(sums[sums.count - 1] + count) }
        var table = [(0...n).map { Best(spread: 0, largest: sums[$0], smallest: sums[$0], lastCut: 0) }]
        for stage in 1..<max(2, stages) where stages > 1 {
            var row = [Best](repeating: Best(), count: n + 1)
            for end in (stage + 1)...n {
                for cut in stage..<end {
                    let before = table[stage - 1][cut]
                    let size = sums[end] - sums[cut]
                    let spread = max(before.spread, before.largest - size, size - before.smallest)
                    if spread <= row[end].spread {
                        row[end] = Best(
                            spread: spread, largest: max(before.largest, size), smallest: min(before.smallest, size),
                            lastCut: cut)
                    }
                }
            }
            table.append(row)
        }
        var cuts = [n]
        for stage in stride(from: stages - 1, to: 0, by: -1) { cuts.append(table[stage][cuts[cuts.count - 1]].lastCut) }
        return cuts.reversed().reduce(into: [0]) { $0.append($1) }
    }
}

extension ModelShape {
    /// ``PipelineCuts/cuts(_:stages:)`` of the layers, 0 being the embedding.
    package func cuts(stages: Int) -> [Int]? {
        PipelineCuts.cuts((0..<layerCount).map(parameterCount(ofLayer:)), stages: stages)
    }
}
