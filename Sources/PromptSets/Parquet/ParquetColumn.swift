import JSON
import Runs

/// Reads one column of one row group from front to back: memory is a page and the dictionary.
struct ParquetColumn {
    /// What a damaged or hostile file may cost.
    struct Limits {
        /// Of a page, unpacked.
        let pageBytes: Int
        let dictionaryEntries: Int
    }

    let leaf: ParquetLeaf
    private let limits: Limits
    private let codec: ParquetCodec
    private let file: PosixFile
    /// Where the next page begins, and where the last one ends.
    private var offset: Int
    private let end: Int
    /// Entries in pages still to come.
    private var entriesLeft: Int
    private var dictionary: [JSONValue]?
    private var page: ParquetPage?
    /// The levels of the entry at hand; `nil` behind the last one.
    private(set) var levels: (repetition: Int, definition: Int)?

    /// - Parameter dataEnd: Where the file's pages end.
    init(_ chunk: ParquetChunk, of leaf: ParquetLeaf, in file: PosixFile, dataEnd: Int, _ limits: Limits) throws {
        self.leaf = leaf
        self.limits = limits
        self.file = file
        codec = chunk.codec
        offset = chunk.start
        guard chunk.path == leaf.path, chunk.type == leaf.type else {
            throw FormatFault("the row group has another column in its place")
        }
        guard offset >= 4, offset <= dataEnd, chunk.byteCount <= dataEnd - offset else {
            throw FormatFault("its pages lie outside of the file")
        }
        end = offset + chunk.byteCount
        entriesLeft = chunk.entryCount
        try advance()
    }

    /// The value of the entry at hand, which has one when its definition level is the highest; goes on to the next
    /// entry.
    mutating func take() throws -> JSONValue {
        let (dictionary, conversion) = (dictionary, leaf.conversion)  // the page is changed meanwhile
        guard let value = try page?.nextValue(dictionary, conversion) else {
            throw FormatFault("fewer values than rows")
        }
        try advance()
        return value
    }

    /// Goes on to the next entry. The entry at hand has no value.
    mutating func advance() throws {
        while (page?.left ?? 0) == 0 {
            guard entriesLeft > 0 else {
                (page, levels) = (nil, nil)
                return
            }
            try nextPage()
        }
        levels = try page?.nextLevels()
        guard let levels, levels.definition <= leaf.maximumDefinition, levels.repetition <= leaf.maximumRepetition
        else {
            throw FormatFault("a level beyond what its nesting has")
        }
    }

    private mutating func nextPage() throws {
        guard offset < end else { throw FormatFault("\(entriesLeft) entries more than its pages hold") }
        let (header, headerBytes) = try header()
        offset += headerBytes
        guard header.byteCount <= end - offset else { throw FormatFault("a page is longer than its column") }
        guard header.unpackedByteCount <= limits.pageBytes else {
            throw FormatFault("a page of \(header.unpackedByteCount) bytes; at most \(limits.pageBytes) are read")
        }
        let bytes = try file.bytes(at: offset, count: header.byteCount)
        guard bytes.count == header.byteCount else { throw FormatFault("the file ends within a page") }
        offset += header.byteCount
        if let checksum = header.checksum, checksum != CRC32.of(bytes) {
            throw FormatFault("a page does not have the checksum its head names; the file is damaged")
        }
        switch header.kind {
        case .other: return
        case .dictionary:
            guard dictionary == nil, page == nil else {
                throw FormatFault("a dictionary behind its column's beginning")
            }
            dictionary = try values(of: header, bytes)
        case .data, .dataV2:
            guard header.entryCount <= entriesLeft else { throw FormatFault("more entries than its metadata says") }
            page = nil  // the old one goes before the new one comes
            page = try ParquetPage(header, bytes, codec, leaf)
            entriesLeft -= header.entryCount
        }
    }

    /// Reads a page's head, whose length nobody says: statistics in it may be long.
    private func header() throws -> (ParquetPageHeader, byteCount: Int) {
        var room = 1 << 10
        while true {
            let bytes = try file.bytes(at: offset, count: min(room, end - offset))
            do {
                var reader = ThriftReader(ByteReader(bytes))
                return (try ParquetPageHeader(&reader), reader.position)
            } catch let fault as FormatFault {
                guard room < end - offset, room < 16 << 20 else { throw fault }
                room *= 16
            }
        }
    }

    private func values(of header: ParquetPageHeader, _ bytes: [UInt8]) throws -> [JSONValue] {
        guard header.encoding == .plain || header.encoding == .plainDictionary else {
            throw FormatFault("a dictionary that is not in the plain encoding")
        }
        let unpacked = ByteReader(try codec.unpacked(bytes, byteCount: header.unpackedByteCount))
        guard header.entryCount <= min(unpacked.remaining, limits.dictionaryEntries) else {
            throw FormatFault("a dictionary of more values than bytes")
        }
        var decoder = PlainDecoder(unpacked, leaf)
        var values: [JSONValue] = []
        for _ in 0..<header.entryCount { values.append(try leaf.conversion.json(decoder.next())) }
        return values
    }
}
