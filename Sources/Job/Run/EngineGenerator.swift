internal import Algorithms
internal import Coordinator
internal import Models
internal import Placement
package import Records
package import RolloutEngine
internal import Tensors
package import Tokenization

/// The rollout engine with a job's sampling settings, behind the Coordinator's seam.
struct EngineGenerator: Generating {
    private let engine: RolloutEngine
    private let settings: SamplingSettings

    /// - Parameters:
    ///   - softThinking: How completions think first; `nil` where they do not.
    ///   - limits: How much is decoded at once.
    ///   - together: Whether the ranks that sample together do so, see ``RolloutEngine``.
    /// - Throws: `SettingsError` for stop strings or a think-end text that the tokenizer cannot have.
    init(
        policy: ReallocatingActor, model: ModelSource, sampling: SamplingSettings, softThinking: SoftThinking?,
        seed: Int, limits: BatchLimits = BatchLimits(), together: Bool = false
    ) throws(SettingsError) {
        let stops = try StopTexts(sampling.stopStrings, model.tokenizer)
        var settings = sampling
        settings.stopTokenIDs = model.stopTokenIDs.union(stops.tokenIDs)
        settings.stopStrings = stops.texts
        settings.softThinking = try softThinking?.settings(temperature: sampling.distribution.temperature) {
            model.tokenizer.encode($0)
        }
        self.settings = settings
        engine = RolloutEngine(
            policy: policy, configuration: model.configuration, tokenizer: model.tokenizer,
            seed: UInt64(bitPattern: Int64(seed)), limits: limits, together: together)
    }

    /// Keeps the products of what is sampled for an update.
    @TensorActor
    func keepProducts(in cache: ForwardCache) { engine.forwardCache = cache }

    func generate(
        _ requests: [RolloutRequest], step: Int, stop: StopSignal
    ) -> AsyncThrowingStream<RolloutGroup, any Error> {
        engine.generate(requests, settings: settings, step: step, stop: stop)
    }
}

extension BatchLimits {
    /// As many rows at once as the job or its plan says, whatever they take; where neither does, as many as a step has, up
    /// to 256, as long as they do not take more than is usual.
    package init(_ job: ResolvedJob) {
        if let rows = job.concurrentCompletions {
            self.init(rows: rows, cacheBytes: .max)
        } else {
            self.init(rows: min(job.batches.completionsPerRolloutStep * 2, 256))
        }
    }
}

/// Stop strings apart into what is watched for in the text, and special tokens, which are no part of a text.
package struct StopTexts {
    package private(set) var texts: [String] = []
    package private(set) var tokenIDs: Set<Int> = []

    /// - Throws: `SettingsError` for a text that mixes a special token with others: it could never appear.
    package init(_ stopStrings: [String], _ tokenizer: Tokenizer) throws(SettingsError) {
        let specials = tokenizer.addedTokens.filter(\.isSpecial)
        var problems: [SettingsProblem] = []
        for text in stopStrings {
            if let token = specials.first(where: { $0.content == text }) {
                tokenIDs.insert(token.id)
                continue
            }
            let part = specials.first { text.contains($0.content) }?.content
            if let part {
                problems.append(
                    SettingsProblem(
                        place: "stop_strings",
                        message: "'\(text)' has the special token '\(part)' in it; expected '\(part)' alone, or a text "
                            + "without special tokens"))
            }
            texts.append(text)
        }
        guard problems.isEmpty else { throw SettingsError(problems) }
    }
}
