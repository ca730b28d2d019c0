import JSON
import Runs

/// The head of a page (parquet.thrift, `PageHeader`).
struct ParquetPageHeader {
    enum Kind: Equatable {
        case dictionary
        /// Levels and values packed together, each run of levels behind its length.
        case data
        /// Levels apart, never compressed.
        case dataV2(definitionBytes: Int, repetitionBytes: Int, isCompressed: Bool)
        /// Something that readers may pass over.
        case other
    }

    private(set) var kind = Kind.other
    private(set) var byteCount = 0
    private(set) var unpackedByteCount = 0
    private(set) var checksum: UInt32?
    /// Entries of a data page, values of a dictionary.
    private(set) var entryCount = 0
    private(set) var encoding: ParquetEncoding?

    init(_ reader: inout ThriftReader) throws {
        var type: Int?
        try reader.structure { reader, field in
            switch field.number {
            case 1: type = try reader.count(field)
            case 2: unpackedByteCount = try reader.count(field)
            case 3: byteCount = try reader.count(field)
            case 4: checksum = UInt32(truncatingIfNeeded: try reader.integer(field))
            case 5, 7, 8:
                guard field.wire == .structure else { return false }
                try describe(&reader, field.number)
            default: return false
            }
            return true
        }
        switch (type, kind) {
        case (0, .data), (2, .dictionary), (3, .dataV2): break
        case (1, _): kind = .other  // an index
        default: throw FormatFault("a page's head does not say what it is")
        }
    }

    private mutating func describe(_ reader: inout ThriftReader, _ part: Int) throws {
        var (definitionBytes, repetitionBytes, isCompressed) = (0, 0, true)
        var levelEncodings: [Int] = []
        try reader.structure { reader, field in
            switch (part, field.number) {
            case (_, 1): entryCount = try reader.count(field)
            case (5, 2), (7, 2), (8, 4): encoding = try ParquetEncoding(code: reader.count(field))
            case (5, 3), (5, 4): levelEncodings.append(try reader.count(field))
            case (8, 5): definitionBytes = try reader.count(field)
            case (8, 6): repetitionBytes = try reader.count(field)
            case (8, 7): isCompressed = try reader.truth(field)
            default: return false
            }
            return true
        }
        guard levelEncodings.allSatisfy({ $0 == ParquetEncoding.runLength.rawValue }) else {
            throw FormatFault("levels in the old encoding BIT_PACKED; write the file anew with a current writer")
        }
        kind =
            switch part {
            case 5: .data
            case 7: .dictionary
            default:
                .dataV2(definitionBytes: definitionBytes, repetitionBytes: repetitionBytes, isCompressed: isCompressed)
            }
    }
}

/// The entries of a data page: levels, and values for those that are there.
struct ParquetPage {
    private var repetitions: HybridDecoder?
    private var definitions: HybridDecoder?
    private var values: Values
    /// Entries that have not been read.
    private(set) var left: Int

    private enum Values {
        case direct(any ValueDecoder)
        case dictionaryIndices(HybridDecoder)
        /// A page of nulls may hold no bytes at all.
        case none
    }

    /// - Parameter bytes: The page as it stands in the file.
    init(_ header: ParquetPageHeader, _ bytes: [UInt8], _ codec: ParquetCodec, _ leaf: ParquetLeaf) throws {
        left = header.entryCount
        let values: ByteReader
        switch header.kind {
        case .dataV2(let definitionBytes, let repetitionBytes, let isCompressed):
            var input = ByteReader(bytes)
            repetitions = try Self.levels(input.part(repetitionBytes), leaf.maximumRepetition)
            definitions = try Self.levels(input.part(definitionBytes), leaf.maximumDefinition)
            let rest = Array(try input.bytes(input.remaining))
            let count = header.unpackedByteCount - definitionBytes - repetitionBytes
            guard count >= 0 else { throw FormatFault("a page whose levels are longer than the page") }
            values = ByteReader(isCompressed && count > 0 ? try codec.unpacked(rest, byteCount: count) : rest)
        default:
            var input = ByteReader(try codec.unpacked(bytes, byteCount: header.unpackedByteCount))
            repetitions = try Self.prefixedLevels(&input, leaf.maximumRepetition)
            definitions = try Self.prefixedLevels(&input, leaf.maximumDefinition)
            values = input
        }
        self.values = try Self.values(values, header, leaf)
    }

    private static func values(
        _ input: ByteReader, _ header: ParquetPageHeader, _ leaf: ParquetLeaf
    ) throws -> Values {
        guard let encoding = header.encoding else { throw FormatFault("a page's head names no encoding") }
        if input.isAtEnd { return .none }
        guard encoding.usesDictionary else { return .direct(try encoding.decoder(input, of: leaf)) }
        var input = input
        let bitWidth = Int(try input.byte())
        return .dictionaryIndices(try HybridDecoder(input, bitWidth: bitWidth))
    }

    private static func levels(_ input: ByteReader, _ maximum: Int) throws -> HybridDecoder? {
        maximum == 0 ? nil : try HybridDecoder(input, bitWidth: Int.bitWidth - maximum.leadingZeroBitCount)
    }

    private static func prefixedLevels(_ input: inout ByteReader, _ maximum: Int) throws -> HybridDecoder? {
        maximum == 0 ? nil : try levels(input.part(Int(input.unsigned(4))), maximum)
    }

    /// The levels of the next entry; its value, when it has one, is to be read before the next call.
    mutating func nextLevels() throws -> (repetition: Int, definition: Int) {
        left -= 1
        return (try repetitions?.next() ?? 0, try definitions?.next() ?? 0)
    }

    mutating func nextValue(_ dictionary: [JSONValue]?, _ conversion: ParquetConversion) throws -> JSONValue {
        switch values {
        case .direct(var decoder):
            values = .none  // so that the decoder is changed in place
            defer { values = .direct(decoder) }
            return try conversion.json(decoder.next())
        case .dictionaryIndices(var indices):
            defer { values = .dictionaryIndices(indices) }
            let entry = try indices.next()
            guard let dictionary else { throw FormatFault("a page refers to a dictionary and there is none") }
            guard entry < dictionary.count else {
                throw FormatFault("value \(entry) of a dictionary that has \(dictionary.count)")
            }
            return dictionary[entry]
        case .none: throw FormatFault("a page has fewer values than its head says")
        }
    }
}
