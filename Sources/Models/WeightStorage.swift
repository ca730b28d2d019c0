package import Tensors

/// What the matrices of blocks that are not trained are kept as.
package enum WeightStorage: String, Sendable {
    /// In the type of the passes.
    case whole
    /// In eight bits with a scale an output, as ``PackedMatrix/Form/int8``; products read them as they are.
    case int8
}

extension ModelConfiguration {
    /// The tensors that a model has in place of ``parameterShapes`` where some of its matrices are packed.
    ///
    /// - Parameter packed: Those matrices, by name.
    func shapes(packed: [String: PackedMatrix]) -> [ParameterShape] {
        parameterShapes.flatMap { shape in
            guard packed[shape.name] != nil else { return [shape] }
            let panels = (shape.shape[0] + 31) / 32
            return [
                ParameterShape(name: shape.name, shape: [panels, shape.shape[1], 32], role: .weight),
                ParameterShape(
                    name: PackedMatrix.scalesName(of: shape.name), shape: [panels * 32], role: .weight),
            ]
        }
    }

    /// The matrices that stand among parameters in eight bits: their scales are beside them.
    func packedMatrices(in parameters: [String: Tensor]) -> [String: PackedMatrix] {
        var packed: [String: PackedMatrix] = [:]
        for shape in parameterShapes where shape.isProjection {
            guard let elements = parameters[shape.name],
                let scales = parameters[PackedMatrix.scalesName(of: shape.name)]
            else { continue }
            packed[shape.name] = PackedMatrix(elements: elements, scales: scales, outputs: shape.shape[0])
        }
        return packed
    }

    /// Bytes of the model's own parameters.
    ///
    /// - Parameter storage: Of the matrices of the blocks.
    package func parameterBytes(_ type: ElementType, _ storage: WeightStorage) -> Int {
        guard storage == .int8 else { return parameterBytes(type) }
        return parameterShapes.reduce(0) { sum, shape in
            guard shape.isProjection else { return sum + shape.count * type.byteCount }
            return sum + (shape.shape[0] + 31) / 32 * 32 * (shape.shape[1] + 4)
        }
    }
}
