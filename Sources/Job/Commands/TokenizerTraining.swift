internal import Foundation
import JSON
internal import PromptSets
internal import Runs
package import Tokenization

/// `plumbline tokenizer train`.
package struct TokenizerTraining {
    private let inputs: [String]
    private let trainer: BPETrainer
    private let specialTokens: [String]
    private let chatTemplate: String?

    /// - Parameters:
    ///   - inputs: Text files, and prompt files of whose rows the texts (nested ones too) are read.
    ///   - specialTokens: The first closes a completion, the second (or the only one) pads.
    ///   - chatTemplate: A file with the Jinja template that comes to stand in the tokenizer's folder.
    /// - Throws: ``JobError``, `TokenizerError` or `ChatTemplateError` for settings that make no tokenizer.
    package init(
        inputs: [String], vocabularySize: Int, specialTokens: [String], splitPattern: String, splitsDigits: Bool,
        chatTemplate: String? = nil
    ) throws {
        let patterns: [String: SplitPattern] = ["gpt2": .gpt2, "llama3": .llama3, "qwen2": .qwen2]
        guard let pattern = patterns[splitPattern] else {
            throw JobError(
                place: "--split-pattern",
                message: "'\(splitPattern)' is none of \(patterns.keys.sorted().joined(separator: ", "))")
        }
        self.inputs = inputs
        self.specialTokens = specialTokens
        self.chatTemplate = try chatTemplate.map(Self.template(of:))
        trainer = try BPETrainer(
            vocabularySize: vocabularySize, specialTokens: specialTokens, splitPattern: pattern,
            splitsDigits: splitsDigits)
    }

    /// Trains and writes the tokenizer's files into `output`, which is made when it is missing.
    package func run(output: String) throws -> Tokenizer {
        let texts = try inputs.flatMap(texts)
        let padding = specialTokens.count > 1 ? specialTokens[1] : specialTokens.first
        let folder = URL(filePath: output)
        try FileOperations.system.createFolder(folder)  // where it cannot be, training would be for nothing
        let tokenizer = try trainer.train(
            texts, roles: BPETrainer.Roles(endOfText: specialTokens.first, padding: padding, chatTemplate: chatTemplate)
        )
        try tokenizer.save(to: folder)
        return tokenizer
    }

    private static func template(of path: String) throws -> String {
        let contents = try PosixFile.contents(of: URL(filePath: path), atMost: 1 << 24)
        guard let text = String(validating: contents, as: UTF8.self) else {
            throw JobError(place: path, message: "is not UTF-8; a chat template is text")
        }
        do { _ = try ChatTemplate(source: text) } catch { throw JobError(place: path, message: "\(error)") }
        return text
    }

    private func texts(of path: String) throws -> [String] {
        let url = URL(filePath: path)
        var texts: [String] = []
        // A line may be any value, not a row alone.
        if ["jsonl", "ndjson"].contains(url.pathExtension) {
            try InputLine.each(of: path) { _, row in Self.collect(row, into: &texts) }
        } else if url.pathExtension == "json", let value = try? JSONValue(parsing: Self.text(of: path)) {
            Self.collect(value, into: &texts)  // else it has a row a line
        } else if PromptFile.isPromptFile(url) {
            let rows = try RowFile(url)
            for row in 0..<rows.count { Self.collect(.object(try rows.columns(of: row)), into: &texts) }
        } else {
            texts.append(try Self.text(of: path))
        }
        return texts
    }

    private static func text(of path: String) throws -> String {
        let contents = try PosixFile.contents(of: URL(filePath: path), atMost: 1 << 34)
        if let text = String(validating: contents, as: UTF8.self) { return text }
        let lines = contents.split(separator: 0x0a, omittingEmptySubsequences: false)
        let wrong = lines.firstIndex { String(validating: $0, as: UTF8.self) == nil } ?? 0
        throw JobError(
            place: InputLine(path: path, number: wrong + 1).place,
            message: "is not UTF-8; expected text, or rows in a file whose name ends in .jsonl, .json, .csv, .tsv or "
                + ".parquet")
    }

    private static func collect(_ value: JSONValue, into texts: inout [String]) {
        switch value {
        case .string(let text): texts.append(text)
        case .array(let elements): for element in elements { collect(element, into: &texts) }
        case .object(let members): for member in members { collect(member.value, into: &texts) }
        case .number: texts.append(value.serialized)
        case .null, .bool: break
        }
    }
}
