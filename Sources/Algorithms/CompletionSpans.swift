package import Tensors

/// Where each completion lies in a flat run of action tokens.
///
/// Losses see the generated tokens of a micro-batch end to end, without prompts, padding or masked completions. A
/// completion may be empty; it still counts.
package struct CompletionSpans {
    /// Tokens per completion, in order.
    package let lengths: [Int]
    /// The range of each completion's tokens.
    package let ranges: [Range<Int>]
    /// The completion each token belongs to, `[actionTokens]` int64.
    private let completionOfToken: Tensor

    /// - Throws: ``Tensors/TensorError`` when the index cannot be made on the device.
    package init(lengths: [Int], device: Device = .cpu) throws {
        precondition(lengths.allSatisfy { $0 >= 0 }, "a completion has no fewer than no tokens")
        self.lengths = lengths
        var start = 0
        ranges = lengths.map { length in
            defer { start += length }
            return start..<start + length
        }
        let owners = lengths.enumerated().flatMap { [Int](repeating: $0, count: $1) }
        completionOfToken = try Tensor(owners, device: device)
    }

    /// Completions, empty ones included.
    package var count: Int { lengths.count }
    /// Action tokens in all completions.
    package var tokenCount: Int { ranges.last?.upperBound ?? 0 }

    /// Sums a number per token over each completion.
    ///
    /// - Parameter values: `[actionTokens]`.
    /// - Returns: `[completions]`, 0 for an empty one. Differentiable.
    package func segmentSum(_ values: Tensor) throws -> Tensor {
        try values.segmentSum(completionOfToken, count: count)
    }

    /// Averages a number per token over each completion.
    ///
    /// - Parameter values: `[actionTokens]`.
    /// - Returns: `[completions]`, 0 for an empty one. Differentiable.
    package func segmentMean(_ values: Tensor) throws -> Tensor {
        try segmentSum(values) * inverseLengths(like: values)
    }

    /// Gives each token its completion's number.
    ///
    /// - Parameter values: `[completions]`.
    /// - Returns: `[actionTokens]`. Differentiable.
    package func spread(_ values: Tensor) throws -> Tensor {
        try values.rows(at: completionOfToken)
    }

    /// 1 / max(n, 1) per completion, `[completions]`, of the element type and device of `values`.
    func inverseLengths(like values: Tensor) throws -> Tensor {
        try Tensor(lengths.map { 1 / Double(max($0, 1)) }).to(values.elementType).to(values.device)
    }
}
