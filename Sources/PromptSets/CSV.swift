/// The states of a CSV reader (RFC 4180): what a byte means depends on the quotes before it.
///
/// A quote opens a quoted field only at the field's start; inside, two quotes are one. LF or CRLF ends a record.
struct CSVMachine {
    enum Event: Equatable {
        /// A byte of the current field.
        case content(UInt8)
        case endOfField
        case endOfRecord
        /// Belongs to the syntax: a quote, a CR before LF.
        case syntax
        /// A byte that may not stand here.
        case stray(UInt8)
    }

    private enum State { case fieldStart, unquoted, quoted, quoteInQuoted }

    let separator: UInt8
    private var state = State.fieldStart
    /// Whether the record at hand has had nothing but blanks.
    private(set) var currentRecordIsBlank = true
    /// The same of the record that just ended.
    private(set) var recordWasBlank = true

    init(separator: UInt8) { self.separator = separator }

    var isInsideQuotes: Bool { state == .quoted }

    mutating func step(_ byte: UInt8) -> Event {
        switch (state, byte) {
        case (.quoted, UInt8(ascii: "\"")):
            state = .quoteInQuoted
            return .syntax
        case (.quoted, _):
            return .content(byte)
        case (.fieldStart, UInt8(ascii: "\"")):
            state = .quoted
            currentRecordIsBlank = false
            return .syntax
        case (.quoteInQuoted, UInt8(ascii: "\"")):
            state = .quoted
            return .content(byte)
        case (_, separator):
            state = .fieldStart
            currentRecordIsBlank = false
            return .endOfField
        case (_, 0x0a):
            state = .fieldStart
            (recordWasBlank, currentRecordIsBlank) = (currentRecordIsBlank, true)
            return .endOfRecord
        case (.quoteInQuoted, 0x0d): return .syntax
        case (.quoteInQuoted, _): return .stray(byte)
        case (_, UInt8(ascii: "\"")): return .stray(byte)
        default:
            state = .unquoted
            if byte > 0x20 { currentRecordIsBlank = false }
            return .content(byte)
        }
    }
}

/// One field of a record.
struct CSVField: Equatable {
    var text: String
    var isQuoted: Bool

    /// Whether nothing stands there at all; `""` is an empty text.
    var isLeftOut: Bool { text.isEmpty && !isQuoted }
}

/// One record of a CSV file.
enum CSVRecord {
    /// The fields of a record, given without its final LF.
    static func fields(
        _ bytes: [UInt8], separator: UInt8, path: String, line: Int
    ) throws(PromptSetError) -> [CSVField] {
        func failure(_ message: String, _ fieldCount: Int) -> PromptSetError {
            .row(path: path, line: line, column: "\(fieldCount + 1)", message: message)
        }
        var machine = CSVMachine(separator: separator)
        var fields: [CSVField] = []
        var field: [UInt8] = []
        var isQuoted = false
        func finished(_ bytes: [UInt8]) throws(PromptSetError) -> CSVField {
            guard let text = String(validating: bytes, as: UTF8.self) else {
                throw failure("the field is not valid UTF-8; save the file as UTF-8", fields.count)
            }
            return CSVField(text: text, isQuoted: isQuoted)
        }
        for byte in bytes.last == 0x0d ? bytes.dropLast() : bytes[...] {
            switch machine.step(byte) {
            case .content(let byte): field.append(byte)
            case .endOfField:
                fields.append(try finished(field))
                field.removeAll(keepingCapacity: true)
                isQuoted = false
            case .stray:
                throw failure(
                    "a quote inside a field: put the whole field in quotes and double the quotes in it", fields.count)
            case .syntax: if byte == UInt8(ascii: "\"") { isQuoted = true }
            case .endOfRecord: break
            }
        }
        if machine.isInsideQuotes { throw failure("the quoted field is not closed", fields.count) }
        fields.append(try finished(field))
        return fields
    }
}
