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
    ///   - chunk: Logits of this rank that may exist at one time; `nil` for ``Tensor/scoreChunk(vocabulary:)``.
    /// - Returns: The same on every rank.
    package func tokenScores(
        hidden: Tensor, part: Tensor, vocabulary: Int, targets: Tensor, temperature: Double = 1,
        chunk: Int? = nil
    ) throws(TensorError) -> TokenScores {
        let chunk = chunk ?? Tensor.scoreChunk(vocabulary: part.shape.first ?? 0)
        var entropies: OpaquePointer?
        let logProbabilities = try Tensor.make("tokenScores") { out in
            ctorch_group_token_scores(
                handle.raw, hidden.raw, part.raw, range(of: vocabulary).lowerBound, vocabulary, targets.raw,
                temperature, chunk, out, &entropies)
        }
        guard let entropies else {
            throw .engine(operation: "tokenScores", message: "the engine returned no entropies")
        }
        return TokenScores(logProbabilities: logProbabilities, entropies: Tensor(handle: TensorHandle(entropies)))
    }

    // MARK: Parts and wholes

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

/// How the parameters of a model lie among the ranks of a tensor-parallel group: some in parts, the others whole on each.
package struct ParameterShards: Sendable {
    /// What is cut of one parameter.
    package struct Cut: Sendable, Equatable {
        package let axis: Int
        /// Of the whole axis.
        package let count: Int

        package init(axis: Int, count: Int) {
            self.axis = axis
            self.count = count
        }
    }

    package let group: TensorParallelGroup
    /// By the name of the parameter; those without one are whole on every rank.
    package let cuts: [String: Cut]

    package init(over group: TensorParallelGroup, cuts: [String: Cut]) {
        self.group = group
        self.cuts = cuts
    }

    /// The names whose elements this rank shares with the others.
    package func isCut(_ name: String) -> Bool { cuts[name] != nil }

    /// This rank's part of a parameter, or of what has its shape, in memory of its own; the tensor itself where it is
    /// not cut.
    package func part(of whole: Tensor, named name: String) throws(TensorError) -> Tensor {
        guard let cut = cuts[name] else { return whole }
        let range = group.range(of: cut.count)
        return try whole.narrow(axis: cut.axis, start: range.lowerBound, count: range.count).clone().contiguous()
    }

    /// The whole of which every rank has its part; the tensor itself where it is not cut. A collective of the group for
    /// those that are.
    ///
    /// - Throws: ``RanksLost``.
    package func whole(of part: Tensor, named name: String) throws -> Tensor {
        guard let cut = cuts[name] else { return part }
        return try group.whole(part, axis: cut.axis, count: cut.count)
    }

    /// The shape of the whole.
    package func wholeShape(of shape: [Int], named name: String) -> [Int] {
        guard let cut = cuts[name] else { return shape }
        var shape = shape
        shape[cut.axis] = cut.count
        return shape
    }

    /// The shape of this rank's part.
    package func partShape(of shape: [Int], named name: String) -> [Int] {
        guard let cut = cuts[name] else { return shape }
        var shape = shape
        shape[cut.axis] = group.range(of: cut.count).count
        return shape
    }
}
