import Placement
import Records
import Tensors
import TestSupport
import Testing

@TensorActor @Suite("Phases against a shadow of them", .timeLimit(.minutes(10)))
struct PhaseShadowTests {
    struct Thrown: Error {}

    /// What must be true, kept beside the role.
    @TensorActor final class Shadow {
        var version = 0
        var holder: Int?
        /// In the order in which they asked.
        var asked: [Int] = []
        var entered: [Int] = []
        var violations: [String] = []

        func enter(_ task: Int, _ stamp: PolicyVersion) {
            if let holder { violations.append("\(task) enters while \(holder) is inside") }
            if stamp.number != version { violations.append("\(task) is stamped \(stamp.number), not \(version)") }
            holder = task
            entered.append(task)
        }

        func leave(_ task: Int) {
            if holder != task { violations.append("\(task) leaves, \(holder as Any) was inside") }
            holder = nil
        }

        /// Every weight and every view is the version's: 1 more a step.
        func check(_ values: [Float], _ task: Int) {
            if values != [Float(version), Float(version)] {
                violations.append("\(task) reads \(values) at \(version)")
            }
        }
    }

    /// 64 tasks that sample, score and train; a third suspends, some throw, some are cancelled, inside or while waiting.
    @Test(arguments: [1, 2, 3, 4] as [UInt64])
    func manyTasks(_ seed: UInt64) async throws {
        var random = TestRandom(seed: seed)
        let weight = try Tensor([0, 0] as [Float], shape: [1, 2])
        let policy = try ReallocatingActor(
            role: "policy", parameters: ParameterSet(trainable: ["weight": weight]), packing: ["weight": .float32],
            verification: .everyHandOver)
        let shadow = Shadow()
        var tasks: [Task<Void, any Error>] = []
        var cancelled: Set<Int> = []
        for number in 0..<64 {
            let kind = Int.random(in: 0..<3, using: &random)
            let pauses = Int.random(in: 0..<6, using: &random)
            let delay = Int.random(in: 0..<40, using: &random)
            let throwsIt = Int.random(in: 0..<6, using: &random) == 0
            tasks.append(
                Task { @TensorActor in
                    for _ in 0..<delay { await Task.yield() }
                    shadow.asked.append(number)
                    switch kind {
                    case 0:
                        _ = try await policy.generate { lease in
                            shadow.enter(number, lease.version)
                            defer { shadow.leave(number) }
                            let identity = try Tensor([1, 0, 0, 1] as [Float], shape: [2, 2])
                            for _ in 0...pauses {
                                let packed = try identity.linear(weight: lease.packed["weight"]!).floats()
                                shadow.check(packed, number)
                                await Task.yield()
                            }
                            try Task.checkCancellation()
                            if throwsIt { throw Thrown() }
                        }
                    case 1:
                        _ = try await policy.infer { lease in
                            shadow.enter(number, lease.version)
                            defer { shadow.leave(number) }
                            for _ in 0...pauses {
                                shadow.check(try lease.parameters["weight"]!.floats(), number)
                                await Task.yield()
                            }
                            try Task.checkCancellation()
                            if throwsIt { throw Thrown() }
                        }
                    default:
                        _ = try await policy.train { lease -> Proposed<Int> in
                            shadow.enter(number, lease.version)
                            defer { shadow.leave(number) }
                            let leaf = lease.parameters["weight"]!
                            #expect(leaf.gradient == nil)
                            try leaf.sum().backward()  // a gradient of ones
                            for _ in 0...pauses { await Task.yield() }
                            try Task.checkCancellation()
                            if throwsIt { throw Thrown() }
                            return .step(
                                0,
                                apply: {
                                    try leaf.addInPlace(leaf.gradient!, scaledBy: 1)
                                    shadow.version += 1
                                })
                        }
                    }
                })
        }
        for _ in 0..<20 {
            for _ in 0..<Int.random(in: 0..<8, using: &random) { await Task.yield() }
            let number = Int.random(in: 0..<64, using: &random)
            tasks[number].cancel()
            cancelled.insert(number)
        }
        for (number, task) in tasks.enumerated() {  // no deadlock, no wake-up that is lost
            switch await task.result {
            case .success: break
            case .failure(is Thrown): break
            case .failure(let error):
                #expect(error is CancellationError && cancelled.contains(number), "\(number): \(error)")
            }
        }
        #expect(shadow.violations.isEmpty, "\(shadow.violations)")
        // In the order of asking, those left out that were cancelled while they waited.
        let entered = Set(shadow.entered)
        #expect(shadow.entered == shadow.asked.filter(entered.contains))
        #expect(Set(0..<64).subtracting(entered).isSubset(of: cancelled))
        #expect(policy.phase == .idle(PolicyVersion(shadow.version)))
        #expect(try weight.floats() == [Float(shadow.version), Float(shadow.version)])
    }
}

@TensorActor @Suite("Hand-overs that fail", .timeLimit(.minutes(10)))
struct HandOverFaultTests {
    struct Fault: Error {}

    /// A role with every form of a view: two adapters of which one is packed, one matrix packed in eight bits, copies.
    private func policy() throws -> ReallocatingActor {
        func matrix(_ values: [Float]) throws -> Tensor { try Tensor(values, shape: [2, 2]) }
        var trainable: [String: Tensor] = [:]
        for name in ["x", "y"] {
            trainable[name + "a"] = try Tensor([1, 2] as [Float], shape: [1, 2])
            trainable[name + "b"] = try Tensor([3, 4] as [Float], shape: [2, 1])
        }
        return try ReallocatingActor(
            role: "policy",
            parameters: ParameterSet(
                trainable: trainable,
                frozen: [
                    "x": matrix([1, 2, 3, 4]), "y": matrix([5, 6, 7, 8]),
                    "z": Tensor([9, 10, 11, 12] as [Double], shape: [2, 2]),
                ],
                adapters: ["x", "y"].map { LowRankUpdate(weight: $0, down: $0 + "a", up: $0 + "b", scale: 1) }),
            layout: .copies(.float32), packing: ["x": .float32, "z": .int8], verification: .everyHandOver)
    }

    private func masters(_ policy: ReallocatingActor) async throws -> [String: [Float]] {
        try await policy.infer { lease in try lease.masters.mapValues { try $0.floats() } }.value
    }

    private func sampled(_ policy: ReallocatingActor) async throws -> [String: [Float]] {
        try await policy.generate { lease in
            let unit = try Tensor([1, 0, 0, 1] as [Float], shape: [2, 2])
            let packed = try lease.packed.mapValues { try unit.linear(weight: $0).floats() }
            return try lease.parameters.mapValues { try $0.floats() }.merging(packed) { $1 }
        }.value
    }

    /// One step that adds 1 to everything trained.
    private func train(_ policy: ReallocatingActor) async throws {
        _ = try await policy.train { lease in
            let leaves = lease.parameters.leaves
            for leaf in leaves.values { try leaf.sum().backward() }
            return .step(
                0, apply: { for leaf in leaves.values { try leaf.addInPlace(leaf.gradient!, scaledBy: 1) } })
        }
    }

    /// Fails at the `number`th point that is reached; nil counts them.
    private func points(_ policy: ReallocatingActor, failingAt number: Int? = nil, _ call: () async throws -> Void)
        async throws -> [HandOverPoint]
    {
        var points: [HandOverPoint] = []
        policy.fault = { point in
            points.append(point)
            if points.count - 1 == number { throw Fault() }
        }
        defer { policy.fault = nil }
        if number == nil {
            try await call()
        } else {
            await #expect(throws: Fault.self) { try await call() }
        }
        return points
    }

    @Test func everyPointOfASamplingHandOver() async throws {
        let twin = try policy()
        let all = try await points(twin) { _ = try await sampled(twin) }
        #expect(all == [.makes("z"), .makes("y"), .makes("x"), .makes("z"), .lent])
        let (expected, unchanged) = (try await sampled(twin), try await masters(twin))
        for number in all.indices {
            let policy = try policy()
            let before = policy.footprint()
            _ = try await points(policy, failingAt: number) { _ = try await sampled(policy) }
            #expect(policy.phase == .idle(PolicyVersion(0)))
            // After the hand-over the view is whole, and stays for the next.
            if all[number] != .lent { #expect(policy.footprint() == before) }
            #expect(try await masters(policy) == unchanged)  // digests too: every hand-over compares them
            #expect(try await sampled(policy) == expected)
        }
    }

    @Test func everyPointOfAStep() async throws {
        let twin = try policy()
        let unchanged = try await masters(twin)
        let all = try await points(twin) { try await train(twin) }
        #expect(all == [.lent, .proposed])
        let expected = try await sampled(twin)
        for number in all.indices {
            let policy = try policy()
            #expect(try await masters(policy) == unchanged)
            let before = policy.footprint().byTag
            _ = try await points(policy, failingAt: number) { try await train(policy) }
            #expect(policy.phase == .idle(PolicyVersion(0)))
            #expect(policy.footprint().bytes(.gradients) == 0)
            #expect(try await masters(policy) == unchanged)
            #expect(policy.footprint().byTag == before)
            try await train(policy)
            #expect(policy.phase == .idle(PolicyVersion(1)))
            #expect(try await sampled(policy) == expected)
        }
    }

    /// A step of two roles: a failure in one leaves both.
    @Test func aFaultInOneOfTwoRolesLeavesBoth() async throws {
        for failing in 0..<2 {
            let roles = [try policy(), try policy()]
            let before = try await masters(roles[1 - failing])
            roles[failing].fault = { if $0 == .proposed { throw Fault() } }
            await #expect(throws: Fault.self) {
                _ = try await ReallocatingActor.train(roles) { _ in .step(0, apply: { Issue.record("it was applied") })
                }
            }
            roles[failing].fault = nil
            for role in roles { #expect(role.phase == .idle(PolicyVersion(0))) }
            #expect(try await masters(roles[1 - failing]) == before)
            _ = try await ReallocatingActor.train(roles) { _ in .step(0, apply: {}) }
            for role in roles { #expect(role.phase == .idle(PolicyVersion(1))) }
        }
    }
}
