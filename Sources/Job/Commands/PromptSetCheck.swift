internal import Foundation
internal import Models
internal import PromptSets
internal import Records
internal import Runs
internal import Tokenization

/// `plumbline data check`: what a prompt set looks like to the model and to the rewards.
package struct PromptSetCheck {
    private let path: String
    private let model: String?
    private let rows: Int
    private let asDemonstrations: Bool

    package init(path: String, model: String?, rows: Int, asDemonstrations: Bool) {
        self.path = path
        self.model = model
        self.rows = rows
        self.asDemonstrations = asDemonstrations
    }

    package func text() throws -> String {
        let set = try PromptSet(URL(filePath: path))
        let encoder = try model.map { name in
            let tokenizer = try Tokenizer(folder: HuggingFaceCache.folder(of: name))
            let template = try ChatTemplateRenderer(tokenizer: tokenizer, variables: [])
            return PromptEncoder(tokenizer: tokenizer, template: template, maxPromptLength: Int.max)
        }
        var lines = [
            "\(set.identity)", "form: \(set.detectedForm)", "columns: \(set.columnNames.joined(separator: ", "))",
        ]
        let problems = set.problems(asDemonstrations: asDemonstrations)
        for problem in problems { lines.append("problem: \(problem)") }
        guard problems.isEmpty else { return lines.joined(separator: "\n") }
        if let encoder, set.count > 0 {
            lines += encoder.templateNotices(for: try set.prompt(at: 0)).map { "note: \($0)" }
        }
        lines += try lengths(set, encoder)
        lines += try overlap(set)
        for row in 0..<min(rows, set.count) { lines += try shown(set, row, encoder) }
        return lines.joined(separator: "\n")
    }

    private func lengths(_ set: PromptSet, _ encoder: PromptEncoder?) throws -> [String] {
        var lengths: [Int] = []
        var texts: Set<String> = []
        for row in 0..<set.count {
            let prompt = try set.prompt(at: row)
            texts.insert(prompt.text)
            lengths.append(try encoder?.tokens(of: prompt).count ?? prompt.text.count)
        }
        let sorted = lengths.sorted()
        let unit = encoder == nil ? "characters" : "tokens"
        let shares = [0, 50, 90, 99, 100].map { "p\($0) \(sorted[min(sorted.count - 1, sorted.count * $0 / 100)])" }
        return [
            "prompt length in \(unit): \(shares.joined(separator: ", "))",
            "prompts that stand twice: \(set.count - texts.count)",
        ]
    }

    /// Prompts that the folder's evaluation rows share with this set.
    private func overlap(_ set: PromptSet) throws -> [String] {
        let folder = URL(filePath: path)
        guard
            folder.hasDirectoryPath
                || FileManager.default.fileExists(atPath: folder.appending(path: "train.jsonl").path)
        else { return [] }
        let names = ["eval", "test"].filter {
            FileManager.default.fileExists(atPath: folder.appending(path: "\($0).jsonl").path)
        }
        guard !names.isEmpty else { return [] }
        let seen = Set(try (0..<set.count).map { try set.prompt(at: $0).text })
        return try names.map { name in
            let other = try PromptSet(folder, split: name)
            let shared = try (0..<other.count).count { seen.contains(try other.prompt(at: $0).text) }
            return "prompts of \(name) that stand here too: \(shared) of \(other.count)"
        }
    }

    private func shown(_ set: PromptSet, _ row: Int, _ encoder: PromptEncoder?) throws -> [String] {
        let prompt = try set.prompt(at: row)
        var lines = ["", "row \(row) (line \(set.line(of: row)))", "  prompt: \(JSONText.string(prompt.text))"]
        if asDemonstrations {
            lines.append("  completion: \(JSONText.string(try set.demonstration(at: row).completion))")
        }
        if let encoder {
            let ids = try encoder.tokens(of: prompt)
            lines.append(
                "  as the model reads it: \(ids.prefix(40).map(String.init).joined(separator: " "))\(ids.count > 40 ? " …" : "")"
            )
        }
        for (name, value) in prompt.columns.sorted(by: { $0.key < $1.key }) {
            lines.append("  as rewards see it: \(name) = \(JSON(value).serialized)")
        }
        return lines
    }
}
