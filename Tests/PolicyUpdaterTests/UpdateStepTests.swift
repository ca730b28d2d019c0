import Algorithms
import Foundation
import Models
import Placement
import PolicyUpdater
import Records
import Tensors
import TestSupport
import Testing

@TensorActor @Suite("What an update does to weights and version", .timeLimit(.minutes(10)))
struct UpdateStepTests {
    private func grpo(klCoefficient: Double = 0) throws -> Objective {
        GRPOSettings(klCoefficient: klCoefficient)
    }

    /// Two groups of fp32-sized work, as right after a rollout.
    private func batch() -> UpdateBatch {
        UpdateBatch(groups: [
            ExampleBatch.group([1, 2], [[3, 4, 5], [6]]), ExampleBatch.group([0], [[2, 2], [5, 1, 4, 3]]),
        ])
    }

    /// A step of 1e39 is none that float32 holds: gradient and loss are finite, the weights after the step are not.
    @Test func aStepThatLeavesWeightsNotFiniteIsAnError() async throws {
        let policy = try TinyPolicy(grpo(), .plain(learningRate: 1e39), type: .float32)
        await #expect(throws: NotFinite("the weights after an optimizer step")) {
            _ = try await policy.updater.train(batch())
        }
    }

    @Test func writesTheWeightsAndMakesTheNextVersion() async throws {
        let policy = try TinyPolicy(grpo(), .plain(learningRate: 0.01), type: .float32)
        let before = try policy.bits()
        let metrics = try await policy.updater.train(batch())
        #expect(try policy.actor.version == PolicyVersion(1))
        let after = try policy.bits()
        for name in before.keys { #expect(before[name] != after[name], "\(name)") }
        #expect(metrics["learning_rate"] == 0.01)
        #expect(metrics["skipped_steps"] == 0)
        #expect(metrics["realloc/bytes"] == 0)
        #expect(try #require(metrics["grad_norm"]) > 0)
        #expect(try #require(metrics["entropy"]) > 0 && metrics["entropy"]! < Foundation.log(7.0))
        #expect(metrics["sampling/sampling_logp_difference/mean"] == nil)  // the batch has no rollout log-probs
    }

    /// Beside replayed completions what is fresh has the entropy that it has alone, however the batch is cut.
    @Test(arguments: [nil, 9]) func theEntropyOfWhatIsFreshStandsApart(_ maxTokens: Int?) async throws {
        func metrics(_ batch: UpdateBatch) async throws -> Metrics {
            let policy = try TinyPolicy(grpo(), .plain(learningRate: 0, maxTokensPerMicroBatch: maxTokens))
            return try await policy.updater.train(batch)
        }
        var both = batch()
        let alone = try await metrics(UpdateBatch(groups: [both.groups[0]]))
        #expect(alone["replay/fresh_entropy"] == nil)
        for index in both.groups[1].completions.indices { both.groups[1].completions[index].isReplayed = true }
        let found = try await metrics(both)
        let (own, fresh) = (try #require(alone["entropy"]), try #require(found["replay/fresh_entropy"]))
        #expect(abs(fresh - own) < 1e-9)
        #expect(abs(try #require(found["entropy"]) - own) > 1e-6)
    }

    /// A step that breaks down before it is applied leaves everything that steps move, and what lies in memory; the next
    /// one is taken whole.
    @Test(arguments: [HandOverPoint.lent, .proposed])
    func aStepThatBreaksDownLeavesNoTrace(_ point: HandOverPoint) async throws {
        struct Fault: Error {}
        let policy = try TinyPolicy(grpo(), .plain(learningRate: 0.01), type: .float32)
        let twin = try TinyPolicy(grpo(), .plain(learningRate: 0.01), type: .float32)
        let (state, held) = (try policy.state(), policy.actor.footprint())
        #expect(held.bytes(.optimizer) == policy.updater.optimizer.stateBytes)
        policy.actor.fault = { if $0 == point { throw Fault() } }
        await #expect(throws: Fault.self) { _ = try await policy.updater.train(batch()) }
        policy.actor.fault = nil
        #expect(try policy.state() == state)
        #expect(policy.actor.footprint() == held)
        for updater in [policy.updater, twin.updater] { _ = try await updater.train(batch()) }
        #expect(try policy.state() == twin.state())
    }

    /// Once for every tensor that a step makes memory for it is refused, from the first to the last: none is made once
    /// weights are written.
    @Test func aStepWithoutMemoryLeavesNoTrace() async throws {
        let policy = try TinyPolicy(grpo(), .plain(learningRate: 0.01, maxGradientNorm: 1e-3), type: .float32)
        let twin = try TinyPolicy(grpo(), .plain(learningRate: 0.01, maxGradientNorm: 1e-3), type: .float32)
        let batch = UpdateBatch(groups: [ExampleBatch.group([1, 2], [[3, 4], [6]])])
        _ = try await twin.updater.train(batch)
        let (state, held) = (try policy.state(), policy.actor.footprint())
        var failures = 0
        while true {
            let call = await watchingAllocations(failingAt: failures + 1) {
                _ = try await policy.updater.train(batch)
            }
            try #require(call.isAlone)
            guard call.error != nil else { break }
            try #require(call.lacksMemory, "\(call.error as Any)")
            failures += 1
            try #require(try policy.state() == state, "after failure \(failures)")
            #expect(policy.actor.footprint() == held)
        }
        #expect(failures > 50)
        #expect(try policy.state() == twin.state())
    }

    @Test func aConstantRewardLeavesTheWeightsExactlyAsTheyWere() async throws {
        let policy = try TinyPolicy(grpo(), .plain(learningRate: 0.1), type: .float32)
        let before = try policy.bits()
        var batch = batch()
        for group in batch.groups.indices {
            for index in batch.groups[group].completions.indices {
                let count = batch.groups[group].completions[index].tokenIDs.count
                batch.groups[group].completions[index].advantages = [Array(repeating: 0, count: count)]
            }
        }
        for _ in 0..<3 { #expect(try await policy.updater.train(batch)["grad_norm"] == 0) }
        #expect(try policy.bits() == before)
    }

    @Test func aBatchThatTrainsNothingIsNoStep() async throws {
        let policy = try TinyPolicy(grpo(), .plain(learningRate: 0.1, weightDecay: 0.1), type: .float32)
        _ = try await policy.updater.train(batch())  // leaves a momentum
        let before = try policy.bits()
        var masked = batch()
        for group in masked.groups.indices {
            for index in masked.groups[group].completions.indices {
                masked.groups[group].completions[index].isMasked = true
            }
        }
        let metrics = try await policy.updater.train(masked)
        #expect(try policy.bits() == before)
        #expect(try policy.actor.version == PolicyVersion(1))
        #expect(metrics["loss"] == 0 && metrics["grad_norm"] == 0 && metrics["skipped_steps"] == 0)
        #expect(metrics.entries.allSatisfy { $0.value.isFinite })
    }

    @Test func aGradientThatIsNotFiniteSkipsTheStepAndIsCounted() async throws {
        let policy = try TinyPolicy(grpo(), .plain(learningRate: 0.01), type: .float32)
        let before = try policy.bits()
        var broken = batch()
        broken.groups[0].completions[0].advantages[0][1] = 1e300  // infinite in float32
        let skipped = try await policy.updater.train(broken)
        #expect(skipped["skipped_steps"] == 1)
        #expect(try #require(skipped["loss"]).isFinite == false)
        #expect(try policy.bits() == before)
        #expect(try policy.actor.version == PolicyVersion(0))
        let next = try await policy.updater.train(batch())
        #expect(next["skipped_steps"] == 1)
        #expect(try policy.actor.version == PolicyVersion(1))
        for values in try policy.bits().values {
            #expect(values.allSatisfy { Double(bitPattern: $0).isFinite })
        }
    }

    @Test func aStoppedStepLeavesWeightsVersionAndMoments() async throws {
        let policy = try TinyPolicy(grpo(), .plain(learningRate: 0.01, maxTokensPerMicroBatch: 4), type: .float32)
        let before = try policy.bits()
        let stop = StopSignal()
        stop.request()
        await #expect(throws: StopRequested.self) { _ = try await policy.updater.train(batch(), stop: stop) }
        #expect(try policy.bits() == before)
        #expect(policy.actor.phase == .idle(PolicyVersion(0)))
        #expect(policy.updater.optimizer.counters.schedulePosition == 0)
        // the step taken afterwards is the one that would have been taken without the stop
        let fresh = try TinyPolicy(grpo(), .plain(learningRate: 0.01, maxTokensPerMicroBatch: 4), type: .float32)
        _ = try await policy.updater.train(batch())
        _ = try await fresh.updater.train(batch())
        #expect(try policy.bits() == fresh.bits())
    }

    @Test func logProbsOfTheSamplerAreComparedWithTheTrainers() async throws {
        let policy = try TinyPolicy(grpo(), .plain(learningRate: 0), type: .float32)
        var batch = batch()
        let present = try await policy.updater.logProbabilities(batch, under: .oldPolicy).tokens
        for group in batch.groups.indices {
            for index in batch.groups[group].completions.indices {
                batch.groups[group].completions[index].rolloutLogProbabilities = present[group][index]
            }
        }
        batch.groups[1].completions[1].rolloutLogProbabilities[2] -= 0.5  // one of ten tokens
        let metrics = try await policy.updater.train(batch)
        #expect(abs(try #require(metrics["sampling/sampling_logp_difference/mean"]) - 0.05) < 1e-6)
        #expect(abs(try #require(metrics["sampling/sampling_logp_difference/max"]) - 0.5) < 1e-6)
        #expect(abs(try #require(metrics["sampling/importance_sampling_ratio/max"]) - exp(0.5)) < 1e-5)
        #expect(abs(try #require(metrics["sampling/importance_sampling_ratio/mean"]) - (9 + exp(0.5)) / 10) < 1e-5)
        #expect(abs(try #require(metrics["sampling/importance_sampling_ratio/min"]) - 1) < 1e-5)
        // The trainer is half a nat above the sampler: k3 of −0.5 is e^0.5 − 1 − 0.5; of +0.5 it would be 0.107.
        #expect(abs(try #require(metrics["mismatch/kl"]) - (exp(0.5) - 1.5) / 10) < 1e-6)
        // Where the sampler's numbers stand in for the old policy's they say nothing of the trainer's, which are taken
        // instead.
        for group in batch.groups.indices {
            for index in batch.groups[group].completions.indices {
                batch.groups[group].completions[index].oldLogProbabilities =
                    batch.groups[group].completions[index].rolloutLogProbabilities
            }
        }
        let bypassed = try await policy.updater.train(batch)
        #expect(abs(try #require(bypassed["sampling/sampling_logp_difference/mean"]) - 0.05) < 1e-6)
        // Whoever asks whether the ratios are a loss's own is told.
        let corrected = GRPOSettings(mismatchCorrection: MismatchCorrection())
        #expect(!policy.updater.weighsSampler)
        #expect(try TinyPolicy(corrected, .plain(learningRate: 0)).updater.weighsSampler)
    }

    @Test func theLogProbsOfAllNextTokensAddUpToOneAndTemperatureFlattensThem() async throws {
        let batch = UpdateBatch(groups: [ExampleBatch.group([1, 2], (0..<7).map { [$0] })])
        var entropies: [Double] = []
        for temperature in [0.5, 1, 2] {
            let policy = try TinyPolicy(SupervisedFineTuning(), .plain(learningRate: 0), temperature: temperature)
            let present = try await policy.updater.logProbabilities(batch, under: .oldPolicy).tokens
            let probabilities = present[0].map { exp(Double($0[0])) }
            #expect(abs(probabilities.reduce(0, +) - 1) < 1e-6)
            entropies.append(probabilities.reduce(0) { $0 - $1 * Foundation.log($1) })
        }
        #expect(entropies[0] < entropies[1] && entropies[1] < entropies[2])
    }

    @Test func logProbsStandAtTheirCompletionHoweverTheBatchIsCut() async throws {
        var batch = try await ExampleBatch.mixed()
        batch.groups[2].completions[1].isMasked = true  // read all the same: masks may be decided later
        batch.groups[1].completions.insert(UpdateCompletion(tokenIDs: []), at: 1)
        let whole = try await TinyPolicy(SupervisedFineTuning(), .plain(learningRate: 0)).updater
            .logProbabilities(batch, under: .oldPolicy).tokens
        #expect(whole.map { $0.map(\.count) } == batch.groups.map { $0.completions.map(\.tokenIDs.count) })
        let alone = UpdateBatch(groups: [
            UpdateGroup(
                promptTokenIDs: batch.groups[2].promptTokenIDs, completions: [batch.groups[2].completions[1]])
        ])
        let policy = try TinyPolicy(SupervisedFineTuning(), .plain(learningRate: 0, maxTokensPerMicroBatch: 9))
        let cut = try await policy.updater.logProbabilities(batch, under: .oldPolicy).tokens
        for (found, expected) in zip(cut.joined().joined(), whole.joined().joined()) {
            #expect(abs(found - expected) < 1e-6)
        }
        let single = try await policy.updater.logProbabilities(alone, under: .oldPolicy).tokens[0][0]
        for (found, expected) in zip(single, whole[2][1]) { #expect(abs(found - expected) < 1e-6) }
    }

    /// Each completion is a pass: ranks that wait for this one get the tensors' thread between two of them.
    @Test func readingLogProbsLetsOthersInBetweenItsPasses() async throws {
        let policy = try TinyPolicy(SupervisedFineTuning(), .plain(learningRate: 0, maxTokensPerMicroBatch: 1))
        let many = UpdateBatch(groups: (0..<10).flatMap { _ in batch().groups })
        let heard = StopSignal()
        Task { @TensorActor in heard.request() }
        _ = try await policy.updater.ownLogProbabilities(many, under: .oldPolicy)
        #expect(heard.isRequested)
    }

    private func refusal(_ policy: TinyPolicy, _ change: (inout UpdateBatch) -> Void) async -> String {
        var batch = batch()
        change(&batch)
        let error = await #expect(throws: UpdateError.self) { try await policy.updater.train(batch) }
        return error.map { "\($0)" } ?? "accepted"
    }

    @Test func batchesThatDoNotFitAreRefusedByIndex() async throws {
        let policy = try TinyPolicy(grpo(), .plain(learningRate: 0.01), type: .float32)
        #expect(
            await refusal(policy) { $0.groups[1].completions[0].advantages = [[1]] }
                == "update batch, group 1, completion 0: 1 advantages for 2 tokens")
        #expect(
            await refusal(policy) { $0.groups[1].completions[0].advantages.append([0, 0]) }
                == "update batch, group 1, completion 0: 2 streams of advantages, and weights for 1")
        #expect(
            await refusal(policy) { $0.groups[1].completions[1].advantages[0][2] = .nan }
                == "update batch, group 1, completion 1: advantages[2] is nan, not a finite number")
        #expect(
            await refusal(policy) { $0.groups[0].completions[1].tokenIDs = [7] }
                == "update batch, group 0, completion 1: token 7 is outside the vocabulary of 7")
        #expect(
            await refusal(policy) { $0.groups[0].promptTokenIDs = [] }.hasPrefix(
                "update batch, group 0: the prompt has no"))
        #expect(
            await refusal(policy) { $0.groups[0].completions[0].oldLogProbabilities = [-1, -1, -1] }
                == "update batch, group 0, completion 1: 0 oldLogProbabilities for 1 tokens")
        #expect(
            await refusal(policy) { $0.groups[0].completions[1].oldLogProbabilities = [-1] }
                .contains("give them to all or to none"))
        #expect(policy.actor.phase == .idle(PolicyVersion(0)))
    }

    @Test func anObjectiveWithKLNeedsAReference() throws {
        #expect(throws: UpdateError.missingReference) {
            _ = try TinyPolicy(grpo(klCoefficient: 0.1), .plain(learningRate: 0.1))
        }
    }

    @Test func logProbsUnderAReferenceThatIsNotThereAreAnError() async throws {
        let policy = try TinyPolicy(grpo(), .plain(learningRate: 0.1))
        await #expect(throws: UpdateError.missingReference) {
            _ = try await policy.updater.logProbabilities(batch(), under: .reference).tokens
        }
    }

    /// In a group of one, whose store takes a free port: weights and version come from the first rank, itself.
    @Test func aRankThatOnlySamplesHasNoMomentsAndNeedsNoReference() async throws {
        let ranks = try ProcessGroup(
            .init(rank: 0, size: 1, host: "127.0.0.1", port: 0, name: "alone"), timeout: .seconds(30))
        let policy = try TinyPolicy(grpo(), .plain(learningRate: 0.1))
        let updater = try PolicyUpdater(
            policy: policy.actor, configuration: TinyPolicy.configuration(),
            parts: [PartPlan(grpo(klCoefficient: 0.1))], settings: .plain(learningRate: 0.1),
            sharing: WeightSharing(over: ranks, receives: true))
        let (trained, only) = (policy.updater.optimizer, updater.optimizer)
        #expect(trained.stateBytes > 0 && only.stateBytes == 0)
        #expect(only.tensors.mapValues(\.shape) == trained.tensors.mapValues(\.shape))
        let bits = try policy.bits()
        try await updater.shareWeights()
        #expect(try policy.bits() == bits)
        #expect(try updater.policyVersion == PolicyVersion(0))
    }

    @Test func theReferenceFollowsEverySecondStepByTheMixupShare() async throws {
        let reference = try TinyPolicy.reference()
        let policy = try TinyPolicy(
            grpo(), .plain(learningRate: 0.01, referenceSync: ReferenceSync(mixupAlpha: 0.25, everySteps: 2)),
            reference: reference)
        let name = "model.norm.weight"
        func weights() throws -> [Double] {
            try #require(reference.parameters.first { $0.name == name }).tensor.doubles()
        }
        let start = try weights()
        _ = try await policy.updater.train(batch())
        #expect(try weights() == start)
        _ = try await policy.updater.train(batch())
        let now = try policy.parameters[name]!.doubles()
        for (found, (old, new)) in zip(try weights(), zip(start, now)) {
            #expect(abs(found - (0.75 * old + 0.25 * new)) < 1e-14)
        }
        #expect(try weights() != start)
        let owner = try #require(policy.reference)
        #expect(try owner.version == PolicyVersion(1))  // it was written through its owner, which knows
        #expect(owner.phase == .idle(PolicyVersion(1)))
        try reference.parameters[0].tensor.multiplyInPlace(2)
        await #expect(throws: PlacementError.self) {
            _ = try await policy.updater.logProbabilities(batch(), under: .reference).tokens
        }
    }

    /// The exact KL reads the reference in the very step that then moves it, and in the one that does not.
    @Test func aReferenceMayBeReadAndMovedByOneStep() async throws {
        let objective = GRPOSettings(klCoefficient: 0.3, usesExactKL: true)
        let policy = try TinyPolicy(
            objective, .plain(learningRate: 0.01, referenceSync: ReferenceSync(mixupAlpha: 1, everySteps: 2)),
            reference: TinyPolicy.reference())
        var divergences: [Double] = []
        for _ in 0..<3 { divergences.append(try #require(try await policy.updater.train(batch())["kl"])) }
        #expect(divergences[0] > 0.01 && divergences[1] > 0.01)
        #expect(divergences[2] == 0)  // α = 1: the reference is the policy now
        #expect(try policy.reference?.version == PolicyVersion(1))
        #expect(try policy.actor.version == PolicyVersion(3))
    }

    @Test func scoringUnderTheReferenceUsesItsOwnWeights() async throws {
        let policy = try TinyPolicy(
            grpo(klCoefficient: 0.1), .plain(learningRate: 0.1), reference: TinyPolicy.reference())
        let other = try TinyPolicy(grpo(), .plain(learningRate: 0), weights: TinyPolicy.weights(phase: 0.4))
        let found = try await policy.updater.logProbabilities(batch(), under: .reference).tokens
        #expect(try await other.updater.logProbabilities(batch(), under: .oldPolicy).tokens == found)
        #expect(try await policy.updater.logProbabilities(batch(), under: .oldPolicy).tokens != found)
    }
}
