package import Foundation
package import JSON

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// Reads a text file line by line in bounded memory: one buffer, and the line at hand.
///
/// Lines end with LF or CRLF, the last one may lack its end. A UTF-8 byte order mark is skipped; UTF-16 is an error.
package final class LineReader {
    /// One line without its line break.
    package struct Line: Sendable, Equatable {
        /// From 1.
        package let number: Int
        /// Where the line begins in the file.
        package let byteOffset: Int
        package let bytes: [UInt8]
    }

    /// Longer lines are refused: no sane row is longer, and a file without line breaks must not fill the memory.
    package static let defaultMaximumLineBytes = 64 << 20

    private let file: PosixFile
    private let maximumLineBytes: Int
    private var buffer: [UInt8] = []
    private var bufferOffset = 0
    private var position = 0
    private var lineNumber = 0

    /// - Parameter takesPipes: Whether a pipe or a terminal will do: standard input.
    package init(
        _ url: URL, maximumLineBytes: Int = LineReader.defaultMaximumLineBytes, takesPipes: Bool = false
    ) throws(RunError) {
        file = takesPipes ? try PosixFile.reading(url) : try PosixFile.regular(url)
        self.maximumLineBytes = maximumLineBytes
        try fill(from: 0)
        position = try LineReader.byteOrderMarkLength(buffer, path: file.path)
    }

    /// The next line, `nil` at the end of the file.
    ///
    /// - Throws: ``RunError/line(path:line:message:)`` for a line beyond the limit.
    package func next() throws(RunError) -> Line? {
        var bytes: [UInt8] = []
        let start = bufferOffset + position
        while true {
            if position == buffer.count {
                try fill(from: bufferOffset + buffer.count)
                if buffer.isEmpty { break }
            }
            let lineBreak = buffer.withUnsafeBytes { memchr($0.baseAddress! + position, 0x0a, $0.count - position) }
                .map { found in buffer.withUnsafeBytes { UnsafeRawPointer(found) - $0.baseAddress! } }
            let end = lineBreak ?? buffer.count
            bytes += buffer[position..<end]
            guard bytes.count <= maximumLineBytes else { throw tooLong() }
            position = lineBreak.map { $0 + 1 } ?? end
            if lineBreak != nil { return line(bytes, at: start) }
        }
        return bytes.isEmpty ? nil : line(bytes, at: start)
    }

    private func line(_ bytes: [UInt8], at start: Int) -> Line {
        lineNumber += 1
        return Line(number: lineNumber, byteOffset: start, bytes: bytes.last == 0x0d ? bytes.dropLast() : bytes)
    }

    private func tooLong() -> RunError {
        .line(
            path: file.path, line: lineNumber + 1,
            message: "the line is longer than \(maximumLineBytes) bytes; one row a line is expected")
    }

    private func fill(from offset: Int) throws(RunError) {
        buffer = try file.bytes(at: offset, count: 1 << 18)
        bufferOffset = offset
        position = 0
    }

    /// How many bytes of a file's head are a UTF-8 byte order mark.
    ///
    /// - Throws: ``RunError/line(path:line:message:)`` when the head is that of UTF-16 or of a gzip file.
    package static func byteOrderMarkLength(_ head: [UInt8], path: String) throws(RunError) -> Int {
        if head.starts(with: [0xef, 0xbb, 0xbf]) { return 3 }
        if head.starts(with: [0xff, 0xfe]) || head.starts(with: [0xfe, 0xff]) {
            throw .line(path: path, line: 1, message: "the file is UTF-16; save it as UTF-8")
        }
        if head.starts(with: [0x1f, 0x8b]) {
            throw .line(path: path, line: 1, message: "the file is gzip-compressed; unpack it with gunzip first")
        }
        return 0
    }
}

/// Reads a JSON Lines file value by value in bounded memory. Blank lines are skipped.
package final class JSONLinesReader {
    private let lines: LineReader
    private let path: String

    /// - Parameter takesPipes: Whether a pipe or a terminal will do: standard input.
    package init(
        _ url: URL, maximumLineBytes: Int = LineReader.defaultMaximumLineBytes, takesPipes: Bool = false
    ) throws(RunError) {
        lines = try LineReader(url, maximumLineBytes: maximumLineBytes, takesPipes: takesPipes)
        path = url.path
    }

    /// The next value with its line, `nil` at the end of the file.
    ///
    /// - Throws: ``RunError/json(path:_:)`` with line and column of what is wrong; the next call goes on behind that
    ///   line.
    package func next() throws(RunError) -> (line: LineReader.Line, value: JSONValue)? {
        while let line = try lines.next() {
            if line.bytes.allSatisfy({ $0 <= 0x20 }) { continue }
            do {
                return (line, try JSONValue(parsing: line.bytes, firstLine: line.number))
            } catch {
                throw .json(path: path, error)
            }
        }
        return nil
    }
}
