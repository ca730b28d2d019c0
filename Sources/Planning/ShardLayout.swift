/// Where the elements of one device's shard lie in its flat buffer: tensor by tensor, section by section, rows behind
/// each other.
package struct ShardLayout: Sendable {
    package let shape: ModelShape
    /// Shards of each layer.
    package let degree: Int
    package let shard: Int
    package let layers: Range<Int>
    /// Elements of the buffer.
    package let count: Int
    /// For every layer, tensor and section, where its block begins.
    private let starts: [[[Int]]]

    package init(_ shape: ModelShape, degree: Int, shard: Int, layers: Range<Int>) {
        self.shape = shape
        self.degree = degree
        self.shard = shard
        self.layers = layers
        var next = 0
        starts = layers.map { layer in
            shape.tensors(ofLayer: layer).map { tensor in
                tensor.sections.map { section in
                    defer { next += tensor.block(of: section, shard: shard, of: degree).count }
                    return next
                }
            }
        }
        count = next
    }

    /// A part of a tensor, in a device's buffer.
    package struct Part: Sendable {
        package let tensor: LogicalTensor
        /// What of the whole tensor it is.
        package let block: Block
        /// Where it begins in the buffer.
        package let start: Int
    }

    /// Everything the buffer holds, in its order.
    package var parts: [Part] {
        layers.flatMap { layer in
            shape.tensors(ofLayer: layer).enumerated().flatMap { index, tensor in
                tensor.sections.enumerated().map { number, section in
                    Part(
                        tensor: tensor, block: tensor.block(of: section, shard: shard, of: degree),
                        start: starts[layer - layers.lowerBound][index][number])
                }
            }
        }
    }

    /// The elements of a rectangle of one section, which this shard must hold.
    fileprivate func runs(layer: Int, tensor index: Int, section number: Int, _ block: Block) -> [Range<Int>] {
        let tensor = shape.tensors(ofLayer: layer)[index]
        let own = tensor.block(of: tensor.sections[number], shard: shard, of: degree)
        precondition(own.intersection(block) == block, "a shard is asked for what it does not hold")
        let start = starts[layer - layers.lowerBound][index][number]
        return own.runs(of: block, from: start)
    }
}

extension Block {
    /// Where a rectangle inside this one lies, when this one's rows stand behind each other from `start` on.
    package func runs(of inner: Block, from start: Int) -> [Range<Int>] {
        let width = columns.count
        if inner.columns == columns {
            let first = start + (inner.rows.lowerBound - rows.lowerBound) * width
            return [first..<first + inner.count]
        }
        return inner.rows.map { row in
            let first = start + (row - rows.lowerBound) * width + inner.columns.lowerBound - columns.lowerBound
            return first..<first + inner.columns.count
        }
    }
}

extension ShardedModel {
    /// The buffer of a device; `nil` for one that has no part of the model.
    package func layout(ofRank rank: Int) -> ShardLayout? {
        guard let slot = ranks.firstIndex(of: rank) else { return nil }
        let (stage, _, shard) = strategy.coordinates(of: slot)
        return ShardLayout(shape, degree: strategy.tensor, shard: shard, layers: layers(ofStage: stage))
    }
}

extension TransferPlan {
    /// Which elements of a holder's and of a needer's buffer a piece is, in the same order: the first are gathered to
    /// be sent, the second are where they are put.
    package func runs(
        of piece: Piece, from held: ShardLayout, to needed: ShardLayout
    ) -> (source: [Range<Int>], target: [Range<Int>]) {
        var runs: (source: [Range<Int>], target: [Range<Int>]) = ([], [])
        for layer in piece.layers {
            // A tied head is read from the embedding where that is stored once.
            let heldLayer = held.layers.contains(layer) ? layer : 0
            for region in regions(of: piece, inLayer: layer) {
                runs.source += held.runs(
                    layer: heldLayer, tensor: region.tensor, section: region.section, region.block)
                runs.target += needed.runs(
                    layer: layer, tensor: region.tensor, section: region.section, region.block)
            }
        }
        return (runs.source.joined, runs.target.joined)
    }

    /// What a piece is of one of its layers: rectangles of tensors of the layer, in the order in which they travel.
    package func regions(of piece: Piece, inLayer layer: Int) -> [(tensor: Int, section: Int, block: Block)] {
        let degrees = (source.strategy.tensor, target.strategy.tensor)
        let pair = PairCounts.Pair(source: piece.sourceShard, target: piece.targetShard)
        return PairCounts.regions(of: source.shape.tensors(ofLayer: layer), degrees, policy).compactMap {
            $0.pair == pair ? ($0.tensor, $0.section, $0.block) : nil
        }
    }

    /// Runs the plan within one process.
    ///
    /// - Parameters:
    ///   - buffers: Each source rank's, by its number: as many bytes as its layout has elements, times `elementSize`.
    ///   - elementSize: Bytes of an element.
    /// - Returns: Each target rank's buffer.
    package func perform(on buffers: [Int: [UInt8]], elementSize: Int) -> [Int: [UInt8]] {
        var result: [Int: [UInt8]] = [:]
        for rank in target.ranks {
            result[rank] = [UInt8](repeating: 0, count: (target.layout(ofRank: rank)?.count ?? 0) * elementSize)
        }
        for step in steps {
            guard let buffer = buffers[step.sender], let held = source.layout(ofRank: step.sender) else {
                preconditionFailure("rank \(step.sender) sends and has nothing")
            }
            for receiver in step.receivers {
                guard let needed = target.layout(ofRank: receiver) else {
                    preconditionFailure("rank \(receiver) receives and needs nothing")
                }
                let runs = runs(of: pieces[step.piece], from: held, to: needed)
                var message: [UInt8] = []
                for run in runs.source {
                    message += buffer[run.lowerBound * elementSize..<run.upperBound * elementSize]
                }
                var read = 0
                for run in runs.target {
                    let size = run.count * elementSize
                    result[receiver]?.replaceSubrange(
                        run.lowerBound * elementSize..<run.lowerBound * elementSize + size,
                        with: message[read..<read + size])
                    read += size
                }
            }
        }
        return result
    }
}

extension [Range<Int>] {
    /// The same elements in the same order, in as few runs as can be.
    fileprivate var joined: [Range<Int>] {
        var result: [Range<Int>] = []
        for run in self {
            if let last = result.last, last.upperBound == run.lowerBound {
                result[result.count - 1] = last.lowerBound..<run.upperBound
            } else {
                result.append(run)
            }
        }
        return result
    }
}
