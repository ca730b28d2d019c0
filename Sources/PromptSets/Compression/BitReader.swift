/// Bits of a compressed stream, least significant first, read piece by piece.
struct BitReader {
    private let nextPiece: () throws -> [UInt8]
    private var piece: [UInt8] = []
    private var position = 0
    private var isAtEnd = false
    private var bits = 0 as UInt64
    private var bitCount = 0

    /// - Parameter nextPiece: Gives the next bytes of the stream, none at its end.
    init(_ nextPiece: @escaping () throws -> [UInt8]) { self.nextPiece = nextPiece }

    /// Makes at least 56 bits ready, fewer at the end of the stream.
    mutating func fill() throws {
        while bitCount <= 56 {
            if position < piece.count {
                bits |= UInt64(piece[position]) << UInt64(bitCount)
                position += 1
                bitCount += 8
            } else if isAtEnd {
                return
            } else {
                piece = try nextPiece()
                position = 0
                isAtEnd = piece.isEmpty
            }
        }
    }

    /// The next bits without taking them; zeros stand behind the end.
    func peek(_ count: Int) -> Int { Int(truncatingIfNeeded: bits & ((1 << UInt64(count)) - 1)) }

    /// Drops bits that were looked at.
    ///
    /// - Throws: ``FormatFault`` when the stream has fewer.
    mutating func drop(_ count: Int) throws {
        guard count <= bitCount else { throw FormatFault("the compressed data is cut off") }
        bits >>= UInt64(count)
        bitCount -= count
    }

    /// Takes up to 32 bits.
    mutating func take(_ count: Int) throws -> Int {
        if bitCount < count { try fill() }
        let value = peek(count)
        try drop(count)
        return value
    }

    /// Drops what is left of the byte at hand.
    mutating func alignToByte() throws { try drop(bitCount & 7) }

    /// Whether no bit is left.
    mutating func atEnd() throws -> Bool {
        try fill()
        return bitCount == 0
    }
}
