internal import CTorch

// Other shapes of the same elements. A negative axis counts from the end. All of it is differentiable.
extension Tensor {
    /// The elements in row-major order under another shape; one size may be −1, for what is left. A view where the
    /// layout allows it, else a copy.
    package func reshaped(_ shape: [Int]) throws(TensorError) -> Tensor {
        try Tensor.make("reshaped") { ctorch_reshape(raw, shape, shape.count, $0) }
    }

    /// A view with two axes exchanged.
    package func transposed(_ a: Int, _ b: Int) throws(TensorError) -> Tensor {
        try Tensor.make("transposed") { ctorch_transpose(raw, a, b, $0) }
    }

    /// A view with the axes in another order: axis `i` of the result is axis `axes[i]` of this tensor.
    package func permuted(_ axes: [Int]) throws(TensorError) -> Tensor {
        try Tensor.make("permuted") { ctorch_permute(raw, axes, axes.count, $0) }
    }

    /// A view with an axis of size 1 put in at `axis`.
    package func unsqueezed(_ axis: Int) throws(TensorError) -> Tensor {
        try Tensor.make("unsqueezed") { ctorch_unsqueeze(raw, axis, $0) }
    }

    /// A view without the axis, which must have size 1.
    package func squeezed(_ axis: Int) throws(TensorError) -> Tensor {
        try Tensor.make("squeezed") { ctorch_squeeze(raw, axis, $0) }
    }

    /// A view that repeats axes of size 1 up to `shape` without copying; −1 keeps a size. Do not change it in place.
    package func expanded(_ shape: [Int]) throws(TensorError) -> Tensor {
        try Tensor.make("expanded") { ctorch_expand(raw, shape, shape.count, $0) }
    }

    /// A view of `count` indices of an axis, from `start`.
    package func narrow(axis: Int, start: Int, count: Int) throws(TensorError) -> Tensor {
        try Tensor.make("narrow") { ctorch_narrow(raw, axis, start, count, $0) }
    }

    /// A view of one index of an axis, which disappears.
    package func selected(axis: Int, at index: Int) throws(TensorError) -> Tensor {
        try Tensor.make("selected") { ctorch_select(raw, axis, index, $0) }
    }

    /// A copy with the axis in reverse order.
    package func flipped(axis: Int) throws(TensorError) -> Tensor {
        try Tensor.make("flipped") { ctorch_flip(raw, axis, $0) }
    }

    /// The tensors one after another along an axis they have; their other sizes agree.
    package static func concatenated(_ tensors: [Tensor], axis: Int = 0) throws(TensorError) -> Tensor {
        try make("concatenated") { out in
            withExtendedLifetime(tensors) { ctorch_concatenate(handles(of: tensors), tensors.count, axis, out) }
        }
    }

    /// Views of consecutive stretches of an axis; the sizes add up to its size.
    package func split(_ sizes: [Int], axis: Int = 0) throws(TensorError) -> [Tensor] {
        var out = [OpaquePointer?](repeating: nil, count: sizes.count)
        try Tensor.check("split", ctorch_split(raw, sizes, sizes.count, axis, &out))
        return try Tensor.adopt(out, from: "split")
    }
}
