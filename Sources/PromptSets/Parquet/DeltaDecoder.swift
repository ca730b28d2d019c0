/// Integers as differences in packed blocks (Encodings.md, "DELTA_BINARY_PACKED"), decoded one at a time.
struct DeltaDecoder {
    private var input: ByteReader
    /// How many numbers there are.
    let count: Int
    private let perMiniblock: Int
    private let miniblocks: Int
    private var left: Int
    private var value: Int64
    private var isFirst = true
    private var smallest = 0 as Int64
    /// Bit widths of the block's miniblocks that are still to come.
    private var widths: ArraySlice<UInt8> = []
    private var leftInMiniblock = 0
    private var miniblock: ByteReader
    private var bits = BitQueue()
    private var width = 0

    init(_ input: ByteReader) throws {
        var input = input
        let (block, miniblocks) = (try input.varint(), try input.varint())
        guard (1...1 << 20).contains(block), block % 128 == 0, (1...block).contains(miniblocks),
            block % miniblocks == 0, (block / miniblocks) % 32 == 0
        else { throw FormatFault("delta encoding with blocks of \(block) in \(miniblocks) parts, which cannot be") }
        guard let count = Int32(exactly: try input.varint()) else {
            throw FormatFault("more delta-encoded values than a page can have")
        }
        perMiniblock = Int(block / miniblocks)
        self.miniblocks = Int(miniblocks)
        self.count = Int(count)
        left = Int(count)
        value = try input.zigzag()
        miniblock = input
        self.input = input
    }

    mutating func next() throws -> Int64 {
        guard left > 0 else { throw FormatFault("fewer delta-encoded values than the page should have") }
        left -= 1
        if isFirst {
            isFirst = false
            return value
        }
        if leftInMiniblock == 0 { try nextMiniblock() }
        leftInMiniblock -= 1
        value = value &+ smallest &+ Int64(bitPattern: try bits.take(width, from: &miniblock))
        return value
    }

    private mutating func nextMiniblock() throws {
        if widths.isEmpty { try nextBlock() }
        width = Int(widths.removeFirst())
        guard width <= 64 else { throw FormatFault("delta-encoded values of \(width) bits") }
        miniblock = try input.part(perMiniblock * width / 8)
        bits = BitQueue()
        leftInMiniblock = perMiniblock
    }

    private mutating func nextBlock() throws {
        smallest = try input.zigzag()
        widths = try input.bytes(miniblocks)
    }

    /// What follows the last number: finds it from the widths alone.
    func rest() throws -> ByteReader {
        var walk = self
        walk.left = count - 1
        while walk.left > 0 {
            try walk.nextMiniblock()
            walk.left -= walk.perMiniblock
        }
        return walk.input
    }
}

/// Numbers of up to 64 bits from packed bytes, the least significant bit first.
private struct BitQueue {
    private var bits = 0 as UInt64
    private var count = 0

    mutating func take(_ width: Int, from input: inout ByteReader) throws -> UInt64 {
        var value = 0 as UInt64
        var filled = 0
        while filled < width {
            if count == 0 {
                bits = UInt64(try input.byte())
                count = 8
            }
            let taken = min(count, width - filled)
            value |= (bits & ((1 << UInt64(taken)) - 1)) << UInt64(filled)
            bits >>= UInt64(taken)
            count -= taken
            filled += taken
        }
        return value
    }
}
