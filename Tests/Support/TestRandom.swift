import Foundation

/// How many mutated inputs a fuzz test tries.
package let mutationCount = runsLongTests ? 100_000 : 5_000

/// Whether `make test-long` asks for what takes minutes or needs a quiet machine.
package let runsLongTests = ProcessInfo.processInfo.environment["PLUMBLINE_LONG_TESTS"] == "1"

/// A seeded generator (SplitMix64, Steele et al. 2014): the same inputs on every run, and a failing mutation can be found
/// again.
package struct TestRandom: RandomNumberGenerator {
    private var state: UInt64

    package init(seed: UInt64) { state = seed }

    package mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }

    /// Uniform in the range.
    package mutating func double(in range: ClosedRange<Double> = -1...1) -> Double {
        range.lowerBound + (range.upperBound - range.lowerBound) * Double(next() >> 11) * 0x1p-53
    }

    package mutating func doubles(_ count: Int, in range: ClosedRange<Double> = -1...1) -> [Double] {
        (0..<count).map { _ in double(in: range) }
    }

    /// Uniform in `0 ..< bound`, but for a bias far below what a test can see.
    package mutating func integer(below bound: Int) -> Int { Int(next() % UInt64(bound)) }

    /// `bytes` with one to four changes: a byte replaced, removed, doubled or flipped, a piece cut out or repeated, the
    /// end cut off.
    package mutating func mutated(_ bytes: [UInt8]) -> [UInt8] {
        var bytes = bytes
        for _ in 0..<Int.random(in: 1...4, using: &self) where !bytes.isEmpty {
            let at = Int.random(in: 0..<bytes.count, using: &self)
            let end = min(bytes.count, at + Int.random(in: 1...8, using: &self))
            switch Int.random(in: 0..<7, using: &self) {
            case 0: bytes[at] = UInt8.random(in: 0...255, using: &self)
            case 1: bytes.remove(at: at)
            case 2: bytes.insert(bytes[at], at: at)
            case 3: bytes[at] ^= 1 << UInt8.random(in: 0..<8, using: &self)
            case 4: bytes.removeSubrange(at..<end)
            case 5: bytes.insert(contentsOf: bytes[at..<end], at: Int.random(in: 0...bytes.count, using: &self))
            default: bytes.removeSubrange(at...)
            }
        }
        return bytes
    }
}
