internal import Coordinator
internal import Models
internal import Placement
internal import Records
internal import RolloutEngine

/// The rollout engine with a job's sampling settings, behind the Coordinator's seam.
struct EngineGenerator: Generating {
    private let engine: RolloutEngine
    private let settings: SamplingSettings

    /// - Parameters:
    ///   - rows: Completions decoded at once.
    ///   - endsAtStopTokens: False only for measurements, where every completion has its full length.
    /// - Throws: `SettingsError` with everything that is wrong.
    init(
        policy: ReallocatingActor, model: ModelSource, sampling: SamplingRequest, rows: Int,
        endsAtStopTokens: Bool = true
    ) throws(SettingsError) {
        let isGreedy = sampling.temperature == 0
        let temperature = isGreedy ? 1 : sampling.temperature
        settings = try SamplingSettings(
            temperature: temperature, topK: sampling.topK, topP: sampling.topP,
            minP: sampling.minP,
            repetitionPenalty: sampling.repetitionPenalty, isGreedy: isGreedy,
            maxCompletionLength: sampling.maxCompletionLength, stopTokenIDs: endsAtStopTokens ? model.stopTokenIDs : [],
            stopStrings: sampling.stopStrings,
            softThinking: try sampling.softThinking?.settings(temperature: temperature) { model.tokenizer.encode($0) })
        engine = RolloutEngine(
            policy: policy, configuration: model.configuration, tokenizer: model.tokenizer,
            seed: UInt64(bitPattern: Int64(sampling.seed)), limits: try BatchLimits(rows: rows))
    }

    func generate(
        _ requests: [RolloutRequest], step: Int, stop: StopSignal
    ) -> AsyncThrowingStream<RolloutGroup, any Error> {
        engine.generate(requests, settings: settings, step: step, stop: stop)
    }
}
