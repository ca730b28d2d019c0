package import Tensors

/// What matrices that are not trained are kept as.
package enum WeightStorage: String, Sendable {
    /// In the type of the passes.
    case whole
    /// Matrices of the blocks in eight bits with a scale an output, as ``PackedMatrix/Form/int8``; products read them as
    /// they are.
    case int8
    /// Matrices of the blocks, and a head that is not the embedding, in float32 as ``PackedMatrix/Form/float32``: of a
    /// model that is sampled from and read by nobody else, which then needs no second copy of them.
    case packed

    /// How a parameter is kept; `nil` for one that stays as it is.
    func form(of parameter: ParameterShape) -> PackedMatrix.Form? {
        switch self {
        case .whole: nil
        case .int8: parameter.isProjection ? .int8 : nil
        case .packed: parameter.isProjection || parameter.name == ParameterName.head ? .float32 : nil
        }
    }
}

extension ModelConfiguration {
    /// The tensors that a model has in place of ``parameterShapes`` where some of its matrices are packed.
    ///
    /// - Parameter packed: Those matrices, by name.
    func shapes(packed: [String: PackedMatrix]) -> [ParameterShape] {
        parameterShapes.flatMap { shape in
            guard let matrix = packed[shape.name] else { return [shape] }
            let panels = (shape.shape[0] + 31) / 32
            let elements = ParameterShape(name: shape.name, shape: [panels, shape.shape[1], 32], role: .weight)
            guard matrix.scales != nil else { return [elements] }
            return [
                elements,
                ParameterShape(
                    name: PackedMatrix.scalesName(of: shape.name), shape: [panels * 32], role: .weight),
            ]
        }
    }

    /// The matrices that stand packed among parameters: those in eight bits have their scales beside them, those in float32
    /// have three axes.
    func packedMatrices(in parameters: [String: Tensor]) -> [String: PackedMatrix] {
        var packed: [String: PackedMatrix] = [:]
        for shape in parameterShapes where WeightStorage.packed.form(of: shape) != nil {
            guard let elements = parameters[shape.name] else { continue }
            let scales = parameters[PackedMatrix.scalesName(of: shape.name)]
            guard scales != nil || elements.rank == 3 && elements.elementType == .float32 else { continue }
            packed[shape.name] = PackedMatrix(elements: elements, scales: scales, outputs: shape.shape[0])
        }
        return packed
    }

    /// Bytes of the model's own parameters.
    ///
    /// - Parameter storage: Of the matrices.
    package func parameterBytes(_ type: ElementType, _ storage: WeightStorage) -> Int {
        parameterShapes.reduce(0) { sum, shape in
            guard let form = storage.form(of: shape) else { return sum + shape.count * type.byteCount }
            return sum + PackedMatrix.byteCount(of: shape.shape, as: form)
        }
    }
}
