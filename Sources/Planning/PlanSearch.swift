/// Looks for the plan with the shortest simulated iteration.
///
/// Seeds (all calls on all devices; training split among nodes; every call's fastest; two trained roles beside each
/// other), coordinate descent over each call's 50 fastest candidates, then a Metropolis chain whose temperature falls
/// from 0.3 s to 0.03 s an iteration. Small spaces are enumerated whole. What comes out is never worse than a seed that
/// fits and keeps ``reallocationShare``, and depends on inputs and seed alone.
package struct PlanSearch {
    package let cluster: Cluster
    package let models: [String: ModelShape]
    package let graph: DataflowGraph
    private let costs: any CostModel
    package var options: Options

    /// The share of an iteration that reallocation may take, hidden behind other calls or not, where there is a plan
    /// that keeps it: what links carry while calls run is reckoned and not measured.
    static let reallocationShare = 0.05

    package struct Options: Sendable {
        /// Moves of the Metropolis chain.
        package var proposals = 1500
        /// Spaces up to so many plans are enumerated.
        package var enumerated = 1_000_000
        /// Layouts to choose from, by kind of call; the first is the usual one.
        package var layouts: [CallSpec.Kind: [WeightLayout]] = [
            .generate: [.bf16], .infer: [.bf16], .train: [.bf16WithMaster],
        ]
        /// Whether optimizer state and frozen weights may wait on the host; `nil` tries it where no plan fits without.
        package var offloads: Bool?

        package init() {}
    }

    package init(
        _ cluster: Cluster, models: [String: ModelShape], graph: DataflowGraph, costs: any CostModel,
        options: Options = Options()
    ) {
        self.cluster = cluster
        self.models = models
        self.graph = graph
        self.costs = costs
        self.options = options
    }

    /// - Throws: ``PlanError`` where a call fits nowhere, or no plan fits the devices' memory.
    package func run(seed: UInt64 = 0) throws(PlanError) -> SearchResult {
        if let offloads = options.offloads { return try run(seed, offloads: offloads) }
        let kept: PlanError
        do {
            return try run(seed, offloads: false)
        } catch {
            kept = error
        }
        guard kept.problems.contains(where: { $0.rule == .memory }) else { throw kept }
        return try run(seed, offloads: true)
    }

    private func run(_ seed: UInt64, offloads: Bool) throws(PlanError) -> SearchResult {
        let candidates = try self.candidates(offloads: offloads)
        var chain = try SearchChain(cluster, models, graph, candidates)
        let space = candidates.reduce(1.0) { $0 * Double(max(1, $1.count)) }
        if space <= Double(options.enumerated) {
            chain.enumerate()
        } else {
            for state in seeds(candidates) {
                chain.consider(state, as: .seed)
                chain.descend(from: state)
            }
            chain.anneal(seed: seed, proposals: options.proposals)
        }
        guard let best = chain.best, best.score.isFeasible else {
            let capacity = cluster.usableBytes
            throw PlanError([
                .init(
                    .memory, nil,
                    "no plan found fits \(capacity) bytes of each device; the best needs "
                        + "\(chain.best?.score.peakBytes ?? 0)"
                )
            ])
        }
        return SearchResult(
            plan: plan(best.state, candidates), iterationNanoseconds: best.score.nanoseconds,
            peakBytes: best.score.peakBytes, evaluated: chain.evaluated, space: space, trace: chain.trace,
            seedNanoseconds: chain.seedNanoseconds)
    }

    private func plan(_ state: [Int], _ candidates: [[PricedAssignment]]) -> ExecutionPlan {
        var assignments: [String: Assignment] = [:]
        for (call, choice) in zip(graph.calls, zip(candidates, state)) where !choice.0.isEmpty {
            assignments[call.name] = choice.0[choice.1].assignment
        }
        return ExecutionPlan(cluster: cluster, models: models, graph: graph, assignments: assignments)
    }

    // MARK: Candidates

    /// Of these a call has 10⁵ places; their number grows with the square of the nodes'.
    private static let mostDevices = 1024

    /// Every assignment of every call that fits the devices alone, the fastest first; none for calls of the host.
    private func candidates(offloads: Bool) throws(PlanError) -> [[PricedAssignment]] {
        var problems = graph.problems.map { PlanProblem(.complete, nil, $0) }
        if cluster.devices > Self.mostDevices {
            let found = "the cluster has \(cluster.devices) devices"
            problems.append(.init(.mesh, nil, "\(found); a search looks at up to \(Self.mostDevices)"))
        }
        guard problems.isEmpty else { throw PlanError(problems) }
        let rules = RuleSet.search(cluster)
        let capacity = cluster.usableBytes
        var pricing = Pricing(cluster, models, costs)
        var all: [[PricedAssignment]] = []
        for call in graph.calls {
            guard call.kind != .host else {
                all.append([])
                continue
            }
            guard let shape = call.role.flatMap({ models[$0] }) else {
                throw PlanError([.init(.complete, call.name, "there is no model of the role \(call.role ?? "")")])
            }
            if let problem = MemoryModel.problem(of: call, shape) { throw PlanError([problem]) }
            let placements = rules.placements(of: call, shape, cluster)
            var own: [PricedAssignment] = []
            var least = Int.max
            for placement in placements {
                for variant in variants(of: call, placement.mesh, placement.strategy, offloads) {
                    // More micro-batches where the activations of fewer do not fit.
                    for microBatches in variant.steps where costs.knows(call, variant.assignment, shape) {
                        var assignment = variant.assignment
                        assignment.microBatches = microBatches
                        let priced = try pricing.price(call, assignment)
                        least = min(least, priced.memory.total)
                        guard priced.memory.total <= capacity else { continue }
                        own.append(priced)
                        break
                    }
                }
            }
            guard !own.isEmpty else {
                throw PlanError([
                    placements.isEmpty
                        ? .init(.batch, call.name, "no mesh of the cluster and strategy keeps the rules V1 to V8")
                        : .init(
                            .memory, call.name,
                            "the call alone needs \(least) bytes of each device; \(capacity) may be taken")
                ])
            }
            // Stable: equally fast ones stay in the order of the meshes.
            let sorted = own.enumerated().sorted {
                ($0.element.nanoseconds, $0.offset) < ($1.element.nanoseconds, $1.offset)
            }
            all.append(sorted.map(\.element))
        }
        return all
    }

    private func variants(
        of call: CallSpec, _ mesh: Mesh, _ strategy: Strategy, _ offloads: Bool
    ) -> [(assignment: Assignment, steps: [Int])] {
        let isTrained = graph.trainingCall(ofRole: call.role ?? "") != nil
        let stages = strategy.pipeline
        let base = call.kind == .train ? (stages > 1 ? 2 * stages : 1) : stages
        let replica = max(
            1, call.work.sequences / max(1, strategy.data * (call.kind == .train ? call.work.miniBatches : 1)))
        // A key-value cache holds every sequence however they are cut.
        let steps = Array(sequence(first: base) { $0 * 2 <= replica ? $0 * 2 : nil })
        return (options.layouts[call.kind] ?? []).flatMap { layout in
            var after: [Set<Release>]
            switch call.kind {
            case .train:
                after = offloads ? [[.dropGradients], [.dropGradients, .offloadOptimizer]] : [[.dropGradients]]
            case .generate, .infer, .host:
                let cache: Set<Release> = call.kind == .generate ? [.dropKV] : []
                after = isTrained ? [cache.union([.dropWeights])] : [cache]
                if offloads, !isTrained { after.append(cache.union([.offloadWeights])) }
            }
            return after.map {
                (
                    Assignment(mesh: mesh, strategy: strategy, layout: layout, microBatches: base, after: $0), steps
                )
            }
        }
    }

    // MARK: Seeds

    /// Plans that people make by hand.
    private func seeds(_ candidates: [[PricedAssignment]]) -> [[Int]] {
        let everything = Mesh(all: cluster)
        /// The fastest candidate on a mesh, of those like `wanted` where there are any.
        func fastest(_ call: Int, _ mesh: Mesh, _ wanted: (Strategy) -> Bool) -> Int {
            let own = candidates[call]
            return own.firstIndex { $0.assignment.mesh == mesh && wanted($0.assignment.strategy) }
                ?? own.firstIndex { $0.assignment.mesh == mesh } ?? 0
        }
        let node = cluster.devicesPerNode
        let symmetric = candidates.indices.map { call in
            fastest(call, everything) { $0 == Strategy(cluster.nodes, min(8, node), node / min(8, node)) }
        }
        let trained = graph.calls.indices.filter { graph.calls[$0].kind == .train }
        let halves = self.shares(of: [1, 1])
        let shares = self.shares(
            of: trained.map { call in
                graph.calls[call].role.flatMap { models[$0]?.parameterCount } ?? 1
            })
        let others = graph.calls.indices.filter { call in
            graph.calls[call].kind == .infer && graph.calls[call].role != nil
                && graph.calls[call].role != graph.calls.first { $0.kind == .generate }?.role
                && graph.calls[call].role != "reference"
        }
        let split = candidates.indices.map { call -> Int in
            if let index = trained.firstIndex(of: call) { return fastest(call, shares[index]) { _ in true } }
            if let index = others.firstIndex(of: call) { return fastest(call, halves[index % 2]) { _ in true } }
            guard graph.calls[call].kind == .generate else { return fastest(call, everything) { _ in true } }
            return fastest(call, everything) { $0.tensor == 1 && $0.pipeline == max(2, cluster.nodes) }
        }
        return [symmetric, split, candidates.map { _ in 0 }] + apart(candidates, fastest)
    }

    /// Trained roles beside each other, each with everything that reads its weights: while one is trained the next
    /// iteration of the other runs. No change of a single call leads there, and it needs more memory; so every call has
    /// its fastest candidate there, or its smallest. Frozen roles go with one of the two.
    private func apart(
        _ candidates: [[PricedAssignment]], _ fastest: (Int, Mesh, (Strategy) -> Bool) -> Int
    ) -> [[Int]] {
        let trained = graph.calls.filter { $0.kind == .train }.compactMap(\.role)
        guard trained.count == 2 else { return [] }
        func smallest(_ call: Int, _ mesh: Mesh) -> Int {
            let own = candidates[call]
            let there = own.indices.filter { own[$0].assignment.mesh == mesh }
            return there.min { (own[$0].memory.total, $0) < (own[$1].memory.total, $1) } ?? 0
        }
        return halvings.flatMap { left, right in
            [(left, false), (left, true), (right, false), (right, true)].map { frozen, isSmall in
                candidates.indices.map { call in
                    let role = graph.calls[call].role
                    let mesh = role == trained[0] ? left : role == trained[1] ? right : frozen
                    return isSmall ? smallest(call, mesh) : fastest(call, mesh) { _ in true }
                }
            }
        }
    }

    /// All devices in two: by nodes at a quarter, a half, three quarters; the only node in halves.
    private var halvings: [(Mesh, Mesh)] {
        let (nodes, slots) = (cluster.nodes, cluster.devicesPerNode)
        guard nodes > 1 else {
            guard slots > 1 else { return [] }
            let half = slots / 2
            return [(Mesh(nodes: 0..<1, slots: 0..<half), Mesh(nodes: 0..<1, slots: half..<slots))]
        }
        let cuts = Set([1, 2, 3].map { max(1, min(nodes - 1, nodes * $0 / 4)) }).sorted()
        return cuts.map { (Mesh(nodes: 0..<$0, slots: 0..<slots), Mesh(nodes: $0..<nodes, slots: 0..<slots)) }
    }

    /// Meshes beside each other, of nodes in proportion to sizes; halves of the only node.
    private func shares(of sizes: [Int]) -> [Mesh] {
        let all = Mesh(all: cluster)
        guard sizes.count > 1 else { return [all] }
        guard sizes.count <= cluster.nodes else {
            let slots = max(1, cluster.devicesPerNode / 2)
            return sizes.indices.map { index in
                let first = index % 2 * slots % cluster.devicesPerNode
                return Mesh(nodes: 0..<1, slots: first..<first + slots)
            }
        }
        let total = Double(sizes.reduce(0, +))
        var first = 0
        return sizes.enumerated().map { index, size in
            let left = sizes.count - index - 1
            let wanted = Int((Double(size) / total * Double(cluster.nodes)).rounded())
            let count = left == 0 ? cluster.nodes - first : min(max(1, wanted), cluster.nodes - first - left)
            defer { first += count }
            return Mesh(nodes: first..<first + count, slots: 0..<cluster.devicesPerNode)
        }
    }
}

/// What a search found.
package struct SearchResult: Sendable {
    package var plan: ExecutionPlan
    package var iterationNanoseconds: Int
    /// Peak bytes of the fullest device.
    package var peakBytes: Int
    /// Plans that were simulated.
    package var evaluated: Int
    /// Plans there are.
    package var space: Double
    /// Each improvement: after how many simulated plans, and the iteration's nanoseconds.
    package var trace: [Improvement]
    /// Iterations of the seeds that fit and move little, in their order; empty where the space was enumerated.
    package var seedNanoseconds: [Int]

    package struct Improvement: Sendable, Hashable {
        package var evaluated: Int
        package var nanoseconds: Int
    }
}
