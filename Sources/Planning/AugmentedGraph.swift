/// One iteration of a plan with everything between its calls: reallocations, transfers of what calls make, what goes to
/// the host and back.
struct AugmentedGraph {
    var nodes: [Node] = []
    /// Bytes that lie on each device all the time.
    var resident: [Int]

    struct Node {
        var name: String
        var kind: TimelineTask.Kind
        /// `nil` for what is between calls.
        var call: Int?
        var nanoseconds: Int
        /// Devices by their numbers; for copy engines the number of devices more.
        var resources: [Int]
        /// Nodes of the same iteration, and of the one before.
        var after: [Int] = []
        var afterPrevious: [Int] = []
        /// What is there from its start on, and what goes at its end.
        var takes: [Bytes] = []
        var gives: [Bytes] = []
    }

    /// The same number of bytes on some devices.
    struct Bytes {
        var devices: [Int]
        var count: Int
    }
}

/// What a graph is put together from: numbers worked out once for each assignment of a call.
struct PricedAssignment {
    var assignment: Assignment
    var devices: [Int]
    var nanoseconds: Int
    var memory: MemoryDemand
    /// Nanoseconds of making its layout of the weights.
    var conversion: Int
    /// See ``CostModel/isOfThisBuild``.
    var isOfThisBuild: Bool
    /// Whether it trains less than the model, as adapters, in a run: what it does not train is then whole on each rank.
    var holdsWhole: Bool
}

extension PricedAssignment {
    /// The assignment with the strategy in which its weights lie.
    var stored: Assignment {
        var stored = assignment
        if holdsWhole {
            stored.strategy = Strategy(
                assignment.strategy.pipeline, 1, assignment.strategy.tensor * assignment.strategy.data)
        }
        return stored
    }

    /// Whether its weights are read where they are trained: a run cuts its parts from whole layers without a copy.
    func readsInPlace(of home: PricedAssignment) -> Bool {
        let (own, trained) = (assignment, home.assignment)
        if own.sharesStorage(with: trained) { return true }
        let isWhole = home.stored.strategy.tensor == 1 && trained.strategy.pipeline == 1
        return isOfThisBuild && isWhole && own.mesh == trained.mesh && own.layout == trained.layout
    }

    /// Whether its weights, or what they are made of, are float32 parts of other ranks, which a run brings to where they
    /// stay.
    func isBrought(from home: PricedAssignment) -> Bool {
        let (own, trained) = (assignment.strategy.tensor, home.stored.strategy.tensor)
        return isOfThisBuild && trained > 1 && own != trained
    }

    /// The same where they are brought together whole.
    func gathers(from home: PricedAssignment) -> Bool { isBrought(from: home) && assignment.strategy.tensor == 1 }
}

/// Puts augmented graphs together.
struct AugmentedGraphBuilder {
    let cluster: Cluster
    let models: [String: ModelShape]
    let graph: DataflowGraph
    let order: [Int]
    let predecessors: [[Int]]
    private let trainers: [String: Int]
    private var transfers: TransferCosts

    /// - Throws: ``PlanError`` for calls that wait for each other.
    init(_ cluster: Cluster, _ models: [String: ModelShape], _ graph: DataflowGraph) throws(PlanError) {
        guard let order = graph.order else {
            throw PlanError([.init(.complete, nil, "some calls of the graph wait for each other")])
        }
        self.cluster = cluster
        self.models = models
        self.graph = graph
        self.order = order
        predecessors = graph.predecessors
        var trainers: [String: Int] = [:]
        for (index, call) in graph.calls.enumerated() where call.kind == .train { trainers[call.role ?? ""] = index }
        self.trainers = trainers
        transfers = TransferCosts(cluster)
    }

    /// - Parameter priced: By call; `nil` for those of the host.
    mutating func build(_ priced: [PricedAssignment?]) -> AugmentedGraph {
        var result = AugmentedGraph(resident: [Int](repeating: 0, count: cluster.devices))
        var nodes: [Int?] = Array(repeating: nil, count: graph.calls.count)
        var views: [(call: Int, node: Int)] = []
        var lastUser: [Int: Int] = [:]
        var reloads: [Int: Int] = [:]
        for index in order {
            let call = graph.calls[index]
            var node = AugmentedGraph.Node(
                name: call.name, kind: .init(call.kind), call: index,
                nanoseconds: priced[index]?.nanoseconds ?? call.work.hostMilliseconds * 1_000_000,
                resources: priced[index]?.devices ?? [])
            node.after = transfersBefore(index, priced, nodes, &result)
            if let own = priced[index] {
                node.takes.append(.init(devices: own.devices, count: own.memory.activations))
                node.gives.append(.init(devices: own.devices, count: own.memory.activations))
                place(cache: own, &node, &result)
            }
            if let own = priced[index], let role = call.role {
                if call.kind == .train {
                    reloads[index] = train(own, &node, &result)
                    node.after += views.filter { graph.calls[$0.call].role == role }.map(\.node)
                } else if let trainer = trainers[role], let home = priced[trainer] {
                    if !own.readsInPlace(of: home) {
                        if let view = views.first(where: {
                            graph.calls[$0.call].role == role
                                && priced[$0.call]?.assignment.sharesStorage(with: own.assignment) == true
                        }) {
                            node.after.append(view.node)
                            lastUser[view.call] = index
                        } else {
                            let isGathered =
                                own.gathers(from: home)
                                && views.contains {
                                    graph.calls[$0.call].role == role && priced[$0.call]?.gathers(from: home) == true
                                }
                            let made = view(role, home, own, isGathered: isGathered, &result)
                            views.append((index, made))
                            lastUser[index] = index
                            node.after.append(made)
                        }
                    }
                } else {
                    reloads[index] = frozen(own, isFirst: !sharesFrozen(index, priced), &node, &result)
                }
            }
            nodes[index] = result.nodes.count
            result.nodes.append(node)
        }
        // A view lies there until the last call that reads it; one that is kept, all the time.
        for (call, node) in views {
            guard let own = priced[call], let last = lastUser[call], let slot = nodes[last] else { continue }
            var bytes = AugmentedGraph.Bytes(devices: own.devices, count: own.memory.weights)
            if let role = graph.calls[call].role, let home = trainers[role].flatMap({ priced[$0] }),
                own.isBrought(from: home), own.assignment.layout != .fp32Master
            {
                // What it is made of: parts, which are float32 as what is packed of them, or wholes.
                let whole = 4 * (models[role]?.parameterCount ?? 0)
                bytes.count += own.gathers(from: home) ? whole : own.memory.weights
            }
            if priced[last]?.assignment.after.contains(.dropWeights) == true {
                result.nodes[node].takes.append(bytes)
                result.nodes[slot].gives.append(bytes)
            } else {
                for device in own.devices { result.resident[device] += bytes.count }
            }
        }
        endSteps(priced, nodes, &result)
        addVersionEdges(nodes, &result)
        addOffloads(reloads, priced, nodes, &result)
        return result
    }

    // MARK: Parts

    /// The nodes that bring what a call reads: its producers, or transfers where the samples lie on other devices.
    private func transfersBefore(
        _ index: Int, _ priced: [PricedAssignment?], _ nodes: [Int?], _ result: inout AugmentedGraph
    ) -> [Int] {
        predecessors[index].compactMap { producer -> Int? in
            guard let slot = nodes[producer] else { return nil }
            guard let from = priced[producer], let to = priced[index],
                from.assignment.mesh != to.assignment.mesh
                    || from.assignment.strategy.data != to.assignment.strategy.data
            else { return slot }
            let work = graph.calls[producer].work
            let keys = graph.calls[producer].outputs.filter(graph.calls[index].inputs.contains).count
            // Four bytes of each token for each key: an id, a log-prob, a value.
            let bytes = Double(4 * keys * work.tokens)
            let isInside =
                from.assignment.mesh.nodes == to.assignment.mesh.nodes && from.assignment.mesh.nodes.count == 1
            let rate = (isInside ? cluster.intraGBps : cluster.interGBps) * 1e9
            let devices = Set(from.devices).union(to.devices).sorted()
            result.nodes.append(
                .init(
                    name: "\(graph.calls[producer].name) → \(graph.calls[index].name)", kind: .transfer, call: nil,
                    nanoseconds: Nanoseconds.rounded(bytes / rate * 1e9) + 100_000,
                    resources: devices.map { $0 + cluster.devices }, after: [slot]))
            return result.nodes.count - 1
        }
    }

    /// A key-value cache lies there for the call, or all the time where the plan does not drop it.
    private func place(
        cache own: PricedAssignment, _ node: inout AugmentedGraph.Node, _ result: inout AugmentedGraph
    ) {
        guard own.memory.cache > 0 else { return }
        if own.assignment.after.contains(.dropKV) {
            node.takes.append(.init(devices: own.devices, count: own.memory.cache))
            node.gives.append(.init(devices: own.devices, count: own.memory.cache))
        } else {
            for device in own.devices { result.resident[device] += own.memory.cache }
        }
    }

    /// The home of a role: its weights stay; gradients and moments as the plan says.
    ///
    /// - Returns: The node that brings the moments back; `nil` where they stay.
    private func train(
        _ own: PricedAssignment, _ node: inout AugmentedGraph.Node, _ result: inout AugmentedGraph
    ) -> Int? {
        for device in own.devices { result.resident[device] += own.memory.weights }
        let gradients = AugmentedGraph.Bytes(devices: own.devices, count: own.memory.gradients)
        if own.assignment.after.contains(.dropGradients) {
            node.takes.append(gradients)
            // Those of a run's steps go together, see ``endSteps(_:_:_:)``.
            if !own.isOfThisBuild { node.gives.append(gradients) }
        } else {
            for device in own.devices { result.resident[device] += own.memory.gradients }
        }
        let moments = AugmentedGraph.Bytes(devices: own.devices, count: own.memory.optimizer)
        guard own.assignment.after.contains(.offloadOptimizer) else {
            for device in own.devices { result.resident[device] += own.memory.optimizer }
            return nil
        }
        guard !own.isOfThisBuild else { return nil }
        return reload(moments, own, before: &node, &result)
    }

    /// A run takes the steps of all roles together: what one has of gradients stays until the last role has its own.
    private func endSteps(_ priced: [PricedAssignment?], _ nodes: [Int?], _ result: inout AugmentedGraph) {
        let steps = order.filter { graph.calls[$0].kind == .train && priced[$0]?.isOfThisBuild == true }
        for index in steps {
            guard let own = priced[index], own.assignment.after.contains(.dropGradients),
                let last = steps.last(where: { priced[$0]?.devices == own.devices }),
                let slot = nodes[index], let end = nodes[last]
            else { continue }
            if end != slot { result.nodes[end].after.append(slot) }
            result.nodes[end].gives.append(.init(devices: own.devices, count: own.memory.gradients))
        }
    }

    /// Brings something from the host before a call.
    private func reload(
        _ bytes: AugmentedGraph.Bytes, _ own: PricedAssignment, before node: inout AugmentedGraph.Node,
        _ result: inout AugmentedGraph
    ) -> Int {
        var reload = hostNode("reload for \(node.name)", .reload, own, bytes.count)
        reload.after = node.after
        reload.takes = [bytes]
        result.nodes.append(reload)
        node.after.append(result.nodes.count - 1)
        return result.nodes.count - 1
    }

    /// The reallocation from a role's home to where a call reads it.
    ///
    /// - Parameter isGathered: Whether the shards have been brought together for an earlier call.
    private mutating func view(
        _ role: String, _ home: PricedAssignment, _ own: PricedAssignment, isGathered: Bool,
        _ result: inout AugmentedGraph
    ) -> Int {
        let isBrought = own.isBrought(from: home)
        let isSmall = !isBrought && [.bf16, .int8].contains(own.assignment.layout)
        let cost =
            isGathered
            ? nil
            : models[role].flatMap {
                transfers.cost($0, from: home.stored, to: own.assignment, bytes: isSmall ? 2 : 4)
            }
        let devices = Set(home.devices).union(own.devices).sorted()
        // A run makes a layout tensor by tensor where the weights lie.
        let staging = AugmentedGraph.Bytes(devices: devices, count: own.isOfThisBuild ? 0 : cost?.stagingBytes ?? 0)
        result.nodes.append(
            .init(
                name: "reallocate \(role)", kind: .reallocate, call: nil,
                nanoseconds: (cost?.nanoseconds ?? 0) + own.conversion, resources: devices,
                takes: [staging], gives: [staging]))
        return result.nodes.count - 1
    }

    private func frozen(
        _ own: PricedAssignment, isFirst: Bool, _ node: inout AugmentedGraph.Node, _ result: inout AugmentedGraph
    ) -> Int? {
        guard own.assignment.after.contains(.offloadWeights) else {
            if isFirst { for device in own.devices { result.resident[device] += own.memory.weights } }
            return nil
        }
        let weights = AugmentedGraph.Bytes(devices: own.devices, count: own.memory.weights)
        node.gives.append(weights)
        return reload(weights, own, before: &node, &result)
    }

    /// Moments go to the host after their step; the next step brings them back. The host has a copy of frozen weights.
    private func addOffloads(
        _ reloads: [Int: Int], _ priced: [PricedAssignment?], _ nodes: [Int?], _ result: inout AugmentedGraph
    ) {
        for index in order {
            guard let reload = reloads[index], let own = priced[index], let slot = nodes[index] else { continue }
            guard graph.calls[index].kind == .train else {
                result.nodes[reload].afterPrevious = [slot]
                continue
            }
            var offload = hostNode("offload after \(graph.calls[index].name)", .offload, own, own.memory.optimizer)
            offload.after = [slot]
            offload.gives = [.init(devices: own.devices, count: own.memory.optimizer)]
            result.nodes.append(offload)
            result.nodes[reload].afterPrevious = [result.nodes.count - 1]
        }
    }

    /// Whether an earlier call of a frozen role has its weights in the same storage.
    private func sharesFrozen(_ index: Int, _ priced: [PricedAssignment?]) -> Bool {
        guard let own = priced[index] else { return false }
        return order.prefix { $0 != index }.contains { other in
            graph.calls[other].role == graph.calls[index].role
                && priced[other].map {
                    $0.assignment.sharesStorage(with: own.assignment) && !$0.assignment.after.contains(.offloadWeights)
                } == true
        }
    }

    private func hostNode(
        _ name: String, _ kind: TimelineTask.Kind, _ own: PricedAssignment, _ bytes: Int
    ) -> AugmentedGraph.Node {
        .init(
            name: name, kind: kind, call: nil,
            nanoseconds: Nanoseconds.rounded(Double(bytes) / (cluster.hostGBps * 1e9) * 1e9),
            resources: own.devices.map { $0 + cluster.devices })
    }

    /// Nothing reads a role's weights before the last iteration's step has written them; a frozen role's calls follow
    /// themselves.
    private func addVersionEdges(_ nodes: [Int?], _ result: inout AugmentedGraph) {
        for index in order {
            guard let slot = nodes[index] else { continue }
            if let trainer = graph.calls[index].role.flatMap({ trainers[$0] }), let step = nodes[trainer] {
                result.nodes[slot].afterPrevious.append(step)
            } else {
                result.nodes[slot].afterPrevious.append(slot)
            }
        }
        for (slot, node) in result.nodes.enumerated() where node.kind == .reallocate {
            // The call behind it says whose weights they are, and has the edge itself.
            let reader = result.nodes.first { $0.after.contains(slot) && $0.call != nil && $0.kind != .train }
            result.nodes[slot].afterPrevious = reader?.afterPrevious ?? []
        }
    }
}
