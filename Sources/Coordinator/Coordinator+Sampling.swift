internal import Credit
internal import Records

// How a step comes to scored completions.

extension Coordinator {
    /// What a `generate` call asks of every prompt.
    struct Sampling {
        let samples: Int
        let greedy: Bool
        let variants: [PromptVariant]
    }

    /// Brings the step its scored groups: those that were sampled ahead for it, else its own. Then samples those of the
    /// next step, where that is wanted and not the work of other ranks.
    func generate(_ sampling: Sampling, into work: inout StepWork) async throws {
        try await takeBatch(sampling, into: &work)
        guard samplesAhead, parts.team?.isSplit != true else { return }
        let sampled = try await sampledAhead(sampling, behind: work, stop: stop)
        ahead = sampled.batch
        work.metrics["timing_s/gen", default: 0] += sampled.decoding
        work.metrics["timing_s/reward", default: 0] += sampled.scoring
    }

    /// A step's groups as they were sampled, before any is left out.
    struct SampledBatch {
        /// In the order of the prompts, wave after wave.
        var groups: [ScoredGroup] = []
        /// Times the step's number of prompts was drawn.
        var waves = 0
        /// Seconds of decoding, and of scoring beyond it; of several ranks, the slowest's.
        var decoding = 0.0
        var scoring = 0.0
    }

    /// Samples and scores prompts for a step; with dynamic sampling, waves of them until enough groups differ.
    ///
    /// - Parameters:
    ///   - first: Addresses the draws of the first wave; each further one has the next number, also for a prompt that
    ///     comes again.
    ///   - stop: `nil` for what a stop does not keep from its end.
    func sampled(_ sampling: Sampling, from first: Int, stop: StopSignal?) async throws -> SampledBatch {
        var batch = SampledBatch()
        try await addWave(sampling, step: first, stop: stop, to: &batch)
        guard let dynamic = schedule.dynamicSampling else { return batch }
        let wanted = schedule.promptsPerStep * sampling.variants.count
        while batch.groups.count(where: dynamic.keeps) < wanted, batch.waves < dynamic.maxWaves ?? .max {
            try await addWave(sampling, step: first + batch.waves, stop: stop, to: &batch)
        }
        return batch
    }

    /// Takes a batch for what the step learns from.
    func take(_ batch: SampledBatch, of sampling: Sampling, into work: inout StepWork) async throws {
        try await requireFresh(batch.groups, &work)
        progress.rolloutStep += batch.waves - 1
        work.waves = batch.waves
        work.groups = batch.groups
        work.metrics["timing_s/gen"] = batch.decoding
        work.metrics["timing_s/reward"] = batch.scoring
        work.metrics.merge(GenerationMetrics.of(work.groups))
        work.metrics.merge(work.groups.flatMap(\.group.rollouts).payloadMetrics)
        guard let dynamic = schedule.dynamicSampling else { return }
        try keepLiveGroups(dynamic, batch.waves, schedule.promptsPerStep * sampling.variants.count, &work)
    }

    private func keepLiveGroups(
        _ dynamic: DynamicSampling, _ waves: Int, _ wanted: Int, _ work: inout StepWork
    ) throws(CoordinatorError) {
        let live = work.groups.filter(dynamic.keeps)
        if live.count < wanted, dynamic.exhausted == .fail {
            let reward = parts.scorer?.rewardNames[dynamic.reward] ?? "the reward"
            throw .tooFewLiveGroups(kept: live.count, wanted: wanted, waves: waves, reward: reward)
        }
        let scores = work.groups.flatMap { $0.scores.compactMap { $0[dynamic.reward].score } }
        work.metrics["dynamic_sampling/waves"] = Double(waves)
        work.metrics["dynamic_sampling/kept"] = Double(live.count) / Double(max(work.groups.count, 1))
        // The kept groups are the ones that differ: their mean says nothing of the policy, this one does.
        work.metrics["dynamic_sampling/reward"] = scores.isEmpty ? nil : scores.reduce(0, +) / Double(scores.count)
        let kept = Array(live.prefix(wanted))
        work.leftOut = work.groups.filter { !dynamic.keeps($0) } + live.dropFirst(wanted)
        work.groups = kept
    }

    /// Samples a step's number of prompts and scores each group as it arrives, while the others still decode.
    private func addWave(
        _ sampling: Sampling, step: Int, stop: StopSignal?, to batch: inout SampledBatch
    ) async throws {
        guard let generator = parts.generator, let scorer = parts.scorer else { return }  // checked in init
        await parts.observer.began(.generating, step: progress.step)
        let clock = ContinuousClock()
        let start = clock.now
        let prompts = try await parts.prompts.next(schedule.promptsPerStep, in: sampling.variants)
        let requests = prompts.flatMap { variants in
            variants.enumerated().map { variant, prompt in
                RolloutRequest(
                    prompt: prompt, samples: sampling.samples, includesGreedy: sampling.greedy, variant: variant)
            }
        }
        let scored: [ScoredGroup]
        let generated: ContinuousClock.Instant
        if let team = parts.team {
            try await parts.updater.gatherSamplingWeights()
            let shares = try await team.amongPeers(stop) {
                let earlier = try scorer.sealRemarks()  // of waves before this one, which all have
                let own = try await sampled(
                    team.decodedShare(of: requests), keeping: Set(team.share(of: requests).map(\.address)),
                    step: step, by: generator, scorer, stop: stop == nil ? StopSignal() : team.asked)
                let remarks = try scorer.sealRemarks()
                try scorer.unseal(earlier)
                return SampledShare(
                    groups: own.groups.map(SharedGroup.init), remarks: remarks, seconds: seconds(own.generated - start))
            }
            for share in shares { try scorer.unseal(share.remarks) }
            let prompts = Dictionary(uniqueKeysWithValues: requests.map { ($0.address, $0.prompt) })
            scored = shares.flatMap(\.groups).compactMap { share in
                prompts[share.address].map { share.group(of: $0) }
            }
            generated = start + .seconds(shares.map(\.seconds).max() ?? 0)
        } else {
            (scored, generated) = try await sampled(
                requests, keeping: Set(requests.map(\.address)), step: step, by: generator, scorer,
                stop: stop ?? StopSignal())
        }
        try stop?.check()
        try Task.checkCancellation()
        let groups = try inOrder(scored, of: requests)
        if let team = parts.team {
            _ = try await team.amongPeers(nil) {
                try scorer.count(groups)
                return true
            }
        }
        batch.groups += groups
        batch.waves += 1
        batch.decoding += seconds(generated - start)
        // What scoring took beyond decoding.
        batch.scoring += seconds(clock.now - generated)
    }

    /// Samples each request and scores those that are kept: the groups in the order in which they end, and when the
    /// last was decoded.
    private func sampled(
        _ requests: [RolloutRequest], keeping own: Set<GroupAddress>, step: Int, by generator: any Generating,
        _ scorer: any Scoring, stop: StopSignal
    ) async throws -> (groups: [ScoredGroup], generated: ContinuousClock.Instant) {
        let stream = generator.generate(requests, step: step, stop: stop)
        let (observer, taken, team) = (parts.observer, progress.step, parts.team)
        // Those that stand in their groups have a say in which are kept.
        let decides = schedule.dynamicSampling != nil && parts.creditRule?.takesDemonstrations == true
        let demonstrations = decides ? parts.demonstrations : nil
        return try await unlessCancelled {
            try await withThrowingTaskGroup(
                of: ScoredGroup.self, returning: ([ScoredGroup], ContinuousClock.Instant).self
            ) { tasks in
                do {
                    for try await group in stream where own.contains(group.address) {
                        tasks.addTask {
                            // What is a rank's share alone says nothing of how often a reward fails.
                            var scored = try await team == nil ? scorer.score(group) : scorer.scoreUncounted(group)
                            let found = try await demonstrations?.demonstrations(of: [group.prompt]).first
                            scored.demonstrationScores = try await found?.scores(
                                beside: group, by: scorer, isCounted: team == nil)
                            return scored
                        }
                    }
                } catch {
                    throw RankFailure.ending(error, with: team?.decodingPeers)
                }
                let generated = ContinuousClock.now
                await observer.began(.scoring, step: taken)
                var scored: [ScoredGroup] = []
                for try await group in tasks { scored.append(group) }
                return (scored, generated)
            }
        }
    }

    /// Groups end in any order; learning takes them in the order of the prompts and their variants, so that a run
    /// repeats to the bit.
    private func inOrder(_ groups: [ScoredGroup], of requests: [RolloutRequest]) throws -> [ScoredGroup] {
        var found: [GroupAddress: ScoredGroup] = [:]
        for group in groups { found[group.group.address] = group }
        return try requests.map { request in
            guard let group = found[request.address] else {
                throw CoordinatorError.lostGroup(prompt: request.prompt.prompt.id)
            }
            return group
        }
    }

    func rethink(_ work: inout StepWork) async throws {
        guard let rethinking = parts.rethinking else { return }  // checked in init
        try await parts.updater.gatherWeights()
        let clock = ContinuousClock()
        let start = clock.now
        try await told {
            let rethought = try await rethinking.rethink(work.groups, step: progress.rolloutStep, stop: stop)
            work.asScored = work.groups
            work.groups = rethought.groups
            work.rethought = rethought.kept
            work.metrics.merge(rethought.metrics)
            return true
        }
        work.metrics["timing_s/rethink"] = seconds(clock.now - start)
    }
}
