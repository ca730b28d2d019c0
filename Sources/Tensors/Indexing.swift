internal import CTorch

// Elements chosen by int64 tensors. The CPU checks every index; a CUDA device stops the process on one out of range.
// Backward is deterministic: the same inputs give the same bits.
extension Tensor {
    /// The rows at the indices of axis 0: `[index count, …]`. Differentiable; a row chosen twice gets both
    /// gradients. With a weight `[vocabulary, width]` this is the embedding of tokens.
    package func rows(at index: Tensor) throws(TensorError) -> Tensor {
        try Tensor.make("rows") { ctorch_index_select(raw, 0, index.raw, $0) }
    }

    /// The rows at the indices, given as an array.
    package func rows(at index: [Int]) throws(TensorError) -> Tensor {
        try rows(at: Tensor(index, device: device))
    }

    /// One element for each index: for rank 2 and axis 1, out[i, j] = self[i, index[i, j]]. The ranks agree.
    package func gathered(axis: Int, index: Tensor) throws(TensorError) -> Tensor {
        try Tensor.make("gathered") { ctorch_gather(raw, axis, index.raw, $0) }
    }

    /// A copy to which slices of `source` are added: for axis 0, out[index[i], …] += source[i, …]. Differentiable in
    /// both.
    package func indexAdded(axis: Int, index: Tensor, source: Tensor) throws(TensorError) -> Tensor {
        try Tensor.make("indexAdded") { ctorch_index_add(raw, axis, index.raw, source.raw, $0) }
    }
}

// Changes in place, for caches, optimizers and moving parameters. No gradient is recorded.
extension Tensor {
    /// Takes over the values of a tensor of the same shape, from any element type and device.
    package func copy(from source: Tensor) throws(TensorError) {
        try Tensor.check("copy", ctorch_copy_in_place(raw, source.raw))
    }

    /// self += scale · source, for a source of the same shape.
    package func addInPlace(_ source: Tensor, scaledBy scale: Double = 1) throws(TensorError) {
        try Tensor.check("addInPlace", ctorch_add_in_place(raw, source.raw, scale))
    }

    package func multiplyInPlace(_ factor: Double) throws(TensorError) {
        try Tensor.check("multiplyInPlace", ctorch_multiply_in_place(raw, factor))
    }

    package func fillInPlace(_ value: Double) throws(TensorError) {
        try Tensor.check("fillInPlace", ctorch_fill_in_place(raw, value))
    }
}

/// Rows of a matrix, one behind another, that stand for as many rows of a pass.
package struct RowRun {
    /// `[rows, columns]`; `nil` for rows that are kept nowhere.
    package let matrix: Tensor?
    package let first: Int
    package let count: Int

    package init(_ matrix: Tensor?, first: Int, count: Int) {
        (self.matrix, self.first, self.count) = (matrix, first, count)
    }

    var raw: ctorch_row_run { ctorch_row_run(matrix: matrix?.raw, first: first, count: count) }
}

// Copies of rows to where they are kept, and back. No gradient is recorded.
extension Tensor {
    /// Copies what tensors `[rows, widths]` have of each row, side by side, into the rows of the runs, whose matrices are as
    /// wide as all of them. Those that are kept nowhere are left out.
    package static func store(_ tensors: [Tensor], in runs: [RowRun]) throws(TensorError) {
        let sources = tensors.map { Optional($0.raw) }
        let all = runs.map(\.raw)
        try Tensor.check("store", ctorch_store_rows(sources, sources.count, all, all.count))
    }

    /// The way back: `[rows, widths]` of the type of `like`, zeros in rows that are kept nowhere.
    package static func collected(
        from runs: [RowRun], widths: [Int], like: Tensor
    ) throws(TensorError) -> [Tensor] {
        let all = runs.map(\.raw)
        return try Tensor.make("collected", count: widths.count) {
            ctorch_collect_rows(all, all.count, widths, widths.count, like.raw, $0)
        }
    }
}
