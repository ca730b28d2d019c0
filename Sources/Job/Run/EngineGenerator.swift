internal import Coordinator
internal import Models
internal import Placement
package import Records
internal import RolloutEngine
package import Tokenization

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
        let stops = try StopTexts(sampling.stopStrings, model.tokenizer)
        let temperature = isGreedy ? 1 : sampling.temperature
        settings = try SamplingSettings(
            temperature: temperature, topK: sampling.topK, topP: sampling.topP,
            minP: sampling.minP,
            repetitionPenalty: sampling.repetitionPenalty, isGreedy: isGreedy,
            maxCompletionLength: sampling.maxCompletionLength,
            stopTokenIDs: endsAtStopTokens ? model.stopTokenIDs.union(stops.tokenIDs) : [],
            stopStrings: stops.texts,
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

/// Stop strings apart into what is watched for in the text, and special tokens, which are no part of a text.
package struct StopTexts {
    package private(set) var texts: [String] = []
    package private(set) var tokenIDs: Set<Int> = []

    /// - Throws: `SettingsError` for a text that mixes a special token with others: it could never appear.
    package init(_ stopStrings: [String], _ tokenizer: Tokenizer) throws(SettingsError) {
        let specials = tokenizer.addedTokens.filter(\.isSpecial)
        var problems = Problems("sampling")
        for text in stopStrings {
            if let token = specials.first(where: { $0.content == text }) {
                tokenIDs.insert(token.id)
                continue
            }
            let part = specials.first { text.contains($0.content) }?.content
            problems.require(
                part == nil, "stop_strings", text, "'\(part ?? "")' alone, or a text without special tokens")
            texts.append(text)
        }
        try problems.throwIfAny()
    }
}
