package import Tensors

/// A digest of every parameter, so that weights written behind the actor's back are noticed at the next hand-over.
///
/// For the element with index `i` and bit pattern `b` of a tensor with seed `s` (a hash of its name)
///
///     digest = Σ_i mix64(s ⊕ i·0x9E3779B97F4A7C15 ⊕ (2b+1)·0xBF58476D1CE4E5B9)   (wrapping)
///
/// Any single changed bit and any swap of two unequal elements changes it. The sum does not depend on how the tensor is
/// cut into shards. It reads each weight once: about a nanosecond per weight.
package struct WeightFingerprint: Sendable, Equatable {
    private let digests: [String: UInt64]

    /// Reads every parameter bit by bit; types below float32 through float32, which holds each of their values.
    ///
    /// - Throws: ``TensorError`` when a tensor cannot be read.
    @TensorActor
    package init(of parameters: [String: Tensor]) throws {
        digests = try Dictionary(
            uniqueKeysWithValues: parameters.map { name, tensor in (name, try Self.digest(of: tensor, named: name)) })
    }

    /// The first parameter, by name, whose digest differs; `nil` when all are equal.
    package func firstDifference(from other: WeightFingerprint) -> String? {
        Set(digests.keys).union(other.digests.keys).sorted().first { digests[$0] != other.digests[$0] }
    }

    @TensorActor
    private static func digest(of tensor: Tensor, named name: String) throws -> UInt64 {
        let seed = name.utf8.reduce(0xCBF2_9CE4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x0000_0100_0000_01B3 }
        let values = try tensor.detached().to(.cpu).contiguous()
        if values.elementType == .float64 {
            return sum(of: try values.doubles(), seed: seed, bits: \.bitPattern)
        }
        return try values.to(.float32).withFloats { floats in
            var total: UInt64 = 0
            for index in floats.indices {
                total &+= mixed(seed, index, UInt64(floats[index].bitPattern))
            }
            return total
        }
    }

    private static func sum(of values: [Double], seed: UInt64, bits: (Double) -> UInt64) -> UInt64 {
        values.indices.reduce(0) { $0 &+ mixed(seed, $1, bits(values[$1])) }
    }

    /// The finaliser of splitmix64 over position and bit pattern.
    @inline(__always)
    private static func mixed(_ seed: UInt64, _ index: Int, _ bits: UInt64) -> UInt64 {
        var word =
            seed ^ (UInt64(truncatingIfNeeded: index) &* 0x9E37_79B9_7F4A_7C15)
            ^ ((2 &* bits &+ 1) &* 0xBF58_476D_1CE4_E5B9)
        word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
        return word ^ (word >> 31)
    }
}
