internal import Foundation
package import Tensors

/// The random numbers of one soft step, addressed by run seed, step, prompt row, sample, token and slot.
///
/// A slot is the id of the word that the number is for (the dimension, for noise on embeddings): which words share its
/// support, and in which order, changes no draw.
package struct SoftDraws: Sendable {
    private let seed: UInt64
    private let address: RandomAddress

    /// - Parameter address: Of the token; its slot is not read.
    package init(seed: UInt64, address: RandomAddress) {
        self.seed = seed
        self.address = address
    }

    private func address(_ slot: Int) -> RandomAddress {
        var address = address
        address.slot = slot
        return address
    }

    /// A standard Gumbel variable.
    func gumbel(_ slot: Int) -> Double { address(slot).gumbel(seed: seed) }

    /// A standard normal variable; another `attempt` is another one.
    func normal(_ slot: Int, attempt: Int = 0) -> Double {
        attempt == 0
            ? address(slot).normals(seed: seed, stream: .gumbel).0
            : RandomAddress(slot: attempt).normals(seed: seedOfSlot(slot), stream: .gumbel).0
    }

    /// The logarithm of a Gamma(shape, 1) variable, which itself would be 0 for small shapes.
    ///
    /// Marsaglia and Tsang 2000, "A simple method for generating gamma variables", with shape + 1 and their step down:
    /// ln G(a) = ln G(a + 1) + ln(U) / a.
    func logGamma(_ slot: Int, shape: Double) -> Double {
        let seed = seedOfSlot(slot)
        let d = shape + 1 - 1.0 / 3
        let c = 1 / (9 * d).squareRoot()
        var attempt = 1
        while true {
            let normal = RandomAddress(token: attempt, slot: 0).normals(seed: seed, stream: .gumbel).0
            let uniform = RandomAddress(token: attempt, slot: 1).uniform(seed: seed, stream: .gumbel)
            attempt += 1
            let v = pow(1 + c * normal, 3)
            guard v > 0, log(uniform) < 0.5 * normal * normal + d - d * v + d * log(v) else { continue }
            let last = RandomAddress(token: 0, slot: 2).uniform(seed: seed, stream: .gumbel)
            return log(d * v) + log(last) / shape
        }
    }

    /// A seed of the slot's own, for draws that take a number of attempts nobody knows before.
    private func seedOfSlot(_ slot: Int) -> UInt64 {
        let words = address(slot).words(seed: seed, stream: .gumbel)
        return UInt64(words.x) << 32 | UInt64(words.y)
    }
}
