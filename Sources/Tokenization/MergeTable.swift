/// Pairs of symbols that merge, in one open-addressed table of pair to rank.
struct MergeTable: Sendable {
    static let none = UInt32.max

    private static let empty = UInt64.max

    private var keys: [UInt64]
    private var ranks: [UInt32]
    private var mask: Int
    /// Rank to the id of the merged symbol.
    private(set) var merged: [Int32] = []

    init(capacity: Int) {
        var slots = 16
        while slots * 2 < capacity * 3 { slots *= 2 }
        keys = Array(repeating: Self.empty, count: slots)
        ranks = Array(repeating: Self.none, count: slots)
        mask = slots - 1
        merged.reserveCapacity(capacity)
    }

    /// Adds the next merge in rank; a pair given twice keeps its later rank. At most `capacity` merges fit.
    mutating func append(_ left: Int32, _ right: Int32, merged id: Int32) {
        let slot = self.slot(of: Self.key(left, right))
        keys[slot] = Self.key(left, right)
        ranks[slot] = UInt32(merged.count)
        merged.append(id)
    }

    /// The rank of a pair, or ``none``; lower merges first.
    @inline(__always)
    func rank(_ left: Int32, _ right: Int32) -> UInt32 { ranks[slot(of: Self.key(left, right))] }

    @inline(__always)
    private static func key(_ left: Int32, _ right: Int32) -> UInt64 {
        UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
    }

    @inline(__always)
    private func slot(of key: UInt64) -> Int {
        var hash = key &* 0x9E37_79B9_7F4A_7C15
        hash ^= hash >> 32
        var slot = Int(truncatingIfNeeded: hash) & mask
        while keys[slot] != key, keys[slot] != Self.empty { slot = (slot + 1) & mask }
        return slot
    }
}
