/// Bytes read from front to back; every step is checked against the end.
struct ByteReader {
    private let all: [UInt8]
    private(set) var position: Int
    let end: Int

    init(_ bytes: [UInt8]) { self.init(bytes, 0..<bytes.count) }

    /// Reads a part of `bytes` without copying it.
    init(_ bytes: [UInt8], _ range: Range<Int>) {
        precondition(range.lowerBound >= 0 && range.upperBound <= bytes.count, "a part of the bytes")
        all = bytes
        position = range.lowerBound
        end = range.upperBound
    }

    var remaining: Int { end - position }
    var isAtEnd: Bool { position == end }

    /// A byte ahead, which is not taken.
    ///
    /// - Parameter offset: From the next byte on, less than ``remaining``.
    func peek(_ offset: Int) -> UInt8 { all[position + offset] }

    mutating func byte() throws -> UInt8 {
        guard position < end else { throw FormatFault("the data ends too early") }
        defer { position += 1 }
        return all[position]
    }

    mutating func bytes(_ count: Int) throws -> ArraySlice<UInt8> {
        guard count >= 0, count <= remaining else {
            throw FormatFault("\(count) bytes should follow where \(remaining) are left")
        }
        defer { position += count }
        return all[position..<position + count]
    }

    /// The same bytes as a reader of their own.
    mutating func part(_ count: Int) throws -> ByteReader {
        let start = position
        _ = try bytes(count)
        return ByteReader(all, start..<position)
    }

    /// An unsigned integer of up to eight bytes, the least significant first.
    mutating func unsigned(_ width: Int) throws -> UInt64 {
        try bytes(width).reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }

    /// An unsigned integer in groups of seven bits, the least significant first (LEB128).
    mutating func varint() throws -> UInt64 {
        var value = 0 as UInt64
        for shift in stride(from: 0 as UInt64, to: 70, by: 7) {
            let byte = try byte()
            guard shift < 63 || byte <= 1 else { break }
            value |= UInt64(byte & 0x7f) << shift
            if byte < 0x80 { return value }
        }
        throw FormatFault("a number is longer than 64 bits")
    }

    /// A signed integer, written as ``varint()`` with the sign in the lowest bit.
    mutating func zigzag() throws -> Int64 {
        let value = try varint()
        return Int64(bitPattern: value >> 1) ^ -Int64(bitPattern: value & 1)
    }
}
