import Foundation
package import Records
package import Runs

/// A file of rows, opened by looking through it once; rows are read when they are asked for.
struct RowFile: Sendable {
    enum Format: Sendable, Equatable {
        case jsonLines
        case jsonArray
        case csv(separator: UInt8, header: [String])
    }

    let path: String
    let format: Format
    private let file: PosixFile
    private let index: RowIndex
    /// The size at opening; a file that changes under a run is an error, not other rows.
    let byteCount: Int

    init(_ url: URL) throws {
        file = try PosixFile.reading(url)
        path = url.path
        byteCount = try file.byteCount()
        let head = try file.bytes(at: 0, count: min(byteCount, 4096))
        if head.starts(with: Array("PAR1".utf8)) {
            throw PromptSetError.file(
                path: path,
                message: "a Parquet file; convert it to JSON Lines first (pandas: to_json(orient=\"records\", "
                    + "lines=True))")
        }
        let mark = try LineReader.byteOrderMarkLength(head, path: path)
        let scanner = RowScanner(file: file, start: mark)
        switch url.pathExtension.lowercased() {
        case "csv", "tsv":
            let separator = UInt8(ascii: url.pathExtension.lowercased() == "csv" ? "," : "\t")
            let records = try scanner.records(separator: separator)
            format = .csv(separator: separator, header: try Self.header(records, file, separator))
            index = records
        default:
            let isArray = head.dropFirst(mark).first { $0 > 0x20 } == UInt8(ascii: "[")
            format = isArray ? .jsonArray : .jsonLines
            index = try isArray ? scanner.arrayElements() : scanner.lines()
        }
        guard count > 0 else { throw PromptSetError.file(path: path, message: "the file has no rows") }
    }

    private var headerRows: Int { if case .csv = format { 1 } else { 0 } }

    var count: Int { index.count - headerRows }

    /// The line a row begins in.
    func line(of row: Int) -> Int { index[row + headerRows].line }

    /// A row's columns in the order of the file. Values of a CSV file are texts.
    func columns(of row: Int) throws -> [JSON.Member] {
        let entry = index[row + headerRows]
        let bytes = try bytes(of: entry)
        switch format {
        case .csv(let separator, let header):
            return try record(bytes, separator, header, line: entry.line)
        case .jsonLines, .jsonArray:
            let json = try parsed(bytes, entry)
            guard let members = json.members else {
                throw PromptSetError.row(
                    path: path, line: entry.line, column: nil,
                    message: "the row is \(json.kind); an object such as {\"prompt\": \"...\"} is expected")
            }
            return members
        }
    }

    private func bytes(of entry: RowIndex.Entry) throws -> [UInt8] {
        let bytes = try file.bytes(at: entry.byteOffset, count: entry.byteCount)
        guard bytes.count == entry.byteCount, try file.byteCount() == byteCount else {
            throw PromptSetError.file(path: path, message: "the file was changed while in use")
        }
        return bytes
    }

    private func parsed(_ bytes: [UInt8], _ entry: RowIndex.Entry) throws -> JSON {
        do {
            return try JSON(parsing: bytes, firstLine: entry.line)
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
    ) throws(PromptSetError) -> [JSON.Member] {
        let fields = try CSVRecord.fields(bytes, separator: separator, path: path, line: line)
        guard fields.count == header.count else {
            throw .row(
                path: path, line: line, column: nil,
                message: "\(fields.count) fields; the header names \(header.count): \(header.joined(separator: ", "))")
        }
        return zip(header, fields).map { JSON.Member($0, .string($1)) }
    }

    private static func header(
        _ records: RowIndex, _ file: PosixFile, _ separator: UInt8
    ) throws -> [String] {
        guard records.count > 0 else { throw PromptSetError.file(path: file.path, message: "the file has no rows") }
        let entry = records[0]
        let bytes = try file.bytes(at: entry.byteOffset, count: entry.byteCount)
        let names = try CSVRecord.fields(bytes, separator: separator, path: file.path, line: entry.line)
        for (place, name) in names.enumerated() {
            let message =
                name.isEmpty
                ? "a column without a name" : names[..<place].contains(name) ? "the name \"\(name)\" stands twice" : nil
            if let message {
                throw PromptSetError.row(path: file.path, line: entry.line, column: "\(place + 1)", message: message)
            }
        }
        return names
    }
}

extension JSONValue {
    /// The same value without the order of keys.
    package init(_ json: JSON) {
        switch json {
        case .null: self = .null
        case .bool(let value): self = .bool(value)
        case .number(let value): self = .number(value)
        case .string(let text): self = .string(text)
        case .array(let elements): self = .array(elements.map { JSONValue($0) })
        case .object(let members):
            self = .object(Dictionary(members.map { ($0.key, JSONValue($0.value)) }) { first, _ in first })
        }
    }
}
