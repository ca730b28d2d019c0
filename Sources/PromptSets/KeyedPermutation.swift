internal import Records

/// A shuffle of `0 ..< count` in no memory: any element of it can be asked for at once.
///
/// A Feistel network of six rounds over the next power of four, walked until it lands inside (Black and Rogaway 2002,
/// "Ciphers with arbitrary finite domains", §3, cycle walking). Every network is a bijection of its domain, hence so is
/// the walk. The order depends on `count`, seed, stream and index alone.
package struct KeyedPermutation: Sendable, Equatable {
    /// What the shuffle is for: two purposes never share an order.
    package enum Stream: UInt64, Sendable {
        case epoch = 1
    }

    package let count: Int
    private let key: UInt64
    private let halfBits: UInt64
    private static let rounds: UInt64 = 6

    /// - Parameters:
    ///   - count: At least 1.
    ///   - index: Which shuffle of the stream: the epoch, for one.
    package init(count: Int, seed: UInt64, stream: Stream, index: UInt64) {
        precondition(count >= 1, "a shuffle of \(count) elements")
        self.count = count
        key = mix64(mix64(mix64(seed) ^ stream.rawValue) ^ index)
        let bits = UInt64(Int.bitWidth - (count - 1).leadingZeroBitCount)
        halfBits = max(1, (bits + 1) / 2)
    }

    /// The element at an index in `0 ..< count`.
    package subscript(index: Int) -> Int {
        precondition((0..<count).contains(index), "index \(index) of \(count)")
        var value = UInt64(index)
        repeat { value = network(value) } while value >= UInt64(count)
        return Int(value)
    }

    private func network(_ value: UInt64) -> UInt64 {
        let mask = (1 << halfBits) - 1 as UInt64
        var (left, right) = (value >> halfBits, value & mask)
        for round in 0..<Self.rounds {
            (left, right) = (right, left ^ (mix64(key ^ mix64(round << 32 ^ right)) & mask))
        }
        return left << halfBits | right
    }
}
