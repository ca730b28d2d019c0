internal import Tensors

/// Causal attention of packed groups in which a token sees itself and at most `window` − 1 tokens before it.
///
/// Composed of matrix products and a mask, a stretch of queries at a time: used only where a text is longer than the
/// window.
struct WindowedAttention {
    let window: Int
    let scale: Double
    /// Queries of one product; bounds the scores that exist at one time.
    private static let stretch = 256

    /// query `[tokens, H, d]`, key and value `[tokens, Hkv, d]` to `[tokens, H, d]`, differentiable.
    func attended(
        _ query: Tensor, _ key: Tensor, _ value: Tensor, _ layout: SequenceLayout
    ) throws(TensorError) -> Tensor {
        var parts: [Tensor] = []
        for group in layout.groups {
            let prompt = group.prompt
            parts += try text(query, key, value, prompt: prompt.prefix(0), own: prompt)
            for completion in group.completions where !completion.isEmpty {
                parts += try text(query, key, value, prompt: prompt, own: completion)
            }
        }
        return try Tensor.concatenated(parts, axis: 0)
    }

    /// The queries of `own`, which follow the tokens of `prompt`; both are packed indices.
    private func text(
        _ query: Tensor, _ key: Tensor, _ value: Tensor, prompt: Range<Int>, own: Range<Int>
    ) throws(TensorError) -> [Tensor] {
        var parts: [Tensor] = []
        for start in stride(from: 0, to: own.count, by: Self.stretch) {
            let count = min(Self.stretch, own.count - start)
            let positions = prompt.count + start..<prompt.count + start + count
            // Positions of the text that one of these queries sees, in prompt and own part.
            let seen = max(0, positions.lowerBound - window + 1)..<positions.upperBound
            let spans = [
                (prompt.lowerBound, seen.clamped(to: 0..<prompt.count)),
                (own.lowerBound - prompt.count, seen.clamped(to: prompt.count..<prompt.count + own.count)),
            ].filter { !$0.1.isEmpty }
            func rows(_ x: Tensor) throws(TensorError) -> Tensor {
                var pieces: [Tensor] = []
                for (offset, span) in spans {
                    pieces.append(try x.narrow(axis: 0, start: offset + span.lowerBound, count: span.count))
                }
                return pieces.count == 1 ? pieces[0] : try Tensor.concatenated(pieces, axis: 0)
            }
            let queries = try query.narrow(axis: 0, start: own.lowerBound + start, count: count)
            parts.append(try attended(queries, rows(key), rows(value), positions, seen))
        }
        return parts
    }

    /// `[T, H, d]` queries at `positions` over `[S, Hkv, d]` keys at `seen`.
    private func attended(
        _ query: Tensor, _ key: Tensor, _ value: Tensor, _ positions: Range<Int>, _ seen: Range<Int>
    ) throws(TensorError) -> Tensor {
        let (heads, keyHeads, size) = (try query.size(1), try key.size(1), try query.size(2))
        let shared = heads / keyHeads
        let (rows, columns) = (positions.count, seen.count)
        let q = try query.reshaped([rows, keyHeads, shared, size]).permuted([1, 2, 0, 3])
            .reshaped([keyHeads, shared * rows, size])
        let scores = try (q.matmul(key.permuted([1, 2, 0])) * scale).reshaped([keyHeads * shared, rows, columns])
        let hidden = try Tensor(
            positions.flatMap { position in seen.map { $0 > position || $0 <= position - window } },
            shape: [1, rows, columns], device: query.device)
        let weights = try scores.filled(where: hidden.expanded([keyHeads * shared, rows, columns]), with: -.infinity)
            .softmax(axis: 2).reshaped([keyHeads, shared * rows, columns])
        return try weights.matmul(value.permuted([1, 0, 2])).reshaped([keyHeads, shared, rows, size])
            .permuted([2, 0, 1, 3]).reshaped([rows, heads, size])
    }
}
