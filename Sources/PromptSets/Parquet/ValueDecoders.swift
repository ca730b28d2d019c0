/// The values of a page, one after another.
protocol ValueDecoder {
    mutating func next() throws -> ParquetValue
}

/// Encoding numbers of parquet.thrift.
enum ParquetEncoding: Int {
    case plain = 0
    case plainDictionary = 2
    case runLength, bitPacked, deltaBinaryPacked, deltaLengthByteArray, deltaByteArray, dictionary, byteStreamSplit

    init(code: Int) throws {
        guard let encoding = Self(rawValue: code) else {
            throw FormatFault("a page has the encoding \(code), which is not known")
        }
        self = encoding
    }

    var usesDictionary: Bool { self == .dictionary || self == .plainDictionary }

    /// A decoder of values that are no indices into a dictionary.
    ///
    /// - Throws: ``FormatFault`` for an encoding that the type cannot have, or that is not built.
    func decoder(_ input: ByteReader, of leaf: ParquetLeaf) throws -> any ValueDecoder {
        switch (self, leaf.type) {
        case (.plain, .boolean): return PackedBooleans(input)
        case (.plain, _): return PlainDecoder(input, leaf)
        case (.runLength, .boolean):
            var input = input
            return RunBooleans(try HybridDecoder(input.part(Int(input.unsigned(4))), bitWidth: 1))
        case (.deltaBinaryPacked, .int32), (.deltaBinaryPacked, .int64):
            return DeltaIntegers(try DeltaDecoder(input), isNarrow: leaf.type == .int32)
        case (.deltaLengthByteArray, .bytes): return try DeltaLengthBytes(input)
        case (.deltaByteArray, .bytes), (.deltaByteArray, .fixedBytes): return try DeltaBytes(input)
        case (.byteStreamSplit, let type) where type != .boolean && type != .bytes && type != .int96:
            return SplitStreams(input, leaf)
        default:
            throw FormatFault(
                "values of type \(leaf.type) in the encoding \(self), which is not supported; write the file with "
                    + "use_dictionary=True and no column_encoding")
        }
    }
}

/// One value behind the other.
struct PlainDecoder: ValueDecoder {
    private var input: ByteReader
    private let type: ParquetType
    private let length: Int

    init(_ input: ByteReader, _ leaf: ParquetLeaf) {
        self.input = input
        type = leaf.type
        length = leaf.typeLength
    }

    mutating func next() throws -> ParquetValue {
        switch type {
        case .int32, .int64, .float, .double:
            return type.value(bits: try input.unsigned(type == .int32 || type == .float ? 4 : 8))
        case .int96: return .bytes(try input.bytes(12))
        case .fixedBytes: return .bytes(try input.bytes(length))
        case .bytes: return .bytes(try input.bytes(Int(input.unsigned(4))))
        case .boolean: return .boolean(try input.byte() != 0)
        }
    }
}

extension ParquetType {
    /// A number from its bits.
    fileprivate func value(bits: UInt64) -> ParquetValue {
        switch self {
        case .int32: .integer(Int64(Int32(truncatingIfNeeded: bits)))
        case .float: .real(Double(Float(bitPattern: UInt32(truncatingIfNeeded: bits))))
        case .double: .real(Double(bitPattern: bits))
        default: .integer(Int64(bitPattern: bits))
        }
    }
}

private struct PackedBooleans: ValueDecoder {
    private var input: ByteReader
    private var bits = 0 as UInt8
    private var count = 0

    init(_ input: ByteReader) { self.input = input }

    mutating func next() throws -> ParquetValue {
        if count == 0 { (bits, count) = (try input.byte(), 8) }
        defer { (bits, count) = (bits >> 1, count - 1) }
        return .boolean(bits & 1 == 1)
    }
}

private struct RunBooleans: ValueDecoder {
    private var runs: HybridDecoder

    init(_ runs: HybridDecoder) { self.runs = runs }

    mutating func next() throws -> ParquetValue { .boolean(try runs.next() == 1) }
}

private struct DeltaIntegers: ValueDecoder {
    private var deltas: DeltaDecoder
    /// Whether values wrap around at 32 bits.
    private let isNarrow: Bool

    init(_ deltas: DeltaDecoder, isNarrow: Bool) {
        self.deltas = deltas
        self.isNarrow = isNarrow
    }

    mutating func next() throws -> ParquetValue {
        let value = try deltas.next()
        return .integer(isNarrow ? Int64(Int32(truncatingIfNeeded: value)) : value)
    }
}

/// All lengths first, then all bytes.
private struct DeltaLengthBytes: ValueDecoder {
    private var lengths: DeltaDecoder
    private var bytes: ByteReader

    init(_ input: ByteReader) throws {
        lengths = try DeltaDecoder(input)
        bytes = try lengths.rest()
    }

    mutating func nextBytes() throws -> ArraySlice<UInt8> { try bytes.bytes(Int(lengths.next())) }

    mutating func next() throws -> ParquetValue { .bytes(try nextBytes()) }
}

/// How much of the value before is kept, then what differs.
private struct DeltaBytes: ValueDecoder {
    private var prefixes: DeltaDecoder
    private var suffixes: DeltaLengthBytes
    private var last: [UInt8] = []

    init(_ input: ByteReader) throws {
        prefixes = try DeltaDecoder(input)
        suffixes = try DeltaLengthBytes(prefixes.rest())
    }

    mutating func next() throws -> ParquetValue {
        let kept = Int(try prefixes.next())
        guard (0...last.count).contains(kept) else {
            throw FormatFault("a value repeats more of the last one than it has")
        }
        last.removeSubrange(kept...)
        last += try suffixes.nextBytes()
        return .bytes(last[...])
    }
}

/// The first bytes of all values, then the second bytes, and so on.
private struct SplitStreams: ValueDecoder {
    private let input: ByteReader
    private let type: ParquetType
    private let width: Int
    private let count: Int
    private var index = 0

    init(_ input: ByteReader, _ leaf: ParquetLeaf) {
        self.input = input
        type = leaf.type
        width =
            switch type {
            case .int32, .float: 4
            case .fixedBytes: leaf.typeLength
            default: 8
            }
        count = input.remaining / width
    }

    mutating func next() throws -> ParquetValue {
        guard index < count else { throw FormatFault("the data ends too early") }
        defer { index += 1 }
        let bytes = (0..<width).map { input.peek($0 * count + index) }
        if type == .fixedBytes { return .bytes(bytes[...]) }
        return type.value(bits: bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) })
    }
}
