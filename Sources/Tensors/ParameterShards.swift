/// How the parameters of a model lie among the ranks of a tensor-parallel group: some in parts, the others whole on each.
package struct ParameterShards: Sendable {
    /// What is cut of one parameter.
    package struct Cut: Sendable, Equatable {
        package let axis: Int
        /// Size of the whole axis.
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
        isCut(name) ? try view(of: whole, named: name).clone().contiguous() : whole
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

    /// This rank's part as the tensor it is a part of has it: no copy.
    package func view(of whole: Tensor, named name: String) throws(TensorError) -> Tensor {
        guard let cut = cuts[name] else { return whole }
        let range = group.range(of: cut.count)
        return try whole.narrow(axis: cut.axis, start: range.lowerBound, count: range.count)
    }

    /// What this rank adds to the digest of a whole parameter: those of all ranks come to the whole's, wrapping. What
    /// every rank has is counted once, on the first.
    ///
    /// See ``Tensor/digest(seed:)``.
    package func digest(of part: Tensor, named name: String, seed: UInt64) throws(TensorError) -> UInt64 {
        guard let cut = cuts[name] else { return group.rank == 0 ? try part.digest(seed: seed) : 0 }
        let inner = part.shape.dropFirst(cut.axis + 1).reduce(1, *)  // elements behind one index of the axis
        return try part.digest(
            seed: seed, from: group.range(of: cut.count).lowerBound * inner,
            run: max(1, group.range(of: cut.count).count * inner), stride: cut.count * inner)
    }
}
