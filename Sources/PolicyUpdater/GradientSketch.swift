package import Tensors
internal import Records

/// A count-sketch of gradients (Charikar et al. 2002): a short list of numbers whose inner products are, on average
/// over the sketch's seed, those of the gradients.
///
///     φ(g)_h = Σ over weights j with hash h of ±g_j
///
/// Hash and sign of a weight depend on the seed, its tensor's name and its index there alone. Costs 12 bytes a weight
/// that is looked at.
@TensorActor
package final class GradientSketch {
    private let size: Int
    private let maps: [(name: String, index: Tensor, sign: Tensor)]

    /// - Parameters:
    ///   - counts: Weights of each tensor that is looked at, by name.
    ///   - size: Numbers of the sketch.
    package init(of counts: [String: Int], size: Int, seed: UInt64) throws {
        self.size = size
        maps = try counts.sorted { $0.key < $1.key }.map { name, count in
            let key = name.utf8.reduce(mix64(seed)) { mix64($0 ^ UInt64($1)) }
            let hashes = (0..<count).map { mix64(key ^ UInt64($0)) }
            return (
                name, try Tensor(hashes.map { Int($0 >> 1) % size }),
                try Tensor(hashes.map { $0 & 1 == 0 ? Float(1) : -1 })
            )
        }
    }

    /// The sketch of gradients by name.
    package func callAsFunction(_ gradients: [String: Tensor]) throws -> [Double] {
        try Tensor.withoutGradients {
            var sum = try Tensor.zeros([size], .float64)
            for map in maps {
                let flat = try gradients[map.name]!.reshaped([-1]).to(.float64).to(.cpu)
                sum = try sum.indexAdded(axis: 0, index: map.index, source: flat * map.sign.to(.float64))
            }
            return try sum.doubles()
        }
    }
}
