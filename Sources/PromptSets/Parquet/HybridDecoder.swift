/// Small numbers as runs and as packed bits (Encodings.md, "RLE / Bit-Packing Hybrid"): levels, indices into a
/// dictionary, truth values.
///
/// Decodes one number at a time, so that a run of two thousand million takes no memory.
struct HybridDecoder {
    private var input: ByteReader
    private let bitWidth: Int
    /// Numbers left of the run or the pack at hand.
    private var left = 0
    private var repeated = 0
    private var isPacked = false
    /// Bits of the pack that were read ahead.
    private var bits = 0 as UInt64
    private var bitCount = 0

    init(_ input: ByteReader, bitWidth: Int) throws {
        guard (0...32).contains(bitWidth) else {
            throw FormatFault("numbers of \(bitWidth) bits, where at most 32 are possible")
        }
        self.input = input
        self.bitWidth = bitWidth
    }

    mutating func next() throws -> Int {
        while left == 0 { try nextRun() }
        left -= 1
        guard isPacked, bitWidth > 0 else { return repeated }
        while bitCount < bitWidth {
            bits |= UInt64(try input.byte()) << UInt64(bitCount)
            bitCount += 8
        }
        defer {
            bits >>= UInt64(bitWidth)
            bitCount -= bitWidth
        }
        return Int(bits & ((1 << UInt64(bitWidth)) - 1))
    }

    private mutating func nextRun() throws {
        let head = try input.varint()
        guard head >> 1 <= UInt64(Int32.max) else { throw FormatFault("a run is longer than a page can be") }
        let count = Int(head >> 1)
        isPacked = head & 1 == 1
        left = isPacked ? count * 8 : count
        (bits, bitCount, repeated) = (0, 0, 0)
        if !isPacked { repeated = Int(try input.unsigned((bitWidth + 7) / 8)) }
    }
}
