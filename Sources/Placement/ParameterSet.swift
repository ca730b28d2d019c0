package import Tensors

/// Every tensor that one role consists of. Whatever of it is ever written is written through the role's
/// ``ReallocatingActor``. No name stands in two of the three.
package struct ParameterSet {
    /// Parameters of the model that are trained, under their published names, in float32 or float64.
    package let trainable: [String: Tensor]
    /// Parameters of the model that no gradient reaches: those of a reference policy, or a base under adapters.
    package let frozen: [String: Tensor]
    /// What is trained on top of the model and is no part of it, as a value head. It is read in the type it is trained in,
    /// whatever the layout.
    package let heads: [String: Tensor]

    package init(
        trainable: [String: Tensor] = [:], frozen: [String: Tensor] = [:], heads: [String: Tensor] = [:]
    ) {
        self.trainable = trainable
        self.frozen = frozen
        self.heads = heads
    }

    /// The model's own parameters, trained or not: what its folder holds.
    package var model: [String: Tensor] { trainable.merging(frozen) { own, _ in own } }
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
        for (name, tensor) in frozen.sorted(by: { $0.key < $1.key }) where !tensor.elementType.isFloatingPoint {
            return "\(name) is \(tensor.elementType); weights are floating-point numbers"
        }
        return nil
    }
}

/// A role's parameters as backward passes see them: leaves for what is trained, plain tensors for what is not.
package struct TrainableParameters {
    /// Every trained tensor by name, heads included, as a leaf that collects a gradient.
    package private(set) var leaves: [String: Tensor]
    /// To be read; written only in the `apply` of a step that moves them on purpose, as one that lets a reference follow.
    package let frozen: [String: Tensor]
    private let layout: ParameterLayout
    private let headNames: Set<String>

    /// New leaves over the elements of the set.
    init(_ set: ParameterSet, _ layout: ParameterLayout) throws {
        leaves = try set.trained.mapValues { try $0.detached().requiringGradient() }
        frozen = set.frozen
        headNames = Set(set.heads.keys)
        self.layout = layout
    }

    package subscript(name: String) -> Tensor? { leaves[name] }

    /// The heads' leaves.
    package var heads: [String: Tensor] { leaves.filter { headNames.contains($0.key) } }

    /// The model's own parameters as a forward pass reads them: leaves, or casts of them that hand their gradients on.
    ///
    /// May be read by several forward and backward passes; the gradients of all add up in the leaves' type.
    package func computed() throws -> [String: Tensor] {
        let model = leaves.filter { !headNames.contains($0.key) }.merging(frozen) { leaf, _ in leaf }
        guard case .copies(let type) = layout else { return model }
        return try model.mapValues { try $0.to(type) }
    }

    /// The same role with other values of what is trained, as leaves without a gradient.
    ///
    /// - Parameter values: By the names and in the shapes of ``leaves``; their elements are shared, not copied. The leaves
    ///   themselves give new ones, whose gradients stay apart from theirs.
    package func moved(to values: [String: Tensor]) throws -> TrainableParameters {
        precondition(values.keys == leaves.keys, "the values of a role have the names of its parameters")
        var moved = self
        moved.leaves = try values.mapValues { try $0.detached().requiringGradient() }
        return moved
    }
}
