/// Unpacking of gzip files (RFC 1952), checked against the length and checksum they carry.
///
/// Our own instead of zlib: its header is not on every machine, and this room needs nothing but Swift.
enum Gzip {
    /// Whether a file begins as gzip files do.
    static func isGzip(_ head: [UInt8]) -> Bool { head.starts(with: [0x1f, 0x8b]) }

    /// Unpacks every member of a stream.
    ///
    /// - Parameters:
    ///   - nextPiece: Gives the next bytes of the stream, none at its end.
    ///   - limit: The most bytes a member may unpack to.
    ///   - write: Takes what is unpacked, in order, before its checksum is known.
    /// - Throws: ``FormatFault``, and what the two closures throw.
    static func unpack(
        _ nextPiece: @escaping () throws -> [UInt8], limit: Int = .max,
        write: @escaping (ArraySlice<UInt8>) throws -> Void
    ) throws {
        var input = BitReader(nextPiece)
        repeat {
            try header(&input)
            let checks = Checks()
            var inflater = Inflater(limit: limit) { bytes in
                checks.add(bytes)
                try write(bytes)
            }
            try inflater.inflate(&input)
            try input.alignToByte()
            guard try input.take(32) == Int(checks.checksum.value) else {
                throw FormatFault("the unpacked bytes do not have the checksum the file names; it is damaged")
            }
            guard try input.take(32) == checks.byteCount & 0xffff_ffff else {
                throw FormatFault("the unpacked bytes are not as many as the file names; it is damaged")
            }
        } while try hasMember(&input)
    }

    /// Unpacks bytes in memory.
    ///
    /// - Parameter limit: The most bytes that may come out.
    static func unpacked(_ bytes: [UInt8], limit: Int) throws -> [UInt8] {
        var rest: [UInt8]? = bytes
        let result = Unpacked()
        try unpack(
            {
                defer { rest = nil }
                return rest ?? []
            }, limit: limit
        ) { result.bytes += $0 }
        return result.bytes
    }

    private final class Checks {
        var checksum = CRC32()
        var byteCount = 0

        func add(_ bytes: ArraySlice<UInt8>) {
            checksum.update(bytes)
            byteCount += bytes.count
        }
    }

    private final class Unpacked {
        var bytes: [UInt8] = []
    }

    private static func header(_ input: inout BitReader) throws {
        guard try input.take(16) == 0x8b1f, try input.take(8) == 8 else {
            throw FormatFault("this is no gzip data")
        }
        let flags = try input.take(8)
        guard flags & 0xe0 == 0 else { throw FormatFault("the gzip header has flags of no meaning") }
        _ = try (input.take(32), input.take(16))  // when, by what
        if flags & 4 != 0 { for _ in 0..<(try input.take(16)) { _ = try input.take(8) } }
        for flag in [8, 16] where flags & flag != 0 { while try input.take(8) != 0 {} }  // a name, a comment
        if flags & 2 != 0 { _ = try input.take(16) }
    }

    /// Whether another member follows; zeros behind the last one are padding.
    private static func hasMember(_ input: inout BitReader) throws -> Bool {
        while try !input.atEnd() {
            if input.peek(8) != 0 { return true }
            try input.drop(8)
        }
        return false
    }
}
