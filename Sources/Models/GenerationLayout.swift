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
}
