internal import Algorithms
internal import Models
internal import Records
internal import Tensors

/// The soft tokens of one forward pass as plain numbers, padded to the widest support.
struct PackedSoftTokens {
    /// Which of the pass's actions are soft, ascending.
    let positions: [Int]
    /// The other actions, ascending.
    let ordinary: [Int]
    /// Those of `positions` whose mixture is an input; behind the others the leading word goes in.
    let mixedPositions: [Int]
    /// The rows of `mixedPositions` among all soft tokens.
    private let mixedRows: [Int]
    /// One a completion, in packed order.
    private let payloads: [SoftTokens?]
    private let records: [SoftTokens]
    private let supportSizes: [Int]
    private let componentCounts: [Int]

    /// - Parameter completions: In packed order; `nil` when none has a soft token.
    init?(_ completions: [UpdateCompletion]) {
        payloads = completions.map { $0.payload as? SoftTokens }
        records = payloads.compactMap(\.self)
        supportSizes = records.flatMap { $0.supportSizes.filter { $0 > 0 } }
        componentCounts = records.flatMap(\.componentCounts)
        guard !supportSizes.isEmpty else { return nil }
        let isSoft = zip(completions, payloads).flatMap { completion, record in
            record.map { $0.supportSizes.map { $0 > 0 } } ?? [Bool](repeating: false, count: completion.actionCount)
        }
        let positions = isSoft.indices.filter { isSoft[$0] }
        self.positions = positions
        ordinary = isSoft.indices.filter { !isSoft[$0] }
        let isMixed = records.flatMap { record in record.positions.map { $0 != record.boundary } }
        mixedRows = isMixed.indices.filter { isMixed[$0] }
        mixedPositions = mixedRows.map { positions[$0] }
    }

    var count: Int { positions.count }
    /// Slots of the widest support.
    private var slots: Int { supportSizes.max() ?? 1 }
    /// Components of the widest step.
    private var components: Int { componentCounts.max() ?? 1 }

    /// Pieces of given lengths as rows of one width.
    private static func padded<Element>(_ flat: [Element], _ counts: [Int], to width: Int, with filler: Element)
        -> [Element]
    {
        SoftTokens.pieces(flat, counts).flatMap { $0 + [Element](repeating: filler, count: width - $0.count) }
    }

    /// The words of each support, `[soft tokens, slots]` int64; 0 in empty slots.
    func ids(on device: Device) throws -> Tensor {
        let flat = records.flatMap { $0.ids.map(Int.init) }
        return try Tensor(
            Self.padded(flat, supportSizes, to: slots, with: 0), shape: [count, slots], device: device)
    }

    /// Whether a slot holds a word, `[soft tokens, slots]` bool.
    func isFilled(on device: Device) throws -> Tensor {
        try Tensor(
            supportSizes.flatMap { size in (0..<slots).map { $0 < size } }, shape: [count, slots], device: device)
    }

    /// 1 for a component and 0 for an empty slot, `[soft tokens, components]`.
    func filled(like tensor: Tensor) throws -> Tensor {
        try Tensor(
            componentCounts.flatMap { size in (0..<components).map { $0 < size ? 1.0 : 0 } },
            shape: [count, components]
        ).to(tensor.elementType).to(tensor.device)
    }

    /// One of the records' arrays, `[soft tokens, components]`, 0 in empty slots; `nil` when the records do not have
    /// it.
    func tensor(_ field: KeyPath<SoftTokens, [Float]>, like tensor: Tensor) throws -> Tensor? {
        let flat = records.flatMap { $0[keyPath: field] }
        guard flat.count == componentCounts.reduce(0, +) else { return nil }
        return try Tensor(
            Self.padded(flat.map(Double.init), componentCounts, to: components, with: 0), shape: [count, components]
        ).to(tensor.elementType).to(tensor.device)
    }

    /// The inputs that soft tokens were, under a model's own embedding: `[mixed positions, hidden]`.
    func inputs(of model: Transformer, _ noise: SoftNoise) throws -> Tensor {
        let mixtures = try mixtures(of: model, noise)
        return mixedRows.count == count ? mixtures : try mixtures.rows(at: mixedRows)
    }

    private func mixtures(of model: Transformer, _ noise: SoftNoise) throws -> Tensor {
        if noise.perturbsEmbedding, let values = try tensor(\.values, like: model.embedding) { return values }
        let weights = records.flatMap { record in
            SoftTokens.pieces(record.values, record.componentCounts).flatMap { noise.weights(Array($0)) }
        }
        let padded = Self.padded(weights, supportSizes, to: slots, with: 0)
        return try model.mixtures(
            ids: ids(on: model.device),
            weights: Tensor(padded, shape: [count, slots]).to(model.elementType).to(model.device))
    }

    /// The policy's entropies where the soft tokens were drawn.
    var entropies: [Float] { records.flatMap(\.entropies) }

    /// Each completion's record, with its part of `[soft tokens, components]` numbers kept for a role; `nil` for a
    /// completion without soft tokens.
    func records(keeping values: [Float], of role: InferenceRole) -> [SoftTokens?] {
        let width = components
        var row = 0
        return payloads.map { record in
            guard var record else { return nil }
            record.keep(
                record.componentCounts.flatMap { size in
                    defer { row += 1 }
                    return values[row * width..<row * width + size]
                }, of: role)
            return record
        }
    }
}
