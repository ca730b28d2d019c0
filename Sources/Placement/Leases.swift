package import Records
package import Tensors

/// The weights lent to a generator. It exists only inside the closure of ``ReallocatingActor/generate(_:)``.
package struct GenerationLease: ~Copyable {
    package let version: PolicyVersion
    /// Name to tensor, to be read only.
    package let parameters: [String: Tensor]
}

/// The weights lent for scoring without gradients. It exists only inside the closure of ``ReallocatingActor/infer(_:)``.
package struct InferenceLease: ~Copyable {
    package let version: PolicyVersion
    /// Name to tensor, to be read only.
    package let parameters: [String: Tensor]
    /// The weights as they are trained: what a checkpoint holds. To be read only.
    package let masters: [String: Tensor]
}

/// The weights lent to a trainer: it runs backward passes over them and proposes a step; it writes nothing itself.
package struct TrainingLease: ~Copyable {
    package let version: PolicyVersion
    /// Name to leaf tensor that collects a gradient; shares its elements with the role's parameter.
    package let parameters: [String: Tensor]
    /// What the forward pass computes in; the type of the parameters in the shared layout.
    package let computeType: ElementType

    /// The parameters as a forward pass reads them: the leaves, or casts of them that hand their gradients on.
    ///
    /// May be read by several forward and backward passes; the gradients of all add up in the leaves' type.
    @TensorActor package func computed() throws -> [String: Tensor] {
        try parameters.mapValues { try $0.to(computeType) }
    }
}

/// What a training phase came to.
package enum Proposed<Value: Sendable> {
    /// The gradients are ready; `apply` writes the weights, all of them, and becomes the next version.
    ///
    /// It runs without a suspension. An error inside it leaves the weights half written and poisons the role.
    case step(Value, apply: @TensorActor () throws -> Void)
    /// The step is skipped: the weights and their version stay.
    case skipped(Value)

    package var value: Value {
        switch self {
        case .step(let value, _), .skipped(let value): value
        }
    }
}
