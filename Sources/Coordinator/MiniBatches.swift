package import Records

extension StepSchedule {
    /// Cuts the parts of a rollout step into the batches of one pass of optimizer steps. Every batch has a piece of
    /// every part, in the order of the parts.
    ///
    /// A unit is a completion, of pairs a whole pair. The part with the most units gives
    /// ``completionsPerOptimizerStep`` completions to each batch, so that the last may be smaller when completions were
    /// left out; the others are spread over as many batches, as evenly as their units allow.
    ///
    /// In order, groups stay whole where they fit; one that straddles a border is cut between completions. With
    /// ``shuffleSeed`` the units of each batch are drawn without replacement: the order depends on the seed, the
    /// rollout step, the pass and how many units there are, so that parts of the same prompts stay together. Within a
    /// batch completions of one prompt stand together, in their order, so that the prompt is read once.
    ///
    /// - Parameters:
    ///   - rolloutStep: Which rollouts these are (``RunProgress/rolloutStep``).
    ///   - pass: Of the passes over the same rollouts, from 0.
    package func optimizerBatches(_ parts: [UpdatePart], rolloutStep: Int = 0, pass: Int = 0) -> [UpdateBatch] {
        let units = parts.map(\.units)
        let count =
            zip(parts, units).map { part, units in
                let size = unitsPerBatch(part)
                return (units.count + size - 1) / size
            }.max() ?? 0
        let key = shuffleSeed.map { mix64(mix64(mix64($0) ^ UInt64(rolloutStep)) ^ UInt64(pass)) }
        let cuts = zip(parts, units).map { part, units in
            var order = Array(units.indices)
            // What a single batch holds is no matter of order.
            if let key, count > 1 {
                let keys = order.map { mix64(key ^ UInt64($0)) }  // all different: mix64 is a bijection
                order.sort { keys[$0] < keys[$1] }
            }
            return Self.runs(of: order.count, into: count, atMost: unitsPerBatch(part)).map { run in
                part.gathered(order[run].sorted().flatMap { units[$0] })
            }
        }
        return (0..<count).map { batch in UpdateBatch(parts: cuts.map { $0[batch] }) }
    }

    private func unitsPerBatch(_ part: UpdatePart) -> Int {
        part.kind == .pairs ? max(1, completionsPerOptimizerStep / 2) : completionsPerOptimizerStep
    }

    /// Cuts `0..<total` into `count` runs: of `size` each where that makes as many, else as even as can be.
    private static func runs(of total: Int, into count: Int, atMost size: Int) -> [Range<Int>] {
        guard (total + size - 1) / size < count else {
            return (0..<count).map { $0 * size..<min(($0 + 1) * size, total) }
        }
        return (0..<count).map { $0 * total / count..<($0 + 1) * total / count }
    }
}

extension UpdatePart {
    fileprivate typealias CompletionIndex = (group: Int, completion: Int)

    /// What is never cut: a completion, or both of a pair.
    fileprivate var units: [[CompletionIndex]] {
        groups.indices.flatMap { group in
            let indices = groups[group].completions.indices.map { (group, $0) }
            return kind == .pairs ? [indices] : indices.map { [$0] }
        }
    }

    /// The completions at some indices, in order, behind their prompts.
    fileprivate func gathered(_ indices: [CompletionIndex]) -> UpdatePart {
        var part = UpdatePart(kind, [], streamWeights: streamWeights, klWeight: klWeight, weight: weight)
        var last: Int?
        for index in indices {
            if index.group != last {
                part.groups.append(groups[index.group])
                part.groups[part.groups.count - 1].completions = []
                last = index.group
            }
            part.groups[part.groups.count - 1].completions.append(groups[index.group].completions[index.completion])
        }
        return part
    }
}
