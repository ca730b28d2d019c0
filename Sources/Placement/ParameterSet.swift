package import Tensors

/// Every tensor that one role consists of. Whatever of it is ever written is written through the role's
/// ``ReallocatingActor``. No name stands in two of the three. Roles may share frozen tensors that nobody writes.
package struct ParameterSet {
    /// Parameters of the model that are trained, under their published names, in float32 or float64.
    package let trainable: [String: Tensor]
    /// Parameters of the model that no gradient reaches: those of a reference policy, or a base under adapters. A matrix
    /// in eight bits stands there as the elements of a ``PackedMatrix``, with its scales beside it.
    package let frozen: [String: Tensor]
    /// What is trained on top of the model and is no part of it, as a value head. It is read in the type it is trained
    /// in, whatever the layout.
    package let heads: [String: Tensor]
    /// Low-rank adapters: what each adds to a frozen matrix. Their own two tensors are trainable, or frozen as well,
    /// and are read in the type they are kept in, whatever the layout. Sampling reads the sums and does not know the
    /// adapters.
    package let adapters: [LowRankUpdate]

    package init(
        trainable: [String: Tensor] = [:], frozen: [String: Tensor] = [:], heads: [String: Tensor] = [:],
        adapters: [LowRankUpdate] = []
    ) {
        self.trainable = trainable
        self.frozen = frozen
        self.heads = heads
        self.adapters = adapters
    }

    /// The model's own parameters, trained or not, adapters apart from what they add to: what its folder holds.
    package var model: [String: Tensor] { trainable.merging(frozen) { own, _ in own } }
    /// The names of the adapters' own tensors.
    var adapterNames: Set<String> { Set(adapters.flatMap { [$0.down, $0.up] }) }
    /// The model's published parameters that training changes: the trained ones, and the matrices that trained adapters
    /// add to.
    var movedNames: Set<String> {
        Set(trainable.keys).subtracting(adapterNames).union(
            adapters.filter { trainable[$0.down] != nil }.map(\.weight))
    }
    /// What an optimizer moves.
    package var trained: [String: Tensor] { trainable.merging(heads) { own, _ in own } }

    var all: [String: Tensor] { model.merging(heads) { own, _ in own } }

    /// What is wrong with it, in words; `nil` when a role can be made of it.
    var problem: String? {
        guard !all.isEmpty else { return "no parameters" }
        guard all.count == trainable.count + frozen.count + heads.count else {
            return "a name stands twice among trainable, frozen and head parameters"
        }
        for (name, tensor) in trained.sorted(by: { $0.key < $1.key })
        where tensor.elementType != .float32 && tensor.elementType != .float64 {
            return "\(name) is \(tensor.elementType); weights are trained in float32 or float64"
        }
        for (name, tensor) in frozen.sorted(by: { $0.key < $1.key })
        where !tensor.elementType.isFloatingPoint && frozen[PackedMatrix.scalesName(of: name)] == nil {
            return "\(name) is \(tensor.elementType); weights are floating-point numbers"
        }
        for adapter in adapters {
            guard frozen[adapter.weight] != nil, let down = model[adapter.down], let up = model[adapter.up],
                down.elementType == up.elementType
            else { return "the adapter of \(adapter.weight) lacks a tensor, or has two element types" }
        }
        return nil
    }
}

/// A role's parameters as backward passes see them: leaves for what is trained, plain tensors for what is not.
package struct TrainableParameters {
    /// Every trained tensor by name, heads included, as a leaf that collects a gradient.
    package private(set) var leaves: [String: Tensor]
    /// To be read; written only in the `apply` of a step that moves them on purpose, as one that lets a reference
    /// follow. Of a model that ranks share this one's parts, where they lie.
    package let frozen: [String: Tensor]
    private let layout: ParameterLayout
    private let headNames: Set<String>
    private let adapterNames: Set<String>
    private let adapters: [LowRankUpdate]

    /// New leaves over the elements of the set.
    ///
    /// - Parameter shards: Whose ranks share what is trained, of which the set has this one's parts; `nil` for wholes.
    init(_ set: ParameterSet, _ layout: ParameterLayout, _ shards: ParameterShards?) throws {
        leaves = try set.trained.mapValues { try $0.detached().requiringGradient() }
        var frozen = set.frozen
        if let shards { for (name, whole) in set.frozen { frozen[name] = try shards.view(of: whole, named: name) } }
        self.frozen = frozen
        headNames = Set(set.heads.keys)
        adapterNames = set.adapterNames
        adapters = set.adapters
        self.layout = layout
    }

    package subscript(name: String) -> Tensor? { leaves[name] }

    /// The heads' leaves.
    package var heads: [String: Tensor] { leaves.filter { headNames.contains($0.key) } }

    /// The model's own parameters as a forward pass reads them: leaves, or casts of them that hand their gradients on.
    /// Adapters stand beside what they add to, and are not cast.
    ///
    /// May be read by several forward and backward passes; the gradients of all add up in the leaves' type.
    package func computed() throws -> [String: Tensor] {
        let model = leaves.filter { !headNames.contains($0.key) }.merging(frozen) { leaf, _ in leaf }
        guard case .copies(let type) = layout else { return model }
        return try Dictionary(
            uniqueKeysWithValues: model.map { name, tensor in
                (name, adapterNames.contains(name) ? tensor : try tensor.to(type))
            })
    }

    /// The model's published parameters that training has moved, without gradients: what is trained itself, and new
    /// matrices where adapters add to frozen ones.
    package func moved() throws -> [String: Tensor] {
        let own = leaves.filter { !headNames.contains($0.key) && !adapterNames.contains($0.key) }
        let all = leaves.merging(frozen) { leaf, _ in leaf }
        let sums = try adapters.filter { leaves[$0.down] != nil }.map { ($0.weight, try $0.merged(in: all)) }
        return try own.mapValues { try $0.detached() }.merging(sums) { $1 }
    }

    /// The same role with other values of what is trained, as leaves without a gradient.
    ///
    /// - Parameter values: By the names and in the shapes of ``leaves``; their elements are shared, not copied. The
    ///   leaves themselves give new ones, whose gradients stay apart from theirs.
    package func moved(to values: [String: Tensor]) throws -> TrainableParameters {
        precondition(values.keys == leaves.keys, "the values of a role have the names of its parameters")
        var moved = self
        moved.leaves = try values.mapValues { try $0.detached().requiringGradient() }
        return moved
    }
}
