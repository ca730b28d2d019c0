internal import Foundation
import JSON
internal import Models
internal import Records
internal import Runs
package import Tensors
internal import Tokenization

/// `plumbline logprobs`: the log-prob of every token given those before it, at temperature 1.
@TensorActor
package final class LogProbabilityListing {
    private let model: Transformer
    private let tokenizer: Tokenizer?
    private let folder: URL

    /// - Parameters:
    ///   - model: A Hugging Face folder or a name in its cache.
    ///   - dtype: What the weights are computed in.
    package init(model name: String, dtype: String) throws {
        guard let type = JobElementType(rawValue: dtype) else {
            throw JobError(place: "--dtype", message: "'\(dtype)' is none of float32, bfloat16 and float64")
        }
        folder = try HuggingFaceCache.folder(of: name)
        model = try ModelFolder.load(folder, elementType: type.elementType)
        let texts = try ModelFolder.tokenizerFolder(of: folder)
        tokenizer = try ModelFolder.hasTokenizer(texts) ? Tokenizer(folder: texts) : nil
    }

    /// Hands one line per line of input to `emit`.
    package func run(_ input: String, emit: (String) throws -> Void) throws {
        try InputLine.each(of: input) { line, row in
            let tokenIDs = try tokens(line, row)
            let values: [String] = ["null"] + (try logProbabilities(tokenIDs)).map { JSONText.number($0) }
            try emit(
                JSONText.object([
                    ("token_ids", JSONText.array(tokenIDs.map(String.init))),
                    ("log_probs", JSONText.array(Array(values.prefix(tokenIDs.count)))),
                ]))
        }
    }

    private func tokens(_ line: InputLine, _ row: JSONValue) throws -> [Int] {
        if row["token_ids"] != nil {
            let ids = try line.tokenIDs("token_ids", of: row)
            let size = model.configuration.vocabularySize
            if let wrong = ids.first(where: { !(0..<size).contains($0) }) {
                throw JobError(place: line.place, message: "token id \(wrong) is outside the vocabulary of \(size)")
            }
            return ids
        }
        guard let tokenizer else {
            throw JobError(
                place: line.place, message: "no 'token_ids', and \(folder.path) has no tokenizer.json for the text")
        }
        let prompt = tokenizer.encode(try line.text("prompt", of: row), addSpecialTokens: true)
        return prompt + (row["completion"] == nil ? [] : tokenizer.encode(try line.text("completion", of: row)))
    }

    /// One number per token but the first.
    private func logProbabilities(_ tokenIDs: [Int]) throws -> [Double] {
        guard tokenIDs.count > 1 else { return [] }
        return try Tensor.withoutGradients {
            let layout = try SequenceLayout(groups: [(promptLength: tokenIDs.count, completionLengths: [])])
            let hidden = try model.hiddenStates(tokens: Tensor(tokenIDs), layout: layout)
            let predicting = try hidden.narrow(axis: 0, start: 0, count: tokenIDs.count - 1)
            return try Tensor.tokenScores(
                hidden: predicting, head: model.head, targets: Tensor(Array(tokenIDs.dropFirst())), temperature: 1
            ).logProbabilities.doubles()
        }
    }
}

extension JobElementType {
    /// As the tensor engine names it.
    var elementType: ElementType {
        switch self {
        case .float32: .float32
        case .bfloat16: .bfloat16
        case .float64: .float64
        }
    }

    /// The type in which weights are trained, saved and summed.
    var masterType: ElementType { self == .bfloat16 ? .float32 : elementType }
}
