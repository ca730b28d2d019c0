internal import CTorch

// Over all elements: the result has no axes.
extension Tensor {
    /// Integers and truth values add up to int64.
    package func sum() throws(TensorError) -> Tensor { try reduced("sum", CTORCH_SUM) }
    package func mean() throws(TensorError) -> Tensor { try reduced("mean", CTORCH_MEAN) }
    /// Equal largest elements share the gradient. NaN if one is NaN.
    package func max() throws(TensorError) -> Tensor { try reduced("max", CTORCH_MAX) }

    /// Whether no element is infinite or NaN; true for an empty tensor. On the CPU it takes no memory of a tensor in
    /// row-major order.
    package func allFinite() throws(TensorError) -> Bool {
        var finite = false
        try Tensor.check("allFinite", ctorch_all_finite(raw, &finite))
        return finite
    }

    private func reduced(_ operation: String, _ op: ctorch_reduction) throws(TensorError) -> Tensor {
        try Tensor.make(operation) { ctorch_reduce_all(op, raw, $0) }
    }
}

// Along one axis, which disappears, or stays with size 1. A negative axis counts from the end.
extension Tensor {
    package func sum(axis: Int, keepsAxis: Bool = false) throws(TensorError) -> Tensor {
        try reduced("sum", CTORCH_SUM, axis, keepsAxis)
    }
    package func mean(axis: Int, keepsAxis: Bool = false) throws(TensorError) -> Tensor {
        try reduced("mean", CTORCH_MEAN, axis, keepsAxis)
    }
    /// Where the largest element is, as int64: the lowest index when several are equal.
    package func argmax(axis: Int, keepsAxis: Bool = false) throws(TensorError) -> Tensor {
        try reduced("argmax", CTORCH_ARGMAX, axis, keepsAxis)
    }

    /// exp(x) / Σ exp(x) along the axis.
    package func softmax(axis: Int) throws(TensorError) -> Tensor {
        try Tensor.make("softmax") { ctorch_softmax(raw, axis, $0) }
    }
    /// x − log Σ exp(x) along the axis.
    package func logSoftmax(axis: Int) throws(TensorError) -> Tensor {
        try Tensor.make("logSoftmax") { ctorch_log_softmax(raw, axis, $0) }
    }
    /// The `count` largest elements along the last axis, largest first, and where they stand as int64.
    package func topK(_ count: Int) throws(TensorError) -> (values: Tensor, indices: Tensor) {
        var indices: OpaquePointer?
        let values = try Tensor.make("topK") { ctorch_top_k(raw, count, $0, &indices) }
        guard let indices else { throw .engine(operation: "topK", message: "the engine returned no indices") }
        return (values, Tensor(handle: TensorHandle(indices)))
    }

    /// Sums of runs or groups of elements:
    ///
    ///     out[s] = Σ over i with segments[i] = s of self[i]
    ///
    /// Added in float64 in the order of the elements, then rounded once to this tensor's type, so the same values give
    /// the same bits. A segment without elements is 0. Differentiable.
    ///
    /// - Parameters:
    ///   - segments: `[count of elements]` int64, each in `0 ..< count`.
    ///   - count: number of segments.
    /// - Returns: `[count]`.
    package func segmentSum(_ segments: Tensor, count: Int) throws(TensorError) -> Tensor {
        try requireRank(1, in: "segmentSum")
        try segments.requireShape(shape, in: "segmentSum")
        return try Tensor.make("segmentSum") { ctorch_segment_sum(raw, segments.raw, count, $0) }
    }

    private func reduced(
        _ operation: String, _ op: ctorch_reduction, _ axis: Int, _ keepsAxis: Bool
    ) throws(TensorError) -> Tensor {
        try Tensor.make(operation) { ctorch_reduce(op, raw, axis, keepsAxis, $0) }
    }
}
