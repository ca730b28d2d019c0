/// What a plan must keep, by the numbers of its description in the documentation.
package enum PlanRule: String, Sendable, Hashable {
    /// Each call of the graph has an assignment and a model, the graph is one, and what it takes can be counted.
    case complete = "V0"
    case mesh = "V1"
    case size = "V2"
    /// A degree of 1, 2, 4 or 8 inside a node that divides query heads and the width of the feed-forward part, and has a
    /// word for each shard. ReaL's divides the vocabulary, too; a run here cuts words into parts that differ by one.
    case tensorDegree = "V3"
    case keyValueHeads = "V4"
    case degreeChange = "V5"
    case stageWidth = "V6"
    case batch = "V7"
    case pruning = "V8"
    case memory = "V9"
    case layout = "V10"
    /// What a run of this build carries out: see ``ExecutionPlan/runProblems``.
    case run = "train"
}

/// One broken rule.
package struct PlanProblem: Sendable, Hashable, CustomStringConvertible {
    package var rule: PlanRule
    /// `nil` for the whole plan.
    package var call: String?
    package var message: String

    package init(_ rule: PlanRule, _ call: String?, _ message: String) {
        self.rule = rule
        self.call = call
        self.message = message
    }

    package var description: String { "\(rule.rawValue) \(call.map { "calls.\($0)" } ?? "plan"): \(message)" }
}

/// Every rule that a plan breaks.
package struct PlanError: Error, Sendable, Equatable, CustomStringConvertible {
    package var problems: [PlanProblem]

    package init(_ problems: [PlanProblem]) { self.problems = problems }

    package var description: String { problems.map(\.description).joined(separator: "\n") }
}

/// Which plans are allowed.
package struct RuleSet: Sendable, Hashable {
    /// ReaL's: one tensor degree divides the other and the vocabulary, key and value heads are cut on both sides or on
    /// none, stages have 1, 2, 4, 8 or a multiple of 8 devices.
    var isPublished: Bool
    /// Whether training keeps tp·dp inside a node and few stages, and no mesh has fewer than four devices. It makes the
    /// space of plans smaller, nothing more.
    var prunes: Bool

    package static let plumbline = RuleSet(isPublished: false, prunes: false)
    package static let published = RuleSet(isPublished: true, prunes: true)

    /// What a search keeps on a cluster: it prunes from 8 devices on.
    package static func search(_ cluster: Cluster) -> RuleSet {
        RuleSet(isPublished: false, prunes: cluster.devices >= 8)
    }
}

extension ExecutionPlan {
    /// The broken rules but for memory, which only the cost model knows.
    package func problems(_ rules: RuleSet = .plumbline) -> [PlanProblem] {
        var problems = graph.problems.map { PlanProblem(.complete, nil, $0) }
        if !(cluster.devicesPerNode >= 1 && cluster.devicesPerNode.nonzeroBitCount == 1) {
            problems.append(
                .init(.mesh, nil, "a node has \(cluster.devicesPerNode) devices; expected a power of two"))
        }
        for name in assignments.keys.sorted() where graph.call(named: name) == nil {
            problems.append(.init(.complete, name, "the graph has no such call"))
        }
        for call in graph.calls where call.kind != .host {
            guard let role = call.role, let shape = models[role] else {
                problems.append(.init(.complete, call.name, "there is no model of the role \(call.role ?? "")"))
                continue
            }
            guard let assignment = assignments[call.name] else {
                problems.append(.init(.complete, call.name, "the call has no assignment"))
                continue
            }
            problems += rules.problems(of: call, assignment, shape, cluster)
            if let home = home(ofRole: role), !home.sharesStorage(with: assignment) {
                problems += rules.changeProblems(call, home.strategy, assignment.strategy, shape)
            }
        }
        for role in graph.roles where graph.calls.filter({ $0.role == role && $0.kind == .train }).count > 1 {
            problems.append(.init(.complete, nil, "the role \(role) is trained by several calls; expected one"))
        }
        return problems
    }
}

extension RuleSet {
    /// The rules that concern one call alone.
    package func problems(
        of call: CallSpec, _ assignment: Assignment, _ shape: ModelShape, _ cluster: Cluster
    ) -> [PlanProblem] {
        if let problem = assignment.mesh.problem(in: cluster) {
            return [.init(.mesh, call.name, "the mesh \(problem)")]
        }
        let (pp, tp, dp) = (assignment.strategy.pipeline, assignment.strategy.tensor, assignment.strategy.data)
        guard assignment.strategy.size == assignment.mesh.size, pp >= 1, tp >= 1, dp >= 1 else {
            return [
                .init(
                    .size, call.name,
                    "pp \(pp) × tp \(tp) × dp \(dp) is \(pp * tp * dp); the mesh has \(assignment.mesh.size) devices")
            ]
        }
        if let problem = MemoryModel.problem(of: call, shape) { return [problem] }
        return tensorProblems(call, tp, assignment.mesh, shape) + stageProblems(call, assignment, shape, cluster)
            + batchProblems(call, assignment) + pruningProblems(call, assignment, cluster)
            + layoutProblems(call, assignment)
    }

    private func tensorProblems(_ call: CallSpec, _ tp: Int, _ mesh: Mesh, _ shape: ModelShape) -> [PlanProblem] {
        guard tp.nonzeroBitCount == 1, tp <= min(8, mesh.slots.count) else {
            return [
                .init(
                    .tensorDegree, call.name,
                    "tp is \(tp); expected 1, 2, 4 or 8, and at most the \(mesh.slots.count) devices of a node of "
                        + "the mesh"
                )
            ]
        }
        let cut =
            [("query heads", shape.heads), ("feed-forward width", shape.intermediateSize)]
            + (isPublished ? [("vocabulary", shape.vocabularySize)] : [])
        let problems = cut.filter { !$0.1.isMultiple(of: tp) }.map {
            PlanProblem(.tensorDegree, call.name, "tp is \(tp); expected a divisor of the \($0.0), \($0.1)")
        }
        guard shape.vocabularySize < tp else { return problems }
        return problems + [
            .init(.tensorDegree, call.name, "tp is \(tp); expected at most the \(shape.vocabularySize) words")
        ]
    }

    private func stageProblems(
        _ call: CallSpec, _ assignment: Assignment, _ shape: ModelShape, _ cluster: Cluster
    ) -> [PlanProblem] {
        let (stages, size) = (assignment.strategy.pipeline, assignment.mesh.size)
        let width = size / stages
        let node = isPublished ? 8 : cluster.devicesPerNode
        var problems: [PlanProblem] = []
        if stages > shape.layerCount {
            problems.append(
                .init(.stageWidth, call.name, "pp is \(stages); the model has \(shape.layerCount) layers to cut"))
        }
        if !(node.isMultiple(of: width) || width.isMultiple(of: node)) {
            problems.append(
                .init(
                    .stageWidth, call.name,
                    "a stage has \(width) devices; expected a divisor or a multiple of the \(node) of a node"))
        }
        return problems
    }

    private func batchProblems(_ call: CallSpec, _ assignment: Assignment) -> [PlanProblem] {
        let (work, strategy) = (call.work, assignment.strategy)
        let shares = strategy.data * strategy.pipeline
        let least = call.kind == .train ? 2 * shares * work.miniBatches : shares
        var problems: [PlanProblem] = []
        if work.sequences < least {
            problems.append(
                .init(
                    .batch, call.name,
                    "\(work.sequences) sequences for dp \(strategy.data) and pp \(strategy.pipeline); expected at "
                        + "least \(least)"
                ))
        }
        if assignment.microBatches < 1 {
            problems.append(
                .init(.batch, call.name, "microbatches is \(assignment.microBatches); expected at least 1"))
        }
        let groups = work.sequences / max(1, work.groupSize)
        let parts = strategy.data * work.miniBatches
        if call.kind == .train, work.groupSize > 1, !work.sequences.isMultiple(of: work.groupSize) {
            problems.append(
                .init(.batch, call.name, "\(work.sequences) sequences are no whole groups of \(work.groupSize)"))
        } else if call.kind == .train, work.groupSize > 1, !groups.isMultiple(of: parts) {
            problems.append(
                .init(
                    .batch, call.name,
                    "\(groups) groups do not divide among \(parts) mini-batches of replicas, and a group may not be cut"
                ))
        }
        return problems
    }

    private func pruningProblems(
        _ call: CallSpec, _ assignment: Assignment, _ cluster: Cluster
    ) -> [PlanProblem] {
        guard prunes else { return [] }
        var problems: [PlanProblem] = []
        if assignment.mesh.size < 4 {
            problems.append(
                .init(.pruning, call.name, "the mesh has \(assignment.mesh.size) devices; expected 4 or more"))
        }
        guard call.kind == .train else { return problems }
        let (tp, dp, pp) = (assignment.strategy.tensor, assignment.strategy.data, assignment.strategy.pipeline)
        if tp * dp > cluster.devicesPerNode {
            problems.append(
                .init(.pruning, call.name, "tp × dp is \(tp * dp); expected at most a node's \(cluster.devicesPerNode)")
            )
        }
        if pp > max(cluster.nodes, 8) {
            problems.append(
                .init(.pruning, call.name, "pp is \(pp); expected at most \(max(cluster.nodes, 8)) stages to train"))
        }
        return problems
    }

    private func layoutProblems(_ call: CallSpec, _ assignment: Assignment) -> [PlanProblem] {
        let trained = WeightLayout.allCases.filter(\.isTrainable).map(\.rawValue).joined(separator: " or ")
        var problems: [PlanProblem] = []
        if call.kind == .train, !assignment.layout.isTrainable {
            problems.append(
                .init(.layout, call.name, "the layout to train is \(assignment.layout.rawValue); expected \(trained)"))
        }
        let allowed: Set<Release> =
            switch call.kind {
            case .generate: [.dropWeights, .offloadWeights, .dropKV]
            case .infer: [.dropWeights, .offloadWeights]
            case .train: [.dropGradients, .offloadOptimizer]
            case .host: []
            }
        for release in assignment.after.subtracting(allowed).sorted() {
            problems.append(
                .init(
                    .layout, call.name, "after has \(release.rawValue), which a call to \(call.kind.rawValue) has not"))
        }
        return problems
    }

    /// The rules that concern a call and the home of its weights.
    func changeProblems(
        _ call: CallSpec, _ home: Strategy, _ view: Strategy, _ shape: ModelShape
    ) -> [PlanProblem] {
        guard isPublished else { return [] }
        var problems: [PlanProblem] = []
        let (one, other) = (home.tensor, view.tensor)
        if shape.keyValueHeads.isMultiple(of: max(1, one)) != shape.keyValueHeads.isMultiple(of: max(1, other)) {
            problems.append(
                .init(
                    .keyValueHeads, call.name,
                    "\(shape.keyValueHeads) key and value heads are cut by one of tp \(one) and tp \(other), and "
                        + "not by the other"
                ))
        }
        if one >= 1, other >= 1, !one.isMultiple(of: other), !other.isMultiple(of: one) {
            problems.append(.init(.degreeChange, call.name, "tp \(one) and tp \(other): one must divide the other"))
        }
        return problems
    }
}

extension RuleSet {
    /// Every mesh and strategy that the rules allow a call on a cluster; small meshes first.
    package func placements(
        of call: CallSpec, _ shape: ModelShape, _ cluster: Cluster
    ) -> [(mesh: Mesh, strategy: Strategy)] {
        let layout: WeightLayout = call.kind == .train ? .fp32Master : .bf16
        return Mesh.all(in: cluster, least: prunes ? 4 : 1).flatMap { mesh in
            Self.strategies(mesh.size, tensor: min(8, mesh.slots.count)).filter { strategy in
                problems(of: call, Assignment(mesh: mesh, strategy: strategy, layout: layout), shape, cluster).isEmpty
            }.map { (mesh, $0) }
        }
    }

    private static func strategies(_ size: Int, tensor largest: Int) -> [Strategy] {
        (1...size).filter { size.isMultiple(of: $0) }.flatMap { pipeline in
            (1...largest).filter { (size / pipeline).isMultiple(of: $0) }.map {
                Strategy(pipeline, $0, size / pipeline / $0)
            }
        }
    }
}
