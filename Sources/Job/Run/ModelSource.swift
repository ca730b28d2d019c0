package import Foundation
package import Models
internal import Placement
internal import Records
internal import Tensors
package import Tokenization

/// A model folder that a job names, its tokenizer and what it says of itself; the weights are not read yet.
package struct ModelSource: Sendable {
    package let folder: URL
    package let configuration: ModelConfiguration
    package let tokenizer: Tokenizer
    package let template: ChatTemplateRenderer
    private let reading: PromptReading
    /// Sampling one of these ends a completion.
    package let stopTokenIDs: Set<Int>

    /// - Parameters:
    ///   - name: A folder, or a name in the Hugging Face cache.
    ///   - reading: How prompts are read.
    /// - Throws: `ModelError`, `TokenizerError` or ``JobError`` naming the file and what would be right.
    package init(_ name: String, _ reading: PromptReading = PromptReading()) throws {
        folder = try HuggingFaceCache.folder(of: name)
        configuration = try ModelFolder.readConfiguration(folder)
        tokenizer = try Tokenizer(folder: folder)
        self.reading = reading
        template = try ChatTemplateRenderer(tokenizer: tokenizer, variables: reading.templateVariables)
        var ends = try ModelFolder.endTokenIDs(folder)
        if let end = tokenizer.endOfTextID { ends.insert(end) }
        stopTokenIDs = ends
        guard tokenizer.vocabularySize <= configuration.vocabularySize else {
            throw JobError(
                place: folder.path,
                message:
                    "the tokenizer has \(tokenizer.vocabularySize) ids, the model's embedding \(configuration.vocabularySize) "
                    + "rows; they do not belong together")
        }
        guard !ends.isEmpty else {
            throw JobError(
                place: folder.path,
                message: "neither generation_config.json, config.json nor the tokenizer names an end-of-text token; "
                    + "no completion could end")
        }
    }

    /// The encoder of this model's prompts.
    ///
    /// - Parameter maxLength: Tokens a demonstration may have; by default as many as the model's context.
    package func encoder(maxPromptLength: Int, maxLength: Int? = nil) -> PromptEncoder {
        PromptEncoder(
            tokenizer: tokenizer, template: template, maxPromptLength: maxPromptLength,
            maxLength: min(maxLength ?? .max, configuration.contextLength), reading: reading,
            stopTokenIDs: stopTokenIDs)
    }

    /// The most tokens a prompt may have beside a completion.
    package func promptLimit(asked: Int?, completion: Int) throws(JobError) -> Int {
        let room = configuration.contextLength - completion
        guard room >= 1 else {
            throw JobError(
                place: folder.path,
                message: "max_completion_length \(completion) leaves no room for a prompt in the model's context of "
                    + "\(configuration.contextLength) tokens")
        }
        guard let asked else { return room }
        guard asked <= room else {
            throw JobError(
                place: folder.path,
                message:
                    "max_prompt_length \(asked) + max_completion_length \(completion) exceed the model's context of "
                    + "\(configuration.contextLength) tokens")
        }
        return asked
    }

    /// The longest completion a command allows where it was not asked: 512 tokens, or half of a small model's context.
    var usualCompletionLength: Int { min(512, max(1, configuration.contextLength / 2)) }

    /// Sets the threads of the tensor engine: as asked, or the machine's cores, or one for a model of so few weights that
    /// sharing its products out takes longer than they do.
    ///
    /// - Returns: the threads in use.
    @TensorActor func useThreads(_ asked: Int?, processes: Int = 1) throws -> Int {
        let weights = configuration.parameterBytes(.float32) / 4
        let own = max(1, ProcessInfo.processInfo.activeProcessorCount / processes)
        try TensorEngine.setThreadCount(asked ?? (weights < 2_000_000 ? 1 : own))
        return TensorEngine.threadCount
    }

    /// Reads the weights.
    @TensorActor func load(_ type: JobElementType) throws -> Transformer {
        try ModelFolder.load(folder, elementType: type.elementType)
    }
}
