internal import Foundation
internal import Models
internal import Placement
internal import PromptSets
package import Records
internal import Tensors

/// `plumbline generate`: completions of prompts.
package struct TextGeneration: Sendable {
    /// Where the prompts come from.
    package enum Source: Sendable {
        case text(String)
        /// A prompt file or folder; `limit` takes the first rows only.
        case file(String, limit: Int?)
    }

    let model: ModelSource
    private let note: @Sendable (String) -> Void
    private let generator: EngineGenerator
    private let sampling: SamplingRequest

    /// Loads a model.
    ///
    /// - Parameters:
    ///   - name: A folder, or a name in the Hugging Face cache.
    ///   - note: Takes what the user should know of how prompts are read.
    package init(
        model name: String, sampling: SamplingRequest, note: @escaping @Sendable (String) -> Void = { _ in }
    ) async throws {
        let model = try ModelSource(name, sampling.reading, device: sampling.device)
        self.note = note
        var sampling = sampling
        if !sampling.hasOwnLength { sampling.sampling.maxCompletionLength = model.usualCompletionLength }
        self.model = model
        self.sampling = sampling
        generator = try await Self.generator(model, sampling)
    }

    @TensorActor private static func generator(_ model: ModelSource, _ sampling: SamplingRequest) throws
        -> EngineGenerator
    {
        _ = try model.useThreads(sampling.threads)
        // Nothing but sampling reads the weights: they are kept as it reads them, and only so.
        let isPacked = model.device == .cpu
        let storage: WeightStorage = isPacked ? .packed : .whole
        let policy = try ReallocatingActor(
            role: "actor", parameters: ParameterSet(frozen: model.load(.float32, as: storage).parametersByName),
            packing: model.configuration.packing(isPacked ? .packed : .shared, of: storage))
        return try EngineGenerator(
            policy: policy, model: model, sampling: sampling.sampling, softThinking: sampling.softThinking,
            seed: sampling.seed)
    }

    /// The completions of every prompt, in the order of the prompts.
    ///
    /// - Parameter columnMap: `name=column` each, for the columns of a file.
    package func groups(
        _ source: Source, columnMap: [String], samples: Int, stop: StopSignal
    ) async throws -> AsyncThrowingStream<RolloutGroup, any Error> {
        let columns = try ColumnMap(arguments: columnMap)
        return try await groups(prompts(source, split: "train", columns: columns), samples: samples, stop: stop)
    }

    func groups(
        _ prompts: [TokenizedPrompt], samples: Int, stop: StopSignal
    ) async throws -> AsyncThrowingStream<RolloutGroup, any Error> {
        let requests = prompts.map { RolloutRequest(prompt: $0, samples: samples) }
        let stream = generator.generate(requests, step: 0, stop: stop)
        return AsyncThrowingStream { ordered in
            let task = Task {
                do {
                    var waiting: [Int: RolloutGroup] = [:]
                    var next = prompts[...]
                    for try await group in stream {
                        waiting[group.prompt.prompt.row] = group
                        while let first = next.first, let ready = waiting.removeValue(forKey: first.prompt.row) {
                            ordered.yield(ready)
                            next.removeFirst()
                        }
                    }
                    ordered.finish()
                } catch {
                    ordered.finish(throwing: error)
                }
            }
            ordered.onTermination = { _ in task.cancel() }
        }
    }

    /// The completions of requests, groups as they finish.
    func groups(
        _ requests: [RolloutRequest], stop: StopSignal
    ) -> AsyncThrowingStream<RolloutGroup, any Error> {
        generator.generate(requests, step: 0, stop: stop)
    }

    /// Most tokens of a prompt beside a completion.
    var promptLimit: Int {
        get throws { try model.promptLimit(asked: nil, completion: sampling.sampling.maxCompletionLength) }
    }

    /// The prompts of a source as the model reads them.
    func prompts(_ source: Source, split: String, columns: ColumnMap = ColumnMap()) throws -> [TokenizedPrompt] {
        let limit = try model.promptLimit(asked: nil, completion: sampling.sampling.maxCompletionLength)
        let encoder = model.encoder(maxPromptLength: limit)
        let prompts: [Prompt]
        switch source {
        case .text(let text): prompts = [Prompt(row: 0, source: "--prompt", content: .text(text))]
        case .file(let path, let limit):
            let url = try DatasetFolder.url(path)
            let set = try PromptSet(url, split: Self.split(of: url.path, wanted: split), columns: columns)
            if let notice = set.systemNotice() { note(notice) }
            prompts = try (0..<min(limit ?? .max, set.count)).map { try set.prompt(at: $0) }
        }
        if let first = prompts.first { try encoder.templateNotices(for: first).forEach(note) }
        return try prompts.map { try encoder.encode($0) }
    }

    /// A folder without the wanted split is read at `test`, then at `train`.
    static func split(of path: String, wanted: String) throws -> String {
        try [wanted, "test", "train"].first { try PromptFile.holds($0, in: URL(filePath: path)) } ?? wanted
    }

    /// A group as one line of JSON.
    package static func json(_ group: RolloutGroup) -> String {
        let completions = group.rollouts.map { rollout in
            JSONText.object(
                [
                    ("text", JSONText.string(rollout.completion.text)),
                    ("token_ids", JSONText.array(rollout.completion.tokenIDs.map(String.init))),
                    (
                        "log_probs",
                        JSONText.array(
                            rollout.perToken(rollout.policyLogProbabilities).map { logProbability in
                                logProbability.map { JSONText.number(Double($0)) } ?? "null"
                            })
                    ),
                    ("finish_reason", JSONText.string(rollout.completion.finishReason.name)),
                ] + ((rollout.payload as? SoftTokens).map { [("soft_tokens", String($0.count))] } ?? []))
        }
        return JSONText.object([
            ("prompt", JSONText.string(group.prompt.prompt.text)), ("completions", JSONText.array(completions)),
        ])
    }
}
