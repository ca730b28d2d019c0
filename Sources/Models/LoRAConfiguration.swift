import JSON
package import Tensors

/// Low-rank adapters on the projections of a model's blocks (LoRA, Hu et al. 2021, arXiv:2106.09685).
///
///     y = x·Wᵀ + bias + s·(x·Aᵀ)·Bᵀ      A `[rank, inputs]`, B `[outputs, rank]`
///     s = α/rank, or α/√rank (rsLoRA, Kalajdzievski 2023, arXiv:2312.03732)
package struct LoRAConfiguration: Sendable, Equatable {
    /// Which projections have an adapter.
    package enum Targets: Sendable, Equatable {
        /// What peft takes for these families where nothing is named: `q_proj` and `v_proj`.
        case usual
        /// Every projection of the blocks; not the head.
        case allLinear
        /// The last part of a projection's name, `q_proj`, or several, `mlp.up_proj`.
        case names([String])
        /// A regular expression that a projection's whole name fits, such as `model\.layers\.1\.self_attn\..*`.
        case pattern(String)
    }

    package let rank: Int
    /// α.
    package let alpha: Double
    /// Whether s is α/√rank.
    package let isRankStabilized: Bool
    package let targets: Targets
    /// p: what share of an adapter's input a training pass drops, see ``AdapterDropout``.
    package let dropout: Double

    package init(
        rank: Int = 16, alpha: Double = 32, isRankStabilized: Bool = false, targets: Targets = .usual,
        dropout: Double = 0
    ) {
        precondition(rank > 0, "an adapter has a rank")
        self.rank = rank
        self.alpha = alpha
        self.isRankStabilized = isRankStabilized
        self.targets = targets
        self.dropout = dropout
    }

    /// s.
    package var scale: Double { alpha / (isRankStabilized ? Double(rank).squareRoot() : Double(rank)) }

    /// The same with another p, which is no property of the adapter's numbers.
    package func with(dropout: Double) -> LoRAConfiguration {
        LoRAConfiguration(
            rank: rank, alpha: alpha, isRankStabilized: isRankStabilized, targets: targets, dropout: dropout)
    }
}

/// What one packed training pass drops of the adapters' inputs, as peft's `lora_dropout`.
///
///     y = x·Wᵀ + bias + s·(drop(x)·Aᵀ)·Bᵀ      drop(x) = x·keep / (1 − p)
///
/// Each projection has a mask of its own, a function of seed, the tokens' addresses and the projection's number: a pass
/// that is made again drops the same.
package struct AdapterDropout {
    private let p: Double
    private let seed: UInt64
    private var addresses: DropoutAddresses

    /// - Parameters:
    ///   - p: What share is dropped, in 0 ..< 1.
    ///   - tokens: The address of every packed token, without a slot.
    package init(_ p: Double, seed: UInt64, of tokens: [RandomAddress]) throws(TensorError) {
        self.p = p
        self.seed = seed
        addresses = try DropoutAddresses(tokens)
    }

    /// What is dropped of some of the tokens, by their packed indices.
    func rows(at indices: [Int]) throws(TensorError) -> AdapterDropout {
        var some = self
        some.addresses = try addresses.rows(at: indices)
        return some
    }

    /// - Parameter first: Which column of the whole input the first one of `x` is.
    func callAsFunction(_ x: Tensor, of projection: Int, from first: Int) throws(TensorError) -> Tensor {
        try x.dropout(p, at: addresses, seed: seed, module: projection, from: first)
    }
}

extension LoRAConfiguration.Targets {
    /// Which of a model's projections are meant, by their names without `.weight`, in order.
    ///
    /// - Throws: ``ModelError/call(_:)`` for a name or pattern that fits none of them.
    func projections(in configuration: ModelConfiguration) throws(ModelError) -> [String] {
        let all = configuration.projectionNames
        switch self {
        case .usual: return try Self.names(["q_proj", "v_proj"]).projections(in: configuration)
        case .allLinear: return all
        case .names(let names):
            let endings = names.map { name in all.filter { $0 == name || $0.hasSuffix("." + name) } }
            if let index = endings.firstIndex(where: \.isEmpty) { throw Self.nothing(names[index], among: all) }
            let meant = Set(endings.joined())
            return all.filter(meant.contains)
        case .pattern(let pattern):
            let expression: Regex<AnyRegexOutput>
            do { expression = try Regex(pattern) } catch {
                throw .call("target modules '\(pattern)' is no regular expression: \(error)")
            }
            let meant = all.filter { $0.wholeMatch(of: expression) != nil }
            guard !meant.isEmpty else { throw Self.nothing(pattern, among: all) }
            return meant
        }
    }

    private static func nothing(_ name: String, among all: [String]) -> ModelError {
        var kinds: [String] = []
        for kind in all.compactMap({ $0.split(separator: ".").last.map(String.init) }) where !kinds.contains(kind) {
            kinds.append(kind)
        }
        let isOutside = ["lm_head", "embed_tokens"].contains(name)
        return .call(
            "target module '\(name)' "
                + (isOutside
                    ? "cannot have an adapter here: only projections of the blocks can"
                    : "matches none of the model's projections, such as \(all.first ?? "none")")
                + "; expected \(kinds.joined(separator: ", ")), or all-linear")
    }
}

extension ModelConfiguration {
    /// The same with adapters, whose projections are found.
    ///
    /// - Throws: ``ModelError/call(_:)`` when a target matches no projection.
    package func adapted(by adapters: LoRAConfiguration) throws(ModelError) -> ModelConfiguration {
        let projections = try adapters.targets.projections(in: self)
        var adapted = self
        adapted.adapters = adapters
        adapted.adaptedProjections = projections
        return adapted
    }

    /// The same without adapters.
    package var withoutAdapters: ModelConfiguration {
        var plain = self
        (plain.adapters, plain.adaptedProjections) = (nil, [])
        return plain
    }

    /// The projections of all blocks by name, without `.weight`, in the order of the parameters.
    var projectionNames: [String] {
        parameterShapes.filter { $0.isProjection }.map { String($0.name.dropLast(".weight".count)) }
    }

    /// The tensors of the adapters: A, then B, of each adapted projection in order. Empty without adapters. Ranks that
    /// share the rows of a matrix share those of B, ranks that share its columns share those of A.
    package var adapterShapes: [ParameterShape] {
        guard let adapters else { return [] }
        let matrices = Dictionary(uniqueKeysWithValues: parameterShapes.map { ($0.name, $0) })
        return adaptedProjections.flatMap { name -> [ParameterShape] in
            guard let matrix = matrices[name + ".weight"] else { preconditionFailure("\(name) was found in the model") }
            return [
                ParameterShape(
                    name: ParameterName.down(name), shape: [adapters.rank, matrix.shape[1]], role: .weight,
                    sharedAxis: matrix.sharedAxis == 1 ? 1 : nil),
                ParameterShape(
                    name: ParameterName.up(name), shape: [matrix.shape[0], adapters.rank], role: .weight,
                    sharedAxis: matrix.sharedAxis == 0 ? 0 : nil),
            ]
        }
    }

    /// What each adapter adds, for who merges them. Empty without adapters.
    package var lowRankUpdates: [LowRankUpdate] {
        guard let adapters else { return [] }
        return adaptedProjections.map {
            LowRankUpdate(
                weight: $0 + ".weight", down: ParameterName.down($0), up: ParameterName.up($0), scale: adapters.scale)
        }
    }

    /// Fresh adapters by name: B is 0 and A uniform in ±1/√inputs (Kaiming's with a = √5), as peft starts them; so the
    /// model is what it was.
    ///
    /// A number depends on the seed, on which adapter it is in and on its index there.
    package func freshAdapters(
        seed: UInt64, elementType: ElementType = .float32, device: Device = .cpu
    ) throws -> [String: Tensor] {
        var tensors: [String: Tensor] = [:]
        for (index, shape) in adapterShapes.enumerated() {
            let isDown = index % 2 == 0
            let made =
                isDown
                ? try Tensor(
                    Self.uniforms(
                        shape.count, row: index / 2, seed: seed, bound: 1 / Double(shape.shape[1]).squareRoot()),
                    shape: shape.shape)
                : try Tensor.zeros(shape.shape)
            tensors[shape.name] = try made.to(elementType).to(device)
        }
        return tensors
    }

    /// Step 1 of the stream tells the draws from those of a fresh model's weights.
    private static func uniforms(_ count: Int, row: Int, seed: UInt64, bound: Double) -> [Float] {
        (0..<count).map { index in
            let address = RandomAddress(step: 1, row: row, token: index >> 24, slot: index & 0xFF_FFFF)
            return Float((2 * address.uniform(seed: seed, stream: .initialization) - 1) * bound)
        }
    }
}

extension ParameterShape {
    /// Whether it is the matrix of a projection of a block.
    var isProjection: Bool { role == .weight && shape.count == 2 && name.hasPrefix(ParameterName.layers) }
}
