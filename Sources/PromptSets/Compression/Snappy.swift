/// Unpacking of raw Snappy blocks (format description in google/snappy), as Parquet pages hold them.
enum Snappy {
    /// - Parameters:
    ///   - byteCount: How many bytes must come out.
    /// - Throws: ``FormatFault`` for data that breaks the format's rules or unpacks to another length.
    static func unpacked(_ bytes: [UInt8], byteCount: Int) throws -> [UInt8] {
        var input = ByteReader(bytes)
        guard let stated = Int(exactly: try input.varint()), stated == byteCount else {
            throw FormatFault("the Snappy data does not unpack to the \(byteCount) bytes expected")
        }
        var output: [UInt8] = []
        // What is claimed may be far from what is there: two bytes give at most 64.
        output.reserveCapacity(min(byteCount, bytes.count * 32))
        while !input.isAtEnd {
            let tag = Int(try input.byte())
            if tag & 3 == 0 {
                let length = tag >> 2
                output += try input.bytes(length < 60 ? length + 1 : Int(input.unsigned(length - 59)) + 1)
            } else {
                let (length, distance): (Int, Int) =
                    switch tag & 3 {
                    case 1: (4 + (tag >> 2) & 7, try Int(input.byte()) | (tag >> 5) << 8)
                    case 2: (1 + tag >> 2, Int(try input.unsigned(2)))
                    default: (1 + tag >> 2, Int(try input.unsigned(4)))
                    }
                guard distance >= 1, distance <= output.count else {
                    throw FormatFault("the Snappy data reaches back before its beginning")
                }
                for _ in 0..<length { output.append(output[output.count - distance]) }
            }
            guard output.count <= byteCount else { break }
        }
        guard output.count == byteCount else {
            throw FormatFault("the Snappy data does not unpack to the \(byteCount) bytes expected")
        }
        return output
    }
}
