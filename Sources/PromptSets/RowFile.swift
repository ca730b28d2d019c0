package import Foundation
package import JSON
import Records
import Runs

/// A file of rows, opened by looking through it once; rows are read when they are asked for.
///
/// A compressed or Parquet file is unpacked on the way (``UnpackedRows``).
package struct RowFile: Sendable {
    enum Format: Sendable, Equatable {
        case jsonLines
        case jsonArray
        case csv(separator: UInt8, header: [String])
        /// Its rows stand in the unpacked file as JSON Lines; they are numbered, they have no lines.
        case parquet
    }

    let path: String
    let format: Format
    /// The file, or what it was unpacked to.
    private let file: PosixFile
    private let index: RowIndex
    /// Of a CSV file, what its columns are.
    private let types: [CSVColumn]
    /// The size at opening.
    let byteCount: Int
    /// The size of the text; one that changes under a run is an error, not other rows.
    private let textByteCount: Int

    /// - Throws: ``PromptSetError`` or `RunError` when it is no such file, or has no rows.
    package init(_ url: URL) throws {
        let original = try PosixFile.regular(url)
        path = url.path
        byteCount = try original.byteCount()
        let text = try UnpackedRows.text(of: original)
        let head = try text.bytes(at: 0, count: 4096)
        let type = Self.type(of: url)
        if ParquetFile.isParquet(head) {
            (file, index) = try UnpackedRows.rows(ofParquet: text)
            format = .parquet
            types = []
        } else {
            guard type != "parquet" else {
                throw PromptSetError.file(path: path, message: "this is no Parquet file, it does not begin with PAR1")
            }
            file = text
            (format, index) = try Self.scanned(text, head, type)
            types = try Self.types(format, index, text)
        }
        textByteCount = try file.byteCount()
        guard count > 0 else { throw PromptSetError.file(path: path, message: "the file has no rows") }
    }

    /// What a file's name says it is, without the ending of its compression.
    private static func type(of url: URL) -> String {
        let outer = url.pathExtension.lowercased()
        return outer == "gz" ? url.deletingPathExtension().pathExtension.lowercased() : outer
    }

    private static func scanned(_ file: PosixFile, _ head: [UInt8], _ type: String) throws -> (Format, RowIndex) {
        let mark = try LineReader.byteOrderMarkLength(head, path: file.path)
        let scanner = RowScanner(file: file, start: mark)
        switch type {
        case "csv", "tsv":
            let separator = UInt8(ascii: type == "csv" ? "," : "\t")
            let records = try scanner.records(separator: separator)
            return (.csv(separator: separator, header: try header(records, file, separator)), records)
        default:
            let isArray = head.dropFirst(mark).first { $0 > 0x20 } == UInt8(ascii: "[")
            return isArray ? (.jsonArray, try scanner.arrayElements()) : (.jsonLines, try scanner.lines())
        }
    }

    /// What the columns of a CSV file are: every row is looked at, until none of them can be of numbers.
    private static func types(_ format: Format, _ index: RowIndex, _ file: PosixFile) throws -> [CSVColumn] {
        guard case .csv(let separator, let header) = format else { return [] }
        return try CSVColumn.all(header.count, rows: 1..<index.count) { row in
            let entry = index[row]
            let bytes = try file.bytes(at: entry.byteOffset, count: entry.byteCount)
            // A row that is none is told of where it is read.
            return try? CSVRecord.fields(bytes, separator: separator, path: file.path, line: entry.line)
        }
    }

    private var headerRows: Int { if case .csv = format { 1 } else { 0 } }

    /// Rows; at least 1.
    package var count: Int { index.count - headerRows }

    /// The line a row begins in; in a Parquet file the row's number, from 1.
    package func line(of row: Int) -> Int { index[row + headerRows].line }

    /// A row's columns in the order of the file.
    package struct Row: Sendable {
        /// As they stand there: values of a CSV file are texts.
        package let columns: [JSONValue.Member]
        /// As rewards get them: of a CSV file with numbers, and with null where a field is left out.
        package let values: [JSONValue.Member]

        init(_ columns: [JSONValue.Member], values: [JSONValue.Member]? = nil) {
            self.columns = columns
            self.values = values ?? columns
        }
    }

    /// The row's columns as they stand in the file. Throws as ``row(_:)``.
    package func columns(of row: Int) throws -> [JSONValue.Member] { try self.row(row).columns }

    /// - Throws: ``PromptSetError`` or `RunError` when the row is not what it should be, naming file and line.
    package func row(_ row: Int) throws -> Row {
        let entry = index[row + headerRows]
        let bytes = try bytes(of: entry)
        switch format {
        case .csv(let separator, let header):
            return try record(bytes, separator, header, line: entry.line)
        case .jsonLines, .jsonArray, .parquet:
            let json = try parsed(bytes, entry)
            guard let members = json.members else {
                throw PromptSetError.row(
                    path: path, line: entry.line, column: nil,
                    message: "the row is \(json.kind); an object such as {\"prompt\": \"...\"} is expected")
            }
            return Row(members)
        }
    }

    private func bytes(of entry: RowIndex.Entry) throws -> [UInt8] {
        let bytes = try file.bytes(at: entry.byteOffset, count: entry.byteCount)
        guard bytes.count == entry.byteCount, try file.byteCount() == textByteCount else {
            throw PromptSetError.file(path: path, message: "the file was changed while in use")
        }
        return bytes
    }

    private func parsed(_ bytes: [UInt8], _ entry: RowIndex.Entry) throws -> JSONValue {
        do {
            return try JSONValue(parsing: bytes, firstLine: entry.line)
        } catch {
            // In an array a row may begin behind others; the column counts from the line's beginning all the same.
            let shift = error.line == entry.line ? try columnsBefore(entry.byteOffset) : 0
            var message = error.message
            if format == .jsonLines, bytes.count < 4, message.hasPrefix("found the end") {
                message += "; one whole object a line is expected"
            }
            throw RunError.json(
                path: path, JSONError(line: error.line, column: error.column + shift, message: message))
        }
    }

    private func columnsBefore(_ offset: Int) throws -> Int {
        let start = max(0, offset - 65536)
        let before = try file.bytes(at: start, count: offset - start)
        let line = before.lastIndex(of: 0x0a).map { before[($0 + 1)...] } ?? before[...]
        return line.count { $0 & 0xc0 != 0x80 }
    }

    // MARK: - CSV

    private func record(
        _ bytes: [UInt8], _ separator: UInt8, _ header: [String], line: Int
    ) throws(PromptSetError) -> Row {
        let fields = try CSVRecord.fields(bytes, separator: separator, path: path, line: line)
        guard fields.count == header.count else {
            throw .row(
                path: path, line: line, column: nil,
                message: "\(fields.count) fields; the header names \(header.count): \(PromptForm.listed(header))")
        }
        let values = zip(types, fields).map { type, field in type.value(of: field) }
        return Row(
            zip(header, fields).map { JSONValue.Member($0, .string($1.text)) },
            values: zip(header, values).map { JSONValue.Member($0, $1) })
    }

    /// Columns of a CSV file: each is looked at in every row.
    private static let mostColumns = 10_000

    private static func header(
        _ records: RowIndex, _ file: PosixFile, _ separator: UInt8
    ) throws -> [String] {
        guard records.count > 0 else { throw PromptSetError.file(path: file.path, message: "the file has no rows") }
        let entry = records[0]
        let bytes = try file.bytes(at: entry.byteOffset, count: entry.byteCount)
        let names = try CSVRecord.fields(bytes, separator: separator, path: file.path, line: entry.line).map(\.text)
        guard names.count <= mostColumns else {
            throw PromptSetError.row(
                path: file.path, line: entry.line, column: nil,
                message: "the header names \(names.count) columns; at most \(mostColumns) are read")
        }
        var known: Set<String> = []
        for (index, name) in names.enumerated() {
            let message =
                name.isEmpty
                ? "a column without a name" : known.insert(name).inserted ? nil : "the name \"\(name)\" stands twice"
            if let message {
                throw PromptSetError.row(path: file.path, line: entry.line, column: "\(index + 1)", message: message)
            }
        }
        return names
    }
}
