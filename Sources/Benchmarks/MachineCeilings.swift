internal import Tensors

/// What this machine can do at best, measured in the same run as the work that is compared with it.
package struct MachineCeilings: Sendable, Equatable {
    /// float32 matrix products, 10⁹ operations a second.
    package let gigaflops: Double
    /// Reading memory, 10⁹ bytes a second.
    package let gigabytesPerSecond: Double

    package init(gigaflops: Double, gigabytesPerSecond: Double) {
        self.gigaflops = gigaflops
        self.gigabytesPerSecond = gigabytesPerSecond
    }

    /// Multiplies two 2048 × 2048 matrices and sums 256 MB, five times each; the best time counts.
    ///
    /// - Parameter threads: Those of the tensor engine from here on.
    @TensorActor static func measured(threads: Int) throws -> MachineCeilings {
        try TensorEngine.setThreadCount(threads)
        let size = 2048
        let left = try Tensor.full([size, size], 0.5)
        let right = try Tensor.full([size, size], 0.25)
        let product = try best { try left.matmul(right) }
        let count = 64_000_000
        let long = try Tensor.ones([count])
        let sum = try best { try long.sum() }
        let cubed = Double(size) * Double(size) * Double(size)
        return MachineCeilings(
            gigaflops: 2 * cubed / product / 1e9, gigabytesPerSecond: 4 * Double(count) / sum / 1e9)
    }

    @TensorActor private static func best(_ work: () throws -> Tensor) throws -> Double {
        let clock = ContinuousClock()
        _ = try work()
        var seconds = Double.infinity
        for _ in 0..<5 {
            let start = clock.now
            _ = try work()
            seconds = min(seconds, (clock.now - start) / .seconds(1))
        }
        return seconds
    }
}
