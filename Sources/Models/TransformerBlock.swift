internal import Tensors

/// x · weightᵀ + bias, and s·(x · Aᵀ)·Bᵀ where the parameters have an adapter. A packed weight is read in the weight's
/// place.
///
/// Several ranks may share the rows of the weight, and with them those of B; or its columns, as x's are, and with them
/// those of A: then their sums are added up before the bias.
struct Projection {
    let weight: Tensor
    let bias: Tensor?
    private let packed: PackedMatrix?
    private let adapter: (down: Tensor, up: Tensor, scale: Double)?
    private let rowGroup, columnGroup: TensorParallelGroup?
    /// Its number among the projections of all blocks, adapted or not.
    private let number: Int
    static let countInBlock = 7
    /// Those of queries, keys and values come first.
    static let countBeforeAttention = 3
    var numberInBlock: Int { number % Self.countInBlock }

    /// - Parameters:
    ///   - rowGroup: The ranks that share the rows of the weight; `nil` where none do.
    ///   - columnGroup: The ranks that share its columns; `nil` where none do.
    init(
        _ name: String, number: Int, _ parameters: [String: Tensor], _ packed: [String: PackedMatrix],
        _ adapters: LoRAConfiguration?, rowsOf rowGroup: TensorParallelGroup? = nil,
        columnsOf columnGroup: TensorParallelGroup? = nil
    ) {
        self.number = number
        (self.rowGroup, self.columnGroup) = (rowGroup, columnGroup)
        weight = parameters.required(name + ".weight")
        self.packed = packed[name + ".weight"]
        bias = parameters[name + ".bias"]
        if let adapters, let down = parameters[ParameterName.down(name)] {
            adapter = (down, parameters.required(ParameterName.up(name)), adapters.scale)
        } else {
            adapter = nil
        }
    }

    /// - Parameter factor: Where there is one, silu(x)·factor is read in x's place.
    func callAsFunction(
        _ x: Tensor, gating factor: Tensor? = nil, _ extras: PassExtras
    ) throws(TensorError) -> Tensor {
        let output = try summed(x, gating: factor, extras)
        extras.products?.note(output, ofProjection: numberInBlock)
        return output
    }

    private func summed(
        _ x: Tensor, gating factor: Tensor? = nil, _ extras: PassExtras
    ) throws(TensorError) -> Tensor {
        guard let columnGroup else { return try product(x, gating: factor, bias, extras) }
        let sum = try columnGroup.summed(product(x, gating: factor, nil, extras))
        return try bias.map { bias throws(TensorError) in try sum + bias.unsqueezed(0) } ?? sum
    }

    /// What several projections make of the same input, none of them with columns that ranks share.
    static func outputs(
        of x: Tensor, by projections: [Projection], _ extras: PassExtras
    ) throws(TensorError) -> [Tensor] {
        let outputs = try made(of: x, by: projections, extras)
        for (one, output) in zip(projections, outputs) {
            extras.products?.note(output, ofProjection: one.numberInBlock)
        }
        return outputs
    }

    private static func made(
        of x: Tensor, by projections: [Projection], _ extras: PassExtras
    ) throws(TensorError) -> [Tensor] {
        let packed = projections.compactMap { $0.adapter == nil ? $0.packed : nil }
        if packed.count == projections.count {
            return try x.linear(weights: packed, biases: projections.map(\.bias))
        }
        var maps: [LinearMap] = []
        for one in projections {
            if let map = try one.map(x, one.bias, extras.dropout) { maps.append(map) }
        }
        let (biased, adapted) = (maps.count { $0.bias != nil }, maps.count { $0.adapter != nil })
        let isUniform = [biased, adapted].allSatisfy { $0 == 0 || $0 == maps.count }
        if maps.count == projections.count, isUniform {
            return try x.linear(maps, scale: projections[0].scale, given: extras.given(projections))
        }
        var apart: [Tensor] = []
        for one in projections { apart.append(try one.summed(x, extras)) }
        return apart
    }

    /// What is read of it where that is a packed weight alone, whole here.
    var packedAlone: PackedLayer.Projection? {
        guard let packed, adapter == nil, rowGroup == nil, columnGroup == nil else { return nil }
        return (packed, bias)
    }

    /// What this rank finds with its part of the weight.
    private func product(
        _ input: Tensor, gating factor: Tensor?, _ bias: Tensor?, _ extras: PassExtras
    ) throws(TensorError) -> Tensor {
        if let map = try map(input, bias, extras.dropout) {
            return try input.linear(gating: factor, [map], scale: scale, given: extras.given([self]))[0]
        }
        let x = try factor.map { factor throws(TensorError) in try input.swiGLU(factor) } ?? input
        let own: Tensor
        if let packed {
            own = try x.linear(weight: packed, bias: bias)
        } else {
            own = try x.linear(weight: weight, bias: bias)
        }
        guard let adapter else { return own }
        let (down, up) = try halves(adapter)
        // In the adapter's own type, as peft does: a small change would be lost in a narrow one.
        let typed = try x.to(down.elementType)
        let first = try (columnGroup?.rank ?? 0) * x.size(1)  // heads and inner columns are divided evenly
        let read = try extras.dropout?.callAsFunction(typed, of: number, from: first) ?? typed
        let narrowed = try read.linear(weight: down) * adapter.scale
        return try own + narrowed.linear(weight: up).to(own.elementType)
    }

    /// s of the adapter; without one it scales nothing.
    private var scale: Double { adapter?.scale ?? 1 }

    /// The weight with its adapter where one operation has both: the weight is not packed, nothing is dropped of the input,
    /// and all are of its type.
    private func map(_ x: Tensor, _ bias: Tensor?, _ dropout: AdapterDropout?) throws(TensorError) -> LinearMap? {
        guard packed == nil else { return nil }
        guard let adapter else { return LinearMap(weight: weight, bias: bias) }
        guard dropout == nil, weight.elementType == adapter.down.elementType, x.elementType == weight.elementType
        else { return nil }
        return LinearMap(weight: weight, bias: bias, adapter: try halves(adapter))
    }

    /// A and B as they are read. What every rank has whole, A beside rows and B beside columns, each reads with another
    /// part: its gradient is the sum of theirs.
    private func halves(
        _ adapter: (down: Tensor, up: Tensor, scale: Double)
    ) throws(TensorError) -> (down: Tensor, up: Tensor) {
        (try rowGroup?.copied(adapter.down) ?? adapter.down, try columnGroup?.copied(adapter.up) ?? adapter.up)
    }
}

/// What a layer's projections do in a pass beside multiplying.
struct PassExtras {
    /// What is dropped of the adapters' inputs; `nil` for nothing.
    var dropout: AdapterDropout?
    /// What is kept of the products, or was; `nil` for nothing.
    var products: LayerProducts?

    /// Those of some of the pass's tokens, for the projections behind attention.
    func rows(at indices: [Int]) throws(TensorError) -> PassExtras {
        PassExtras(dropout: try dropout?.rows(at: indices), products: try products?.rows(at: indices))
    }

    /// What projections make, where it is not to be worked out.
    func given(_ projections: [Projection]) -> [Tensor]? {
        products?.given.map { given in projections.map { given[$0.numberInBlock] } }
    }
}

/// What the blocks of one packed forward pass share.
struct PackedContext {
    let layout: SequenceLayout
    let angles: RotaryAngles
    /// Tokens of the longest text: a window at least that long hides nothing.
    let longestText: Int
    /// What is dropped of the adapters' inputs; `nil` for nothing.
    var dropout: AdapterDropout?
    /// What is kept of the products, or was; `nil` for nothing.
    var kept: KeptRows?

    /// The context of a pass over some of the tokens, at their positions in the whole.
    func of(_ part: SequenceLayout.Part) throws(TensorError) -> PackedContext {
        PackedContext(
            layout: part.layout, angles: try angles.rows(at: part.tokens), longestText: part.layout.longestText,
            dropout: try dropout?.rows(at: part.tokens), kept: kept?.rows(at: part.tokens))
    }
}

/// One token of each row of a decoding step.
struct DecodeContext {
    let rows: DecodeRows
    let angles: RotaryAngles
    /// Where the products are kept; `nil` for nowhere.
    let kept: KeptRows?
}

/// One layer: attention and a gated feed-forward part, each behind an RMS norm and added to its input.
struct TransformerBlock {
    private let layer: Int
    private let inputNorm: Tensor
    private let attention: Attention
    private let feedForwardNorm: Tensor
    private let gate, up, down: Projection
    private let epsilon: Double
    private let group: TensorParallelGroup?
    /// The layer as sampling reads it in one operation; `nil` where it takes several.
    private let packedLayer: PackedLayer?

    /// - Parameter group: The ranks that compute the layer together, of which `parameters` are this one's; `nil` for
    ///   one that is whole here.
    init(
        _ configuration: ModelConfiguration, layer: Int, _ parameters: [String: Tensor],
        _ packed: [String: PackedMatrix], _ group: TensorParallelGroup?
    ) {
        func name(_ part: String) -> String { ParameterName.layer(layer, part) }
        self.group = group
        self.layer = layer
        inputNorm = parameters.required(name("input_layernorm.weight"))
        attention = Attention(configuration, layer: layer, parameters, packed, group)
        feedForwardNorm = parameters.required(name("post_attention_layernorm.weight"))
        let (adapters, first) = (configuration.adapters, layer * Projection.countInBlock)
        gate = Projection(name("mlp.gate_proj"), number: first + 4, parameters, packed, adapters, rowsOf: group)
        up = Projection(name("mlp.up_proj"), number: first + 5, parameters, packed, adapters, rowsOf: group)
        down = Projection(name("mlp.down_proj"), number: first + 6, parameters, packed, adapters, columnsOf: group)
        epsilon = configuration.rmsNormEpsilon
        packedLayer = attention.packedLayer(between: inputNorm, and: feedForwardNorm, [gate, up, down])
    }

    /// `[tokens, hidden]` to `[tokens, hidden]`; keys and values also go to `cache` where there is one.
    ///
    /// - Parameter wanted: The tokens whose states are asked for, in that order; `nil` for all. The others give keys and
    ///   values alone.
    func forward(
        _ hidden: Tensor, _ context: PackedContext, into cache: PromptWriter? = nil, only wanted: [Int]? = nil
    ) throws -> Tensor {
        if let packedLayer, let cache = cache?.whole, wanted == nil {
            return try packedLayer.prefilled(
                hidden, angles: (context.angles.cosines, context.angles.sines), cache: cache.cache,
                prompts: cache.prompts, kept: context.kept?.written(inLayer: layer))
        }
        return try keeping(context.kept, PassExtras(dropout: context.dropout), like: hidden) { extras in
            let (read, stream) = try normalized(hidden, inputNorm)
            let heads = try attention.heads(read, context, extras, into: cache)
            guard let wanted else { return try feedForward(stream, attention.joined(heads, extras), extras) }
            let behind = try extras.rows(at: wanted)
            return try feedForward(
                stream.rows(at: wanted), attention.joined(heads.rows(at: wanted), behind), behind)
        }
    }

    /// One token of each row, `[rows, hidden]` to `[rows, hidden]`; its key and value join the cache.
    func decode(_ hidden: Tensor, _ context: DecodeContext, _ cache: LayerCache) throws -> Tensor {
        if let packedLayer, let cache = cache.whole {
            return try packedLayer.decoded(
                hidden, angles: (context.angles.cosines, context.angles.sines), cache: cache, rows: context.rows,
                kept: context.kept?.written(inLayer: layer))
        }
        return try keeping(context.kept, PassExtras(), like: hidden) { extras in
            let (read, stream) = try normalized(hidden, inputNorm)
            let heads = try attention.decode(read, context, extras, cache)
            return try feedForward(stream, attention.joined(heads, extras), extras)
        }
    }

    /// Passes the layer with products that are kept, or were.
    private func keeping(
        _ kept: KeptRows?, _ extras: PassExtras, like hidden: Tensor, _ pass: (PassExtras) throws -> Tensor
    ) throws -> Tensor {
        guard let kept else { return try pass(extras) }
        let products = try kept.products(ofLayer: layer, like: hidden)
        let output = try pass(PassExtras(dropout: extras.dropout, products: products))
        try kept.keep(products, ofLayer: layer)
        return output
    }

    /// - Parameter attended: What attention adds to the hidden states.
    private func feedForward(
        _ hidden: Tensor, _ attended: Tensor, _ extras: PassExtras
    ) throws(TensorError) -> Tensor {
        let (x, stream) = try normalized(hidden, adding: attended, feedForwardNorm)
        let inner = try Projection.outputs(of: x, by: [gate, up], extras)
        return try stream + down(inner[0], gating: inner[1], extras)
    }

    /// The input of a part, which every rank reads whole, and finds its own share of the gradient; and the hidden states, with
    /// what is added, that go on beside it.
    private func normalized(
        _ hidden: Tensor, adding part: Tensor? = nil, _ weight: Tensor
    ) throws(TensorError) -> (norm: Tensor, stream: Tensor) {
        let (norm, stream) = try hidden.normed(adding: part, weight: weight, epsilon: epsilon)
        return (try group?.copied(norm) ?? norm, stream)
    }
}

/// Grouped-query attention with rotary positions, and norms on queries and keys where the family has them.
struct Attention {
    private let query, key, value, output: Projection
    private let queryNorm, keyNorm: Tensor?
    private let heads, keyValueHeads, headSize: Int
    private let window: Int?
    private let epsilon: Double
    private let group: TensorParallelGroup?
    private var scale: Double { 1 / Double(headSize).squareRoot() }

    init(
        _ configuration: ModelConfiguration, layer: Int, _ parameters: [String: Tensor],
        _ packed: [String: PackedMatrix], _ group: TensorParallelGroup?
    ) {
        func name(_ part: String) -> String { ParameterName.layer(layer, "self_attn." + part) }
        self.group = group
        let ranks = group?.size ?? 1
        let (adapters, first) = (configuration.adapters, layer * Projection.countInBlock)
        query = Projection(name("q_proj"), number: first + 0, parameters, packed, adapters, rowsOf: group)
        key = Projection(name("k_proj"), number: first + 1, parameters, packed, adapters, rowsOf: group)
        value = Projection(name("v_proj"), number: first + 2, parameters, packed, adapters, rowsOf: group)
        output = Projection(name("o_proj"), number: first + 3, parameters, packed, adapters, columnsOf: group)
        queryNorm = parameters[name("q_norm.weight")]
        keyNorm = parameters[name("k_norm.weight")]
        (heads, keyValueHeads) = (configuration.heads / ranks, configuration.keyValueHeads / ranks)
        headSize = configuration.headSize
        window = configuration.slidingWindows[layer]
        epsilon = configuration.rmsNormEpsilon
    }

    /// What each head finds for each token, `[tokens, heads, headSize]`; keys and values also go to `cache` where there is
    /// one.
    func heads(
        _ x: Tensor, _ context: PackedContext, _ extras: PassExtras, into cache: PromptWriter?
    ) throws -> Tensor {
        let (q, k, v) = try projected(x, context.angles, extras)
        try cache?.write(keys: k, values: v)
        if let window, window < context.longestText {
            return try WindowedAttention(window: window, scale: scale).attended(q, k, v, context.layout)
        }
        let result = try Tensor.sharedPromptAttention(
            query: q, key: k, value: v, plan: context.layout.attentionPlan, scale: scale,
            known: extras.products?.givenAttention)
        try extras.products?.note(result)
        return result.found
    }

    /// As ``heads(_:_:_:into:)`` for one token of each row, whose key and value join the cache.
    func decode(_ x: Tensor, _ context: DecodeContext, _ extras: PassExtras, _ cache: LayerCache) throws -> Tensor {
        let (q, k, v) = try projected(x, context.angles, extras)
        try cache.append(keys: k, values: v, context.rows)
        let result = try cache.attended(query: q, context.rows, scale: scale)
        try extras.products?.note(result)
        return result.found
    }

    /// Its part of a layer that sampling passes in one operation; `nil` where that takes several.
    func packedLayer(between inputNorm: Tensor, and feedForwardNorm: Tensor, _ feedForward: [Projection])
        -> PackedLayer?
    {
        let projections = ([query, key, value, output] + feedForward).compactMap(\.packedAlone)
        let isWhole = projections.count == Projection.countInBlock && Set(projections.map(\.weight.form)).count == 1
        guard isWhole, inputNorm.elementType == .float32 else { return nil }
        return PackedLayer(
            norms: (inputNorm, feedForwardNorm), headNorms: (queryNorm, keyNorm), projections: projections,
            epsilon: epsilon, scale: scale)
    }

    /// What the heads found, as what is added to the tokens' states.
    func joined(_ found: Tensor, _ extras: PassExtras) throws(TensorError) -> Tensor {
        try output(found.reshaped([found.size(0), heads * headSize]), extras)
    }

    /// Queries, keys and values `[tokens, heads, headSize]`, the first two turned by their positions.
    private func projected(
        _ x: Tensor, _ angles: RotaryAngles, _ extras: PassExtras
    ) throws(TensorError) -> (query: Tensor, key: Tensor, value: Tensor) {
        let tokens = try x.size(0)
        let made = try Projection.outputs(of: x, by: [query, key, value], extras)
        var q = try made[0].reshaped([tokens, heads, headSize])
        var k = try made[1].reshaped([tokens, keyValueHeads, headSize])
        let v = try made[2].reshaped([tokens, keyValueHeads, headSize])
        if let queryNorm { q = try normalized(q, queryNorm) }
        if let keyNorm { k = try normalized(k, keyNorm) }
        return (
            try q.rotated(cosines: angles.cosines, sines: angles.sines),
            try k.rotated(cosines: angles.cosines, sines: angles.sines), v
        )
    }

    /// Each rank normalises its own heads, so that the weight's gradient is the sum over the ranks.
    private func normalized(_ heads: Tensor, _ weight: Tensor) throws(TensorError) -> Tensor {
        try heads.rmsNorm(weight: group?.copied(weight) ?? weight, epsilon: epsilon)
    }
}

extension [String: Tensor] {
    /// A parameter that ``Transformer`` has found present.
    func required(_ name: String) -> Tensor {
        guard let tensor = self[name] else { preconditionFailure("\(name) was checked to be present") }
        return tensor
    }
}
