extension GGUFTensorType {
    /// The values of whole blocks, in float32.
    ///
    /// Each block's formula stands beside its code; `d` and `m` are float16, products and sums float32, in this order,
    /// so that the bits are those of ggml's own reference.
    ///
    /// - Parameters:
    ///   - source: ``byteCount(of:)`` bytes of the target's count.
    ///   - target: As many values as the blocks have.
    package func dequantize(_ source: UnsafeRawBufferPointer, into target: UnsafeMutableBufferPointer<Float>) {
        precondition(target.count % blockCount == 0 && source.count == byteCount(of: target.count))
        guard let from = source.baseAddress, var out = target.baseAddress else { return }
        var block = from.assumingMemoryBound(to: UInt8.self)
        for _ in 0..<target.count / blockCount {
            switch self {
            case .f32: out[0] = UnsafeRawPointer(block).loadUnaligned(as: Float.self)
            case .f16: out[0] = Self.half(block)
            case .bf16: out[0] = Float(bitPattern: UInt32(Self.word(block)) << 16)
            case .q40: Self.readQ40(block, out)
            case .q41: Self.readQ41(block, out)
            case .q50: Self.readQ50(block, out)
            case .q51: Self.readQ51(block, out)
            case .q80: Self.readQ80(block, out)
            case .q2K: Self.readQ2K(block, out)
            case .q3K: Self.readQ3K(block, out)
            case .q4K: Self.readQ4K(block, out)
            case .q5K: Self.readQ5K(block, out)
            case .q6K: Self.readQ6K(block, out)
            }
            block += blockByteCount
            out += blockCount
        }
    }

    @inline(__always)
    static func word(_ bytes: UnsafePointer<UInt8>) -> UInt16 { UInt16(bytes[0]) | UInt16(bytes[1]) << 8 }

    @inline(__always)
    static func half(_ bytes: UnsafePointer<UInt8>) -> Float { Float(Float16(bitPattern: word(bytes))) }

    /// y = d·(q − 8); the low halves of the bytes are the first 16 values, the high ones the other 16.
    private static func readQ40(_ block: UnsafePointer<UInt8>, _ out: UnsafeMutablePointer<Float>) {
        let d = half(block)
        for index in 0..<16 {
            let byte = block[2 + index]
            out[index] = d * Float(Int32(byte & 0x0F) - 8)
            out[index + 16] = d * Float(Int32(byte >> 4) - 8)
        }
    }

    /// y = d·q + m
    private static func readQ41(_ block: UnsafePointer<UInt8>, _ out: UnsafeMutablePointer<Float>) {
        let (d, m) = (half(block), half(block + 2))
        for index in 0..<16 {
            let byte = block[4 + index]
            out[index] = d * Float(Int32(byte & 0x0F)) + m
            out[index + 16] = d * Float(Int32(byte >> 4)) + m
        }
    }

    /// The fifth bits of a block's 32 values.
    @inline(__always)
    private static func fifthBits(_ bytes: UnsafePointer<UInt8>) -> UInt32 {
        UInt32(word(bytes)) | UInt32(word(bytes + 2)) << 16
    }

    /// y = d·(q − 16)
    private static func readQ50(_ block: UnsafePointer<UInt8>, _ out: UnsafeMutablePointer<Float>) {
        let d = half(block)
        let high = fifthBits(block + 2)
        for index in 0..<16 {
            let byte = block[6 + index]
            let first = UInt32(byte & 0x0F) | (high >> UInt32(index) & 1) << 4
            let second = UInt32(byte >> 4) | (high >> UInt32(index + 16) & 1) << 4
            out[index] = d * Float(Int32(first) - 16)
            out[index + 16] = d * Float(Int32(second) - 16)
        }
    }

    /// y = d·q + m
    private static func readQ51(_ block: UnsafePointer<UInt8>, _ out: UnsafeMutablePointer<Float>) {
        let (d, m) = (half(block), half(block + 2))
        let high = fifthBits(block + 4)
        for index in 0..<16 {
            let byte = block[8 + index]
            let first = UInt32(byte & 0x0F) | (high >> UInt32(index) & 1) << 4
            let second = UInt32(byte >> 4) | (high >> UInt32(index + 16) & 1) << 4
            out[index] = d * Float(Int32(first)) + m
            out[index + 16] = d * Float(Int32(second)) + m
        }
    }

    /// y = q·d, q signed.
    private static func readQ80(_ block: UnsafePointer<UInt8>, _ out: UnsafeMutablePointer<Float>) {
        let d = half(block)
        for index in 0..<32 { out[index] = Float(Int32(Int8(bitPattern: block[2 + index]))) * d }
    }
}
