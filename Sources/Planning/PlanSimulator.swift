/// Runs a plan on paper: the calls of several iterations with everything between them, by list scheduling.
///
///     free[r] = 0 for devices and for one copy engine of each
///     pop the node with the least (ready, iteration, slot)
///     start = max(ready, free[r] of its resources);  end = start + duration
///     iteration = (end of iteration K − end of iteration 2) / (K − 2)
///
/// The result is a function of plan and costs alone, in whole nanoseconds.
package struct PlanSimulator {
    private let plan: ExecutionPlan
    private let costs: any CostModel
    /// Multiplies every duration: for tests.
    private let factor: Int

    package init(_ plan: ExecutionPlan, costs: any CostModel, durationFactor factor: Int = 1) {
        self.plan = plan
        self.costs = costs
        self.factor = factor
    }

    /// - Parameter iterations: K, at least 1.
    /// - Throws: ``PlanError`` with every rule the plan breaks; memory is judged by ``run(iterations:)``'s caller.
    package func run(iterations: Int = 5) throws(PlanError) -> Timeline {
        let problems = plan.problems()
        guard problems.isEmpty else { throw PlanError(problems) }
        var builder = try AugmentedGraphBuilder(plan.cluster, plan.models, plan.graph)
        var pricing = Pricing(plan.cluster, plan.models, costs)
        var priced: [PricedAssignment?] = []
        for call in plan.graph.calls {
            guard let assignment = plan.assignments[call.name] else {
                priced.append(nil)
                continue
            }
            let own = try pricing.price(call, assignment)
            // No device has as much, and sums of it are taken.
            guard own.memory.total <= 1 << 50 else {
                throw PlanError([
                    .init(.memory, call.name, "the call alone needs \(own.memory.total) bytes of each of its devices")
                ])
            }
            priced.append(own)
        }
        var graph = builder.build(priced)
        try requireCountable(graph, iterations)
        for index in graph.nodes.indices { graph.nodes[index].nanoseconds *= factor }
        var schedule = Schedule(graph, devices: plan.cluster.devices, iterations: iterations)
        schedule.run()
        return schedule.timeline()
    }

    /// - Throws: ``PlanError`` where times are longer than sums of them are counted.
    private func requireCountable(_ graph: AugmentedGraph, _ iterations: Int) throws(PlanError) {
        let seconds = Nanoseconds.most / 1_000_000_000
        var problems = graph.nodes.filter { $0.nanoseconds >= Nanoseconds.most }.map { node in
            PlanProblem(
                .complete, node.call == nil ? nil : node.name,
                "\(node.name) takes \(seconds) s or more by the estimator; expected less to do or faster devices")
        }
        let all = graph.nodes.reduce(0.0) { $0 + Double($1.nanoseconds) } * Double(iterations * factor)
        if problems.isEmpty, all >= 0x1p62 {
            problems = [
                .init(.complete, nil, "\(iterations) iterations take longer than can be counted; expected fewer")
            ]
        }
        guard problems.isEmpty else { throw PlanError(problems) }
    }

    /// The plan's rules with memory among them (V9).
    package func validate(iterations: Int = 5) throws(PlanError) -> Timeline {
        let timeline = try run(iterations: iterations)
        let capacity = plan.cluster.usableBytes
        guard let worst = timeline.peakBytes.indices.max(by: { timeline.peakBytes[$0] < timeline.peakBytes[$1] }),
            timeline.peakBytes[worst] > capacity
        else { return timeline }
        throw PlanError([
            .init(
                .memory, nil,
                "device \(worst) would hold \(timeline.peakBytes[worst]) bytes; it has \(plan.cluster.memoryBytes), "
                    + "of which \(capacity) may be taken")
        ])
    }
}

/// Prices assignments of calls, and remembers the shapes' sizes.
struct Pricing {
    private let cluster: Cluster
    private let models: [String: ModelShape]
    private let costs: any CostModel
    private var memory: [String: MemoryModel] = [:]

    init(_ cluster: Cluster, _ models: [String: ModelShape], _ costs: any CostModel) {
        self.cluster = cluster
        self.models = models
        self.costs = costs
    }

    mutating func price(_ call: CallSpec, _ assignment: Assignment) throws(PlanError) -> PricedAssignment {
        guard let role = call.role, let shape = models[role] else {
            throw PlanError([.init(.complete, call.name, "there is no model of the role \(call.role ?? "")")])
        }
        var model = memory[role] ?? MemoryModel(shape)
        defer { memory[role] = model }
        let demand = costs.isOfThisBuild ? model.demandOfRun(call, assignment) : model.demand(call, assignment)
        guard let demand else {
            throw PlanError([.init(.stageWidth, call.name, "the model has fewer layers than stages")])
        }
        return PricedAssignment(
            assignment: assignment, devices: assignment.mesh.ranks(in: cluster),
            nanoseconds: try costs.nanoseconds(call, assignment, shape), memory: demand,
            conversion: costs.conversionNanoseconds(
                to: assignment.layout, weightBytes: demand.weights, shape, cluster),
            isOfThisBuild: costs.isOfThisBuild,
            holdsWhole: costs.isOfThisBuild && call.leavesSomeUntrained(of: shape))
    }
}

/// The list scheduling of an augmented graph, unrolled.
struct Schedule {
    private let graph: AugmentedGraph
    private let devices: Int
    private let iterations: Int
    private(set) var starts: [Int]
    private(set) var ends: [Int]

    init(_ graph: AugmentedGraph, devices: Int, iterations: Int) {
        self.graph = graph
        self.devices = devices
        self.iterations = iterations
        starts = [Int](repeating: 0, count: graph.nodes.count * iterations)
        ends = starts
    }

    /// Fills in when everything starts and ends.
    mutating func run() {
        let nodes = graph.nodes
        let count = nodes.count
        var children: [[Int]] = Array(repeating: [], count: count)
        var childrenNext = children
        for (slot, node) in nodes.enumerated() {
            for parent in node.after { children[parent].append(slot) }
            for parent in node.afterPrevious { childrenNext[parent].append(slot) }
        }
        var waiting = (0..<count * iterations).map { slot in
            nodes[slot % count].after.count + (slot < count ? 0 : nodes[slot % count].afterPrevious.count)
        }
        var ready = [Int](repeating: 0, count: count * iterations)
        var free = [Int](repeating: 0, count: 2 * devices)
        var heap = ReadyHeap()
        for slot in 0..<count * iterations where waiting[slot] == 0 { heap.push(0, slot) }
        while let (time, slot) = heap.pop() {
            let node = nodes[slot % count]
            var start = time
            for resource in node.resources { start = max(start, free[resource]) }
            let end = start + node.nanoseconds
            for resource in node.resources { free[resource] = end }
            starts[slot] = start
            ends[slot] = end
            func relax(_ child: Int) {
                ready[child] = max(ready[child], end)
                waiting[child] -= 1
                if waiting[child] == 0 { heap.push(ready[child], child) }
            }
            for child in children[slot % count] { relax(slot - slot % count + child) }
            let next = slot - slot % count + count
            if next < count * iterations { for child in childrenNext[slot % count] { relax(next + child) } }
        }
    }

    /// The end of an iteration, counted from 1; 0 for none.
    private func end(ofIteration iteration: Int) -> Int {
        guard iteration > 0 else { return 0 }
        let count = graph.nodes.count
        return ends[(iteration - 1) * count..<iteration * count].max() ?? 0
    }

    /// The mean of the iterations after the second.
    var iterationNanoseconds: Int {
        let steady = iterations > 2 ? 2 : 0
        return (end(ofIteration: iterations) - end(ofIteration: steady)) / max(1, iterations - steady)
    }

    /// The most bytes on each device.
    func peakBytes() -> [Int] {
        struct Change {
            var time: Int
            var delta: Int
            var devices: [Int]
        }
        var changes: [Change] = []
        let count = graph.nodes.count
        for slot in 0..<count * iterations {
            let node = graph.nodes[slot % count]
            for bytes in node.takes where bytes.count > 0 {
                changes.append(Change(time: starts[slot], delta: bytes.count, devices: bytes.devices))
            }
            for bytes in node.gives where bytes.count > 0 {
                changes.append(Change(time: ends[slot], delta: -bytes.count, devices: bytes.devices))
            }
        }
        // What goes at a time goes before what comes.
        changes.sort { ($0.time, $0.delta) < ($1.time, $1.delta) }
        var now = graph.resident
        var peaks = now
        for change in changes {
            for device in change.devices {
                now[device] += change.delta
                if now[device] > peaks[device] { peaks[device] = now[device] }
            }
        }
        return peaks
    }

    func timeline() -> Timeline {
        let count = graph.nodes.count
        let tasks = (0..<count * iterations).map { slot in
            let node = graph.nodes[slot % count]
            let base = slot - slot % count
            return TimelineTask(
                name: node.name, kind: node.kind, iteration: slot / count + 1, start: starts[slot], end: ends[slot],
                resources: node.resources,
                waitedFor: node.after.map { base + $0 }
                    + (base > 0 ? node.afterPrevious.map { base - count + $0 } : []))
        }
        return Timeline(
            devices: devices, tasks: tasks, peakBytes: peakBytes(), residentBytes: graph.resident,
            iterations: iterations, iterationNanoseconds: iterationNanoseconds)
    }
}

/// A binary heap of (ready, index), least first.
private struct ReadyHeap {
    private var items: [(time: Int, slot: Int)] = []

    mutating func push(_ time: Int, _ slot: Int) {
        items.append((time, slot))
        var child = items.count - 1
        while child > 0, case let parent = (child - 1) / 2, items[child] < items[parent] {
            items.swapAt(child, parent)
            child = parent
        }
    }

    mutating func pop() -> (time: Int, slot: Int)? {
        guard let first = items.first else { return nil }
        let last = items.removeLast()
        guard !items.isEmpty else { return first }
        items[0] = last
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < items.count && items[child] < items[least] {
                least = child
            }
            guard least != parent else { return first }
            items.swapAt(parent, least)
            parent = least
        }
    }
}
