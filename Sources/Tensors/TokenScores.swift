internal import CTorch

/// What ``Tensor/tokenScores(hidden:head:targets:temperature:)`` says of each token. Both tensors are `[N]`, in nats.
package struct TokenScores {
    /// Log-prob of the token under the policy.
    package let logProbabilities: Tensor
    /// Entropy of the policy at the token's position.
    package let entropies: Tensor
}

extension Tensor {
    /// Logits that exist at one time inside ``tokenScores(hidden:head:targets:temperature:)``: 16 MiB of float32, or 256
    /// rows where those are more. Each product reads the whole head anew, and the last one writes its whole gradient:
    /// with 49,152 words of 576 numbers 85 rows at a time (16 MiB) take 2.60 ms a row, 170 take 2.40, 341 take 2.23 and
    /// 1,024 take 2.19.
    package static func scoreChunk(vocabulary: Int) -> Int { Swift.max(4 << 20, 256 * vocabulary) }

    /// Logits of one call that may be kept for its backward pass, which then needs one product less: 256 MiB of float32,
    /// or what is computed at one time. Of more, whole chunks are kept.
    package static func keptScores(vocabulary: Int) -> Int { Swift.max(64 << 20, scoreChunk(vocabulary: vocabulary)) }

    /// The log-prob that each hidden state gives to one token, and the entropy of its distribution.
    ///
    ///     z[n, v]    = hidden[n]·head[v] / temperature
    ///     logp[n]    = z[n, target[n]] − logsumexp_v z[n, v]
    ///     entropy[n] = logsumexp_v z[n, v] − Σ_v softmax(z[n])[v]·z[n, v]
    ///
    /// Computed a few rows at a time, and again in the backward pass where they are more than may be kept. Sums in float32, or in float64 when `hidden` is. Both results are differentiable in `hidden` and `head`; detach
    /// the one that must not be.
    ///
    /// - Parameters:
    ///   - hidden: `[N, D]`, the states that predict the tokens.
    ///   - head: `[V, D]`.
    ///   - targets: `[N]` int64, each in `0 ..< V`.
    ///   - temperature: above 0.
    /// - Returns: `[N]` each, float32 or float64.
    /// - Throws: ``TensorError/engine(operation:message:)`` naming the shape, token or temperature that does not fit.
    package static func tokenScores(
        hidden: Tensor, head: Tensor, targets: Tensor, temperature: Double = 1
    ) throws(TensorError) -> TokenScores {
        let words = head.shape.first ?? 0
        return try tokenScores(
            hidden: hidden, head: head, targets: targets, temperature: temperature,
            chunk: scoreChunk(vocabulary: words), kept: keptScores(vocabulary: words))
    }

    /// The same with the number of logits that are computed at one time, and of those that may be kept; tests make them
    /// small.
    package static func tokenScores(
        hidden: Tensor, head: Tensor, targets: Tensor, temperature: Double, chunk: Int, kept: Int
    ) throws(TensorError) -> TokenScores {
        var entropies: OpaquePointer?
        let logProbabilities = try Tensor.make("tokenScores") { out in
            ctorch_token_scores(hidden.raw, head.raw, targets.raw, temperature, chunk, kept, out, &entropies)
        }
        guard let entropies else {
            throw .engine(operation: "tokenScores", message: "the engine returned no entropies")
        }
        return TokenScores(
            logProbabilities: logProbabilities, entropies: Tensor(handle: TensorHandle(entropies)))
    }

    /// KL(π‖π_ref) of two policies at the same positions, exactly: over the whole vocabulary.
    ///
    ///     KL[n] = Σ_v p[n, v]·(log p[n, v] − log q[n, v])      p, q = softmax(hidden·head / temperature) of each
    ///
    /// With `beta` below 1 the generalized Jensen–Shannon divergence (GKD, Agarwal et al. 2024, arXiv:2306.13649, Eq.
    /// 1, as TRL has it):
    ///
    ///     JSD[n] = β·KL(q‖m) + (1 − β)·KL(p‖m),   m = β·q + (1 − β)·p;   β = 0: KL(q‖p)
    ///
    /// Computed a few rows at a time, again so in the backward pass. Differentiable in `hidden` and `head`; the
    /// reference is detached.
    ///
    /// - Parameters:
    ///   - hidden: `[N, D]`, the states that predict the tokens.
    ///   - head: `[V, D]`.
    ///   - referenceHidden: `[N, D']`, the reference's states at the same positions.
    ///   - referenceHead: `[V, D']`.
    ///   - temperature: above 0.
    ///   - beta: β, from 0 to 1.
    ///   - chunk: logits of one policy that may exist at one time; `nil` for half of ``scoreChunk(vocabulary:)``.
    /// - Returns: `[N]` in nats, float32 or float64.
    /// - Throws: ``TensorError/engine(operation:message:)`` naming the shape or temperature that does not fit.
    package static func divergence(
        hidden: Tensor, head: Tensor, referenceHidden: Tensor, referenceHead: Tensor, temperature: Double = 1,
        beta: Double = 1, chunk: Int? = nil
    ) throws(TensorError) -> Tensor {
        let chunk = chunk ?? scoreChunk(vocabulary: head.shape.first ?? 0) / 2
        return try Tensor.make("divergence") { out in
            ctorch_divergence(
                hidden.raw, head.raw, referenceHidden.raw, referenceHead.raw, temperature, beta, chunk, out)
        }
    }

    /// The logits of a few chosen words, without the others.
    ///
    ///     out[n, k] = hidden[n]·head[support[n, k]]
    ///
    /// - Parameters:
    ///   - hidden: `[N, D]`.
    ///   - head: `[V, D]`.
    ///   - support: `[N, K]` int64, each in `0 ..< V`.
    /// - Returns: `[N, K]` float32, or float64 when `hidden` is; differentiable in `hidden` and `head`.
    package static func supportLogits(hidden: Tensor, head: Tensor, support: Tensor) throws(TensorError) -> Tensor {
        try Tensor.make("supportLogits") { out in
            ctorch_support_logits(hidden.raw, head.raw, support.raw, out)
        }
    }
}
