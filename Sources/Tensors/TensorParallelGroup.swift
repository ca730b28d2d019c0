internal import CTorch
internal import Foundation

/// Ranks that compute each layer of one model together, each with a part of its matrices (Megatron's tensor
/// parallelism, Shoeybi et al. 2019, arXiv:1909.08053).
///
/// Every operation is a collective of the group: it returns when each rank has called it, and all call the same ones in
/// the same order, backward passes included. To be used by one thread at a time.
package struct TensorParallelGroup: Sendable {
    package let rank: Int
    package let size: Int
    private let handle: GroupHandle

    init(rank: Int, size: Int, handle: GroupHandle) {
        self.rank = rank
        self.size = size
        self.handle = handle
    }

    /// Groups of several ranks within this process, the ranks in order: each is for a thread of its own.
    package static func within(size: Int, timeout: Duration = .seconds(60)) throws(TensorError) -> [Self] {
        var groups = [OpaquePointer?](repeating: nil, count: size)
        try Tensor.check("within", ctorch_group_open_within(size, Int(timeout / .milliseconds(1)), &groups))
        return groups.enumerated().map { Self(rank: $0.offset, size: size, handle: GroupHandle($0.element!)) }
    }

    /// The indices of an axis that a rank has: the whole in parts that differ by one at most, in the order of ranks.
    package func range(of count: Int, rank: Int? = nil) -> Range<Int> {
        let rank = rank ?? self.rank
        return count * rank / size..<count * (rank + 1) / size
    }

    // MARK: Layers

    /// The tensor itself, which every rank has, on its way into products with parts of matrices: its gradient is the
    /// sum of those that the ranks find. Megatron's f.
    package func copied(_ tensor: Tensor) throws(TensorError) -> Tensor {
        try Tensor.make("copied") { ctorch_group_copied(handle.raw, tensor.raw, $0) }
    }

    /// The sum of every rank's tensor, with the same bits on each; the gradient goes to each as it is. Megatron's g.
    package func summed(_ tensor: Tensor) throws(TensorError) -> Tensor {
        try Tensor.make("summed") { ctorch_group_summed(handle.raw, tensor.raw, $0) }
    }

    /// Rows of a matrix whose rows the ranks share, with the gradient to this rank's.
    ///
    /// - Parameters:
    ///   - part: `[n, D]`, this rank's ``range(of:rank:)``.
    ///   - count: Rows of all ranks.
    ///   - index: `[N]` int64, the same on every rank.
    /// - Returns: `[N, D]` on every rank.
    package func rows(of part: Tensor, count: Int, at index: Tensor) throws(TensorError) -> Tensor {
        try Tensor.make("rows") {
            ctorch_group_rows(handle.raw, part.raw, range(of: count).lowerBound, count, index.raw, $0)
        }
    }

    /// As ``Tensor/tokenScores(hidden:head:targets:temperature:)`` with a head whose rows the ranks share: no rank has
    /// a logit of another's words. Two sums over the ranks forward, one backward.
    ///
    /// - Parameters:
    ///   - hidden: `[N, D]`, the same on every rank, and so is its gradient.
    ///   - part: `[n, D]`, this rank's ``range(of:rank:)`` of the head.
    ///   - vocabulary: Rows of all ranks.
    ///   - targets: `[N]` int64, the same on every rank.
    ///   - chunk: Logits of this rank that are computed at one time, and those that may be kept; `nil` for
    ///     ``Tensor/scoreChunk(vocabulary:)`` and ``Tensor/keptScores(vocabulary:)``.
    /// - Returns: The same on every rank.
    package func tokenScores(
        hidden: Tensor, part: Tensor, vocabulary: Int, targets: Tensor, temperature: Double = 1,
        chunk: Int? = nil
    ) throws(TensorError) -> TokenScores {
        let words = part.shape.first ?? 0
        let kept = chunk ?? Tensor.keptScores(vocabulary: words)
        var entropies: OpaquePointer?
        let logProbabilities = try Tensor.make("tokenScores") { out in
            ctorch_group_token_scores(
                handle.raw, hidden.raw, part.raw, range(of: vocabulary).lowerBound, vocabulary, targets.raw,
                temperature, chunk ?? Tensor.scoreChunk(vocabulary: words), kept, out, &entropies)
        }
        guard let entropies else {
            throw .engine(operation: "tokenScores", message: "the engine returned no entropies")
        }
        return TokenScores(logProbabilities: logProbabilities, entropies: Tensor(handle: TensorHandle(entropies)))
    }

    // MARK: Parts and wholes

    /// Logits of all words, of which every rank has those of its own: with the same bits on each. No gradient.
    ///
    /// - Parameters:
    ///   - part: `[N, n]`, of this rank's ``range(of:rank:)`` of the words.
    ///   - vocabulary: Words of all ranks.
    /// - Returns: `[N, vocabulary]`.
    /// - Throws: ``RanksLost``.
    package func logits(_ part: Tensor, vocabulary: Int) throws -> Tensor {
        try whole(part, axis: 1, count: vocabulary)
    }

    /// A tensor whose parts along an axis the ranks have, whole on each.
    ///
    /// - Parameter count: Of the whole axis.
    /// - Throws: ``RanksLost``.
    func whole(_ part: Tensor, axis: Int, count: Int) throws -> Tensor {
        var shape = part.shape
        shape[axis] = count
        let whole = try Tensor.zeros(shape, part.elementType)
        let parts = try (0..<size).map { rank in
            let range = range(of: count, rank: rank)
            return try whole.narrow(axis: axis, start: range.lowerBound, count: range.count)
        }
        try parts[rank].copy(from: part.detached())
        let handles = parts.map { Optional($0.raw) }
        try reaching {
            try withExtendedLifetime(parts) { () throws(TensorError) in
                try Tensor.check("whole", ctorch_group_broadcast(handle.raw, handles, Array(0..<size), size))
            }
        }
        return whole
    }

    /// Carries the messages of some steps, all under way at once.
    ///
    /// - Parameter messages: From this rank, or to it; a receiver of `nil` stands for all others.
    /// - Throws: ``RanksLost``.
    func carry(_ messages: [(tensor: Tensor, sender: Int, receiver: Int?, tag: Int)]) throws {
        guard !messages.isEmpty else { return }
        let handles = messages.map { Optional($0.tensor.raw) }
        try reaching {
            try withExtendedLifetime(messages) { () throws(TensorError) in
                try Tensor.check(
                    "carry",
                    ctorch_group_carry(
                        handle.raw, handles, messages.map(\.sender), messages.map { $0.receiver ?? -1 },
                        messages.map(\.tag), messages.count))
            }
        }
    }

    /// Sums over the ranks, number by number and wrapping: of digests of parts.
    ///
    /// - Throws: ``RanksLost``.
    package func wrappingSums(_ values: [UInt64]) throws -> [UInt64] {
        guard !values.isEmpty else { return [] }
        let own = try Tensor(values.map { Int(bitPattern: UInt($0)) })
        let all = try reaching { () throws(TensorError) in
            try Tensor.make("gather") { ctorch_group_gather(handle.raw, own.raw, $0) }.integers()
        }
        return values.indices.map { index in
            stride(from: index, to: all.count, by: values.count).reduce(0) { $0 &+ UInt64(UInt(bitPattern: all[$1])) }
        }
    }

    /// The sum of every rank's number, with the same bits on each.
    ///
    /// - Throws: ``RanksLost``.
    package func sum(_ value: Double) throws -> Double {
        let sum = try Tensor([value])
        try reaching {
            try withExtendedLifetime(sum) { () throws(TensorError) in
                try Tensor.check("sum", ctorch_group_sum(handle.raw, [Optional(sum.raw)], 1))
            }
        }
        return try sum.item()
    }

    /// Runs what makes passes over layers that the ranks share.
    ///
    /// - Throws: ``RanksLost`` where another rank cannot be reached, and what the body throws.
    package func reaching<Result>(_ body: () throws -> Result) throws -> Result {
        do {
            return try body()
        } catch TensorError.engine(_, let message) where message.contains("gloo") {
            throw RanksLost(rank: rank, size: size, message: message)
        }
    }
}
