package import Foundation
import JSON
package import Records
import Runs

/// Rows that prompts are drawn from: a file, or several mixed.
package protocol PromptRows: Sendable {
    /// What messages call it.
    var name: String { get }
    /// At least 1.
    var count: Int { get }
    /// Tells this set of rows from another one, wherever it lies on the disk: a saved position holds for these rows
    /// only.
    var identity: String { get }
    /// The prompt of a row in `0 ..< count`.
    ///
    /// - Throws: ``PromptSetError`` or ``RunError`` when the row is not what it should be, naming file and line.
    func prompt(at row: Int) throws -> Prompt
    /// The prompt of a row with the completion to imitate. Throws as ``prompt(at:)``, also when the row has no
    /// completion.
    func demonstration(at row: Int) throws -> Demonstration
    /// The row as a pair of completions. Throws as ``prompt(at:)``, also when the row is none.
    func preference(at row: Int) throws -> Preference
}

/// The prompts of one file, or of the files that a published set is cut into.
///
/// JSON Lines, a JSON array, CSV or TSV (told by `.csv` and `.tsv`), any of them packed by gzip, or Parquet. Opening
/// looks through the file once and keeps 16 bytes a row; rows are read when they are asked for, so a file of millions
/// of rows opens in little memory. What is packed is unpacked on the way, to a nameless file in `TMPDIR`.
package struct PromptSet: PromptRows {
    package let name: String
    /// The file, or its parts in their order.
    package let urls: [URL]
    /// The file; of a set in parts the first.
    package var url: URL { urls[0] }
    package let count: Int
    /// How rows are read; worth a line at the start of a run.
    package let detectedForm: PromptForm
    /// The names of the first row's columns, in their order.
    package let columnNames: [String]
    private let files: [RowFile]
    /// The rows before each file's.
    private let firstRows: [Int]
    private let kept: Set<String>?

    /// Opens a prompt file, or the file of one split in a folder. A split that is there in parts is one set: the rows
    /// of one part behind those of the other.
    ///
    /// - Parameters:
    ///   - url: A file, or a folder that holds `train.jsonl` and `eval.jsonl` (or `.json`, `.csv`, `.tsv`, `.parquet`,
    ///     `.jsonl.gz` …).
    ///   - split: The split wanted of a folder. `eval` also finds `test`, `validation` and `valid`. Ignored for a file.
    ///   - columns: Says what columns are, where their names do not.
    /// - Throws: ``PromptSetError`` or ``RunError`` when there is no such file, it has no rows, or the first row is no
    ///   prompt.
    package init(_ url: URL, split: String = "train", columns: ColumnMap = ColumnMap()) throws {
        let location = try PromptFile(url, split: split)
        urls = location.urls
        name = location.setName
        var (files, firstRows, count): ([RowFile], [Int], Int) = ([], [], 0)
        for url in urls {
            files.append(try RowFile(url))
            firstRows.append(count)
            count += files.last?.count ?? 0
        }
        (self.files, self.firstRows, self.count) = (files, firstRows, count)
        let file = files[0]
        kept = columns.kept.map(Set.init)
        let all = try file.columns(of: 0)
        let first = kept.map { kept in all.filter { kept.contains($0.key) } } ?? all
        columnNames = first.map(\.key)
        do throws(PromptSetError) {
            for name in columns.kept ?? [] where !columnNames.contains(name) {
                throw .row(
                    path: file.path, line: file.line(of: 0), column: nil,
                    message: PromptForm.missing(name, among: all.map(\.key)))
            }
            detectedForm = try PromptForm.detect(first, map: columns, path: file.path, line: file.line(of: 0))
        } catch {
            throw file.format == .parquet ? error.countingRows : error
        }
        _ = try prompt(at: 0)
    }

    package var identity: String {
        let parts = files.count > 1 ? " and the other \(files.count - 1) of its parts" : ""
        return "\(url.lastPathComponent)\(parts): \(count) rows, \(files.reduce(0) { $0 + $1.byteCount }) bytes"
    }

    package func prompt(at row: Int) throws -> Prompt {
        try decoded(row) { decoder throws(PromptSetError) in try decoder.prompt() }
    }

    package func demonstration(at row: Int) throws -> Demonstration {
        try decoded(row) { decoder throws(PromptSetError) in try decoder.demonstration() }
    }

    package func preference(at row: Int) throws -> Preference {
        try decoded(row) { decoder throws(PromptSetError) in try decoder.preference() }
    }

    /// The line of the file a row begins in, for messages; in a Parquet file, which has none, the row's number.
    package func line(of row: Int) -> Int {
        let (file, place) = located(row)
        return file.line(of: place)
    }

    /// Where a row stands in the file, for messages: `line 17`, or `row 17` where there are no lines; of a set in parts
    /// with the part's name.
    package func place(of row: Int) -> String {
        let (file, place) = located(row)
        let part = files.count > 1 ? " of \(URL(filePath: file.path).lastPathComponent)" : ""
        return "\(file.format == .parquet ? "row" : "line") \(file.line(of: place))\(part)"
    }

    /// The file that has a row, and which of its rows that is.
    private func located(_ row: Int) -> (file: RowFile, row: Int) {
        let part = firstRows.lastIndex { $0 <= row } ?? 0
        return (files[part], row - firstRows[part])
    }

    /// What a user should know of a column that may be meant as the system message; `nil` when there is none, or the
    /// first prompt has such a message of its own.
    package func systemNotice() -> String? {
        // A row that is no prompt is told of where rows are checked.
        guard count > 0, let first = try? prompt(at: 0) else { return nil }
        guard let column = ["system", "system_prompt"].first(where: { first.columns[$0] != nil }) else { return nil }
        if case .messages(let messages) = first.content, messages.contains(where: { $0.role == "system" }) {
            return nil
        }
        return """
            \(url.lastPathComponent): the model does not read the column `\(column)`, only rewards do. Where it is a \
            system message, give the prompt as messages: [{"role": "system", "content": "..."}, \
            {"role": "user", "content": "..."}]
            """
    }

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

    private func decoded<Result>(
        _ row: Int, _ body: (RowDecoder) throws(PromptSetError) -> Result
    ) throws -> Result {
        precondition((0..<count).contains(row), "row \(row) of \(count)")
        let (file, place) = located(row)
        let found = try file.row(place)
        func kept(_ members: [JSONValue.Member]) -> [JSONValue.Member] {
            self.kept.map { kept in members.filter { kept.contains($0.key) } } ?? members
        }
        let decoder = RowDecoder(
            form: detectedForm, setName: name, path: file.path, line: file.line(of: place), row: row,
            members: kept(found.columns), values: kept(found.values))
        do throws(PromptSetError) {
            return try body(decoder)
        } catch {
            throw file.format == .parquet ? error.countingRows : error
        }
    }
}
