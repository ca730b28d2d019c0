import Placement
import Records
import Tensors
import Testing

@TensorActor @Suite("Several roles in one step", .timeLimit(.minutes(10)))
struct JointTrainingTests {
    struct Stop: Error {}

    private func role(_ name: String, _ values: [Float], version: Int = 0) throws -> ReallocatingActor {
        try ReallocatingActor(
            role: name, parameters: ParameterSet(trainable: ["weight": Tensor(values)]),
            version: PolicyVersion(version), verification: .everyHandOver)
    }

    private func weights(_ role: ReallocatingActor) async throws -> [Float] {
        try await role.infer { try $0.parameters["weight"]!.floats() }.value
    }

    @Test func allOfThemTakeTheStep() async throws {
        let (policy, critic) = (try role("policy", [1], version: 3), try role("critic", [2], version: 7))
        for roles in [[policy, critic], [critic, policy]] {
            let first = try roles[0].version
            let trained = try await ReallocatingActor.train(roles) { leases in
                #expect(try policy.phase == .training(policy.version) && critic.phase == .training(critic.version))
                let leaves = [leases[policy]["weight"]!, leases[critic]["weight"]!]
                try (leaves[0] * leaves[1]).sum().backward()
                return .step("done") {
                    for leaf in leaves { try leaf.addInPlace(leaf.gradient!) }
                }
            }
            #expect(trained.value == "done" && trained.version == PolicyVersion(first.number + 1))
        }
        #expect(policy.phase == .idle(PolicyVersion(5)) && critic.phase == .idle(PolicyVersion(9)))
        // 1 + 2 = 3 and 2 + 1 = 3, then 3 + 3 = 6 each
        #expect(try await weights(policy) == [6])
        #expect(try await weights(critic) == [6])
    }

    @Test func noneOfThemMovesWhenTheBodyThrowsOrSkips() async throws {
        let (policy, critic) = (try role("policy", [1]), try role("critic", [2]))
        await #expect(throws: Stop.self) {
            _ = try await ReallocatingActor.train([policy, critic]) { leases -> Proposed<Int> in
                try leases[policy]["weight"]!.sum().backward()
                throw Stop()
            }
        }
        let skipped = try await ReallocatingActor.train([policy, critic]) { _ in .skipped(4) }
        #expect(skipped.value == 4 && skipped.version == PolicyVersion(0))
        #expect(policy.phase == .idle(PolicyVersion(0)) && critic.phase == .idle(PolicyVersion(0)))
        #expect(try await weights(policy) == [1])
        #expect(try await weights(critic) == [2])
    }

    @Test(arguments: WeightVerification.allCases)
    func allOfThemArePoisonedWhenTheStepFailsWhileItIsApplied(_ verification: WeightVerification) async throws {
        func role(_ name: String) throws -> ReallocatingActor {
            try ReallocatingActor(
                role: name, parameters: ParameterSet(trainable: ["weight": Tensor([1] as [Float])]),
                verification: verification)
        }
        let (policy, critic, reference) = (try role("policy"), try role("critic"), try role("reference"))
        await #expect(throws: Stop.self) {
            _ = try await ReallocatingActor.train([policy, critic], reading: [reference]) { _ in
                .step((), apply: { throw Stop() })
            }
        }
        for role in [policy, critic] {
            #expect(role.phase.version == nil, "\(role.role) is \(role.phase)")
            await #expect(throws: PlacementError.self) { _ = try await role.generate { _ in } }
        }
        #expect(reference.phase == .idle(PolicyVersion(0)))
    }

    @Test func aWriteToOneOfThemBeforeTheStepIsAppliedStopsAll() async throws {
        let (policy, critic) = (try role("policy", [1]), try role("critic", [2]))
        await #expect(
            throws: PlacementError.weightsChanged(
                role: "critic", parameter: "weight", phase: .training(PolicyVersion(0)))
        ) {
            _ = try await ReallocatingActor.train([policy, critic]) { leases in
                try leases[critic]["weight"]!.fillInPlace(9)
                let leaf = leases[policy]["weight"]!
                return .step((), apply: { try leaf.fillInPlace(8) })
            }
        }
        #expect(try await weights(policy) == [1])
        #expect(policy.phase == .idle(PolicyVersion(0)))
        #expect(critic.phase.version == nil)
    }

    /// Whoever names them in whatever order: nobody waits for one who waits for him.
    @Test func ordersDoNotCross() async throws {
        let (policy, critic) = (try role("policy", [0]), try role("critic", [0]))
        var tasks: [Task<Void, any Error>] = []
        for number in 0..<20 {
            let roles = number % 2 == 0 ? [policy, critic] : [critic, policy]
            tasks.append(
                Task { @TensorActor in
                    _ = try await ReallocatingActor.train(roles) { leases in
                        await Task.yield()
                        let leaves = [leases[policy]["weight"]!, leases[critic]["weight"]!]
                        let one = try Tensor([1] as [Float])
                        return .step((), apply: { for leaf in leaves { try leaf.addInPlace(one) } })
                    }
                })
        }
        for task in tasks { try await task.value }
        #expect(try await weights(policy) == [20])
        #expect(try await weights(critic) == [20])
    }

    @Test func aRoleThatIsReadKeepsItsVersion() async throws {
        let (policy, reference) = (try role("policy", [1]), try role("reference", [5]))
        _ = try await ReallocatingActor.train([policy], reading: [reference]) { leases in
            #expect(reference.phase == .inferring(PolicyVersion(0)))
            let read = leases.reading(reference)["weight"]!
            let values = try read.floats()
            #expect(values == [5] && !read.requiresGradient)
            return .step((), apply: {})
        }
        #expect(policy.phase == .idle(PolicyVersion(1)) && reference.phase == .idle(PolicyVersion(0)))
    }

    @Test func aRoleInsideItsOwnLeaseIsAnError() async throws {
        let (policy, critic) = (try role("policy", [1]), try role("critic", [2]))
        _ = try await critic.infer { _ in
            await #expect(throws: PlacementError.nested(role: "critic", held: .inferring(PolicyVersion(0)))) {
                _ = try await ReallocatingActor.train([policy, critic]) { _ in .skipped(()) }
            }
        }
        #expect(policy.phase == .idle(PolicyVersion(0)))
    }
}

@TensorActor @Suite("What a role is made of")
struct ParameterSetTests {
    private func role(
        _ set: ParameterSet, layout: ParameterLayout = .shared, _ verification: WeightVerification = .everyHandOver
    ) throws -> ReallocatingActor {
        try ReallocatingActor(role: "policy", parameters: set, layout: layout, verification: verification)
    }

    private func set() throws -> ParameterSet {
        ParameterSet(
            trainable: ["adapter": try Tensor([1, 2] as [Float])], frozen: ["base": try Tensor([3, 4] as [Float])],
            heads: ["head": try Tensor([1 + 0x1p-20] as [Float])])
    }

    @Test func gradientsGoToWhatIsTrainedAlone() async throws {
        let (set, policy) = try { set in (set, try role(set)) }(try set())
        _ = try await policy.train { lease in
            let read = try lease.parameters.computed()
            #expect(read.keys.sorted() == ["adapter", "base"])
            #expect(lease.parameters.leaves.keys.sorted() == ["adapter", "head"])
            #expect(read["base"]!.requiresGradient == false)
            let product = try read["adapter"]! * read["base"]!
            try (product.sum() * lease.parameters.heads["head"]!.sum()).backward()
            #expect(try relative(lease.parameters["adapter"]!.gradient!.floats(), [3, 4]) < 1e-5)
            #expect(try lease.parameters["head"]!.gradient!.floats() == [11])  // 1·3 + 2·4
            #expect(lease.parameters.frozen["base"]!.gradient == nil)
            return .skipped(())
        }
        #expect(try policy.zeros().keys.sorted() == ["adapter", "head"])
        #expect(set.trained.keys.sorted() == ["adapter", "head"] && set.model.keys.sorted() == ["adapter", "base"])
    }

    private func relative(_ found: [Float], _ expected: [Float]) -> Float {
        zip(found, expected).map { abs($0 - $1) / abs($1) }.max() ?? .infinity
    }

    /// Leaves that are moved have gradients of their own and other values, over the same frozen tensors.
    @Test func otherValuesAreOtherLeaves() async throws {
        _ = try await role(try set()).train { lease in
            let moved = try lease.parameters.moved(
                to: ["adapter": Tensor([10, 20] as [Float]), "head": Tensor([5] as [Float])])
            try (moved.computed()["adapter"]! * moved.computed()["base"]!).sum().backward()
            #expect(try moved["adapter"]!.gradient!.floats() == [3, 4])
            #expect(lease.parameters["adapter"]!.gradient == nil)
            #expect(try moved.heads["head"]!.floats() == [5])
            #expect(try lease.parameters["adapter"]!.floats() == [1, 2])
            return .skipped(())
        }
    }

    /// bfloat16 would round 1 + 2⁻²⁰ to 1.
    @Test func copiesAreMadeOfTheModelAndNotOfItsHeads() async throws {
        let policy = try role(try set(), layout: .copies(.bfloat16))
        let lent = try await policy.infer { lease in
            #expect(lease.parameters.mapValues(\.elementType) == ["adapter": .bfloat16, "base": .bfloat16])
            #expect(lease.masters.mapValues(\.elementType) == ["adapter": .float32, "base": .float32])
            return try lease.heads["head"]!.floats()
        }
        #expect(lent.value == [1 + 0x1p-20])
        #expect(lent.reallocation.bytes == 8)
        _ = try await policy.train { lease in
            let read = try lease.parameters.computed()
            #expect(read.mapValues(\.elementType) == ["adapter": .bfloat16, "base": .bfloat16])
            return .skipped(())
        }
    }

    @Test(arguments: ["adapter", "base", "head"])
    func aWriteToAnyOfItIsNoticedWhereHandOversAreVerified(_ name: String) async throws {
        for verification in WeightVerification.allCases {
            let set = try set()
            let policy = try role(set, verification)
            let tensors = set.model.merging(set.heads) { own, _ in own }
            try tensors[name]!.multiplyInPlace(2)
            if verification == .never {
                _ = try await policy.infer { _ in }
            } else {
                await #expect(
                    throws: PlacementError.weightsChanged(
                        role: "policy", parameter: name, phase: .inferring(PolicyVersion(0)))
                ) { _ = try await policy.infer { _ in } }
            }
        }
    }

    @Test func whatDoesNotFitIsRefused() throws {
        let weight = try Tensor([1] as [Float])
        let narrow = try weight.to(.bfloat16)
        _ = try role(ParameterSet(frozen: ["base": narrow]))
        for set in [
            ParameterSet(trainable: ["a": weight], frozen: ["a": weight]),
            ParameterSet(trainable: ["a": weight], heads: ["a": weight]),
            ParameterSet(trainable: ["a": narrow]), ParameterSet(trainable: ["a": weight], heads: ["h": narrow]),
            ParameterSet(frozen: ["a": try Tensor([1] as [Int])]),
        ] {
            #expect(throws: PlacementError.self) { _ = try role(set) }
        }
    }
}
