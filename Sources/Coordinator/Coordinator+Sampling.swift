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

    /// Samples the prompts of the step and scores the completions; with dynamic sampling, waves of them until enough
    /// groups differ.
    func generate(_ sampling: Sampling, into work: inout StepWork) async throws {
        try await generateWave(sampling, into: &work)
        guard let dynamic = schedule.dynamicSampling else { return }
        let wanted = schedule.promptsPerStep * sampling.variants.count
        var waves = 1
        while work.groups.count(where: dynamic.keeps) < wanted, waves < dynamic.maxWaves {
            progress.rolloutStep += 1  // another wave has draws of its own, also for a prompt that comes again
            try await generateWave(sampling, into: &work)
            waves += 1
        }
        try keepLiveGroups(dynamic, waves, wanted, &work)
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
    private func generateWave(_ sampling: Sampling, into work: inout StepWork) async throws {
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
            let shares = try await team.together(stop) {
                let own = try await sampled(
                    team.ranks.share(of: requests), by: generator, scorer, stop: team.asked)
                return SampledShare(groups: own.groups.map(SharedGroup.init), seconds: seconds(own.generated - start))
            }
            let prompts = Dictionary(uniqueKeysWithValues: requests.map { ($0.address, $0.prompt) })
            scored = shares.flatMap(\.groups).compactMap { share in
                prompts[share.address].map { share.group(of: $0) }
            }
            generated = start + .seconds(shares.map(\.seconds).max() ?? 0)
        } else {
            (scored, generated) = try await sampled(requests, by: generator, scorer, stop: stop)
        }
        try stop.check()
        try Task.checkCancellation()
        work.groups += try inOrder(scored, of: requests)
        work.metrics["timing_s/gen", default: 0] += seconds(generated - start)
        // What scoring took beyond decoding; of several ranks, the slowest's.
        work.metrics["timing_s/reward", default: 0] += seconds(clock.now - generated)
        work.metrics.merge(GenerationMetrics.of(work.groups))
        work.metrics.merge(work.groups.flatMap(\.group.rollouts).payloadMetrics)
    }

    /// Samples and scores each request: the groups in the order in which they end, and when the last was decoded.
    private func sampled(
        _ requests: [RolloutRequest], by generator: any Generating, _ scorer: any Scoring, stop: StopSignal
    ) async throws -> (groups: [ScoredGroup], generated: ContinuousClock.Instant) {
        let stream = generator.generate(requests, step: progress.rolloutStep, stop: stop)
        let (observer, step) = (parts.observer, progress.step)
        return try await unlessCancelled {
            try await withThrowingTaskGroup(
                of: ScoredGroup.self, returning: ([ScoredGroup], ContinuousClock.Instant).self
            ) { tasks in
                for try await group in stream {
                    tasks.addTask { try await scorer.score(group) }
                }
                let generated = ContinuousClock.now
                await observer.began(.scoring, step: step)
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
        let clock = ContinuousClock()
        let start = clock.now
        let rethought = try await rethinking.rethink(work.groups, step: progress.rolloutStep, stop: stop)
        work.groups = rethought.groups
        work.rethought = rethought.kept
        work.metrics.merge(rethought.metrics)
        work.metrics["timing_s/rethink"] = seconds(clock.now - start)
    }
}
