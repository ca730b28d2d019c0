/// What the stored values of a column mean (LogicalTypes.md).
enum ParquetLogicalType: Equatable {
    /// The parts of a second that times count.
    enum Unit: Int, Equatable {
        case milliseconds = 1
        case microseconds, nanoseconds

        var perSecond: Int64 { [1_000, 1_000_000, 1_000_000_000][rawValue - 1] }
    }

    case text
    case list
    case map
    case decimal(scale: Int)
    case date
    case time(Unit)
    /// `isUTC`: an instant; otherwise the reading of a clock somewhere.
    case timestamp(Unit, isUTC: Bool)
    case integer(isSigned: Bool)
    /// A column of nothing but nulls.
    case nothing
    /// Something that rows of prompts have no form for, by its name.
    case unsupported(String)

    /// Reads the union `LogicalType`; `nil` for a member that is not known.
    init?(_ reader: inout ThriftReader) throws {
        var found: Self?
        try reader.structure { reader, field in
            guard field.wire == .structure else { return false }
            switch field.number {
            case 1, 4, 12: found = .text
            case 2: found = .map
            case 3: found = .list
            case 5:
                found = .decimal(scale: try Self.decimalScale(&reader))
                return true
            case 6: found = .date
            case 7, 8:
                let (unit, isUTC) = try Self.time(&reader)
                found = field.number == 7 ? .time(unit) : .timestamp(unit, isUTC: isUTC)
                return true
            case 10:
                found = .integer(isSigned: try Self.isSigned(&reader))
                return true
            case 11: found = .nothing
            case 13: found = .unsupported("BSON")
            case 14: found = .unsupported("UUID")
            case 15: found = .unsupported("FLOAT16")
            default: found = .unsupported("logical type \(field.number)")
            }
            return false
        }
        guard let found else { return nil }
        self = found
    }

    /// The older way to say it, `ConvertedType`.
    init?(converted code: Int, scale: Int) {
        switch code {
        case 0, 4, 19: self = .text
        case 1, 2: self = .map
        case 3: self = .list
        case 5: self = .decimal(scale: scale)
        case 6: self = .date
        case 7: self = .time(.milliseconds)
        case 8: self = .time(.microseconds)
        case 9: self = .timestamp(.milliseconds, isUTC: true)
        case 10: self = .timestamp(.microseconds, isUTC: true)
        case 11...14: self = .integer(isSigned: false)
        case 15...18: self = .integer(isSigned: true)
        case 20: self = .unsupported("BSON")
        case 21: self = .unsupported("INTERVAL")
        default: return nil
        }
    }

    private static func decimalScale(_ reader: inout ThriftReader) throws -> Int {
        var scale = 0
        try reader.structure { reader, field in
            guard field.number == 1 else { return false }
            scale = try reader.count(field)
            return true
        }
        return scale
    }

    private static func isSigned(_ reader: inout ThriftReader) throws -> Bool {
        var isSigned = true
        try reader.structure { reader, field in
            guard field.number == 2 else { return false }
            isSigned = try reader.truth(field)
            return true
        }
        return isSigned
    }

    private static func time(_ reader: inout ThriftReader) throws -> (Unit, isUTC: Bool) {
        var (unit, isUTC) = (nil as Unit?, true)
        try reader.structure { reader, field in
            if field.number == 1 {
                isUTC = try reader.truth(field)
                return true
            }
            guard field.number == 2, field.wire == .structure else { return false }
            try reader.structure { _, choice in
                unit = Unit(rawValue: choice.number)
                return false
            }
            return true
        }
        guard let unit else { throw FormatFault("a column of times has no unit") }
        return (unit, isUTC)
    }
}
