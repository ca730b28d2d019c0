/// What a Parquet file says of itself in its footer (parquet.thrift, `FileMetaData`), as far as rows need it.
struct ParquetMetadata {
    /// The schema, depth first, the root before its children.
    var schema: [ParquetSchemaElement] = []
    var rowCount = 0
    var rowGroups: [ParquetRowGroup] = []

    init(_ reader: inout ThriftReader) throws {
        try reader.structure { reader, field in
            switch field.number {
            case 2: schema = try reader.list(field) { try ParquetSchemaElement(&$0) }
            case 3: rowCount = try reader.count(field)
            case 4: rowGroups = try reader.list(field) { try ParquetRowGroup(&$0) }
            case 8: throw FormatFault("the file is encrypted; write it without encryption")
            default: return false
            }
            return true
        }
    }
}

/// `SchemaElement`: one node of the schema.
struct ParquetSchemaElement {
    /// `nil` for a group.
    var type: ParquetType?
    /// Bytes of a value of ``ParquetType/fixedBytes``.
    var typeLength = 0
    /// 0 required, 1 optional, 2 repeated; the root has none.
    var repetition = 0
    var name = ""
    var childCount = 0
    var convertedType: Int?
    var scale = 0
    var logical: ParquetLogicalType?

    init(_ reader: inout ThriftReader) throws {
        try reader.structure { reader, field in
            switch field.number {
            case 1: type = try ParquetType(code: reader.integer(field))
            case 2: typeLength = try reader.count(field)
            case 3: repetition = try reader.count(field)
            case 4: name = try reader.text(field)
            case 5: childCount = try reader.count(field)
            case 6: convertedType = try reader.count(field)
            case 7: scale = try reader.count(field)
            case 10:
                guard field.wire == .structure else { return false }
                logical = try ParquetLogicalType(&reader)
            default: return false
            }
            return true
        }
    }
}

/// `RowGroup`: the column chunks that hold some of the rows.
struct ParquetRowGroup {
    var chunks: [ParquetChunk] = []
    var rowCount = 0

    init(_ reader: inout ThriftReader) throws {
        try reader.structure { reader, field in
            switch field.number {
            case 1: chunks = try reader.list(field) { try ParquetChunk(&$0) }
            case 3: rowCount = try reader.count(field)
            default: return false
            }
            return true
        }
    }
}

/// `ColumnChunk` with its `ColumnMetaData`: where the pages of one column are.
struct ParquetChunk {
    var type: ParquetType?
    var path: [String] = []
    var codec = ParquetCodec.uncompressed
    /// Entries of the column: values and nulls.
    var entryCount = 0
    var byteCount = 0
    var dataOffset = 0
    var dictionaryOffset: Int?
    private var isElsewhere = false
    private var isDescribed = false

    init(_ reader: inout ThriftReader) throws {
        try reader.structure { reader, field in
            switch field.number {
            case 1: isElsewhere = try !reader.text(field).isEmpty
            case 3:
                guard field.wire == .structure else { return false }
                try describe(&reader)
            case 8: throw FormatFault("a column is encrypted; write the file without encryption")
            default: return false
            }
            return true
        }
        guard !isElsewhere else { throw FormatFault("a column stands in another file; write one whole file") }
        guard isDescribed else { throw FormatFault("a column has no metadata") }
    }

    private mutating func describe(_ reader: inout ThriftReader) throws {
        isDescribed = true
        try reader.structure { reader, field in
            switch field.number {
            case 1: type = try ParquetType(code: reader.integer(field))
            case 3: path = try reader.list(field) { try $0.text() }
            case 4: codec = try ParquetCodec(code: reader.integer(field))
            case 5: entryCount = try reader.count(field)
            case 7: byteCount = try reader.count(field)
            case 9: dataOffset = try reader.count(field)
            case 11: dictionaryOffset = try reader.count(field)
            default: return false
            }
            return true
        }
    }

    /// Where the first page begins: some writers put a 0 where there is no dictionary.
    var start: Int {
        guard let dictionaryOffset, dictionaryOffset > 0 else { return dataOffset }
        return min(dictionaryOffset, dataOffset)
    }
}

/// How values are stored.
enum ParquetType: Int {
    case boolean, int32, int64, int96, float, double, bytes, fixedBytes

    init(code: Int) throws {
        guard let type = Self(rawValue: code) else { throw FormatFault("a column has the type \(code), which is none") }
        self = type
    }
}

/// How pages are compressed.
enum ParquetCodec: Int {
    case uncompressed, snappy, gzip, lzo, brotli, lz4, zstd, lz4Raw

    init(code: Int) throws {
        guard let codec = Self(rawValue: code) else {
            throw FormatFault("a column has the compression \(code), which is none")
        }
        self = codec
    }

    /// A page's bytes as they were before.
    func unpacked(_ bytes: [UInt8], byteCount: Int) throws -> [UInt8] {
        let unpacked: [UInt8]
        switch self {
        case .uncompressed: unpacked = bytes
        case .snappy: unpacked = try Snappy.unpacked(bytes, byteCount: byteCount)
        case .gzip: unpacked = try Gzip.unpacked(bytes, limit: byteCount)
        case .zstd: unpacked = try Zstandard.unpacked(bytes, byteCount: byteCount)
        case .lz4Raw: unpacked = try LZ4.unpacked(bytes, byteCount: byteCount)
        case .lzo, .brotli, .lz4:
            throw FormatFault(
                "its pages are compressed with \(self), which is not supported; write the file with "
                    + "compression=\"snappy\", \"gzip\" or \"zstd\"")
        }
        guard unpacked.count == byteCount else {
            throw FormatFault("a page has \(unpacked.count) bytes, its head says \(byteCount)")
        }
        return unpacked
    }
}
