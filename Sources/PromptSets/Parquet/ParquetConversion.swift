import Foundation
import JSON
import Runs

/// A value as it is stored.
enum ParquetValue {
    case boolean(Bool)
    case integer(Int64)
    case real(Double)
    case bytes(ArraySlice<UInt8>)
}

/// Turns the stored values of a column into what JSON has: texts, numbers, truth values, null.
///
/// Dates and times become texts as ISO 8601 writes them, decimals numbers. NaN becomes null: pandas writes it for a
/// value that is missing.
struct ParquetConversion {
    private enum Form {
        case boolean, signed, unsigned(bits: Int), real, text, date, nothing
        case decimal(scale: Int)
        case time(ParquetLogicalType.Unit)
        case timestamp(ParquetLogicalType.Unit, isUTC: Bool)
        /// Nanoseconds of the day and the Julian day, in twelve bytes.
        case julianTimestamp
    }

    private let form: Form

    var isText: Bool { if case .text = form { true } else { false } }

    /// - Throws: ``FormatFault`` for a type that rows have no form for: "is of type …".
    init(_ type: ParquetType, _ logical: ParquetLogicalType?, length: Int) throws {
        guard type != .fixedBytes || (1...4096).contains(length) else {
            throw FormatFault("has values of \(length) bytes")
        }
        switch (type, logical) {
        case (.int32, .nothing), (.int64, .nothing), (.bytes, .nothing), (.boolean, .nothing): form = .nothing
        case (.boolean, nil): form = .boolean
        case (.int32, nil), (.int64, nil), (.int32, .integer(true)), (.int64, .integer(true)): form = .signed
        case (.int32, .integer(false)): form = .unsigned(bits: 32)
        case (.int64, .integer(false)): form = .unsigned(bits: 64)
        case (.int32, .date): form = .date
        case (.int32, .time(.milliseconds)): form = .time(.milliseconds)
        case (.int64, .time(let unit)): form = .time(unit)
        case (.int64, .timestamp(let unit, let isUTC)): form = .timestamp(unit, isUTC: isUTC)
        case (.int96, nil): form = .julianTimestamp
        case (.float, nil), (.double, nil): form = .real
        case (.bytes, nil), (.bytes, .text): form = .text
        case (.int32, .decimal(let scale)), (.int64, .decimal(let scale)), (.bytes, .decimal(let scale)),
            (.fixedBytes, .decimal(let scale)):
            guard scale <= 38 else { throw FormatFault("has decimals with \(scale) places") }
            form = .decimal(scale: scale)
        case (_, .unsupported(let name)):
            throw FormatFault("is of type \(name), which is not supported; leave the column out or write it as text")
        default:
            let name = type == .fixedBytes ? "FIXED_LEN_BYTE_ARRAY(\(length))" : "\(type)"
            throw FormatFault("is of type \(name), which is not supported; leave the column out or write it as text")
        }
    }

    /// - Throws: ``FormatFault`` for bytes that are no UTF-8 text and for infinite numbers.
    func json(_ value: ParquetValue) throws -> JSONValue {
        switch (form, value) {
        case (.nothing, _): .null
        case (.boolean, .boolean(let value)): .bool(value)
        case (.signed, .integer(let value)): .number(Int128(value))
        case (.unsigned(let bits), .integer(let value)):
            .number(bits == 32 ? Int128(UInt32(truncatingIfNeeded: value)) : Int128(UInt64(bitPattern: value)))
        case (.real, .real(let value)): try Self.number(value)
        case (.text, .bytes(let bytes)): try Self.text(bytes)
        case (.decimal(let scale), .integer(let value)): try Self.decimal(Int128(value), scale)
        case (.decimal(let scale), .bytes(let bytes)): try Self.decimal(bytes, scale)
        case (.date, .integer(let days)): .string(CivilTime(days: days, nanoseconds: 0).date)
        case (.time(let unit), .integer(let count)): .string(CivilTime(count, unit).time)
        case (.timestamp(let unit, let isUTC), .integer(let count)): .string(CivilTime(count, unit).text(isUTC: isUTC))
        case (.julianTimestamp, .bytes(let bytes)): .string(CivilTime(julian: bytes).text(isUTC: false))
        default: throw FormatFault("a value is stored in another type than its column's")
        }
    }

    private static func number(_ value: Double) throws -> JSONValue {
        guard !value.isInfinite else { throw FormatFault("an infinite number, which JSON has not") }
        return value.isNaN ? .null : .number(value)
    }

    private static func text(_ bytes: ArraySlice<UInt8>) throws -> JSONValue {
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw FormatFault("bytes that are no UTF-8 text; leave the column out or write it as text")
        }
        return .string(text)
    }

    /// Two's complement, the most significant byte first.
    private static func decimal(_ bytes: ArraySlice<UInt8>, _ scale: Int) throws -> JSONValue {
        guard (1...16).contains(bytes.count), let first = bytes.first else {
            throw FormatFault("a decimal of \(bytes.count) bytes; at most 16 are supported")
        }
        let sign: Int128 = first < 0x80 ? 0 : -1
        return try decimal(bytes.reduce(sign) { $0 << 8 | Int128($1) }, scale)
    }

    /// By way of its digits, so that 0.1 becomes what "0.1" reads as.
    private static func decimal(_ unscaled: Int128, _ scale: Int) throws -> JSONValue {
        if scale == 0 { return .number(unscaled) }
        guard let value = Double("\(unscaled)e-\(scale)") else { throw FormatFault("a decimal that is no number") }
        return .number(value)
    }
}

/// A day of the Gregorian calendar with a time of day.
private struct CivilTime {
    private let days: Int64
    /// Of the day.
    private let nanoseconds: Int64

    init(days: Int64, nanoseconds: Int64) {
        self.days = days
        self.nanoseconds = nanoseconds
    }

    /// A count from midnight of 1970-01-01.
    init(_ count: Int64, _ unit: ParquetLogicalType.Unit) {
        let perDay = unit.perSecond * 86_400
        let rest = count % perDay
        days = count / perDay - (rest < 0 ? 1 : 0)
        nanoseconds = (rest < 0 ? rest + perDay : rest) * (1_000_000_000 / unit.perSecond)
    }

    /// Eight bytes of nanoseconds and four of the Julian day, each the least significant byte first.
    init(julian bytes: ArraySlice<UInt8>) {
        let whole = bytes.map { UInt64($0) }
        let time = whole.prefix(8).reversed().reduce(0) { $0 << 8 | $1 }
        let day = whole.dropFirst(8).reversed().reduce(0) { $0 << 8 | $1 }
        let perDay = 86_400_000_000_000 as UInt64
        days = Int64(truncatingIfNeeded: day) - 2_440_588 + Int64(time / perDay)
        nanoseconds = Int64(time % perDay)
    }

    /// `2024-02-29`. From days to a date by eras of 400 years (Hinnant, "chrono-Compatible Low-Level Date Algorithms").
    var date: String {
        let shifted = days + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let day = shifted - era * 146_097
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365
        let ofYear = day - (365 * year + year / 4 - year / 100)
        let month = (5 * ofYear + 2) / 153
        let calendarMonth = month < 10 ? month + 3 : month - 9
        return String(
            format: "%04lld-%02lld-%02lld", year + era * 400 + (calendarMonth <= 2 ? 1 : 0), calendarMonth,
            ofYear - (153 * month + 2) / 5 + 1)
    }

    /// `13:05:00.25`, without trailing zeros.
    var time: String {
        let seconds = nanoseconds / 1_000_000_000
        let text = String(format: "%02lld:%02lld:%02lld", seconds / 3_600, seconds / 60 % 60, seconds % 60)
        let fraction = nanoseconds % 1_000_000_000
        guard fraction > 0 else { return text }
        var digits = String(format: "%09lld", fraction)
        while digits.hasSuffix("0") { digits.removeLast() }
        return "\(text).\(digits)"
    }

    func text(isUTC: Bool) -> String { "\(date)T\(time)" + (isUTC ? "Z" : "") }
}
