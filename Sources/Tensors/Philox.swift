internal import CTorch
internal import Foundation

/// Philox4x32-10, a counter-based random generator: a pure function of a key and a counter.
///
/// Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3". Nothing is remembered between calls, so a draw
/// depends on its address alone and not on which draws were made before it.
package enum Philox {
    /// Four words of 32 random bits for a counter of four words and a key of two.
    package static func words(counter: SIMD4<UInt32>, key: SIMD2<UInt32>) -> SIMD4<UInt32> {
        var words = counter
        withUnsafeMutableBytes(of: &words) { bytes in
            bytes.withMemoryRebound(to: UInt32.self) { ctorch_philox($0.baseAddress, key.x, key.y) }
        }
        return words
    }
}

/// Spreads a seed and the number of a stream over 64 bits: two rounds of the finalizer of SplitMix64.
package func streamKey(seed: UInt64, stream: UInt64) -> UInt64 {
    func finalized(_ value: UInt64) -> UInt64 {
        var bits = value &+ 0x9E37_79B9_7F4A_7C15
        bits = (bits ^ (bits >> 30)) &* 0xBF58_476D_1CE4_E5B9
        bits = (bits ^ (bits >> 27)) &* 0x94D0_49BB_1331_11EB
        return bits ^ (bits >> 31)
    }
    return finalized(finalized(seed) ^ stream)
}

/// What random numbers are for. Streams of one seed are independent of each other.
package enum RandomStream: UInt64, Sendable, CaseIterable {
    case sample = 1
    case gumbel, shuffle, initialization, dropout
}

/// Where a random number stands. Two draws are equal exactly when seed, stream and address are.
///
/// The counter of ``Philox``: step 32 bits, row 32, sample 16, token 24, slot 24.
package struct RandomAddress: Sendable, Equatable {
    /// Training step, from 0.
    package var step: Int
    /// Row of the prompt in its set; for an initialization, the number of the tensor.
    package var row: Int
    /// Which completion of the prompt.
    package var sample: Int
    /// Which token of the completion.
    package var token: Int
    /// Which number at that token.
    package var slot: Int

    /// A field that does not fit its bits is a programming error: no run comes near 65,536 samples or 16 million
    /// tokens.
    package init(step: Int = 0, row: Int = 0, sample: Int = 0, token: Int = 0, slot: Int = 0) {
        precondition(step >= 0 && step >> 32 == 0 && row >= 0 && row >> 32 == 0, "step and row have 32 bits")
        precondition(sample >= 0 && sample >> 16 == 0, "sample has 16 bits")
        precondition(token >= 0 && token >> 24 == 0 && slot >= 0 && slot >> 24 == 0, "token and slot have 24 bits")
        self.step = step
        self.row = row
        self.sample = sample
        self.token = token
        self.slot = slot
    }

    /// The 128 bits in four words, lowest first: slot and token, token and sample, row, step.
    var counter: SIMD4<UInt32> {
        let low = UInt64(slot) | UInt64(token) << 24 | UInt64(sample) << 48
        return SIMD4(
            UInt32(truncatingIfNeeded: low), UInt32(truncatingIfNeeded: low >> 32), UInt32(row), UInt32(step))
    }

    /// Four words of 32 random bits.
    package func words(seed: UInt64, stream: RandomStream) -> SIMD4<UInt32> {
        let key = streamKey(seed: seed, stream: stream.rawValue)
        return Philox.words(
            counter: counter,
            key: SIMD2(UInt32(truncatingIfNeeded: key), UInt32(truncatingIfNeeded: key >> 32)))
    }

    /// A number of the open interval (0, 1), from 52 random bits: never 0, never 1.
    package func uniform(seed: UInt64, stream: RandomStream) -> Double {
        let words = words(seed: seed, stream: stream)
        return Self.openUnit(words.x, words.y)
    }

    /// A standard Gumbel variable, −ln(−ln u).
    package func gumbel(seed: UInt64, stream: RandomStream = .gumbel) -> Double {
        -log(-log(uniform(seed: seed, stream: stream)))
    }

    /// Two independent standard normal variables, by Box and Muller.
    package func normals(seed: UInt64, stream: RandomStream) -> (Double, Double) {
        let words = words(seed: seed, stream: stream)
        let radius = (-2 * log(Self.openUnit(words.x, words.y))).squareRoot()
        let angle = 2 * Double.pi * Self.openUnit(words.z, words.w)
        return (radius * cos(angle), radius * sin(angle))
    }

    private static func openUnit(_ high: UInt32, _ low: UInt32) -> Double {
        let bits = (UInt64(high) << 32 | UInt64(low)) >> 12
        return (Double(bits) + 0.5) * 0x1p-52
    }
}
