package import Models
package import Placement
package import Records
package import Tensors
package import Tokenization

/// Samples completions from a policy.
///
/// A call takes the policy's parameters for a generating phase, decodes all requests in one continuous batch, and gives
/// each group away as soon as its last completion has ended. Every token's draw stands at the address (step, prompt
/// row, sample, token) of the seed, so the batch's composition changes no draw.
@TensorActor
package final class RolloutEngine {
    private let policy: ReallocatingActor
    private let configuration: ModelConfiguration
    private let tokenizer: Tokenizer
    private let seed: UInt64
    private let limits: BatchLimits
    private let together: Bool
    /// The cache of the last call, where everything stays in memory.
    private var cache: KeyValueCache?
    /// Where the products of what is sampled are kept for an update; `nil` for nowhere.
    package var forwardCache: ForwardCache?

    /// - Parameters:
    ///   - policy: Owner of the policy's parameters, by Hugging Face names.
    ///   - configuration: Of the policy's model.
    ///   - tokenizer: Of the same model; writes completions' texts and finds stop strings.
    ///   - seed: Of the run.
    ///   - limits: What is decoded at a time.
    ///   - together: Whether several ranks sample with their parts of the policy, see
    ///     ``ReallocatingActor/generate(together:_:)``: each asks for the same completions, and has all of them. A stop
    ///     of one is a stop of all.
    package nonisolated init(
        policy: ReallocatingActor, configuration: ModelConfiguration, tokenizer: Tokenizer, seed: UInt64,
        limits: BatchLimits, together: Bool = false
    ) {
        self.policy = policy
        self.configuration = configuration
        self.tokenizer = tokenizer
        self.seed = seed
        self.limits = limits
        self.together = together
    }

    /// Samples every request's completions.
    ///
    /// Groups come in the order in which they finish. Between two decode steps the tensor thread is given to others
    /// that wait for it, and `stop` is looked at. A stream that nobody reads any more ends the work.
    ///
    /// - Parameters:
    ///   - requests: Prompts and how many completions of each.
    ///   - settings: The same for all rows; a request's greedy completion only takes stops and length from it.
    ///   - step: Addresses the draws.
    ///   - stop: Ends the stream with `StopRequested` at the next step.
    /// - Returns: one group a request. The stream throws ``RolloutError`` for a request that cannot be met, before
    ///   anything is sampled, and the errors of the policy's owner, the model and the tokenizer.
    package nonisolated func generate(
        _ requests: [RolloutRequest], settings: SamplingSettings, step: Int, stop: StopSignal = StopSignal()
    ) -> AsyncThrowingStream<RolloutGroup, any Error> {
        AsyncThrowingStream { continuation in
            let work = Task { @TensorActor in
                do {
                    try await self.run(requests, settings, step, stop) { continuation.yield($0) }
                    continuation.finish()
                } catch {
                    continuation.finish(throwing: error)
                }
            }
            continuation.onTermination = { reason in
                if case .cancelled = reason { work.cancel() }
            }
        }
    }

    private func run(
        _ requests: [RolloutRequest], _ settings: SamplingSettings, _ step: Int, _ stop: StopSignal,
        _ give: (RolloutGroup) -> Void
    ) async throws {
        guard !requests.isEmpty else { return }
        _ = try await policy.generate(together: together) { lease in
            let model = try Transformer(
                configuration: configuration, parameters: lease.parameters, packed: lease.packed, shards: lease.shards)
            forwardCache?.begin(lease.version.number)
            var batch = try ContinuousBatch(
                model: model, tokenizer: tokenizer, requests: requests, settings: settings, limits: limits, seed: seed,
                step: step, version: lease.version, forwardCache: forwardCache, cache: &cache)
            policy.count(batch.cache)
            if let forwardCache { policy.count(forwardCache) }
            if policy.residency != .keep { cache = nil }
            while !batch.isDone {
                try checkStop(stop, model.group)
                let groups = try model.group?.reaching { try batch.advance() } ?? batch.advance()
                for group in groups { give(group) }
                await Task.yield()
            }
        }
    }

    /// - Throws: `StopRequested` or `CancellationError` where the work is to end here, and on every rank of a group
    ///   where it is to end on one: one that left alone would keep the others waiting.
    private func checkStop(_ stop: StopSignal, _ group: TensorParallelGroup?) throws {
        let isOver = stop.isRequested || Task.isCancelled
        guard try group.map({ try $0.sum(isOver ? 1 : 0) > 0 }) ?? isOver else { return }
        try stop.check()
        try Task.checkCancellation()
        throw StopRequested()
    }
}

extension ForwardCache: MemoryOwner {
    @TensorActor package var footprint: Footprint {
        var all = Footprint()
        all.add(tensors, as: .forwardCache)
        return all
    }
}

extension KeyValueCache: MemoryOwner {
    @TensorActor package var footprint: Footprint {
        var all = Footprint()
        all.add(tensors, as: .keyValueCache)
        return all
    }
}
