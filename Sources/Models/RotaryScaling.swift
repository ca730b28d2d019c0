internal import Foundation

/// How rotary frequencies are stretched beyond the context a model was first trained on.
package enum RotaryScaling: Sendable, Equatable {
    /// Frequencies as in RoFormer (Su et al. 2021, arXiv:2104.09864, eq. 15).
    case none
    /// Positions divided by `factor` (position interpolation, Chen et al. 2023, arXiv:2306.15595).
    case linear(factor: Double)
    /// A base that grows with the length of the text once it is longer than the context (NTK-aware scaling).
    case dynamic(factor: Double)
    /// High frequencies kept, low ones divided by `factor`, a ramp between, cos and sin scaled (Peng et al. 2023,
    /// arXiv:2309.00071).
    case yarn(Yarn)
    /// High frequencies kept, low ones divided, a smooth part between, as published with Llama 3.1.
    case llama3(factor: Double, lowFrequencyFactor: Double, highFrequencyFactor: Double, originalContextLength: Int)

    /// Settings of ``RotaryScaling/yarn(_:)``.
    package struct Yarn: Sendable, Equatable {
        package let factor: Double
        package let originalContextLength: Int
        /// Rotations over the original context above which a frequency is kept, and below which it is divided.
        package let betaFast: Double
        package let betaSlow: Double
        /// What cos and sin are multiplied with.
        package let attentionFactor: Double
        /// Whether the ramp's ends are rounded outwards to whole dimensions.
        package let truncates: Bool
    }

    /// The names of `rope_type` that are computed.
    static let supported = "default, linear, dynamic, yarn or llama3"
}

/// Rotary frequencies of one model.
struct RotaryFrequencies {
    /// `[headSize / 2]`, in radians per position.
    let inverse: [Float]
    /// What cos and sin are multiplied with; 1 unless the scaling is yarn.
    let attentionFactor: Float

    /// The frequencies for texts of at most `length` tokens. Only dynamic scaling looks at the length.
    init(_ configuration: ModelConfiguration, length: Int) {
        let size = configuration.headSize
        let plain = Self.plain(base: configuration.ropeTheta, size: size)
        switch configuration.ropeScaling {
        case .none:
            (inverse, attentionFactor) = (plain.map { Float($0) }, 1)
        case .linear(let factor):
            (inverse, attentionFactor) = (plain.map { Float($0 / factor) }, 1)
        case .dynamic(let factor):
            let stretch =
                factor * Double(max(length, configuration.contextLength)) / Double(configuration.contextLength)
            let base = configuration.ropeTheta * pow(stretch - (factor - 1), Double(size) / Double(size - 2))
            (inverse, attentionFactor) = (Self.plain(base: base, size: size).map { Float($0) }, 1)
        case .yarn(let yarn):
            inverse = Self.yarn(yarn, plain, base: configuration.ropeTheta)
            attentionFactor = Float(yarn.attentionFactor)
        case .llama3(let factor, let low, let high, let original):
            let bounds = (low: Double(original) / low, high: Double(original) / high)
            inverse = plain.map { frequency in
                let wavelength = 2 * Double.pi / frequency
                if wavelength < bounds.high { return Float(frequency) }
                if wavelength > bounds.low { return Float(frequency / factor) }
                let smooth = (Double(original) / wavelength - low) / (high - low)
                return Float((1 - smooth) * frequency / factor + smooth * frequency)
            }
            attentionFactor = 1
        }
    }

    /// base^(−2i/size) for i in 0 ..< size/2.
    private static func plain(base: Double, size: Int) -> [Double] {
        stride(from: 0, to: size, by: 2).map { 1 / pow(base, Double($0) / Double(size)) }
    }

    private static func yarn(_ yarn: RotaryScaling.Yarn, _ plain: [Double], base: Double) -> [Float] {
        let size = Double(2 * plain.count)
        // The dimension that turns `rotations` times over the original context.
        func dimension(_ rotations: Double) -> Double {
            size * log(Double(yarn.originalContextLength) / (rotations * 2 * .pi)) / (2 * log(base))
        }
        var low = dimension(yarn.betaFast)
        var high = dimension(yarn.betaSlow)
        if yarn.truncates { (low, high) = (low.rounded(.down), high.rounded(.up)) }
        (low, high) = (max(low, 0), min(high, size - 1))
        if low == high { high += 0.001 }  // a ramp of no width would divide by zero
        return plain.enumerated().map { index, frequency in
            let ramp = min(max((Double(index) - low) / (high - low), 0), 1)
            return Float(frequency / yarn.factor * ramp + frequency * (1 - ramp))
        }
    }
}
