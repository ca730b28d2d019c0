internal import Algorithms
package import Records
internal import RolloutEngine
package import Tensors

/// How generate and eval read prompts and sample, as their flags say it. Temperature 0 is greedy.
package struct SamplingRequest: Sendable {
    var sampling: SamplingSettings
    /// Whether the flags give the length of completions; otherwise the model's usual length is taken.
    let hasOwnLength: Bool
    /// How completions think in mixtures of tokens first; `nil` for tokens from the start.
    let softThinking: SoftThinking?
    /// How prompts are read.
    let reading: PromptReading
    let seed: Int
    /// Threads of the tensor engine; `nil` takes the model's usual number.
    let threads: Int?
    /// Where the weights are.
    let device: Device

    /// - Parameters:
    ///   - flags: What was given, by the keys of a job file; places are the flags.
    ///   - thinks: Whether completions think first.
    ///   - device: Where the weights are.
    /// - Throws: ``JobError`` with every flag that cannot be used.
    package init(
        _ flags: [SettingsNode.Member], thinks: Bool, seed: Int, threads: Int? = nil, device: Device = .cpu
    ) throws(JobError) {
        var reader = SettingsReader("the command")
        for flag in flags { reader.override(flag.key, flag.node) }
        sampling = SamplingSettings(reading: &reader, mayBeGreedy: true)
        reading = PromptReading(reading: &reader)
        softThinking = thinks ? SoftThinking(reading: &reader) : nil
        hasOwnLength = reader.isGiven("max_completion_length")
        self.seed = seed
        self.threads = threads
        self.device = device
        if thinks, sampling.distribution.repetitionPenalty != 1 {
            reader.check(
                false, "repetition_penalty", "1 with soft thinking: a mixture of words is not a word already seen")
        }
        do throws(SettingsError) { try reader.finish() } catch { throw JobError(error) }
    }
}
