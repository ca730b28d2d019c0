package import Records

extension StepSchedule {
    /// Cuts the groups of a rollout step into the batches of one pass of optimizer steps, `completionsPerOptimizerStep` completions each.
    ///
    /// In order, groups stay whole where they fit; one that straddles a border is cut between completions. With ``shuffleSeed`` the
    /// completions of each batch are drawn without replacement: the order depends on the seed, the rollout step, the pass and how many
    /// completions there are. Within a batch completions of one prompt stand together, in their order, so that the prompt is read once.
    /// The last batch may be smaller when completions were left out.
    ///
    /// - Parameters:
    ///   - rolloutStep: Which rollouts these are (``RunProgress/rolloutStep``).
    ///   - pass: Of the passes over the same rollouts, from 0.
    package func optimizerBatches(_ groups: [UpdateGroup], rolloutStep: Int = 0, pass: Int = 0) -> [UpdateBatch] {
        let places = groups.indices.flatMap { group in groups[group].completions.indices.map { (group, $0) } }
        var order = Array(places.indices)
        // What a single batch holds is no matter of order.
        if let shuffleSeed, places.count > completionsPerOptimizerStep {
            let key = mix64(mix64(mix64(shuffleSeed) ^ UInt64(rolloutStep)) ^ UInt64(pass))
            let keys = order.map { mix64(key ^ UInt64($0)) }  // all different: mix64 is a bijection
            order.sort { keys[$0] < keys[$1] }
        }
        return stride(from: 0, to: order.count, by: completionsPerOptimizerStep).map { start in
            let chosen = order[start..<min(start + completionsPerOptimizerStep, order.count)].sorted()
            return UpdateBatch(groups: Self.gathered(chosen.map { places[$0] }, of: groups))
        }
    }

    /// The completions at some places, in order, behind their prompts.
    private static func gathered(
        _ places: [(group: Int, completion: Int)], of groups: [UpdateGroup]
    ) -> [UpdateGroup] {
        var gathered: [UpdateGroup] = []
        var last: Int?
        for place in places {
            if place.group != last {
                gathered.append(UpdateGroup(promptTokenIDs: groups[place.group].promptTokenIDs, completions: []))
                last = place.group
            }
            gathered[gathered.count - 1].completions.append(groups[place.group].completions[place.completion])
        }
        return gathered
    }
}
