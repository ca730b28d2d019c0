/// The checksum of gzip files and Parquet pages (RFC 1952 §8): the reflected polynomial 0xEDB88320.
struct CRC32 {
    private var state = ~0 as UInt32

    /// The checksum of everything given so far.
    var value: UInt32 { ~state }

    private static let table: [UInt32] = (0..<256).map { start in
        (0..<8).reduce(UInt32(start)) { value, _ in value & 1 == 1 ? 0xedb8_8320 ^ (value >> 1) : value >> 1 }
    }

    mutating func update(_ bytes: some Sequence<UInt8>) {
        var state = state
        Self.table.withUnsafeBufferPointer { table in
            for byte in bytes { state = table[Int((state ^ UInt32(byte)) & 0xff)] ^ (state >> 8) }
        }
        self.state = state
    }

    /// The checksum of one run of bytes.
    static func of(_ bytes: some Sequence<UInt8>) -> UInt32 {
        var checksum = CRC32()
        checksum.update(bytes)
        return checksum.value
    }
}
