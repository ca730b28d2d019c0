/// What attends to what in a packed run, cut into calls that waste little on padding.
///
/// Two kinds of work. A run of tokens attends causally to itself: every prompt, every completion, and a group of one
/// completion as a whole, because it is a plain sequence. A block is the completions of a group, which all also see the
/// whole prompt. Runs of similar length share a padded call; blocks share one when their prompts are of one length, so
/// that no key is padding and no call needs a mask.
package struct AttentionPlan: Sendable, Equatable {
    /// Consecutive packed tokens that attend causally to themselves.
    struct Run: Sendable, Equatable {
        var start: Int
        var length: Int
    }

    /// Packed queries that also see all of a prompt.
    struct Block: Sendable, Equatable {
        var queries: Run
        var prompt: Run
    }

    /// Runs that share a call. Every packed token stands in exactly one run.
    let runBuckets: [[Run]]
    /// Blocks that share a call; the prompts of a bucket are of one length.
    let blockBuckets: [[Block]]

    init(groups: [SequenceLayout.Group]) {
        var runs: [Run] = []
        var blocks: [Block] = []
        for group in groups {
            let written = group.completions.filter { !$0.isEmpty }
            let prompt = Run(start: group.prompt.lowerBound, length: group.prompt.count)
            if written.count <= 1 {
                runs.append(Run(start: prompt.start, length: group.tokens.count))
                continue
            }
            runs.append(prompt)
            runs += written.map { Run(start: $0.lowerBound, length: $0.count) }
            let queries = Run(
                start: group.prompt.upperBound, length: group.tokens.upperBound - group.prompt.upperBound)
            blocks.append(Block(queries: queries, prompt: prompt))
        }
        runBuckets = Self.buckets(of: runs.sorted { ($0.length, $0.start) < ($1.length, $1.start) }, \.length) { _, _ in
            true
        }
        let sortedBlocks = blocks.sorted {
            ($0.prompt.length, $0.queries.length, $0.queries.start)
                < ($1.prompt.length, $1.queries.length, $1.queries.start)
        }
        blockBuckets = Self.buckets(of: sortedBlocks, \.queries.length) { $0.prompt.length == $1.prompt.length }
    }

    /// Cuts a list sorted by length into buckets whose padding stays below an eighth of their tokens, or, where rows
    /// are so short that a call costs more than its arithmetic, below half.
    private static func buckets<Item>(
        of sorted: [Item], _ length: (Item) -> Int, mayJoin: (Item, Item) -> Bool
    ) -> [[Item]] {
        var buckets: [[Item]] = []
        var tokens = 0
        for item in sorted {
            let width = length(item)
            if let last = buckets.last?.last, mayJoin(last, item) {
                let padded = width * (buckets[buckets.count - 1].count + 1)
                let share = width <= 64 ? 2 : 8
                if (padded - tokens - width) * share <= padded {
                    buckets[buckets.count - 1].append(item)
                    tokens += width
                    continue
                }
            }
            buckets.append([item])
            tokens = width
        }
        return buckets
    }
}
