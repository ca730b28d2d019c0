/// How rectangles of matrices get from the ranks that have them to those that need them: steps that every rank of a
/// group walks in the same order.
///
/// The steps of a round are under way at once: receives first, then sends, in the order of the list, with a step's
/// index as its tag. A round is over on a rank when its messages are; then what it kept of them is let go of.
package struct TensorTransfer: Sendable, Equatable {
    /// A rectangle of a whole tensor; of a vector with one column.
    package struct Region: Sendable, Equatable {
        package let name: String
        package let rows: Range<Int>
        package let columns: Range<Int>

        package init(name: String, rows: Range<Int>, columns: Range<Int>) {
            self.name = name
            self.rows = rows
            self.columns = columns
        }

        var count: Int { rows.count * columns.count }
    }

    /// One message, or a copy where the sender is the receiver.
    package struct Step: Sendable, Equatable {
        package let sender: Int
        package let receivers: [Int]
        /// What it consists of, rectangle behind rectangle.
        package let regions: [Region]

        package init(sender: Int, receivers: [Int], regions: [Region]) {
            self.sender = sender
            self.receivers = receivers
            self.regions = regions
        }
    }

    package let rounds: [[Step]]

    package init(rounds: [[Step]]) { self.rounds = rounds }
}

extension ParameterShards {
    /// Walks the steps that bring the parts of all ranks together: a collective of the group.
    ///
    /// - Parameters:
    ///   - parts: This rank's, by name.
    ///   - wholes: What becomes of them, by name: written, wherever a step says so.
    /// - Returns: Bytes that came from other ranks.
    /// - Throws: ``RanksLost``.
    @discardableResult
    package func walk(
        _ transfer: TensorTransfer, from parts: [String: Tensor], into wholes: [String: Tensor]
    ) throws -> Int {
        var received = 0
        for round in transfer.rounds {
            var messages: [(tensor: Tensor, sender: Int, receiver: Int?, tag: Int)] = []
            var arriving: [(message: Tensor, regions: [TensorTransfer.Region])] = []
            for (tag, step) in round.enumerated() {
                if step.receivers.contains(group.rank) {
                    if step.sender == group.rank {
                        try put(gathered(step.regions, from: parts), into: wholes, step.regions)
                    } else {
                        let message = try empty(for: step.regions, in: wholes)
                        arriving.append((message, step.regions))
                        messages.append((message, step.sender, isForAll(step) ? nil : group.rank, tag))
                        received += message.count * message.elementType.byteCount
                    }
                }
                let others = step.sender == group.rank ? step.receivers.filter { $0 != group.rank } : []
                guard !others.isEmpty else { continue }
                let message = try gathered(step.regions, from: parts)
                let ends: [Int?] = isForAll(step) ? [nil] : others
                for end in ends { messages.append((message, step.sender, end, tag)) }
            }
            try group.carry(messages)
            for (message, regions) in arriving { try put(message, into: wholes, regions) }
        }
        return received
    }

    /// Whether several ranks need it, and nobody else is there: one broadcast.
    private func isForAll(_ step: TensorTransfer.Step) -> Bool {
        step.receivers.count > 1 && step.receivers.count == group.size - 1 && !step.receivers.contains(step.sender)
    }

    private func empty(for regions: [TensorTransfer.Region], in wholes: [String: Tensor]) throws -> Tensor {
        guard let first = regions.first, let whole = wholes[first.name] else {
            preconditionFailure("a step without a tensor to write")
        }
        return try Tensor.zeros([regions.reduce(0) { $0 + $1.count }], whole.elementType)
    }

    /// Rectangles of this rank's parts, end to end.
    private func gathered(_ regions: [TensorTransfer.Region], from parts: [String: Tensor]) throws -> Tensor {
        let pieces = try regions.map { region in
            try rectangle(region, of: parts, behind: start(of: region.name)).reshaped([region.count])
        }
        return pieces.count == 1 ? try pieces[0].contiguous() : try Tensor.concatenated(pieces)
    }

    private func put(_ message: Tensor, into wholes: [String: Tensor], _ regions: [TensorTransfer.Region]) throws {
        var start = 0
        for region in regions {
            let piece = try message.narrow(axis: 0, start: start, count: region.count)
            try rectangle(region, of: wholes, behind: (0, 0))
                .copy(from: piece.reshaped([region.rows.count, region.columns.count]))
            start += region.count
        }
    }

    /// Row and column of the whole tensor that this rank's part begins with.
    private func start(of name: String) -> (row: Int, column: Int) {
        guard let cut = cuts[name] else { return (0, 0) }
        let first = group.range(of: cut.count).lowerBound
        return cut.axis == 0 ? (first, 0) : (0, first)
    }

    private func rectangle(
        _ region: TensorTransfer.Region, of tensors: [String: Tensor], behind start: (row: Int, column: Int)
    ) throws -> Tensor {
        guard let tensor = tensors[region.name] else { preconditionFailure("no \(region.name) to be moved") }
        let matrix = try tensor.detached()
        return try (matrix.shape.count == 1 ? matrix.unsqueezed(1) : matrix)
            .narrow(axis: 0, start: region.rows.lowerBound - start.row, count: region.rows.count)
            .narrow(axis: 1, start: region.columns.lowerBound - start.column, count: region.columns.count)
    }
}
