package import Foundation
package import Records
import Runs

/// Rows that prompts are drawn from: a file, or several mixed.
package protocol PromptRows: Sendable {
    /// What messages call it.
    var name: String { get }
    /// At least 1.
    var count: Int { get }
    /// Tells this set of rows from another one, without its place on the disk: a saved position holds for these rows only.
    var identity: String { get }
    /// The prompt of a row in `0 ..< count`.
    ///
    /// - Throws: ``PromptSetError`` or ``RunError`` when the row is not what it should be, naming file and line.
    func prompt(at row: Int) throws -> Prompt
    /// The prompt of a row with the completion to imitate. Throws as ``prompt(at:)``, also when the row has no completion.
    func demonstration(at row: Int) throws -> Demonstration
}

/// The prompts of one file.
///
/// JSON Lines, a JSON array, CSV or TSV (told by `.csv` and `.tsv`). Opening looks through the file once and keeps 16 bytes a row; rows
/// are read when they are asked for, so a file of millions of rows opens in little memory.
package struct PromptSet: PromptRows {
    package let name: String
    package let url: URL
    /// How rows are read; worth a line at the start of a run.
    package let detectedForm: PromptForm
    /// The names of the first row's columns, in their order.
    package let columnNames: [String]
    private let file: RowFile

    /// Opens a prompt file, or the file of one split in a folder.
    ///
    /// - Parameters:
    ///   - url: A file, or a folder that holds `train.jsonl` and `eval.jsonl` (or `.json`, `.csv`, `.tsv`).
    ///   - split: The split wanted of a folder. `eval` also finds `test`, `validation` and `valid`. Ignored for a file.
    ///   - columns: Says what columns are, where their names do not.
    /// - Throws: ``PromptSetError`` or ``RunError`` when there is no such file, it has no rows, or the first row is no prompt.
    package init(_ url: URL, split: String = "train", columns: ColumnMap = ColumnMap()) throws {
        let isFolder = try Self.isFolder(url)
        let found = try isFolder ? Self.file(of: split, in: url) : url
        self.url = found
        name = isFolder ? url.standardizedFileURL.lastPathComponent : Self.name(ofFile: url)
        file = try RowFile(found)
        let first = try file.columns(of: 0)
        columnNames = first.map(\.key)
        detectedForm = try PromptForm.detect(first, map: columns, path: found.path, line: file.line(of: 0))
        _ = try prompt(at: 0)
    }

    package var count: Int { file.count }

    package var identity: String { "\(url.lastPathComponent): \(count) rows, \(file.byteCount) bytes" }

    package func prompt(at row: Int) throws -> Prompt { try decoder(row).prompt() }

    package func demonstration(at row: Int) throws -> Demonstration { try decoder(row).demonstration() }

    /// The line of the file a row begins in, for messages.
    package func line(of row: Int) -> Int { file.line(of: row) }

    /// Reads every row and tells what is wrong with those that cannot be used.
    ///
    /// - Parameters:
    ///   - asDemonstrations: Whether every row needs a completion.
    ///   - limit: Where to stop.
    /// - Returns: Errors in the order of rows, ``PromptSetError`` or ``RunError``; empty when every row is fine.
    package func problems(asDemonstrations: Bool = false, limit: Int = 20) -> [any Error] {
        var problems: [any Error] = []
        for row in 0..<count where problems.count < limit {
            do {
                if asDemonstrations { _ = try demonstration(at: row) } else { _ = try prompt(at: row) }
            } catch {
                problems.append(error)
            }
        }
        return problems
    }

    private func decoder(_ row: Int) throws -> RowDecoder {
        precondition((0..<count).contains(row), "row \(row) of \(count)")
        return RowDecoder(
            form: detectedForm, setName: name, path: url.path, line: file.line(of: row), row: row,
            members: try file.columns(of: row))
    }

    // MARK: - Finding the file

    private static let extensions = ["jsonl", "json", "ndjson", "csv", "tsv"]

    private static func isFolder(_ url: URL) throws -> Bool {
        guard let entry = try FolderEntry(url) else {
            let parent = url.deletingLastPathComponent()
            let names =
                try FolderEntry(parent)?.kind == .folder
                ? FolderEntry.list(parent).map(\.url.lastPathComponent) : []
            let near = nearestNames(to: url.lastPathComponent, among: names)
            let hint = near.isEmpty ? "" : "; did you mean \(near.joined(separator: " or "))?"
            throw PromptSetError.file(path: url.path, message: "no such prompt file or folder\(hint)")
        }
        return entry.kind == .folder
    }

    private static func file(of split: String, in folder: URL) throws -> URL {
        let spellings = split == "eval" ? ["eval", "test", "validation", "valid"] : [split]
        for spelling in spellings {
            for ending in extensions {
                let candidate = folder.appending(path: "\(spelling).\(ending)")
                if try FolderEntry(candidate)?.kind == .file { return candidate }
            }
        }
        let names = try FolderEntry.list(folder).filter { $0.kind == .file }.map(\.url.lastPathComponent)
            .filter { name in extensions.contains { name.hasSuffix(".\($0)") } }
        throw PromptSetError.file(
            path: folder.path,
            message: "no file of the split \"\(split)\" (\(spellings.map { "\($0).jsonl" }.joined(separator: ", "))); "
                + (names.isEmpty
                    ? "the folder holds no prompt file" : "the folder holds \(names.joined(separator: ", "))"))
    }

    /// A file in a folder of prompts is named by the folder; any other by itself.
    private static func name(ofFile url: URL) -> String {
        let stem = url.deletingPathExtension().lastPathComponent
        guard ["train", "eval", "test", "validation", "valid"].contains(stem) else { return stem }
        return url.standardizedFileURL.deletingLastPathComponent().lastPathComponent
    }
}
