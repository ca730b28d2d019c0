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

        /// Has bytes lie there as long as it runs.
        mutating func hold(_ bytes: Bytes) {
            takes.append(bytes)
            gives.append(bytes)
        }
    }

    /// The same number of bytes on some devices.
    struct Bytes {
        var devices: [Int]
        var count: Int
    }

    /// Has bytes lie there all the time.
    mutating func keep(_ bytes: Bytes) {
        for device in bytes.devices { resident[device] += bytes.count }
    }

    /// - Returns: Where the node stands.
    mutating func append(_ node: Node) -> Int {
        nodes.append(node)
        return nodes.count - 1
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
    /// So many on each of its devices.
    func bytes(_ count: Int) -> AugmentedGraph.Bytes { .init(devices: devices, count: count) }

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

    /// A call where a plan has it run, and what of it stands in the graph.
    private struct Site {
        let call: CallSpec
        /// `nil` on the host.
        let own: PricedAssignment?
        /// The call's node, `nil` before it is there, and the one that brings back what waits on the host.
        var slot: Int?
        var reload: Int?

        var role: String { call.role ?? "" }
    }

    /// Weights that are read in another assignment than they are trained in.
    private struct View {
        let role: String
        let own: PricedAssignment
        let bytes: AugmentedGraph.Bytes
        /// The node that makes it.
        let node: Int
        /// The last call that reads it.
        var last: Int
    }

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
        var sites = zip(graph.calls, priced).map { Site(call: $0, own: $1) }
        var views: [View] = []
        for index in order {
            let site = sites[index]
            var node = AugmentedGraph.Node(
                name: site.call.name, kind: .init(site.call.kind), call: index,
                nanoseconds: site.own?.nanoseconds ?? site.call.work.hostMilliseconds * 1_000_000,
                resources: site.own?.devices ?? [])
            node.after = transfersBefore(index, sites, &result)
            if let own = site.own {
                node.hold(own.bytes(own.memory.activations))
                let cache = own.bytes(own.memory.cache)
                if own.assignment.after.contains(.dropKV) { node.hold(cache) } else { result.keep(cache) }
                if site.call.kind == .train {
                    sites[index].reload = train(own, &node, &result)
                    node.after += views.filter { $0.role == site.role }.map(\.node)
                } else if let trainer = trainers[site.role], let home = sites[trainer].own {
                    if !own.readsInPlace(of: home) {
                        node.after.append(view(for: index, site.role, own, of: home, &views, &result))
                    }
                } else {
                    sites[index].reload = frozen(own, isThere: sharesFrozen(own, site.role, sites), &node, &result)
                }
            }
            sites[index].slot = result.append(node)
        }
        endSteps(sites, &result)
        addVersionEdges(sites, &result)
        end(views, sites, &result)
        addOffloads(sites, &result)
        return result
    }

    // MARK: Parts

    /// The nodes that bring what a call reads: its producers, or transfers where the samples lie on other devices.
    private func transfersBefore(_ index: Int, _ sites: [Site], _ result: inout AugmentedGraph) -> [Int] {
        let reader = sites[index]
        return predecessors[index].compactMap { number -> Int? in
            let producer = sites[number]
            guard let slot = producer.slot, let from = producer.own, let to = reader.own,
                from.assignment.mesh != to.assignment.mesh
                    || from.assignment.strategy.data != to.assignment.strategy.data
            else { return producer.slot }
            let keys = producer.call.outputs.filter(reader.call.inputs.contains).count
            // Four bytes of each token for each key: an id, a log-prob, a value.
            let bytes = Double(4 * keys * producer.call.work.tokens)
            let isInside =
                from.assignment.mesh.nodes == to.assignment.mesh.nodes && from.assignment.mesh.nodes.count == 1
            let rate = (isInside ? cluster.intraGBps : cluster.interGBps) * 1e9
            let devices = Set(from.devices).union(to.devices).sorted()
            return result.append(
                .init(
                    name: "\(producer.call.name) → \(reader.call.name)", kind: .transfer, call: nil,
                    nanoseconds: Nanoseconds.rounded(bytes / rate * 1e9) + 100_000,
                    resources: devices.map { $0 + cluster.devices }, after: [slot]))
        }
    }

    /// The home of a role: its weights stay; gradients and moments as the plan says.
    ///
    /// - Returns: The node that brings the moments back; `nil` where they stay.
    private func train(
        _ own: PricedAssignment, _ node: inout AugmentedGraph.Node, _ result: inout AugmentedGraph
    ) -> Int? {
        result.keep(own.bytes(own.memory.weights))
        let gradients = own.bytes(own.memory.gradients)
        if own.assignment.after.contains(.dropGradients) {
            node.takes.append(gradients)
            // Those of a run's steps go together, see ``endSteps(_:_:)``.
            if !own.isOfThisBuild { node.gives.append(gradients) }
        } else {
            result.keep(gradients)
        }
        let moments = own.bytes(own.memory.optimizer)
        guard own.assignment.after.contains(.offloadOptimizer) else {
            result.keep(moments)
            return nil
        }
        return own.isOfThisBuild ? nil : reload(moments, before: &node, &result)
    }

    /// A run takes the steps of all roles together: what one has of gradients stays until the last role has its own.
    private func endSteps(_ sites: [Site], _ result: inout AugmentedGraph) {
        let steps = order.map { sites[$0] }.filter { $0.call.kind == .train && $0.own?.isOfThisBuild == true }
        for step in steps {
            guard let own = step.own, own.assignment.after.contains(.dropGradients), let slot = step.slot,
                let end = steps.last(where: { $0.own?.devices == own.devices })?.slot
            else { continue }
            if end != slot { result.nodes[end].after.append(slot) }
            result.nodes[end].gives.append(own.bytes(own.memory.gradients))
        }
    }

    /// Brings something from the host before a call.
    private func reload(
        _ bytes: AugmentedGraph.Bytes, before node: inout AugmentedGraph.Node, _ result: inout AugmentedGraph
    ) -> Int {
        var reload = hostNode("reload for \(node.name)", .reload, bytes)
        reload.after = node.after
        reload.takes = [bytes]
        let slot = result.append(reload)
        node.after.append(slot)
        return slot
    }

    /// The node of the view that a call reads: an earlier call's where that is the same, else the reallocation from the
    /// role's home to where the call reads it.
    private mutating func view(
        for call: Int, _ role: String, _ own: PricedAssignment, of home: PricedAssignment, _ views: inout [View],
        _ result: inout AugmentedGraph
    ) -> Int {
        if let same = views.firstIndex(where: {
            $0.role == role && $0.own.assignment.sharesStorage(with: own.assignment)
        }) {
            views[same].last = call
            return views[same].node
        }
        let (isBrought, gathers) = (own.isBrought(from: home), own.gathers(from: home))
        // Shards that were brought together for an earlier call are there.
        let isGathered = gathers && views.contains { $0.role == role && $0.own.gathers(from: home) }
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
        let node = result.append(
            .init(
                name: "reallocate \(role)", kind: .reallocate, call: nil,
                nanoseconds: (cost?.nanoseconds ?? 0) + own.conversion, resources: devices,
                takes: [staging], gives: [staging]))
        var bytes = own.bytes(own.memory.weights)
        if isBrought, own.assignment.layout != .fp32Master {
            // What it is made of: parts, which are float32 as what is packed of them, or wholes.
            bytes.count += gathers ? 4 * (models[role]?.parameterCount ?? 0) : own.memory.weights
        }
        views.append(View(role: role, own: own, bytes: bytes, node: node, last: call))
        return node
    }

    /// A view lies there until the last call that reads it; one that is kept, all the time. It waits for the step that
    /// its readers wait for.
    private func end(_ views: [View], _ sites: [Site], _ result: inout AugmentedGraph) {
        for view in views {
            guard let last = sites[view.last].own, let slot = sites[view.last].slot else { continue }
            result.nodes[view.node].afterPrevious = result.nodes[slot].afterPrevious
            if last.assignment.after.contains(.dropWeights) {
                result.nodes[view.node].takes.append(view.bytes)
                result.nodes[slot].gives.append(view.bytes)
            } else {
                result.keep(view.bytes)
            }
        }
    }

    /// - Parameter isThere: Whether an earlier call has the weights lie there.
    private func frozen(
        _ own: PricedAssignment, isThere: Bool, _ node: inout AugmentedGraph.Node, _ result: inout AugmentedGraph
    ) -> Int? {
        let weights = own.bytes(own.memory.weights)
        guard own.assignment.after.contains(.offloadWeights) else {
            if !isThere { result.keep(weights) }
            return nil
        }
        node.gives.append(weights)
        return reload(weights, before: &node, &result)
    }

    /// Moments go to the host after their step; the next step brings them back. The host has a copy of frozen weights.
    private func addOffloads(_ sites: [Site], _ result: inout AugmentedGraph) {
        for site in order.map({ sites[$0] }) {
            guard let reload = site.reload, let own = site.own, let slot = site.slot else { continue }
            guard site.call.kind == .train else {
                result.nodes[reload].afterPrevious = [slot]
                continue
            }
            let moments = own.bytes(own.memory.optimizer)
            var offload = hostNode("offload after \(site.call.name)", .offload, moments)
            offload.after = [slot]
            offload.gives = [moments]
            let last = result.append(offload)
            result.nodes[reload].afterPrevious = [last]
        }
    }

    /// Whether a call of a frozen role that is in the graph has its weights in the same storage.
    private func sharesFrozen(_ own: PricedAssignment, _ role: String, _ sites: [Site]) -> Bool {
        sites.contains { site in
            guard site.slot != nil, site.role == role, let other = site.own?.assignment else { return false }
            return other.sharesStorage(with: own.assignment) && !other.after.contains(.offloadWeights)
        }
    }

    private func hostNode(
        _ name: String, _ kind: TimelineTask.Kind, _ bytes: AugmentedGraph.Bytes
    ) -> AugmentedGraph.Node {
        .init(
            name: name, kind: kind, call: nil,
            nanoseconds: Nanoseconds.rounded(Double(bytes.count) / (cluster.hostGBps * 1e9) * 1e9),
            resources: bytes.devices.map { $0 + cluster.devices })
    }

    /// Nothing reads a role's weights before the last iteration's step has written them; a frozen role's calls follow
    /// themselves.
    private func addVersionEdges(_ sites: [Site], _ result: inout AugmentedGraph) {
        for site in sites {
            guard let slot = site.slot else { continue }
            result.nodes[slot].afterPrevious.append(trainers[site.role].flatMap { sites[$0].slot } ?? slot)
        }
    }
}
