/// Ids of short pieces met before in the same `encode` call: a fixed number of slots, the newer piece wins.
///
/// It lives inside one call, so it needs no lock; its values point into the ids that call has already produced.
struct PieceCache {
    /// A piece of at most 15 bytes, written out with its length in the last byte.
    struct Key: Equatable {
        fileprivate var low: UInt64 = 0
        fileprivate var high: UInt64 = 0

        @inline(__always)
        init?(_ bytes: [UInt8], _ piece: Range<Int>) {
            guard piece.count <= 15 else { return nil }
            for index in piece {
                let shift = UInt64(index - piece.lowerBound)
                if shift < 8 {
                    low |= UInt64(bytes[index]) << (shift * 8)
                } else {
                    high |= UInt64(bytes[index]) << ((shift - 8) * 8)
                }
            }
            high |= UInt64(piece.count) << 56
        }

        fileprivate var slot: Int {
            var hash = (low ^ (high &* 0xD6E8_FEB8_6659_FD93)) &* 0x9E37_79B9_7F4A_7C15
            hash ^= hash >> 32
            return Int(truncatingIfNeeded: hash) & (PieceCache.slotCount - 1)
        }
    }

    private static let slotCount = 8192

    private var keys: [Key?]
    private var spans: [(start: Int32, count: Int32)]

    init() {
        keys = Array(repeating: nil, count: Self.slotCount)
        spans = Array(repeating: (0, 0), count: Self.slotCount)
    }

    /// Where the ids of this piece stand already.
    @inline(__always)
    func ids(of key: Key) -> Range<Int>? {
        let slot = key.slot
        guard keys[slot] == key else { return nil }
        let (start, count) = spans[slot]
        return Int(start)..<Int(start) + Int(count)
    }

    mutating func remember(_ key: Key, ids: Range<Int>) {
        guard ids.upperBound < Int(Int32.max) else { return }
        keys[key.slot] = key
        spans[key.slot] = (Int32(ids.lowerBound), Int32(ids.count))
    }
}
