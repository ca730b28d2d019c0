// Blocks of 256 values whose scales are themselves small whole numbers.
extension GGUFTensorType {
    /// y = (d·s)·q − (dmin·t); s and t: the low and the high half of a byte for 16 values.
    static func readQ2K(_ block: UnsafePointer<UInt8>, _ out: UnsafeMutablePointer<Float>) {
        let (scales, low) = (block, block + 16)
        let (d, least) = (half(block + 80), half(block + 82))
        for part in 0..<16 {
            let scale = d * Float(Int32(scales[part] & 0x0F))
            let offset = least * Float(Int32(scales[part] >> 4))
            let (bytes, shift) = twoBits(low, part: part)
            for index in 0..<16 {
                out[part * 16 + index] = scale * Float(Int32(bytes[index] >> shift & 3)) - offset
            }
        }
    }

    /// y = (d·(s − 32))·(q − 4·h); h is 1 where the bit of the mask is 0.
    static func readQ3K(_ block: UnsafePointer<UInt8>, _ out: UnsafeMutablePointer<Float>) {
        let (mask, low, scales) = (block, block + 32, block + 96)
        let d = half(block + 108)
        for part in 0..<16 {
            let lowScale = part < 8 ? scales[part] & 0x0F : scales[part - 8] >> 4
            let highScale = scales[8 + part % 4] >> UInt8(2 * (part / 4)) & 3
            let scale = d * Float(Int32(lowScale | highScale << 4) - 32)
            let (bytes, shift) = twoBits(low, part: part)
            let highBytes = mask + part % 2 * 16
            let bit = UInt8(part / 2)
            for index in 0..<16 {
                let isLow = highBytes[index] >> bit & 1 == 0
                let value = Int32(bytes[index] >> shift & 3) - (isLow ? 4 : 0)
                out[part * 16 + index] = scale * Float(value)
            }
        }
    }

    /// y = (d·s)·q − (dmin·t)
    static func readQ4K(_ block: UnsafePointer<UInt8>, _ out: UnsafeMutablePointer<Float>) {
        for part in 0..<8 {
            let (scale, offset) = scaling(block, part: part)
            let (bytes, shift) = fourBits(block + 16, part: part)
            for index in 0..<32 {
                out[part * 32 + index] = scale * Float(Int32(bytes[index] >> shift & 0x0F)) - offset
            }
        }
    }

    /// y = (d·s)·q − (dmin·t), the fifth bits apart.
    static func readQ5K(_ block: UnsafePointer<UInt8>, _ out: UnsafeMutablePointer<Float>) {
        let high = block + 16
        for part in 0..<8 {
            let (scale, offset) = scaling(block, part: part)
            let (bytes, shift) = fourBits(block + 48, part: part)
            for index in 0..<32 {
                let fifth = high[index] >> UInt8(part) & 1
                out[part * 32 + index] = scale * Float(Int32(bytes[index] >> shift & 0x0F | fifth << 4)) - offset
            }
        }
    }

    /// y = (d·s)·(q − 32), s signed.
    static func readQ6K(_ block: UnsafePointer<UInt8>, _ out: UnsafeMutablePointer<Float>) {
        let (low, high, scales) = (block, block + 128, block + 192)
        let d = half(block + 208)
        for part in 0..<16 {
            let scale = d * Float(Int32(Int8(bitPattern: scales[part])))
            let (half, quarter) = (part / 8, part % 8)
            let lowBytes = low + half * 64 + quarter % 4 * 16
            let lowShift = UInt8(quarter / 4 * 4)
            let highBytes = high + half * 32 + quarter % 2 * 16
            let highShift = UInt8(quarter / 2 * 2)
            for index in 0..<16 {
                let value = lowBytes[index] >> lowShift & 0x0F | (highBytes[index] >> highShift & 3) << 4
                out[part * 16 + index] = scale * Float(Int32(value) - 32)
            }
        }
    }

    /// Where the two bits of 16 values lie: of 128 values 32 bytes, the first 32 values in the lowest bits.
    @inline(__always)
    private static func twoBits(
        _ bytes: UnsafePointer<UInt8>, part: Int
    ) -> (bytes: UnsafePointer<UInt8>, shift: UInt8) {
        (bytes + part / 8 * 32 + part % 2 * 16, UInt8(part % 8 / 2 * 2))
    }

    /// Where the low four bits of 32 values lie: of 64 values 32 bytes, the first 32 values in the lower halves.
    @inline(__always)
    private static func fourBits(
        _ bytes: UnsafePointer<UInt8>, part: Int
    ) -> (bytes: UnsafePointer<UInt8>, shift: UInt8) {
        (bytes + part / 2 * 32, UInt8(part % 2 * 4))
    }

    /// d·s and dmin·t of 32 values, from the first sixteen bytes of a block.
    @inline(__always)
    private static func scaling(_ block: UnsafePointer<UInt8>, part: Int) -> (scale: Float, offset: Float) {
        let (s, t) = sixBits(block + 4, part: part)
        return (half(block) * Float(s), half(block + 2) * Float(t))
    }

    /// A scale and a minimum of six bits out of twelve bytes: of the last four parts the two highest bits lie in the
    /// bytes of the first four.
    @inline(__always)
    private static func sixBits(_ bytes: UnsafePointer<UInt8>, part: Int) -> (scale: Int32, minimum: Int32) {
        if part < 4 { return (Int32(bytes[part] & 0x3F), Int32(bytes[part + 4] & 0x3F)) }
        let shared = bytes[part + 4]
        return (
            Int32(shared & 0x0F | bytes[part - 4] >> 2 & 0x30), Int32(shared >> 4 | bytes[part] >> 2 & 0x30)
        )
    }
}
