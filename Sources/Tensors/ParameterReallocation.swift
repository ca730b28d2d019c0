/// How the parameters of a model come from the layout in which ranks have them to one in which they need them.
///
/// What a rank has of what it needs as one rectangle, it reads where it lies. For everything else it walks the steps of a
/// transfer with the other ranks. Between equal layouts, and from wholes to parts, nothing is left to walk.
package struct ParameterReallocation: Sendable {
    /// All ranks between which something may move; the ranks of ``source`` and of ``target`` are neighbours among them.
    private let group: TensorParallelGroup
    /// How they have the parameters; `nil` where each has them whole.
    package let source: ParameterShards?
    /// How they need them; `nil` where each needs them whole.
    package let target: ParameterShards?
    private let transfer: TensorTransfer

    /// - Parameters:
    ///   - source: The layout that there is, of this rank's group; `nil` for wholes.
    ///   - target: The layout that is needed, cut along the same axes; `nil` for wholes.
    ///   - group: All ranks that `transfer` names: as many as a multiple of both degrees.
    package init(
        from source: ParameterShards?, to target: ParameterShards?, over group: TensorParallelGroup,
        _ transfer: TensorTransfer
    ) {
        precondition(source != nil || target != nil, "wholes are wholes already")
        precondition(source == nil || target == nil || source?.cuts == target?.cuts, "one model is cut along one axis")
        for shards in [source, target].compactMap(\.self) {
            precondition(
                group.size.isMultiple(of: shards.group.size) && group.rank % shards.group.size == shards.group.rank,
                "the shards of a layer are neighbours")
        }
        (self.source, self.target, self.group, self.transfer) = (source, target, group, transfer)
    }

    /// Whether some rank needs what others have.
    package var moves: Bool { source.map { $0.group.size != target?.group.size ?? 1 } ?? false }

    /// Whether the ranks have or need the parameter in parts.
    package func isCut(_ name: String) -> Bool { cut(name) != nil }

    private func cut(_ name: String) -> ParameterShards.Cut? { (source ?? target)?.cuts[name] }

    /// This rank's indices of the axis that is cut, as it has them and as it needs them.
    private func ranges(_ cut: ParameterShards.Cut) -> (held: Range<Int>, needed: Range<Int>) {
        func range(_ shards: ParameterShards?) -> Range<Int> { shards?.group.range(of: cut.count) ?? 0..<cut.count }
        return (range(source), range(target))
    }

    /// What this rank needs of a parameter, as what it has of it: no copy. `nil` where others have some of that.
    package func view(of held: Tensor, named name: String) throws(TensorError) -> Tensor? {
        guard let cut = cut(name) else { return held }
        let (own, needed) = ranges(cut)
        guard own != needed else { return held }
        guard needed.lowerBound >= own.lowerBound, needed.upperBound <= own.upperBound else { return nil }
        return try held.detached().narrow(
            axis: cut.axis, start: needed.lowerBound - own.lowerBound, count: needed.count)
    }

    /// Zeros where what this rank needs of a parameter is to arrive.
    package func room(for held: Tensor, named name: String) throws(TensorError) -> Tensor {
        var shape = held.shape
        if let cut = cut(name) { shape[cut.axis] = ranges(cut).needed.count }
        return try Tensor.zeros(shape, held.elementType)
    }

    /// Walks the steps: a collective of all ranks.
    ///
    /// - Parameters:
    ///   - held: What this rank has, by name.
    ///   - needed: What becomes of it, by name: written, wherever a step says so. Without those that are read where they
    ///     lie.
    /// - Returns: Bytes that came from other ranks.
    /// - Throws: ``RanksLost``.
    @discardableResult
    package func walk(from held: [String: Tensor], into needed: [String: Tensor]) throws -> Int {
        var received = 0
        for round in transfer.rounds {
            var messages: [(tensor: Tensor, sender: Int, receiver: Int?, tag: Int)] = []
            var arriving: [(message: Tensor, regions: [TensorTransfer.Region])] = []
            for (tag, step) in round.enumerated() {
                if step.receivers.contains(group.rank) {
                    if step.sender == group.rank {
                        let own = step.regions.filter { needed[$0.name] != nil }
                        if !own.isEmpty { try put(gathered(own, from: held), into: needed, own) }
                    } else {
                        let message = try empty(for: step.regions, in: needed)
                        arriving.append((message, step.regions))
                        messages.append((message, step.sender, isForAll(step) ? nil : group.rank, tag))
                        received += message.count * message.elementType.byteCount
                    }
                }
                let others = step.sender == group.rank ? step.receivers.filter { $0 != group.rank } : []
                guard !others.isEmpty else { continue }
                let message = try gathered(step.regions, from: held)
                let ends: [Int?] = isForAll(step) ? [nil] : others
                for end in ends { messages.append((message, step.sender, end, tag)) }
            }
            try group.carry(messages)
            for (message, regions) in arriving { try put(message, into: needed, regions) }
        }
        return received
    }

    /// Whether several ranks need it, and nobody else is there: one broadcast.
    private func isForAll(_ step: TensorTransfer.Step) -> Bool {
        step.receivers.count > 1 && step.receivers.count == group.size - 1 && !step.receivers.contains(step.sender)
    }

    private func empty(for regions: [TensorTransfer.Region], in needed: [String: Tensor]) throws -> Tensor {
        guard let first = regions.first, let tensor = needed[first.name] else {
            preconditionFailure("a step without a tensor to write")
        }
        return try Tensor.zeros([regions.reduce(0) { $0 + $1.count }], tensor.elementType)
    }

    /// Rectangles of what this rank has, end to end.
    private func gathered(_ regions: [TensorTransfer.Region], from held: [String: Tensor]) throws -> Tensor {
        let pieces = try regions.map { try rectangle($0, of: held, in: source).reshaped([$0.count]) }
        return pieces.count == 1 ? try pieces[0].contiguous() : try Tensor.concatenated(pieces)
    }

    private func put(_ message: Tensor, into needed: [String: Tensor], _ regions: [TensorTransfer.Region]) throws {
        var start = 0
        for region in regions {
            let piece = try message.narrow(axis: 0, start: start, count: region.count)
            try rectangle(region, of: needed, in: target)
                .copy(from: piece.reshaped([region.rows.count, region.columns.count]))
            start += region.count
        }
    }

    /// A rectangle of the whole tensor, in this rank's part of it.
    private func rectangle(
        _ region: TensorTransfer.Region, of tensors: [String: Tensor], in layout: ParameterShards?
    ) throws -> Tensor {
        guard let tensor = tensors[region.name] else { preconditionFailure("no \(region.name) to be moved") }
        let matrix = try tensor.detached()
        var (row, column) = (region.rows.lowerBound, region.columns.lowerBound)
        if let layout, let cut = layout.cuts[region.name] {
            let first = layout.group.range(of: cut.count).lowerBound
            if cut.axis == 0 { row -= first } else { column -= first }
        }
        return try (matrix.shape.count == 1 ? matrix.unsqueezed(1) : matrix)
            .narrow(axis: 0, start: row, count: region.rows.count)
            .narrow(axis: 1, start: column, count: region.columns.count)
    }
}
