internal import CTorch

/// The parameters of one layer, as sampling reads them in one operation, of prompts or of a decoding step: float32 on the
/// CPU, its matrices packed.
package struct PackedLayer {
    /// A matrix and its bias `[outputs]`.
    package typealias Projection = (weight: PackedMatrix, bias: Tensor?)

    // What `raw` points to.
    private let tensors: [Tensor?]
    private let projections: [Projection]
    private let raw: ctorch_layer

    /// - Parameters:
    ///   - norms: `[hidden]`, those before attention and before the feed-forward part.
    ///   - headNorms: `[d]`, of queries and of keys, where the layer has them.
    ///   - projections: Of queries, keys, values, attention's output, gate, up and down; packed in one form.
    ///   - epsilon: Added to the mean square in every norm.
    ///   - scale: Factor of attention's scores.
    package init(
        norms: (attention: Tensor, feedForward: Tensor), headNorms: (query: Tensor?, key: Tensor?),
        projections: [Projection], epsilon: Double, scale: Double
    ) {
        precondition(projections.count == CTORCH_PROJECTIONS, "\(projections.count) projections of a layer")
        tensors = [norms.attention, norms.feedForward, headNorms.query, headNorms.key]
        self.projections = projections
        let all = projections.map { $0.weight.raw(bias: $0.bias) }
        raw = ctorch_layer(
            attention_norm: norms.attention.raw, query_norm: headNorms.query?.raw, key_norm: headNorms.key?.raw,
            feed_forward_norm: norms.feedForward.raw,
            projections: (all[0], all[1], all[2], all[3], all[4], all[5], all[6]), epsilon: epsilon, scale: scale)
    }

    /// One token of each row through the layer; its key and value join the cache.
    ///
    /// The same bits as the single operations have on the same rows. A step of few rows is mostly the time between them.
    ///
    /// - Parameters:
    ///   - hidden: `[R, hidden]`.
    ///   - angles: Cosines and sines of the rows' positions, `[R, d / 2]` each.
    ///   - rows: What each row sees; `ownLengths` count this token already.
    ///   - kept: Where what the projections make of each row goes, side by side in their order, and behind it, in rows
    ///     that are wide enough, what attention makes with its log-sum-exps; `nil` for nowhere.
    /// - Returns: `[R, hidden]`, without gradient.
    package func decoded(
        _ hidden: Tensor, angles: (cosines: Tensor, sines: Tensor), cache: DecodeCache, rows: DecodeRows,
        kept: [RowRun]?
    ) throws(TensorError) -> Tensor {
        let runs = (kept ?? []).map(\.raw)
        return try withExtendedLifetime((self, kept)) { () throws(TensorError) in
            try Tensor.make("decodeLayer") { out in
                withUnsafePointer(to: raw) { layer in
                    rows.withRaw { rows in
                        ctorch_decode_layer(
                            hidden.raw, layer, angles.cosines.raw, angles.sines.raw, cache.prompt, cache.own, rows,
                            runs,
                            runs.count, out)
                    }
                }
            }
        }
    }

    /// Every token of some prompts through the layer; their keys and values go into the cache. Otherwise as
    /// ``decoded(_:angles:cache:rows:kept:)``.
    ///
    /// - Parameters:
    ///   - hidden: `[tokens, hidden]`, one prompt behind the other.
    ///   - prompts: The slot and the tokens of each.
    package func prefilled(
        _ hidden: Tensor, angles: (cosines: Tensor, sines: Tensor), cache: DecodeCache,
        prompts: [(slot: Int, length: Int)], kept: [RowRun]?
    ) throws(TensorError) -> Tensor {
        let runs = (kept ?? []).map(\.raw)
        let (slots, lengths) = (prompts.map(\.slot), prompts.map(\.length))
        return try withExtendedLifetime((self, kept)) { () throws(TensorError) in
            try Tensor.make("prefillLayer") { out in
                withUnsafePointer(to: raw) { layer in
                    slots.withUnsafeBufferPointer { slots in
                        lengths.withUnsafeBufferPointer { lengths in
                            ctorch_prefill_layer(
                                hidden.raw, layer, angles.cosines.raw, angles.sines.raw, cache.prompt,
                                ctorch_prompt_rows(
                                    slots: slots.baseAddress, lengths: lengths.baseAddress, count: slots.count), runs,
                                runs.count, out)
                        }
                    }
                }
            }
        }
    }
}
