import Planning
import TestSupport
import Testing

extension Timeline {
    /// The end of the last task.
    fileprivate var makespan: Int { tasks.map(\.end).max() ?? 0 }
}

@Suite("The simulator keeps the order of things")
struct PlanSimulatorTests {
    /// Plans of the toy on one to four devices, drawn at random.
    private static func plans(_ count: Int) -> [ExecutionPlan] {
        var random = TestRandom(seed: 5)
        var plans = [Toy.switching]
        while plans.count < count {
            let cluster = Toy.cluster(nodes: [1, 2].randomElement(using: &random)!, devices: 2)
            var assignments: [String: Assignment] = [:]
            for call in Toy.graph.calls {
                let placement = RuleSet.plumbline.placements(of: call, Toy.shape, cluster).randomElement(
                    using: &random)!
                let layouts: [WeightLayout] =
                    call.kind == .train ? [.fp32Master, .bf16WithMaster] : [.bf16, .int8, .fp32Master]
                let releases: [Set<Release>] =
                    switch call.kind {
                    case .generate: [[.dropKV], [.dropKV, .dropWeights], []]
                    case .infer: [[], [.offloadWeights]]
                    default: [[], [.dropGradients], [.dropGradients, .offloadOptimizer]]
                    }
                assignments[call.name] = Assignment(
                    mesh: placement.mesh, strategy: placement.strategy, layout: layouts.randomElement(using: &random)!,
                    microBatches: placement.strategy.pipeline, after: releases.randomElement(using: &random)!)
            }
            plans.append(Toy.plan(cluster, assignments))
        }
        return plans
    }

    @Test func boundsOfTheMakespan() throws {
        for plan in Self.plans(60) {
            let timeline = try PlanSimulator(plan, costs: Toy.costs(plan.cluster)).run()
            // The longest chain, by a loop over the tasks in their order.
            var chain = [Int](repeating: 0, count: timeline.tasks.count)
            for _ in 0..<timeline.tasks.count {
                var isStill = true
                for (index, task) in timeline.tasks.enumerated() {
                    let length = (task.waitedFor.map { chain[$0] }.max() ?? 0) + task.end - task.start
                    if length != chain[index] { (chain[index], isStill) = (length, false) }
                }
                if isStill { break }
            }
            #expect(timeline.makespan >= chain.max() ?? 0)
            #expect(timeline.makespan <= timeline.tasks.reduce(0) { $0 + $1.end - $1.start })
            for device in 0..<timeline.devices {
                #expect(timeline.makespan >= timeline.busyNanoseconds(ofDevice: device))
            }
        }
    }

    @Test func nothingRunsTwiceAtOnceNorBeforeWhatItWaitsFor() throws {
        for plan in Self.plans(60) {
            let timeline = try PlanSimulator(plan, costs: Toy.costs(plan.cluster)).run()
            for task in timeline.tasks {
                for index in task.waitedFor { #expect(timeline.tasks[index].end <= task.start) }
            }
            for resource in 0..<2 * timeline.devices {
                let own = timeline.tasks.filter { $0.resources.contains(resource) }.sorted {
                    ($0.start, $0.end) < ($1.start, $1.end)
                }
                for (one, next) in zip(own, own.dropFirst()) { #expect(one.end <= next.start, "\(one) \(next)") }
            }
        }
    }

    /// A version edge: nothing reads a trained role before the last iteration's step has ended.
    @Test func aRoleWaitsForItsStep() throws {
        for plan in Self.plans(30) {
            let timeline = try PlanSimulator(plan, costs: Toy.costs(plan.cluster)).run()
            let steps = timeline.tasks.filter { $0.name == "actor_train" }
            for task in timeline.tasks where task.name == "actor_gen" || task.kind == .reallocate {
                if let step = steps.first(where: { $0.iteration == task.iteration - 1 }) {
                    #expect(task.start >= step.end)
                }
                if let own = steps.first(where: { $0.iteration == task.iteration }) { #expect(task.end <= own.start) }
            }
        }
    }

    @Test func twiceTheDurationsAreTwiceTheTime() throws {
        for plan in Self.plans(20) {
            let costs = Toy.costs(plan.cluster)
            let once = try PlanSimulator(plan, costs: costs).run()
            let twice = try PlanSimulator(plan, costs: costs, durationFactor: 2).run()
            #expect(twice.makespan == 2 * once.makespan)
        }
    }

    /// The two nodes change their numbers. A mesh of both has its stages in their order, which is another plan when
    /// they change.
    @Test func relabellingChangesNothing() throws {
        let plans = Self.plans(200).filter { plan in
            plan.cluster.nodes == 2 && plan.assignments.values.allSatisfy { $0.mesh.nodes.count == 1 }
        }
        #expect(plans.count > 10)
        for plan in plans {
            var other = plan
            for (name, assignment) in plan.assignments {
                let node = 1 - assignment.mesh.nodes.lowerBound
                other.assignments[name]?.mesh.nodes = node..<node + 1
            }
            let costs = Toy.costs(plan.cluster)
            let one = try PlanSimulator(plan, costs: costs).run()
            let two = try PlanSimulator(other, costs: costs).run()
            #expect(one.makespan == two.makespan)
            #expect(one.peakBytes.sorted() == two.peakBytes.sorted())
        }
    }

    /// Bytes a parameter: 4 for float32 masters, 4 for gradients, 8 for moments, 2 for a bfloat16 view or a frozen
    /// role.
    @Test func memoryFollowsThePlan() throws {
        let cluster = Toy.cluster(nodes: 1, devices: 1)
        let one = Mesh(all: cluster)
        func plan(_ gen: Set<Release>, _ train: Set<Release>, layout: WeightLayout = .bf16) throws -> Timeline {
            let plan = Toy.plan(
                cluster,
                [
                    "actor_gen": Assignment(mesh: one, strategy: Strategy(1, 1, 1), layout: layout, after: gen),
                    "ref_inf": Assignment(mesh: one, strategy: Strategy(1, 1, 1), layout: .bf16),
                    "actor_train": Assignment(
                        mesh: one, strategy: Strategy(1, 1, 1), layout: .fp32Master, after: train),
                ])
            return try PlanSimulator(plan, costs: Toy.costs(cluster)).run()
        }
        let parameters = Toy.shape.parameterCount
        let kept = try plan([], [])
        let tight = try plan([.dropKV, .dropWeights], [.dropGradients, .offloadOptimizer])
        // 64 sequences of 64 tokens: 2 tensors × 4 layers × 2 heads of 16 × 2 bytes.
        let cache = 64 * 64 * 2 * 4 * 2 * 16 * 2
        // Home 4, gradients 4, moments 8, reference 2, view 2.
        #expect(kept.residentBytes == [parameters * 20 + cache])
        #expect(tight.residentBytes == [parameters * 6])
        #expect(tight.peakBytes[0] < kept.peakBytes[0])
        // A call that reads the masters themselves has no view and no reallocation.
        let shared = try plan([.dropKV], [], layout: .fp32Master)
        #expect(shared.residentBytes == [parameters * 18])
        #expect(!shared.tasks.contains { $0.kind == .reallocate })
        #expect(kept.tasks.contains { $0.kind == .reallocate })
    }

    /// One key and value head is whole on each of two shards, of two each has one: the same is read. Products take longer than
    /// reading weights.
    @Test func headsThatAreNotCutAreReadWhole() {
        var cluster = Toy.cluster(nodes: 1, devices: 2)
        cluster.peakTFLOPs = 0.0001
        let costs = Toy.costs(cluster)
        func nanoseconds(_ heads: Int, _ shards: Int) -> Int {
            var shape = Toy.shape
            shape.keyValueHeads = heads
            let own = Assignment(
                mesh: Mesh(nodes: 0..<1, slots: 0..<shards), strategy: Strategy(1, shards, 1), layout: .bf16)
            return costs.nanoseconds(Toy.graph.calls[0], own, shape)
        }
        #expect(nanoseconds(1, 2) == nanoseconds(2, 2))
        #expect(nanoseconds(1, 1) < nanoseconds(2, 1))
    }

    @Test func theTraceHasEveryTaskOnEachOfItsDevices() throws {
        let plan = Toy.switching
        let timeline = try PlanSimulator(plan, costs: Toy.costs(plan.cluster)).run(iterations: 3)
        let events = timeline.chromeTrace(devicesPerNode: 2)["traceEvents"]?.elements ?? []
        let spans = events.filter { $0["ph"]?.string == "X" }
        #expect(spans.count == timeline.tasks.reduce(0) { $0 + max(1, $1.resources.count) })
        #expect(spans.allSatisfy { ($0["dur"]?.double ?? -1) >= 0 && $0["args"]?["iteration"]?.int != nil })
    }
}
