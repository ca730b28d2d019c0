/// The sizes of a decoder: what each of its layers holds, without a weight being read.
///
/// Layer 0 is the embedding, 1 to ``layers`` are the blocks, the one behind them is the output. The norm behind the
/// last block belongs to it.
package struct ModelShape: Sendable, Hashable {
    /// Blocks.
    package var layers: Int
    package var hiddenSize: Int
    /// Width of the feed-forward part.
    package var intermediateSize: Int
    /// Query heads.
    package var heads: Int
    /// Key and value heads; divides ``heads``.
    package var keyValueHeads: Int
    /// Width of one head.
    package var headSize: Int
    /// Rows of the embedding.
    package var vocabularySize: Int
    package var output: Output
    package var biases: Biases
    /// Whether queries and keys pass a norm per head.
    package var normalizesQueriesAndKeys: Bool
    /// Whether q, k, v are one tensor, and gate and up another.
    package var fusesProjections: Bool

    /// What stands behind the last block.
    package enum Output: Sendable, Hashable {
        /// A head of its own.
        case head
        /// The embedding itself. Where the pipeline has one stage it is stored once, else the last stage has a copy.
        case tied
        /// So many values for each token: a critic, or a reward model.
        case values(Int)
    }

    /// Which projections add a bias.
    package struct Biases: OptionSet, Sendable, Hashable {
        package let rawValue: Int
        package init(rawValue: Int) { self.rawValue = rawValue }

        package static let queryKeyValue = Biases(rawValue: 1)
        package static let attentionOutput = Biases(rawValue: 2)
        package static let feedForward = Biases(rawValue: 4)
    }

    /// - Parameter headSize: By default the hidden size divided among the query heads.
    package init(
        layers: Int, hiddenSize: Int, intermediateSize: Int, heads: Int, keyValueHeads: Int, headSize: Int? = nil,
        vocabularySize: Int, output: Output = .head, biases: Biases = [], normalizesQueriesAndKeys: Bool = false,
        fusesProjections: Bool = false
    ) {
        self.layers = layers
        self.hiddenSize = hiddenSize
        self.intermediateSize = intermediateSize
        self.heads = heads
        self.keyValueHeads = keyValueHeads
        self.headSize = headSize ?? hiddenSize / max(1, heads)
        self.vocabularySize = vocabularySize
        self.output = output
        self.biases = biases
        self.normalizesQueriesAndKeys = normalizesQueriesAndKeys
        self.fusesProjections = fusesProjections
    }

    /// Embedding, blocks and output.
    package var layerCount: Int { layers + 2 }
    package var queryWidth: Int { heads * headSize }
    package var keyValueWidth: Int { keyValueHeads * headSize }

    /// Numbers to learn; a tied head counts once.
    package var parameterCount: Int {
        parameterCount(ofLayer: 0) + (layers - 1) * parameterCount(ofLayer: 1)
            + parameterCount(ofLayer: layers) + (output == .tied ? 0 : parameterCount(ofLayer: layers + 1))
    }

    /// Numbers of a layer, those of a tied head included.
    package func parameterCount(ofLayer layer: Int) -> Int {
        tensors(ofLayer: layer).reduce(0) { $0 + $1.count }
    }
}

// MARK: - Tensors

/// One tensor of a model, and how tensor parallelism cuts it.
package struct LogicalTensor: Sendable, Hashable {
    /// As transformers names it.
    package let name: String
    package let rows: Int
    /// 1 for a vector.
    package let columns: Int
    /// Parts that are cut each for itself, in the order of their rows; together all rows.
    package let sections: [Section]

    package var count: Int { rows * columns }

    /// Some rows of a tensor that are cut alike.
    package struct Section: Sendable, Hashable {
        package let rows: Range<Int>
        package let axis: Axis
        /// What may not be cut: heads, or single rows or columns.
        package let units: Int

        package enum Axis: Sendable, Hashable { case rows, columns, none }
    }

    init(_ name: String, rows: Int, columns: Int = 1, _ axis: Section.Axis, units: Int = 1) {
        self.init(name, columns: columns, [(rows, axis, units)])
    }

    init(_ name: String, columns: Int, _ parts: [(rows: Int, axis: Section.Axis, units: Int)]) {
        self.name = name
        self.columns = columns
        var sections: [Section] = []
        var start = 0
        for part in parts {
            sections.append(Section(rows: start..<start + part.rows, axis: part.axis, units: part.units))
            start += part.rows
        }
        rows = start
        self.sections = sections
    }

    /// Whether so many shards each hold a part of a section. Heads that the number does not divide, such as few key and
    /// value heads, are held whole by each; single rows or columns go in parts that differ by one at most.
    package func isCut(_ section: Section, by degree: Int) -> Bool {
        guard degree > 1, section.axis != .none else { return false }
        let length = section.axis == .rows ? section.rows.count : columns
        return section.units.isMultiple(of: degree) || section.units == length && length > degree
    }

    /// What one of `degree` shards holds of a section: everything where the section is not cut.
    package func block(of section: Section, shard: Int, of degree: Int) -> Block {
        guard isCut(section, by: degree) else { return Block(rows: section.rows, columns: 0..<columns) }
        func part(_ range: Range<Int>) -> Range<Int> {
            let first = range.lowerBound
            return first + range.count * shard / degree..<first + range.count * (shard + 1) / degree
        }
        return section.axis == .rows
            ? Block(rows: part(section.rows), columns: 0..<columns)
            : Block(rows: section.rows, columns: part(0..<columns))
    }
}

/// A rectangle of a tensor.
package struct Block: Sendable, Hashable {
    package var rows: Range<Int>
    package var columns: Range<Int>

    package init(rows: Range<Int>, columns: Range<Int>) {
        self.rows = rows
        self.columns = columns
    }

    package var count: Int { rows.count * columns.count }

    func intersection(_ other: Block) -> Block {
        Block(rows: rows.clamped(to: other.rows), columns: columns.clamped(to: other.columns))
    }
}

extension ModelShape {
    /// The tensors of a layer, in the order transformers lists them.
    package func tensors(ofLayer layer: Int) -> [LogicalTensor] {
        switch layer {
        case 0: return [embedding]
        case layers + 1:
            switch output {
            case .tied: return [embedding]
            case .head:
                return [
                    LogicalTensor(
                        "lm_head.weight", rows: vocabularySize, columns: hiddenSize, .rows, units: vocabularySize)
                ]
            case .values(let count):
                return [LogicalTensor("score.weight", rows: count, columns: hiddenSize, .none)]
            }
        default:
            return block(layer - 1)
                + (layer == layers ? [LogicalTensor("model.norm.weight", rows: hiddenSize, .none)] : [])
        }
    }

    private var embedding: LogicalTensor {
        LogicalTensor(
            "model.embed_tokens.weight", rows: vocabularySize, columns: hiddenSize, .rows, units: vocabularySize)
    }

    private func block(_ index: Int) -> [LogicalTensor] {
        typealias Part = (rows: Int, axis: LogicalTensor.Section.Axis, units: Int)
        let query: Part = (queryWidth, .rows, heads)
        let keyValue: Part = (keyValueWidth, .rows, keyValueHeads)
        let gate: Part = (intermediateSize, .rows, intermediateSize)
        func projection(_ part: String, _ parts: [Part], _ bias: Biases) -> [LogicalTensor] {
            let name = "model.layers.\(index).\(part)"
            let weight = LogicalTensor(name + ".weight", columns: hiddenSize, parts)
            return [weight] + (biases.contains(bias) ? [LogicalTensor(name + ".bias", columns: 1, parts)] : [])
        }
        func narrowing(_ part: String, width: Int, units: Int, _ bias: Biases) -> [LogicalTensor] {
            let name = "model.layers.\(index).\(part)"
            let weight = LogicalTensor(name + ".weight", rows: hiddenSize, columns: width, .columns, units: units)
            return [weight]
                + (biases.contains(bias) ? [LogicalTensor(name + ".bias", rows: hiddenSize, .none)] : [])
        }
        func norm(_ part: String, _ width: Int) -> LogicalTensor {
            LogicalTensor("model.layers.\(index).\(part).weight", rows: width, .none)
        }
        let attention =
            fusesProjections
            ? projection("self_attn.qkv_proj", [query, keyValue, keyValue], .queryKeyValue)
            : projection("self_attn.q_proj", [query], .queryKeyValue)
                + projection("self_attn.k_proj", [keyValue], .queryKeyValue)
                + projection("self_attn.v_proj", [keyValue], .queryKeyValue)
        let feedForward =
            fusesProjections
            ? projection("mlp.gate_up_proj", [gate, gate], .feedForward)
            : projection("mlp.gate_proj", [gate], .feedForward) + projection("mlp.up_proj", [gate], .feedForward)
        return attention
            + narrowing("self_attn.o_proj", width: queryWidth, units: heads, .attentionOutput)
            + (normalizesQueriesAndKeys
                ? [norm("self_attn.q_norm", headSize), norm("self_attn.k_norm", headSize)] : [])
            + feedForward
            + narrowing("mlp.down_proj", width: intermediateSize, units: intermediateSize, .feedForward)
            + [norm("input_layernorm", hiddenSize), norm("post_attention_layernorm", hiddenSize)]
    }
}
