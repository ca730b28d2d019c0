#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif
import Runs

/// Where every row of a file stands: 16 bytes a row, whatever the rows hold.
struct RowIndex: Sendable {
    private var offsets: [Int] = []
    private var lengths: [UInt32] = []
    private var lines: [UInt32] = []

    struct Entry: Equatable {
        let byteOffset: Int
        let byteCount: Int
        /// The line the row begins in, from 1.
        let line: Int
    }

    var count: Int { offsets.count }

    subscript(row: Int) -> Entry {
        Entry(byteOffset: offsets[row], byteCount: Int(lengths[row]), line: Int(lines[row]))
    }

    /// - Throws: ``PromptSetError`` for a row beyond ``LineReader/defaultMaximumLineBytes``.
    mutating func append(from start: Int, to end: Int, line: Int, path: String) throws(PromptSetError) {
        guard end - start <= LineReader.defaultMaximumLineBytes else {
            throw .row(
                path: path, line: line, column: nil,
                message: "the row is longer than \(LineReader.defaultMaximumLineBytes) bytes")
        }
        offsets.append(start)
        lengths.append(UInt32(end - start))
        lines.append(UInt32(clamping: line))
    }
}

/// Looks through a file once, from front to back, and notes where its rows are. Memory: one piece of the file.
struct RowScanner {
    let file: PosixFile
    /// The first byte behind a byte order mark.
    let start: Int

    static let pieceBytes = 1 << 20

    /// Hands the file over piece by piece with the offset of each.
    private func forEachPiece(_ body: (UnsafeRawBufferPointer, Int) throws -> Void) throws {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.pieceBytes, alignment: 16)
        defer { buffer.deallocate() }
        var offset = start
        while true {
            let got = try file.read(into: buffer, at: offset)
            if got == 0 { return }
            try body(UnsafeRawBufferPointer(rebasing: buffer[..<got]), offset)
            offset += got
        }
    }

    /// JSON Lines: every line that is not blank is a row.
    func lines() throws -> RowIndex {
        var index = RowIndex()
        var line = 1
        var lineStart = start
        var hasContent = false
        var end = start
        try forEachPiece { piece, offset in
            end = offset + piece.count
            var position = 0
            while position < piece.count {
                let rest = UnsafeRawBufferPointer(rebasing: piece[position...])
                let length = rest.firstIndex(ofByte: 0x0a)
                if !hasContent { hasContent = rest.prefix(length ?? rest.count).contains { $0 > 0x20 } }
                guard let length else { return }
                position += length + 1
                if hasContent {
                    try index.append(from: lineStart, to: offset + position - 1, line: line, path: file.path)
                }
                line += 1
                lineStart = offset + position
                hasContent = false
            }
        }
        if hasContent { try index.append(from: lineStart, to: end, line: line, path: file.path) }
        return index
    }

    /// A JSON array: every element is a row.
    func arrayElements() throws -> RowIndex {
        var index = RowIndex()
        var scan = ArrayScan(path: file.path)
        try forEachPiece { piece, offset in
            for (slot, byte) in piece.enumerated() {
                if let element = try scan.step(byte, at: offset + slot) {
                    try index.append(from: element.start, to: element.end, line: element.line, path: file.path)
                }
            }
        }
        guard scan.isClosed else { throw scan.failure("the array is not closed; the file seems cut off") }
        return index
    }

    /// CSV or TSV: every record is a row, the header included.
    func records(separator: UInt8) throws -> RowIndex {
        var index = RowIndex()
        var machine = CSVMachine(separator: separator)
        var line = 1
        var (recordStart, recordLine) = (start, 1)
        var end = start
        try forEachPiece { piece, offset in
            end = offset + piece.count
            for (slot, byte) in piece.enumerated() {
                if byte == 0x0a { line += 1 }
                guard case .endOfRecord = machine.step(byte) else { continue }
                if !machine.recordWasBlank {
                    try index.append(from: recordStart, to: offset + slot, line: recordLine, path: file.path)
                }
                (recordStart, recordLine) = (offset + slot + 1, line)
            }
        }
        if machine.isInsideQuotes {
            throw PromptSetError.row(
                path: file.path, line: recordLine, column: nil, message: "a quoted field is not closed")
        }
        if end > recordStart, !machine.currentRecordIsBlank {
            try index.append(from: recordStart, to: end, line: recordLine, path: file.path)
        }
        return index
    }
}

/// Finds the elements of a JSON array byte by byte, looking at brackets and texts only.
private struct ArrayScan {
    let path: String
    private var line = 1
    private var depth = 0
    private var isInText = false
    private var isEscaped = false
    private var element: (start: Int, line: Int)?
    private var end = 0
    private(set) var isClosed = false

    init(path: String) { self.path = path }

    func failure(_ message: String) -> PromptSetError { .row(path: path, line: line, column: nil, message: message) }

    /// - Returns: An element whose end was just passed.
    mutating func step(_ byte: UInt8, at offset: Int) throws(PromptSetError) -> (start: Int, end: Int, line: Int)? {
        defer { if byte == 0x0a { line += 1 } }
        if isInText {
            stepInText(byte)
            end = offset + 1
            return nil
        }
        if byte <= 0x20 { return nil }
        if isClosed { throw failure("something stands behind the end of the array") }
        switch byte {
        case UInt8(ascii: "["), UInt8(ascii: "{"):
            depth += 1
            if depth == 1 { return nil }
        case UInt8(ascii: "]"), UInt8(ascii: "}"):
            depth -= 1
            if depth == 0 {
                isClosed = true
                return finish()
            }
        case UInt8(ascii: ",") where depth == 1:
            guard let finished = finish() else { throw failure("found \",\" where a row should stand") }
            return finished
        case UInt8(ascii: "\""): isInText = true
        default: break
        }
        if element == nil { element = (offset, line) }
        end = offset + 1
        return nil
    }

    private mutating func stepInText(_ byte: UInt8) {
        if isEscaped {
            isEscaped = false
        } else if byte == UInt8(ascii: "\\") {
            isEscaped = true
        } else if byte == UInt8(ascii: "\"") {
            isInText = false
        }
    }

    private mutating func finish() -> (start: Int, end: Int, line: Int)? {
        defer { element = nil }
        return element.map { ($0.start, end, $0.line) }
    }
}

extension UnsafeRawBufferPointer {
    /// `memchr`: the first index of a byte.
    func firstIndex(ofByte byte: UInt8) -> Int? {
        guard let base = baseAddress, let found = memchr(base, Int32(byte), count) else { return nil }
        return UnsafeRawPointer(found) - base
    }
}
