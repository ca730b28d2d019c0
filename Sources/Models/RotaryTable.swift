internal import Foundation
internal import Tensors

/// Cosines and sines of the angles that turn queries and keys, `[tokens, headSize / 2]` each.
struct RotaryAngles {
    let cosines: Tensor
    let sines: Tensor

    /// Those of some tokens.
    func rows(at indices: [Int]) throws(TensorError) -> RotaryAngles {
        RotaryAngles(cosines: try cosines.rows(at: indices), sines: try sines.rows(at: indices))
    }
}

/// Rotary angles of one model, kept by position so that they are computed once.
final class RotaryTable {
    private let configuration: ModelConfiguration
    private let elementType: ElementType
    private let device: Device
    /// Angles of positions 0 ..< ``length``; grown when a longer text comes.
    private var table: RotaryAngles?
    private var length = 0

    init(_ configuration: ModelConfiguration, _ elementType: ElementType, _ device: Device) {
        self.configuration = configuration
        self.elementType = elementType
        self.device = device
    }

    /// The angles of packed tokens.
    ///
    /// With dynamic scaling the angle of a token depends on the length of its text once that exceeds the context, so a
    /// prompt shared by several such completions has no angle of its own.
    ///
    /// - Throws: ``ModelError/call(_:)`` for that last case.
    func angles(for layout: SequenceLayout) throws -> RotaryAngles {
        guard case .dynamic = configuration.ropeScaling, layout.longestText > configuration.contextLength else {
            return try rows(at: layout.positions)
        }
        var frequencies: [Float] = []
        var cosines: [Float] = []
        var sines: [Float] = []
        for group in layout.groups {
            let lengths = group.completions.map { group.prompt.count + $0.count }
            let longest = lengths.max() ?? group.prompt.count
            guard lengths.count < 2 || longest <= configuration.contextLength else {
                throw ModelError.call(tooLong("score \(lengths.count) completions of one prompt together"))
            }
            frequencies = RotaryFrequencies(configuration, length: longest).inverse
            Self.append(positions: layout.positions[group.tokens], frequencies, scale: 1, to: &cosines, &sines)
        }
        return try angles(cosines, sines)
    }

    /// The angles of single tokens of texts that still grow.
    ///
    /// - Throws: ``ModelError/call(_:)`` beyond the context with dynamic scaling.
    func angles(at positions: [Int]) throws -> RotaryAngles {
        if case .dynamic = configuration.ropeScaling, let last = positions.max(), last >= configuration.contextLength {
            throw ModelError.call(tooLong("sample"))
        }
        return try rows(at: positions)
    }

    private func tooLong(_ action: String) -> String {
        """
        cannot \(action) beyond \(configuration.contextLength) tokens (max_position_embeddings) with dynamic rope \
        scaling: every token's rotation changes with the length of its text
        """
    }

    private func rows(at positions: [Int]) throws -> RotaryAngles {
        let table = try grown(to: (positions.max() ?? 0) + 1)
        let index = try Tensor(positions, device: device)
        return RotaryAngles(cosines: try table.cosines.rows(at: index), sines: try table.sines.rows(at: index))
    }

    private func grown(to needed: Int) throws -> RotaryAngles {
        if let table, needed <= length { return table }
        var size = max(256, length)
        while size < needed { size *= 2 }
        let frequencies = RotaryFrequencies(configuration, length: configuration.contextLength)
        var cosines: [Float] = []
        var sines: [Float] = []
        Self.append(
            positions: 0..<size, frequencies.inverse, scale: frequencies.attentionFactor, to: &cosines, &sines)
        let grown = try angles(cosines, sines)
        (table, length) = (grown, size)
        return grown
    }

    private func angles(_ cosines: [Float], _ sines: [Float]) throws -> RotaryAngles {
        let shape = [cosines.count * 2 / configuration.headSize, configuration.headSize / 2]
        return RotaryAngles(
            cosines: try Tensor(cosines, shape: shape, device: device).to(elementType),
            sines: try Tensor(sines, shape: shape, device: device).to(elementType))
    }

    /// The angle itself is a float32 product, as published models were trained with.
    private static func append(
        positions: some Collection<Int>, _ frequencies: [Float], scale: Float, to cosines: inout [Float],
        _ sines: inout [Float]
    ) {
        cosines.reserveCapacity(cosines.count + positions.count * frequencies.count)
        sines.reserveCapacity(sines.count + positions.count * frequencies.count)
        for position in positions {
            for frequency in frequencies {
                let angle = Double(Float(position) * frequency)
                cosines.append(Float(cos(angle)) * scale)
                sines.append(Float(sin(angle)) * scale)
            }
        }
    }
}

extension SequenceLayout {
    /// Tokens of the longest prompt with one of its completions.
    var longestText: Int {
        groups.map { group in group.prompt.count + (group.completions.map(\.count).max() ?? 0) }.max() ?? 0
    }
}
