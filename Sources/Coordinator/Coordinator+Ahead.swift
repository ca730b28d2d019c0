internal import Credit
internal import Foundation
internal import Records

// Sampling ahead: a step learns from the batch that was sampled before the last update, while the next is sampled with
// the weights as they are. See ``Staleness``.

extension Coordinator {
    /// Whether the batch of the step after this one is to be sampled now: that step comes, if this one takes all its
    /// optimizer steps. Where it takes fewer, the next samples its own.
    var samplesAhead: Bool {
        schedule.maxStaleness > 0 && progress.step + schedule.optimizerStepsPerRollout < schedule.maxSteps
    }

    /// Takes the batch that waits for this step; where none does, as in a run's first step, one that is sampled now.
    func takeBatch(_ sampling: Sampling, into work: inout StepWork) async throws {
        if let waiting = ahead {
            ahead = nil
            let batch = try await opened(waiting, sampling)
            try await countSampled(batch)
            return try await take(batch, of: sampling, into: &work)
        }
        guard let team = parts.team, team.isSplit else {
            let batch = try await sampled(sampling, from: progress.rolloutStep, stop: stop)
            return try await take(batch, of: sampling, into: &work)
        }
        let sides = try await team.together(stop) {
            var side = StepSide()
            guard team.side == .sampling else { return side }
            do {
                let batch = try await sampled(sampling, from: progress.rolloutStep, stop: stop)
                (side.batch, side.decoding, side.scoring) = (try sealed(batch), batch.decoding, batch.scoring)
            } catch {
                throw RankFailure.ending(error, with: team.peers)
            }
            await parts.prompts.rewind()  // opening the batch draws them
            return side
        }
        guard let batch = sides.compactMap(\.batch).first else { return }  // a split team has samplers
        var opened = try await opened(batch, sampling)
        opened.decoding = sides.map(\.decoding).max() ?? 0
        opened.scoring = sides.map(\.scoring).max() ?? 0
        try await countSampled(opened)
        try await take(opened, of: sampling, into: &work)
    }

    /// Counts the scores of a batch where other ranks have sampled it: the first of those that learn evaluates, too, and
    /// has then seen every score of the run.
    private func countSampled(_ batch: SampledBatch) async throws {
        guard let team = parts.team, team.isSplit else { return }
        _ = try await team.untilDone {
            if team.side == .training { try parts.scorer?.count(batch.groups) }
            return true
        }
    }

    /// Samples the batch of the next step with the weights as they are. The position in the prompts stays behind those
    /// of this step.
    func sampledAhead(
        _ sampling: Sampling, behind work: StepWork, stop: StopSignal?
    ) async throws -> (batch: AheadBatch, decoding: Double, scoring: Double) {
        let own = try parts.scorer?.sealRemarks()
        let sampled = try await sampled(sampling, from: progress.rolloutStep + 1, stop: stop)
        let batch = try sealed(sampled)
        if let own { try parts.scorer?.unseal(own) }
        await parts.prompts.rewind()
        _ = try await prompts(sampling, waves: work.waves)
        return (batch, sampled.decoding, sampled.scoring)
    }

    /// Takes a step of which this rank does one side: the trainers learn from the step's batch while the others sample
    /// the next one; then both have it, and the new weights.
    ///
    /// A stop waits for the end of both sides: a step that was learned from cannot be given up, and the batch is what
    /// the run goes on with. When a side breaks, all ranks are where the trainers are, and end; one that breaks where
    /// others of its side wait for it ends at once, and they behind it.
    func takeSides(_ calls: [StepCall], of team: RankTeam, into work: inout StepWork) async throws {
        guard case .generate(let samples, let greedy, let variants) = calls[0] else { return }  // checked in init
        let sampling = Sampling(samples: samples, greedy: greedy, variants: variants)
        try await takeBatch(sampling, into: &work)
        let clock = ContinuousClock()
        let start = clock.now
        var failure: (any Error)?
        let samplesNext = samplesAhead
        let sides = try await team.untilDone {
            var side = StepSide()
            do {
                if team.side == .training {
                    for call in calls.dropFirst() { try await take(call, into: &work) }
                } else if samplesNext {
                    let next = try await sampledAhead(sampling, behind: work, stop: nil)
                    (side.batch, side.decoding, side.scoring) = next
                }
            } catch {
                let end = RankFailure.ending(error, with: team.peers)
                if case RankFailure.untold(_) = end { throw end }
                failure = end
                side.fail(end)
            }
            side.seconds = seconds(clock.now - start)
            if team.side == .training { (side.progress, side.metrics) = (progress, work.metrics) }
            await parts.observer.began(.generating, step: progress.step)  // what is waited for
            return side
        }
        if let trained = sides[0].progress { progress = trained }
        if let failure { throw RankFailure.isEverybodys(failure) ? failure : RankFailure.told(failure) }
        for (rank, side) in sides.enumerated() {
            if let found = side.notFinite { throw found }
            if let message = side.failure { throw CoordinatorError.rank(rank, message: message) }
        }
        ahead = sides.compactMap(\.batch).first
        work.metrics = sides[0].metrics
        note(sides, in: &work.metrics)
        let sharing = clock.now
        try await parts.updater.shareWeights()
        work.metrics["timing_s/sync_rollout_weights"] = seconds(clock.now - sharing)
    }

    /// How long the sides worked, and for how much of it at once.
    private func note(_ sides: [StepSide], in metrics: inout Metrics) {
        metrics["timing_s/gen", default: 0] += sides.map(\.decoding).max() ?? 0
        metrics["timing_s/reward", default: 0] += sides.map(\.scoring).max() ?? 0
        let training = sides.filter { $0.progress != nil }.map(\.seconds).max() ?? 0
        let sampling = sides.filter { $0.progress == nil }.map(\.seconds).max() ?? 0
        metrics["timing_s/overlap"] = min(training, sampling)
        metrics["timing_s/wait_prev_gen"] = max(0, sampling - training)
    }

    // MARK: Batches that wait

    private func sealed(_ batch: SampledBatch) throws -> AheadBatch {
        AheadBatch(
            groups: batch.groups.map(SharedGroup.init), waves: batch.waves,
            remarks: try parts.scorer.map { [try $0.sealRemarks()] } ?? [])
    }

    /// The batch with its prompts, which are drawn now.
    private func opened(_ batch: AheadBatch, _ sampling: Sampling) async throws -> SampledBatch {
        let prompts = try await prompts(sampling, waves: batch.waves)
        guard prompts.count == batch.groups.count else { throw CoordinatorError.foreignBatch(step: progress.step + 1) }
        for remarks in batch.remarks { try parts.scorer?.unseal(remarks) }
        return SampledBatch(
            groups: try zip(prompts, batch.groups).map { address, group in
                guard group.address == address.0 else {
                    throw CoordinatorError.foreignBatch(step: progress.step + 1)
                }
                return group.group(of: address.1)
            }, waves: batch.waves)
    }

    /// The next prompts of so many waves, with their addresses.
    private func prompts(_ sampling: Sampling, waves: Int) async throws -> [(GroupAddress, TokenizedPrompt)] {
        var drawn: [(GroupAddress, TokenizedPrompt)] = []
        for _ in 0..<waves {
            for variants in try await parts.prompts.next(schedule.promptsPerStep, in: sampling.variants) {
                drawn += variants.enumerated().map { variant, prompt in
                    (GroupAddress(row: prompt.prompt.row, variant: variant), prompt)
                }
            }
        }
        return drawn
    }

    /// Checks the stamps of a step's groups: its weights wrote them, or in a run that samples ahead those from before
    /// the last rollout step.
    func requireFresh(_ groups: [ScoredGroup], _ work: inout StepWork) async throws {
        let present = try await parts.updater.policyVersion
        let bound = schedule.maxStaleness == 0 ? 0 : progress.step - (progress.newestSince ?? progress.step)
        for version in groups.map(\.group.policyVersion) {
            let age = present.number - version.number
            guard (0...bound).contains(age) else {
                throw CoordinatorError.stale(
                    step: progress.step + 1, sampledBy: version, learnedBy: present, bound: bound)
            }
            work.age = max(work.age, age)
        }
        if schedule.maxStaleness > 0 { work.metrics["staleness/steps"] = Double(work.age) }
    }
}
