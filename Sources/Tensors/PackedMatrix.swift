internal import CTorch

/// A matrix in the order in which products of few rows read it: a copy for a generator, or, in eight bits, all that is
/// kept of a matrix that is not trained.
///
/// The library's product packs its matrix anew at every call, which for a row or ten costs more than multiplying does.
/// A packed matrix is read once from end to end, as it lies in memory.
package struct PackedMatrix {
    /// What an element is stored as.
    package enum Form: Sendable, Equatable {
        case float32
        /// Eight bits with a scale an output: s = max|w| / 127, and w ≈ s · round(w / s), ties to even. A quarter of
        /// the memory, and another matrix.
        case int8
    }

    /// `[panels, inputs, 32]`: the elements of 32 outputs for one input stand side by side. float32, or the eight bits
    /// of a signed number as uint8.
    package let elements: Tensor
    /// `[panels · 32]` float32, the scales of int8; `nil` for other forms.
    package let scales: Tensor?
    package let outputs: Int

    /// Packs a copy.
    ///
    /// - Parameter matrix: `[outputs, inputs]` float32 on the CPU.
    /// - Throws: ``TensorError/engine(operation:message:)`` for anything else, and of int8 for an element that is not
    ///   finite.
    package init(_ matrix: Tensor, as form: Form) throws(TensorError) {
        outputs = try matrix.size(0)
        switch form {
        case .float32:
            elements = try Tensor.make("pack") { ctorch_pack(matrix.raw, $0) }
            scales = nil
        case .int8:
            var made: OpaquePointer?
            elements = try Tensor.make("pack") { ctorch_pack_int8(matrix.raw, $0, &made) }
            scales = made.map { Tensor(handle: TensorHandle($0)) }
        }
    }

    /// A matrix of what another one gave as its elements and scales.
    package init(elements: Tensor, scales: Tensor?, outputs: Int) {
        (self.elements, self.scales, self.outputs) = (elements, scales, outputs)
    }

    /// Under which name scales stand beside the elements where tensors go by names.
    package static func scalesName(of weight: String) -> String { weight + ".scales" }

    package var form: Form { scales == nil ? .float32 : .int8 }

    package var byteCount: Int {
        [elements, scales].compactMap { $0 }.reduce(0) { $0 + $1.count * $1.elementType.byteCount }
    }

    /// Bytes that a matrix of a shape, `[outputs, inputs]`, takes: its outputs are filled up to whole panels.
    package static func byteCount(of shape: [Int], as form: Form) -> Int {
        (shape[0] + 31) / 32 * 32 * (form == .int8 ? shape[1] + 4 : 4 * shape[1])
    }

    func raw(bias: Tensor?) -> ctorch_packed_matrix {
        ctorch_packed_matrix(packed: elements.raw, scales: scales?.raw, bias: bias?.raw, outputs: Int64(outputs))
    }
}

extension Tensor {
    /// out[r, o] = Σ_i self[r, i] · weight[o, i] + bias[o], `[rows, inputs]` to `[rows, outputs]`, float32.
    ///
    /// Sums over the inputs in order: a row's numbers do not depend on the rows beside it or on the number of threads.
    /// Differentiable in `self` alone: the gradient reads the packed matrix, a few outputs in float32 at a time.
    ///
    /// - Parameter bias: `[outputs]` float32.
    package func linear(weight: PackedMatrix, bias: Tensor? = nil) throws(TensorError) -> Tensor {
        try linear(weights: [weight], biases: [bias])[0]
    }

    /// The products with several matrices, all float32 or all of eight bits, in the time of one that has all their rows.
    ///
    /// - Parameter biases: One a matrix, `nil` for none.
    package func linear(weights: [PackedMatrix], biases: [Tensor?]) throws(TensorError) -> [Tensor] {
        let matrices = zip(weights, biases).map { $0.raw(bias: $1) }
        return try Tensor.make("linear", count: matrices.count) {
            ctorch_packed_linears(raw, matrices, matrices.count, $0)
        }
    }
}
