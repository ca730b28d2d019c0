/// Unpacking of raw LZ4 blocks (lz4_Block_format.md), as Parquet pages of the codec LZ4_RAW hold them.
enum LZ4 {
    /// - Parameter byteCount: How many bytes must come out.
    /// - Throws: ``FormatFault`` for data that breaks the format's rules or unpacks to another length.
    static func unpacked(_ bytes: [UInt8], byteCount: Int) throws -> [UInt8] {
        var input = ByteReader(bytes)
        var output: [UInt8] = []
        output.reserveCapacity(min(byteCount, bytes.count * 32))  // a claim may be far from what is there
        while !input.isAtEnd {
            let token = Int(try input.byte())
            output += try input.bytes(length(token >> 4, &input))
            if input.isAtEnd { break }  // the last sequence has no repetition
            let distance = Int(try input.unsigned(2))
            guard distance >= 1, distance <= output.count else {
                throw FormatFault("the LZ4 data reaches back before its beginning")
            }
            let count = try length(token & 15, &input) + 4
            guard count <= byteCount - output.count else { break }
            for _ in 0..<count { output.append(output[output.count - distance]) }
        }
        guard output.count == byteCount else {
            throw FormatFault("the LZ4 data does not unpack to the \(byteCount) bytes expected")
        }
        return output
    }

    /// A length of four bits; 15 goes on in the bytes that follow.
    private static func length(_ bits: Int, _ input: inout ByteReader) throws -> Int {
        guard bits == 15 else { return bits }
        var length = bits
        while true {
            let byte = Int(try input.byte())
            length += byte
            if byte < 255 { return length }
        }
    }
}
