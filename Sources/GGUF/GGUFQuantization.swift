extension GGUFTensorType {
    /// The types that ``quantize(_:into:)`` writes.
    package static let written: [GGUFTensorType] = [.f32, .f16, .bf16, .q80, .q40]

    /// Writes values as whole blocks; float16 and bfloat16 round to nearest, halves to even.
    ///
    /// The bits are those of ggml's reference quantiser.
    ///
    /// - Parameters:
    ///   - source: A multiple of ``blockCount`` values.
    ///   - target: ``byteCount(of:)`` bytes of that count.
    /// - Returns: false when a value is too large for the type, or not finite; the bytes are then of no use.
    package func quantize(
        _ source: UnsafeBufferPointer<Float>, into target: UnsafeMutableBufferPointer<UInt8>
    ) -> Bool {
        precondition(Self.written.contains(self), "\(name) is read only")
        precondition(source.count % blockCount == 0 && target.count == byteCount(of: source.count))
        guard var values = source.baseAddress, var block = target.baseAddress else { return true }
        var isSound = true
        for _ in 0..<source.count / blockCount {
            switch self {
            case .f32:
                isSound = isSound && values[0].isFinite
                UnsafeMutableRawPointer(block).storeBytes(of: values[0].bitPattern.littleEndian, as: UInt32.self)
            case .f16: isSound = Self.store(values[0], block) && isSound
            case .bf16: isSound = Self.storeBrain(values[0], block) && isSound
            case .q80: isSound = Self.writeQ80(values, block) && isSound
            default: isSound = Self.writeQ40(values, block) && isSound
            }
            values += blockCount
            block += blockByteCount
        }
        return isSound
    }

    private static func store(_ value: Float, _ bytes: UnsafeMutablePointer<UInt8>) -> Bool {
        let half = Float16(value)
        (bytes[0], bytes[1]) = (UInt8(half.bitPattern & 0xFF), UInt8(half.bitPattern >> 8))
        return half.isFinite
    }

    private static func storeBrain(_ value: Float, _ bytes: UnsafeMutablePointer<UInt8>) -> Bool {
        guard value.isFinite else { return false }
        let bits = value.bitPattern
        let rounded = UInt16(truncatingIfNeeded: (bits &+ 0x7FFF &+ (bits >> 16 & 1)) >> 16)
        (bytes[0], bytes[1]) = (UInt8(rounded & 0xFF), UInt8(rounded >> 8))
        return rounded & 0x7F80 != 0x7F80
    }

    /// d = max |x| / 127, q = x / d rounded, halves away from zero.
    private static func writeQ80(_ values: UnsafePointer<Float>, _ block: UnsafeMutablePointer<UInt8>) -> Bool {
        var largest: Float = 0
        for index in 0..<32 { largest = max(largest, abs(values[index])) }
        let d = largest / 127
        let inverse = reciprocal(d)
        for index in 0..<32 {
            let scaled = (values[index] * inverse).rounded(.toNearestOrAwayFromZero)
            guard abs(scaled) <= 127 else { return false }  // also what is not finite
            block[2 + index] = UInt8(bitPattern: Int8(scaled))
        }
        return store(d, block)
    }

    /// d = x / −8 of the value farthest from 0, q = x / d + 8 rounded, at most 15.
    private static func writeQ40(_ values: UnsafePointer<Float>, _ block: UnsafeMutablePointer<UInt8>) -> Bool {
        var farthest: Float = 0
        for index in 0..<32 where abs(values[index]) > abs(farthest) { farthest = values[index] }
        let d = farthest / -8
        let inverse = reciprocal(d)
        func level(_ value: Float) -> UInt8? {
            let scaled = value * inverse + 8.5
            return scaled >= 0 && scaled < 18 ? min(UInt8(scaled), 15) : nil
        }
        for index in 0..<16 {
            guard let low = level(values[index]), let high = level(values[index + 16]) else { return false }
            block[2 + index] = low | high << 4
        }
        return store(d, block)
    }

    /// 1 / d; 0 for a d so small that float16 cannot tell it from 0 and its reciprocal has no end.
    private static func reciprocal(_ d: Float) -> Float {
        let inverse = 1 / d
        return d == 0 || !inverse.isFinite ? 0 : inverse
    }
}
