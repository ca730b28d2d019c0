internal import Algorithms
internal import Models
internal import Records
internal import Tensors

/// The soft tokens of one forward pass as plain numbers, padded to the widest support.
struct PackedSoftTokens {
    /// Which of the pass's generated tokens are soft, ascending.
    let positions: [Int]
    /// The other generated tokens, ascending.
    let ordinary: [Int]
    private let records: [SoftTokens]
    private let supportSizes: [Int]
    private let componentCounts: [Int]

    /// - Parameter completions: In packed order; `nil` when none has a soft token.
    init?(_ completions: [UpdateCompletion]) {
        records = completions.compactMap(\.softTokens)
        supportSizes = records.flatMap { $0.supportSizes.filter { $0 > 0 } }
        componentCounts = records.flatMap(\.componentCounts)
        guard !supportSizes.isEmpty else { return nil }
        let isSoft = completions.flatMap { completion in
            completion.softTokens.map { $0.supportSizes.map { $0 > 0 } } ?? completion.tokenIDs.map { _ in false }
        }
        positions = isSoft.indices.filter { isSoft[$0] }
        ordinary = isSoft.indices.filter { !isSoft[$0] }
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

    /// One of the records' arrays, `[soft tokens, components]`, 0 in empty slots; `nil` when the records do not have it.
    func tensor(_ field: KeyPath<SoftTokens, [Float]>, like tensor: Tensor) throws -> Tensor? {
        let flat = records.flatMap { $0[keyPath: field] }
        guard flat.count == componentCounts.reduce(0, +) else { return nil }
        return try Tensor(
            Self.padded(flat.map(Double.init), componentCounts, to: components, with: 0), shape: [count, components]
        ).to(tensor.elementType).to(tensor.device)
    }

    /// The inputs that the soft tokens were, under a model's own embedding: `[soft tokens, hidden]`.
    func inputs(of model: Transformer, _ noise: SoftNoise) throws -> Tensor {
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

    /// Cuts `[soft tokens, components]` numbers back into each completion's own flat array.
    ///
    /// - Parameter completions: As given to the initializer.
    func scattered(_ values: [Float], over completions: [UpdateCompletion]) -> [[Float]] {
        let width = components
        var row = 0
        return completions.map { completion in
            guard let soft = completion.softTokens else { return [] }
            return soft.componentCounts.flatMap { size in
                defer { row += 1 }
                return values[row * width..<row * width + size]
            }
        }
    }
}
