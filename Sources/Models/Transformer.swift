package import Tensors

/// A decoder-only language model over given tensors.
///
/// It holds no state but rotary angles and copies no weight: whoever owns the parameters may change them in place, and
/// may make a `Transformer` over them as often as it likes. Parameters that require a gradient collect it.
///
/// The projections of queries, keys and values stay apart, as published: joined they would save three calls a layer
/// while decoding, but a joined copy costs the weights' memory again, and a joined original would hide the published
/// names from every owner.
package final class Transformer {
    package let configuration: ModelConfiguration
    /// Every parameter by its Hugging Face name, in the order of ``ModelConfiguration/parameterShapes``; a tied head is
    /// absent. Then come those of ``ModelConfiguration/adapterShapes``, where it was made with them. Of a model whose
    /// layers several ranks share, this rank's parts.
    package let parameters: [(name: String, tensor: Tensor)]
    /// `[vocabulary, hidden]`, or this rank's rows of it.
    package let embedding: Tensor
    /// `[vocabulary, hidden]`, or this rank's rows of it: logits are hidden · headᵀ. The embedding itself when the two are
    /// tied; the elements of ``packedHead`` where the head is kept so.
    package let head: Tensor

    /// The head as a generator reads it; `nil` where it reads ``head``.
    package let packedHead: PackedMatrix?

    /// The ranks that compute each layer together; `nil` for a model that is whole here.
    package let group: TensorParallelGroup?
    private let blocks: [TransformerBlock]
    private let finalNorm: Tensor
    private let rotary: RotaryTable

    /// - Parameter parameters: By Hugging Face name. All of one floating element type and on one device; adapters may
    ///   be of another floating type. Those of a configuration with adapters have them all, or none: then it is the
    ///   model without them. Matrices may be the elements of a ``PackedMatrix``, as ``WeightStorage`` keeps them: in
    ///   eight bits beside their scales, or in float32.
    /// - Parameter packed: Of a model that is only sampled from: matrices by the names of
    ///   ``ModelConfiguration/packing(_:of:)`` that are read in place of the parameters, with what adapters add.
    /// - Parameter shards: How several ranks share the layers, of which `parameters` and `packed` are this one's parts.
    ///   Every rank makes the same passes in the same order, and has the same results.
    /// - Throws: ``ModelError/weights(path:problems:)`` listing every tensor that is missing, unknown or of another
    ///   shape.
    package init(
        configuration: ModelConfiguration, parameters: [String: Tensor], packed: [String: PackedMatrix] = [:],
        shards: ParameterShards? = nil
    ) throws {
        let kept = configuration.packedMatrices(in: parameters)
        var shapes = configuration.shapes(packed: kept)
        let adapters = configuration.adapterShapes
        if adapters.contains(where: { parameters[$0.name] != nil }) { shapes += adapters }
        if let shards {
            shapes = shapes.map {
                ParameterShape(
                    name: $0.name, shape: shards.partShape(of: $0.shape, named: $0.name), role: $0.role,
                    sharedAxis: $0.sharedAxis)
            }
        }
        let problems = ModelConfiguration.problems(in: parameters.mapValues(\.shape), expecting: shapes)
        guard problems.isEmpty else { throw ModelError.weights(path: "parameters", problems: problems) }
        self.configuration = configuration
        self.parameters = shapes.map { ($0.name, parameters.required($0.name)) }
        embedding = parameters.required(ParameterName.embedding)
        head = configuration.tiesEmbeddings ? embedding : parameters.required(ParameterName.head)
        finalNorm = parameters.required(ParameterName.finalNorm)
        group = shards?.group
        let read = kept.merging(packed) { $1 }
        packedHead = read[configuration.headName]
        blocks = (0..<configuration.layers).map {
            TransformerBlock(configuration, layer: $0, parameters, read, shards?.group)
        }
        rotary = RotaryTable(configuration, embedding.elementType, embedding.device)
        let type = embedding.elementType
        let isAdapter = Set(adapters.map(\.name))
        for (name, tensor) in self.parameters
        where kept[name] == nil
            && (!tensor.elementType.isFloatingPoint || tensor.elementType != type && !isAdapter.contains(name))
        {
            throw ModelError.call("\(name) is \(tensor.elementType); expected one floating type for all, as \(type)")
        }
    }

    /// ``parameters`` as a dictionary, as other rooms lend them.
    package var parametersByName: [String: Tensor] {
        Dictionary(uniqueKeysWithValues: parameters.map { ($0.name, $0.tensor) })
    }

    package var elementType: ElementType { embedding.elementType }
    package var device: Device { embedding.device }

    // MARK: Packed texts

    /// The hidden states of packed groups after the final norm; that of a token predicts the one behind it.
    ///
    /// - Parameters:
    ///   - tokens: `[N]` int64 in the order of the layout, each in `0 ..< vocabularySize`.
    ///   - layout: Which token belongs to which prompt and completion; prompts are shared by their completions.
    ///   - indices: The packed tokens whose states are asked for, in that order, some perhaps more than once; `nil` for all
    ///     of them. Tokens that these do not depend on are left out of the pass, and the last layer works out no more than
    ///     these behind its keys and values.
    ///   - checkpointsBlocks: Keeps one tensor a layer for backward and computes the rest again: less memory, a third
    ///     more time.
    ///   - dropout: Of a training pass, what it drops of the adapters' inputs.
    ///   - kept: What the projections make of the tokens, where sampling has computed it with these weights; it is taken
    ///     for what they would make. Of a model that is whole here, without dropout and checkpoints.
    /// - Returns: `[indices, hidden]`, or `[N, hidden]` for all, differentiable in every parameter that requires a gradient.
    /// - Throws: ``ModelError/call(_:)`` when tokens and layout disagree, or a text is too long for the rotary scaling;
    ///   ``TensorError/layout(_:)`` for an index that is no token's.
    package func hiddenStates(
        tokens: Tensor, layout: SequenceLayout, at indices: [Int]? = nil, checkpointsBlocks: Bool = false,
        dropout: AdapterDropout? = nil, kept: KeptRows? = nil
    ) throws -> Tensor {
        var context = try context(for: tokens, layout)
        (context.dropout, context.kept) = (dropout, kept)
        return try states(context, at: indices, checkpointsBlocks: checkpointsBlocks) { some in
            try embeddings(of: some.map { try tokens.rows(at: $0) } ?? tokens)
        }
    }

    /// `[N, hidden]`, wherever the words' rows lie.
    private func embeddings(of tokens: Tensor) throws(TensorError) -> Tensor {
        guard let group else { return try embedding.rows(at: tokens) }
        return try group.rows(of: embedding, count: configuration.vocabularySize, at: tokens)
    }

    /// ``Tensor/tokenScores(hidden:head:targets:temperature:)`` with this model's head.
    ///
    /// - Parameters:
    ///   - hidden: `[N, hidden]`, those of ``hiddenStates(tokens:layout:at:checkpointsBlocks:dropout:kept:)`` that predict.
    ///   - targets: `[N]` int64.
    package func tokenScores(hidden: Tensor, targets: Tensor, temperature: Double) throws(TensorError) -> TokenScores {
        guard let group else {
            return try Tensor.tokenScores(hidden: hidden, head: head, targets: targets, temperature: temperature)
        }
        return try group.tokenScores(
            hidden: hidden, part: head, vocabulary: configuration.vocabularySize, targets: targets,
            temperature: temperature)
    }

    /// As ``hiddenStates(tokens:layout:at:checkpointsBlocks:dropout:kept:)`` from `[N, hidden]` inputs that need not be rows of
    /// the embedding.
    package func hiddenStates(
        embeddings: Tensor, layout: SequenceLayout, at indices: [Int]? = nil, checkpointsBlocks: Bool = false,
        dropout: AdapterDropout? = nil
    ) throws -> Tensor {
        var context = try context(for: embeddings, layout)
        context.dropout = dropout
        return try states(context, at: indices, checkpointsBlocks: checkpointsBlocks) { some in
            try some.map { try embeddings.rows(at: $0) } ?? embeddings
        }
    }

    /// - Parameter embeddings: The inputs at some of the packed tokens, or at all of them for `nil`.
    private func states(
        _ whole: PackedContext, at indices: [Int]?, checkpointsBlocks: Bool, embeddings: ([Int]?) throws -> Tensor
    ) throws -> Tensor {
        precondition(
            whole.kept == nil || !checkpointsBlocks && whole.dropout == nil && group == nil, "kept of plain passes")
        let part = try indices.flatMap(whole.layout.part)
        let context = try part.map(whole.of) ?? whole
        var hidden = try embeddings(part?.tokens)
        for (number, block) in blocks.enumerated() {
            let wanted = number + 1 == blocks.count ? part?.indices ?? indices : nil
            hidden =
                checkpointsBlocks
                ? try Tensor.checkpoint(inputs: [hidden]) { try block.forward($0[0], context, only: wanted) }
                : try block.forward(hidden, context, only: wanted)
        }
        return try normalized(hidden)
    }

    /// Mixtures of rows of the embedding.
    ///
    ///     out[n] = Σ_k weights[n, k]·embedding[ids[n, k]]
    ///
    /// - Parameters:
    ///   - ids: `[N, K]` int64; any id where the weight is 0.
    ///   - weights: `[N, K]`, of the model's element type.
    /// - Returns: `[N, hidden]`, differentiable in the embedding and in the weights.
    package func mixtures(ids: Tensor, weights: Tensor) throws(TensorError) -> Tensor {
        let (count, words) = (try ids.size(0), try ids.size(1))
        return try
            (embedding.rows(at: ids.reshaped([count * words])).reshaped([count, words, configuration.hiddenSize])
            * weights.unsqueezed(2)).sum(axis: 1)
    }

    /// The embedding of tokens, with other inputs at some positions.
    ///
    /// - Parameters:
    ///   - positions: Ascending, of the tokens that are replaced.
    ///   - inputs: `[positions, hidden]`.
    /// - Returns: `[tokens, hidden]`, differentiable in the embedding and in `inputs`. A replaced token's own row gets
    ///   no gradient.
    package func embeddings(
        tokens: [Int], replacing positions: [Int], with inputs: Tensor
    ) throws(TensorError) -> Tensor {
        let replaced = Set(positions)
        let kept = tokens.indices.filter { !replaced.contains($0) }
        var order = [Int](repeating: 0, count: tokens.count)
        for (index, position) in (kept + positions).enumerated() { order[position] = index }
        let rows = try embedding.rows(at: kept.map { tokens[$0] })
        return try Tensor.concatenated([rows, inputs]).rows(at: order)
    }

    /// - Parameter inputs: One a packed token.
    private func context(for inputs: Tensor, _ layout: SequenceLayout) throws -> PackedContext {
        guard try inputs.size(0) == layout.tokenCount else {
            throw ModelError.call("inputs of shape \(inputs.shape) for a layout of \(layout.tokenCount) tokens")
        }
        return PackedContext(
            layout: layout, angles: try rotary.angles(for: layout), longestText: layout.longestText)
    }

    private func normalized(_ hidden: Tensor) throws(TensorError) -> Tensor {
        try hidden.rmsNorm(weight: finalNorm, epsilon: configuration.rmsNormEpsilon)
    }

    // MARK: Token by token

    /// Reads several prompts in one packed pass and puts their keys and values into the cache. Records no gradient.
    ///
    /// - Parameters:
    ///   - tokens: The prompts end to end, in the order of the layout.
    ///   - layout: One group a prompt, without completions.
    ///   - promptSlots: Where each prompt goes, one slot a group.
    ///   - kept: Where the products are kept, see ``ForwardCache``.
    /// - Returns: `[prompts, hidden]`: the last token's hidden state of each prompt, which predicts the first sampled
    ///   token.
    /// - Throws: ``ModelError/call(_:)`` when the counts disagree or a prompt is longer than the cache's slots.
    package func prefill(
        tokens: [Int], layout: SequenceLayout, cache: KeyValueCache, promptSlots: [Int], kept: KeptRows? = nil
    ) throws -> Tensor {
        try cache.check(layout, promptSlots)
        return try Tensor.withoutGradients {
            let embeddings = try embeddings(of: Tensor(tokens, device: device))
            var context = try context(for: embeddings, layout)
            context.kept = kept
            var hidden = embeddings
            let last = layout.groups.map { $0.prompt.upperBound - 1 }
            for (number, (block, layer)) in zip(blocks, cache.layers).enumerated() {
                let writer = PromptWriter(cache: layer, layout: layout, slots: promptSlots)
                // Of the last layer nobody reads more than the last tokens' states, unless products are kept: of all.
                let isLast = number + 1 == blocks.count && kept == nil
                hidden = try block.forward(hidden, context, into: writer, only: isLast ? last : nil)
            }
            return try normalized(kept == nil ? hidden : hidden.rows(at: last))
        }
    }

    /// One more token for each row. Records no gradient.
    ///
    /// - Parameters:
    ///   - tokens: One a row: the token drawn last.
    ///   - rows: Slots and lengths; `ownLengths` count this token already, so a row's first one has 1.
    ///   - kept: Where the products are kept, see ``ForwardCache``.
    /// - Returns: `[rows, hidden]` after the final norm: what predicts each row's next token.
    /// - Throws: ``ModelError/call(_:)`` when a text gets too long for the rotary scaling.
    package func decode(tokens: [Int], cache: KeyValueCache, rows: DecodeRows, kept: KeptRows? = nil) throws -> Tensor {
        try Tensor.withoutGradients {
            try decode(embeddings: embeddings(of: Tensor(tokens, device: device)), cache: cache, rows: rows, kept: kept)
        }
    }

    /// As ``decode(tokens:cache:rows:kept:)`` from `[rows, hidden]` inputs that need not be rows of the embedding.
    package func decode(
        embeddings: Tensor, cache: KeyValueCache, rows: DecodeRows, kept: KeptRows? = nil
    ) throws -> Tensor {
        try Tensor.withoutGradients {
            let positions = zip(rows.promptLengths, rows.ownLengths).map { $0 + $1 - 1 }
            let context = DecodeContext(rows: rows, angles: try rotary.angles(at: positions), kept: kept)
            var hidden = embeddings
            for (block, layer) in zip(blocks, cache.layers) { hidden = try block.decode(hidden, context, layer) }
            return try normalized(hidden)
        }
    }
}

extension ModelConfiguration {
    /// What is wrong with a set of tensors, given by name and shape.
    func problems(in found: [String: [Int]]) -> [ModelError.WeightProblem] {
        Self.problems(in: found, expecting: parameterShapes)
    }

    static func problems(in found: [String: [Int]], expecting shapes: [ParameterShape]) -> [ModelError.WeightProblem] {
        var rest = found
        var problems: [ModelError.WeightProblem] = []
        for expected in shapes {
            guard let shape = rest.removeValue(forKey: expected.name) else {
                problems.append(.missing(name: expected.name, shape: expected.shape))
                continue
            }
            if shape != expected.shape {
                problems.append(.shape(name: expected.name, found: shape, expected: expected.shape))
            }
        }
        return problems + rest.sorted { $0.key < $1.key }.map { .unexpected(name: $0.key, shape: $0.value) }
    }
}
