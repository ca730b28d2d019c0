internal import CTorch

// Gradients.
extension Tensor {
    /// Whether operations on this tensor are recorded: it is a leaf that collects a gradient, or computed from one.
    package var requiresGradient: Bool { ctorch_requires_gradient(raw) }

    /// A leaf that collects a gradient. It shares the elements: a change in place shows in both.
    package func requiringGradient() throws(TensorError) -> Tensor {
        try Tensor.make("requiringGradient") { ctorch_leaf(raw, $0) }
    }

    /// The same elements, shared, without their history: no gradient flows through.
    package func detached() throws(TensorError) -> Tensor {
        try Tensor.make("detached") { ctorch_detach(raw, $0) }
    }

    /// What backward has added up so far for a leaf; nil before the first, and for a tensor that is no leaf.
    package var gradient: Tensor? {
        var out: OpaquePointer?
        let status = ctorch_gradient(raw, &out)
        precondition(!status.failed, "reading the gradient of a tensor cannot fail")
        return out.map { Tensor(handle: TensorHandle($0)) }
    }

    /// Puts a gradient of the same shape, element type and device in place of the one collected.
    package func setGradient(_ gradient: Tensor) throws(TensorError) {
        try Tensor.check("setGradient", ctorch_set_gradient(raw, gradient.raw))
    }

    /// Forgets the gradient and frees its memory; the next backward starts anew.
    package func zeroGradient() throws(TensorError) {
        try Tensor.check("zeroGradient", ctorch_set_gradient(raw, nil))
    }

    /// Adds ∂(seed · self)/∂leaf to the gradient of every leaf this tensor was computed from.
    ///
    /// - Parameters:
    ///   - seed: the gradient of the final value in this tensor, of its shape; nil: 1, for a tensor of one element.
    ///   - keepsGraph: whether backward can run over the same operations again. Without it their memory is freed.
    package func backward(seed: Tensor? = nil, keepsGraph: Bool = false) throws(TensorError) {
        try Tensor.check("backward", ctorch_backward(raw, seed?.raw, keepsGraph))
    }

    /// ∂(seed · output)/∂input for each input, of its shape; no leaf collects anything.
    ///
    /// - Throws: ``TensorError/engine(operation:message:)`` when the output does not depend on an input, or when the
    ///   way there leads through ``checkpoint(inputs:_:)``.
    package static func gradients(
        of output: Tensor, withRespectTo inputs: [Tensor], seed: Tensor? = nil, keepsGraph: Bool = false
    ) throws(TensorError) -> [Tensor] {
        var out = [OpaquePointer?](repeating: nil, count: inputs.count)
        let status = withExtendedLifetime(inputs) {
            ctorch_gradients(output.raw, seed?.raw, handles(of: inputs), inputs.count, keepsGraph, &out)
        }
        try check("gradients", status)
        return try adopt(out, from: "gradients")
    }

    /// Runs `body` without recording operations for gradients: less memory and less time.
    ///
    /// The mode belongs to the thread, so `body` is synchronous.
    package static func withoutGradients<R>(_ body: () throws -> R) rethrows -> R {
        let recorded = ctorch_gradient_mode()
        ctorch_set_gradient_mode(false)
        defer { ctorch_set_gradient_mode(recorded) }
        return try body()
    }

    /// Whether operations of this thread are being recorded now.
    package static var recordsGradients: Bool { ctorch_gradient_mode() }
}
