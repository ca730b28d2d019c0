package import Records
package import Tensors

/// The weights lent to a generator. It exists only inside the closure of ``ReallocatingActor/generate(together:_:)``.
package struct GenerationLease: ~Copyable {
    package let version: PolicyVersion
    /// The model's published parameters by name, to be read only: with what adapters add, and without adapters; with
    /// adapters beside what they add to where that is kept in eight bits.
    package let parameters: [String: Tensor]
    /// Parameters that are read packed, with what adapters add; among `parameters` they stand without it.
    package let packed: [String: PackedMatrix]
    /// How several ranks share them, of which these are this one's parts; `nil` for whole ones.
    package let shards: ParameterShards?
}

/// The weights lent for inference, without gradients. It exists only inside the closure of
/// ``ReallocatingActor/infer(_:)``.
package struct InferenceLease: ~Copyable {
    package let version: PolicyVersion
    /// The model's own parameters by name, adapters apart from what they add to, to be read only.
    package let parameters: [String: Tensor]
    /// The parameters as they are trained: what a model's folder holds. To be read only.
    package let masters: [String: Tensor]
    /// What is trained on top of the model, by name, to be read only.
    package let heads: [String: Tensor]
}

/// The weights lent to a trainer: it runs backward passes over them and proposes a step; it writes nothing itself.
package struct TrainingLease: ~Copyable {
    package let version: PolicyVersion
    /// Shares its elements with the role's parameters.
    package let parameters: TrainableParameters
}

/// Several roles lent together for one step. It exists only inside the closure of
/// ``ReallocatingActor/train(_:reading:_:)``.
package struct TrainingLeases: ~Copyable {
    let lent: LentParameters

    /// A role that is trained.
    @TensorActor package subscript(_ role: ReallocatingActor) -> TrainableParameters {
        guard let parameters = lent.trained[ObjectIdentifier(role)] else {
            preconditionFailure("\(role.role) is not among the roles that are trained")
        }
        return parameters
    }

    /// The model's own parameters of a role that is read, by name.
    @TensorActor package func reading(_ role: ReallocatingActor) -> [String: Tensor] {
        guard let parameters = lent.read[ObjectIdentifier(role)] else {
            preconditionFailure("\(role.role) is not among the roles that are read")
        }
        return parameters
    }
}

/// What the leases of several roles hold, gathered role by role.
struct LentParameters {
    var trained: [ObjectIdentifier: TrainableParameters] = [:]
    var read: [ObjectIdentifier: [String: Tensor]] = [:]
    /// What reading the trained roles has cost since their last step.
    var costs: [ObjectIdentifier: ReallocationReport] = [:]
}

/// What a training phase came to.
package enum Proposed<Value: Sendable> {
    /// The gradients are ready; `apply` writes the weights, all of them, and becomes the next version.
    ///
    /// It runs without a suspension. An error inside it leaves the weights half written and poisons every role of the
    /// step.
    case step(Value, apply: @TensorActor () throws -> Void)
    /// The step is skipped: the weights and their version stay.
    case skipped(Value)

    package var value: Value {
        switch self {
        case .step(let value, _), .skipped(let value): value
        }
    }
}
