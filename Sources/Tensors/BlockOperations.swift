internal import CTorch

/// Operations of a transformer block that read memory once where composed operations read it several times.
extension Tensor {
    /// Root-mean-square normalization over the last axis (Zhang and Sennrich 2019, arXiv:1910.07467, eq. 4).
    ///
    ///     out = self / sqrt(mean(self²) + epsilon) · weight
    ///
    /// The mean is taken in float32 for narrower types. Differentiable in `self` and `weight`.
    ///
    /// - Parameter weight: one element for each of the last axis.
    package func rmsNorm(weight: Tensor, epsilon: Double) throws(TensorError) -> Tensor {
        try normed(adding: nil, weight: weight, epsilon: epsilon).norm
    }

    /// ``rmsNorm(weight:epsilon:)`` of a residual stream, with the stream itself, which goes on beside it: read in the place of
    /// `self`, it spares a pass over memory in which the gradients of the two would be added up.
    ///
    /// - Parameter part: What joins the stream before, of the shape of `self`; `nil` for nothing.
    /// - Returns: The norm of `self` + `part`, and `self` + `part`.
    package func normed(
        adding part: Tensor?, weight: Tensor, epsilon: Double
    ) throws(TensorError) -> (norm: Tensor, stream: Tensor) {
        let made = try Tensor.make("rmsNorm(weight:epsilon:)", count: 2) {
            ctorch_rms_norm(raw, part?.raw, weight.raw, epsilon, $0)
        }
        return (made[0], made[1])
    }

    /// Rotary position embedding in Hugging Face's order: element i of a head pairs with element i + d/2.
    ///
    ///     out[t, h, i]       = x[t, h, i]·cos[t, i] − x[t, h, i + d/2]·sin[t, i]
    ///     out[t, h, i + d/2] = x[t, h, i + d/2]·cos[t, i] + x[t, h, i]·sin[t, i]
    ///
    /// Differentiable in `self` alone.
    ///
    /// - Parameters:
    ///   - cosines: `[tokens, d/2]`, for `self` of `[tokens, heads, d]`.
    ///   - sines: `[tokens, d/2]`.
    package func rotated(cosines: Tensor, sines: Tensor) throws(TensorError) -> Tensor {
        try Tensor.make("rotated(cosines:sines:)") { ctorch_rotary(raw, cosines.raw, sines.raw, $0) }
    }

    /// The gated activation silu(self)·up, `self` being the gate. Both of one shape; differentiable in both.
    package func swiGLU(_ up: Tensor) throws(TensorError) -> Tensor {
        try Tensor.make("swiGLU(_:)") { ctorch_swiglu(raw, up.raw, $0) }
    }
    /// Dropout (Srivastava et al. 2014, JMLR 15) whose mask is a function of addresses: the same in a second pass, in a
    /// run that was resumed, and whatever stands beside a row.
    ///
    ///     out[r, i] = self[r, i]·keep[r, first + i] / (1 − p)
    ///
    /// keep[r, c] is 0 where word c mod 4 of Philox is below p·2³², with the row's address, slot c div 4 and the key of
    /// the dropout stream spread once more by `module`. Differentiable in `self`, and keeps no mask for it.
    ///
    /// - Parameters:
    ///   - p: In 0 ..< 1.
    ///   - addresses: Of each row of `self` `[rows, width]`, which is float32 or float64.
    ///   - module: Which of the places that drop something; each has a mask of its own.
    ///   - first: Which column of the whole rows the first one here is, where several ranks have parts of the rows.
    package func dropout(
        _ p: Double, at addresses: DropoutAddresses, seed: UInt64, module: Int, from first: Int = 0
    ) throws(TensorError) -> Tensor {
        let own = streamKey(seed: seed, stream: RandomStream.dropout.rawValue)
        let key = streamKey(seed: own, stream: UInt64(module))
        return try Tensor.make("dropout(_:at:seed:module:from:)") {
            ctorch_dropout(raw, addresses.halves.raw, first, p, key, $0)
        }
    }
}

/// Where the rows of a packed pass stand, as ``Tensor/dropout(_:at:seed:module:from:)`` reads it.
package struct DropoutAddresses {
    /// `[rows, 2]` int64: the lower and the upper half of each counter.
    fileprivate let halves: Tensor

    /// - Parameter rows: One a row, all with slot 0.
    package init(_ rows: [RandomAddress]) throws(TensorError) {
        precondition(rows.allSatisfy { $0.slot == 0 }, "the slots are the elements of a row")
        let words = rows.flatMap { address in
            let counter = address.counter
            return [(counter.x, counter.y), (counter.z, counter.w)].map { low, high in
                Int(truncatingIfNeeded: UInt64(low) | UInt64(high) << 32)
            }
        }
        halves = try Tensor(words, shape: [rows.count, 2])
    }

    private init(halves: Tensor) { self.halves = halves }

    /// The addresses of some rows, in this order.
    package func rows(at indices: [Int]) throws(TensorError) -> DropoutAddresses {
        DropoutAddresses(halves: try halves.rows(at: indices))
    }
}
