internal import CTorch

extension Tensor {
    /// Attention over packed groups in which every completion shares its prompt's keys and values.
    ///
    /// A prompt attends causally to itself. A completion attends to all of its prompt and causally to itself, never to
    /// another completion or group. Float32 on the CPU has a kernel that reads a row's keys of both in one pass, blockwise.
    /// Elsewhere the two parts are computed apart and put together by their log-sum-exps, which is exact:
    ///
    ///     out = Σ_part exp(L_part − L)·out_part,   L = log Σ_part exp L_part
    ///
    /// The backward pass finds the scores again from L, so no matrix of them is kept. Grouped key heads: query head h
    /// reads key head h / (H / Hkv). Same result as plain attention over each prompt and completion alone, to rounding;
    /// the same to the bit from run to run.
    ///
    /// - Parameters:
    ///   - query: `[tokens, H, d]`, positions already applied.
    ///   - key: `[tokens, Hkv, d]`, H a multiple of Hkv.
    ///   - value: `[tokens, Hkv, d]`.
    ///   - plan: of the ``SequenceLayout`` with as many tokens.
    ///   - scale: factor of the scores, usually 1/√d.
    ///   - composed: Whether matrix products and softmax are taken, the way of devices without a kernel for it.
    ///   - known: What it comes to, where that is known: taken for the result, which has attention's gradients.
    /// - Returns: Of `[tokens, H, d]`; differentiable in query, key and value.
    package static func sharedPromptAttention(
        query: Tensor, key: Tensor, value: Tensor, plan: AttentionPlan, scale: Double, composed: Bool = false,
        known: AttentionResult? = nil
    ) throws(TensorError) -> AttentionResult {
        let runs = plan.runBuckets.joined().flatMap { [$0.start, $0.length] }
        let blocks = plan.blockBuckets.joined().flatMap {
            [$0.queries.start, $0.queries.length, $0.prompt.start, $0.prompt.length]
        }
        let runCounts = plan.runBuckets.map(\.count)
        let blockCounts = plan.blockBuckets.map(\.count)
        let made = try Tensor.make("sharedPromptAttention", count: 2) { outs in
            runs.withUnsafeBufferPointer { runs in
                blocks.withUnsafeBufferPointer { blocks in
                    runCounts.withUnsafeBufferPointer { runCounts in
                        blockCounts.withUnsafeBufferPointer { blockCounts in
                            let raw = ctorch_attention_plan(
                                runs: runs.baseAddress, run_buckets: runCounts.baseAddress,
                                run_bucket_count: runCounts.count, blocks: blocks.baseAddress,
                                block_buckets: blockCounts.baseAddress, block_bucket_count: blockCounts.count)
                            return ctorch_shared_prompt_attention(
                                query.raw, key.raw, value.raw, raw, scale, composed, known?.found.raw,
                                known?.logSums.raw, outs, outs + 1)
                        }
                    }
                }
            }
        }
        return AttentionResult(found: made[0], logSums: made[1])
    }
}

/// What attention makes of queries `[…, H, d]`.
package struct AttentionResult {
    /// `[…, H, d]`
    package let found: Tensor
    /// `[…, H]`, the logarithms of the sums of the scores' exponentials, at least in float32; without gradient.
    package let logSums: Tensor

    package init(found: Tensor, logSums: Tensor) { (self.found, self.logSums) = (found, logSums) }
}
