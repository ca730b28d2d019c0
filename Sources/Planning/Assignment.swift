/// How a call stores the weights it reads.
package enum WeightLayout: String, Sendable, Hashable, CaseIterable {
    /// float32, trained in place; a call that reads it on the same devices shares the storage.
    case fp32Master
    /// bfloat16 for the products, with float32 masters beside the moments.
    case bf16WithMaster = "bf16+fp32Master"
    /// float32, packed for the decode kernel.
    case fp32Packed
    case bf16
    /// Bytes with a scale for each row; norms and embeddings bfloat16.
    case int8

    /// Whether an optimizer can train it.
    var isTrainable: Bool { self == .fp32Master || self == .bf16WithMaster }

    /// Bytes of an activation, or of a key or value in the cache, beside such weights.
    var activationBytes: Int { self == .fp32Master || self == .fp32Packed ? 4 : 2 }
}

/// What leaves the device when a call ends.
package enum Release: String, Sendable, Hashable, CaseIterable, Comparable {
    /// A view filled from the home of the weights: filled again before the next call.
    case dropWeights
    /// Frozen weights, of which the host keeps a copy.
    case offloadWeights
    case dropKV
    case dropGradients
    case offloadOptimizer

    package static func < (left: Release, right: Release) -> Bool {
        allCases.firstIndex(of: left)! < allCases.firstIndex(of: right)!
    }
}

/// Where and how one call runs.
package struct Assignment: Sendable, Hashable {
    package var mesh: Mesh
    package var strategy: Strategy
    package var layout: WeightLayout
    /// Pieces that the sequences of a replica (of a mini-batch, when training) are cut into.
    package var microBatches: Int
    package var after: Set<Release>

    package init(
        mesh: Mesh, strategy: Strategy, layout: WeightLayout, microBatches: Int = 1, after: Set<Release> = []
    ) {
        self.mesh = mesh
        self.strategy = strategy
        self.layout = layout
        self.microBatches = microBatches
        self.after = after
    }

    /// Whether two calls of one role read the same storage.
    func sharesStorage(with other: Assignment) -> Bool {
        mesh == other.mesh && strategy == other.strategy && layout == other.layout
    }
}

/// One assignment for each call of an iteration, with everything it is for: the cluster, the models, the graph.
package struct ExecutionPlan: Sendable, Hashable {
    package var cluster: Cluster
    /// The shape of each role's weights.
    package var models: [String: ModelShape]
    package var graph: DataflowGraph
    /// By the names of the graph's calls; calls of the host have none.
    package var assignments: [String: Assignment]

    package init(
        cluster: Cluster, models: [String: ModelShape], graph: DataflowGraph, assignments: [String: Assignment]
    ) {
        self.cluster = cluster
        self.models = models
        self.graph = graph
        self.assignments = assignments
    }

    /// The training call of a role: its weights' source of truth lies where that runs. `nil` for a frozen role.
    package func home(ofRole role: String) -> Assignment? {
        graph.trainingCall(ofRole: role).flatMap { assignments[$0.name] }
    }

    /// The weights of a call on its devices; `nil` for a call of the host, or an assignment that fits nothing.
    package func placed(_ name: String) -> ShardedModel? {
        guard let call = graph.call(named: name), let role = call.role, let shape = models[role],
            let assignment = assignments[name]
        else { return nil }
        return ShardedModel(shape, assignment.strategy, ranks: assignment.mesh.ranks(in: cluster))
    }
}
