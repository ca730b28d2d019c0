/// Unpacks a deflate stream (RFC 1951) piece by piece: memory is the window of 32 KiB and one piece.
struct Inflater {
    private var output: Window

    /// - Parameters:
    ///   - limit: The most bytes that may come out.
    ///   - write: Takes what is unpacked, in order.
    init(limit: Int, write: @escaping (ArraySlice<UInt8>) throws -> Void) {
        output = Window(limit: limit, write: write)
    }

    /// Unpacks the stream that begins at the reader's place, up to its end.
    ///
    /// - Throws: ``FormatFault`` for a stream that breaks the format's rules, is cut off or exceeds the limit.
    mutating func inflate(_ input: inout BitReader) throws {
        var isLast = false
        while !isLast {
            isLast = try input.take(1) == 1
            switch try input.take(2) {
            case 0: try stored(&input)
            case 1: try codes(&input, Self.fixedLiterals, Self.fixedDistances)
            case 2:
                let (literals, distances) = try Self.tables(&input)
                try codes(&input, literals, distances)
            default: throw FormatFault("the compressed data has a block of no known kind")
            }
        }
        try output.flush()
    }

    private mutating func stored(_ input: inout BitReader) throws {
        try input.alignToByte()
        let count = try input.take(16)
        guard try input.take(16) == ~count & 0xffff else {
            throw FormatFault("the compressed data has a stored block whose length is damaged")
        }
        for _ in 0..<count { try output.append(UInt8(input.take(8))) }
    }

    private mutating func codes(
        _ input: inout BitReader, _ literals: HuffmanTable, _ distances: HuffmanTable
    ) throws {
        while true {
            try input.fill()  // a literal or length with its distance takes at most 48 bits
            let symbol = try literals.symbol(&input)
            if symbol < 256 {
                try output.append(UInt8(symbol))
            } else if symbol == 256 {
                return
            } else {
                guard symbol < 286 else { throw FormatFault("the compressed data has a length of no meaning") }
                let (length, lengthBits) = Self.lengths[symbol - 257]
                let count = try length + input.take(lengthBits)
                let place = try distances.symbol(&input)
                guard place < 30 else { throw FormatFault("the compressed data has a distance of no meaning") }
                let (distance, distanceBits) = Self.distances[place]
                try output.repeatBytes(count, from: distance + input.take(distanceBits))
            }
        }
    }

    // MARK: - Tables

    /// Base and extra bits of the length symbols from 257 on.
    private static let lengths: [(base: Int, extra: Int)] =
        (0..<28).map { code in
            let extra = code < 8 ? 0 : code / 4 - 1
            return (code < 8 ? 3 + code : 3 + (4 + code % 4) << extra, extra)
        } + [(258, 0)]

    /// Base and extra bits of the distance symbols.
    private static let distances: [(base: Int, extra: Int)] = (0..<30).map { code in
        let extra = code < 4 ? 0 : code / 2 - 1
        return (code < 4 ? 1 + code : 1 + (2 + code % 2) << extra, extra)
    }

    private static let fixedLiterals = HuffmanTable(
        validLengths: (0..<288).map { $0 < 144 ? 8 : $0 < 256 ? 9 : $0 < 280 ? 7 : 8 })
    private static let fixedDistances = HuffmanTable(validLengths: [Int](repeating: 5, count: 30))

    /// In which order the lengths of the code of code lengths stand.
    private static let order = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]

    private static func tables(_ input: inout BitReader) throws -> (HuffmanTable, HuffmanTable) {
        let literalCount = try input.take(5) + 257
        let distanceCount = try input.take(5) + 1
        let codeCount = try input.take(4) + 4
        guard literalCount <= 286, distanceCount <= 30 else {
            throw FormatFault("the compressed data has more codes than there are symbols")
        }
        var codeLengths = [Int](repeating: 0, count: 19)
        for place in order.prefix(codeCount) { codeLengths[place] = try input.take(3) }
        let code = try HuffmanTable(lengths: codeLengths)
        var lengths: [Int] = []
        while lengths.count < literalCount + distanceCount {
            try input.fill()
            let symbol = try code.symbol(&input)
            switch symbol {
            case 0..<16: lengths.append(symbol)
            case 16:
                guard let last = lengths.last else { throw FormatFault("the compressed data repeats no code length") }
                lengths += [Int](repeating: last, count: try 3 + input.take(2))
            case 17: lengths += [Int](repeating: 0, count: try 3 + input.take(3))
            default: lengths += [Int](repeating: 0, count: try 11 + input.take(7))
            }
        }
        guard lengths.count == literalCount + distanceCount, lengths[256] > 0 else {
            throw FormatFault("the compressed data has damaged code lengths")
        }
        return (
            try HuffmanTable(lengths: Array(lengths[..<literalCount])),
            try HuffmanTable(lengths: Array(lengths[literalCount...]))
        )
    }
}

/// A prefix code as one table that the next bits of the stream index.
private struct HuffmanTable {
    /// Symbol × 16 + code length; 0 where no code leads.
    private let entries: [UInt16]
    private let bits: Int

    /// - Parameter lengths: The code length of each symbol, at most 15, 0 for a symbol without a code.
    /// - Throws: ``FormatFault`` when the lengths ask for more codes than there are. A code that leaves places free is taken: a stream that
    ///   runs into one of them is refused then (a lone distance is written so).
    init(lengths: [Int]) throws {
        let used = lengths.filter { $0 > 0 }
        guard used.reduce(0, { $0 + 1 << (15 - $1) }) <= 1 << 15 else {
            throw FormatFault("the compressed data has code lengths that no code has")
        }
        self.init(validLengths: lengths)
    }

    init(validLengths lengths: [Int]) {
        let bits = max(1, lengths.max() ?? 1)
        var entries = [UInt16](repeating: 0, count: 1 << bits)
        var code = 0
        for length in 1...bits {
            for (symbol, own) in lengths.enumerated() where own == length {
                // Codes are packed from their most significant bit on, everything else from the least.
                let reversed = (0..<length).reduce(0) { $0 | (code >> $1 & 1) << (length - 1 - $1) }
                for place in stride(from: reversed, to: entries.count, by: 1 << length) {
                    entries[place] = UInt16(symbol << 4 | length)
                }
                code += 1
            }
            code <<= 1
        }
        self.entries = entries
        self.bits = bits
    }

    /// The next symbol; ``BitReader/fill()`` has been called.
    func symbol(_ input: inout BitReader) throws -> Int {
        let entry = entries[input.peek(bits)]
        guard entry > 0 else { throw FormatFault("the compressed data has a code of no meaning") }
        try input.drop(Int(entry & 15))
        return Int(entry >> 4)
    }
}

/// What was unpacked last, for repetitions to reach back to.
private struct Window {
    private let limit: Int
    private let write: (ArraySlice<UInt8>) throws -> Void
    private var bytes: [UInt8] = []
    /// How many of `bytes` have been written.
    private var written = 0
    /// Bytes that have left the window.
    private var left = 0

    private static let reach = 32 << 10
    private static let capacity = 8 * reach

    init(limit: Int, write: @escaping (ArraySlice<UInt8>) throws -> Void) {
        self.limit = limit
        self.write = write
    }

    mutating func append(_ byte: UInt8) throws {
        if bytes.count == Self.capacity { try makeRoom() }
        bytes.append(byte)
    }

    mutating func repeatBytes(_ count: Int, from distance: Int) throws {
        guard distance <= bytes.count, distance <= Self.reach else {
            throw FormatFault("the compressed data reaches back before its beginning")
        }
        for _ in 0..<count {
            if bytes.count == Self.capacity { try makeRoom() }
            bytes.append(bytes[bytes.count - distance])
        }
    }

    private mutating func makeRoom() throws {
        try flush()
        left += bytes.count - Self.reach
        bytes.removeSubrange(..<(bytes.count - Self.reach))
        written = bytes.count
    }

    mutating func flush() throws {
        guard left + bytes.count <= limit else {
            throw FormatFault("the compressed data unpacks to more than the \(limit) bytes expected")
        }
        if written < bytes.count { try write(bytes[written...]) }
        written = bytes.count
    }
}
