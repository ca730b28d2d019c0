package import Tensors

/// `generation_layout:`, how the weights lie while completions are sampled.
package enum GenerationLayout: String, Sendable, CaseIterable {
    /// Where they are: no copy.
    case shared
    /// The matrices packed for products of few rows, made from the weights at the first sampling after each step and
    /// gone while the next one is trained.
    case packed
    /// The same in eight bits a weight, but for embeddings and head. Another policy than the one that is trained.
    case int8
}

extension ModelConfiguration {
    /// The name of what gives logits: the embedding's where the two are tied.
    var headName: String { tiesEmbeddings ? ParameterName.embedding : ParameterName.head }

    /// The matrices of which a layout has packed copies, by name, and how.
    ///
    /// - Parameter storage: What the weights are kept as: of what is packed there no copy is made.
    package func packing(
        _ layout: GenerationLayout, of storage: WeightStorage = .whole
    ) -> [String: PackedMatrix.Form] {
        let form: PackedMatrix.Form
        switch layout {
        case .shared: return [:]
        case .packed: form = .float32
        case .int8: form = .int8
        }
        let matrices = parameterShapes.filter { $0.shape.count == 2 && $0.name.hasPrefix(ParameterName.layers) }
        var packing = Dictionary(uniqueKeysWithValues: matrices.map { ($0.name, form) })
        packing[headName] = .float32
        for shape in parameterShapes where storage.form(of: shape) != nil { packing[shape.name] = nil }
        return packing
    }

    /// Bytes of the copies of a layout, on one of so many ranks that sample with a part of each.
    package func packedBytes(_ layout: GenerationLayout, of storage: WeightStorage = .whole, ranks: Int = 1) -> Int {
        let packing = packing(layout, of: storage)
        return parameterShapes.reduce(0) { sum, parameter in
            guard let form = packing[parameter.name] else { return sum }
            return sum + PackedMatrix.byteCount(of: parameter.largestPart(of: ranks).shape, as: form)
        }
    }

    /// Bytes that a hand-over to sampling holds at its most beside what was held before it: what it makes of the weights,
    /// and what making it takes for a moment. A hand-over to training makes nothing.
    ///
    ///     P·c                        copies, where passes read a narrower type than the trained one
    ///     + packedBytes              panels of 32 outputs
    ///     + Σ m·c                    sums of adapted matrices that are not packed
    ///     + summingBytes
    ///
    /// with P parameters, m numbers of a matrix, c bytes a number of the type that passes read.
    ///
    /// - Parameters:
    ///   - master: In which weights are trained.
    ///   - compute: In which passes read them.
    ///   - ranks: How many sample with a part of each matrix.
    package func handOverBytes(
        _ layout: GenerationLayout, master: ElementType, compute: ElementType, of storage: WeightStorage = .whole,
        ranks: Int = 1
    ) -> Int {
        let packing = packing(layout, of: storage)
        let copies = adapters == nil && master != compute ? parameterBytes(compute) : 0
        let sums = summed(storage).filter { packing[$0.name] == nil }.reduce(0) {
            $0 + $1.largestPart(of: ranks).count * compute.byteCount
        }
        return copies + packedBytes(layout, of: storage, ranks: ranks) + sums
            + summingBytes(layout, compute: compute, of: storage, ranks: ranks)
    }

    /// Bytes that making what is sampled with takes for a moment beside the result, of the matrix that takes most: where
    /// a sum is packed the sum itself, 4m; where it is rounded the sum in float32 and the matrix widened to it, 8m, of
    /// which the place of the result is part.
    package func summingBytes(
        _ layout: GenerationLayout, compute: ElementType, of storage: WeightStorage = .whole, ranks: Int = 1
    ) -> Int {
        let packing = packing(layout, of: storage)
        let isRounded = compute.byteCount < ElementType.float32.byteCount
        return summed(storage).reduce(0) { most, matrix in
            let perNumber = packing[matrix.name] != nil ? 4 : isRounded ? 8 - compute.byteCount : 0
            return max(most, perNumber * matrix.largestPart(of: ranks).count)
        }
    }

    /// The matrices that are sampled with as sums with what adapters add to them.
    private func summed(_ storage: WeightStorage) -> [ParameterShape] {
        let names = Set(adaptedProjections.map { $0 + ".weight" })
        return parameterShapes.filter { names.contains($0.name) && storage.form(of: $0) == nil }
    }
}
