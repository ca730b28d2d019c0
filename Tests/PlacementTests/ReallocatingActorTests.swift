import Placement
import Records
import Tensors
import Testing

@TensorActor @Suite("The reallocating actor", .timeLimit(.minutes(10)))
struct ReallocatingActorTests {
    struct Stop: Error {}

    private func policy() throws -> (actor: ReallocatingActor, weight: Tensor) {
        let weight = try Tensor([1, 2, 3] as [Float])
        let policy = try ReallocatingActor(
            role: "policy", parameters: ParameterSet(trainable: ["weight": weight]), verification: .everyHandOver)
        return (policy, weight)
    }

    /// The next trainer finds no gradient of an earlier phase.
    private func expectNoGradients(in policy: ReallocatingActor) async throws {
        _ = try await policy.train { lease in
            #expect(lease.parameters["weight"]!.gradient == nil)
            return .skipped(0)
        }
    }

    @Test func anAppliedStepMakesTheNextVersionAndTheGeneratorReadsIt() async throws {
        let (policy, _) = try policy()
        let trained = try await policy.train { lease in
            let leaf = lease.parameters["weight"]!
            try leaf.square().sum().backward()
            return .step("done", apply: { try leaf.addInPlace(leaf.gradient!, scaledBy: -0.25) })
        }
        #expect(trained.value == "done")
        #expect(trained.version == PolicyVersion(1))
        let generated = try await policy.generate { lease in
            #expect(policy.phase == .generating(PolicyVersion(1)))
            return try lease.parameters["weight"]!.floats()
        }
        #expect(generated.value == [0.5, 1, 1.5])  // w − 0.25·2w
        #expect(generated.version == PolicyVersion(1))
        #expect(policy.phase == .idle(PolicyVersion(1)))
        try await expectNoGradients(in: policy)
    }

    @Test func aSwitchOfTheSharedLayoutMovesNothingAndSaysSo() async throws {
        let metrics = try await policy().actor.generate { _ in }.reallocation.metrics
        #expect(metrics["realloc/ms"] == 0)
        #expect(metrics["realloc/bytes"] == 0)
    }

    @Test func aSkippedStepKeepsVersionAndWeights() async throws {
        let (policy, weight) = try policy()
        let result = try await policy.train { lease in
            try lease.parameters["weight"]!.sum().backward()
            return .skipped(7)
        }
        #expect(result.value == 7)
        #expect(result.version == PolicyVersion(0))
        try await expectNoGradients(in: policy)
        #expect(try weight.floats() == [1, 2, 3])
    }

    @Test func anAbandonedStepClearsGradientsAndLeavesTheRoleUsable() async throws {
        let (policy, _) = try policy()
        await #expect(throws: Stop.self) {
            _ = try await policy.train { lease -> Proposed<Int> in
                try lease.parameters["weight"]!.sum().backward()
                throw Stop()
            }
        }
        #expect(policy.phase == .idle(PolicyVersion(0)))
        try await expectNoGradients(in: policy)
        #expect(try await policy.infer { try $0.parameters["weight"]!.floats() }.value == [1, 2, 3])
    }

    @Test func aWeightWrittenOutsideAStepIsNoticedAtTheNextHandOver() async throws {
        let (policy, weight) = try policy()
        _ = try await policy.generate { _ in }
        try weight.addInPlace(weight, scaledBy: 1e-6)
        await #expect(
            throws: PlacementError.weightsChanged(
                role: "policy", parameter: "weight", phase: .generating(PolicyVersion(0)))
        ) { _ = try await policy.generate { _ in } }
        guard case .poisoned = policy.phase else { Issue.record("phase is \(policy.phase)"); return }
        await #expect(throws: PlacementError.self) { _ = try await policy.infer { _ in } }
    }

    @Test func aTrainerThatWritesBeforeItsStepIsAppliedIsNoticed() async throws {
        let (policy, weight) = try policy()
        await #expect(
            throws: PlacementError.weightsChanged(
                role: "policy", parameter: "weight", phase: .training(PolicyVersion(0)))
        ) {
            _ = try await policy.train { _ in
                try weight.fillInPlace(9)
                return .step((), apply: {})
            }
        }
    }

    @Test func aStepThatFailsHalfWayPoisonsTheRole() async throws {
        let (policy, _) = try policy()
        await #expect(throws: Stop.self) { _ = try await policy.train { _ in .step((), apply: { throw Stop() }) } }
        guard case .poisoned(let reason) = policy.phase else { Issue.record("phase is \(policy.phase)"); return }
        #expect(reason.contains("after version 0"))
        #expect(throws: PlacementError.self) { try policy.version }
    }

    @Test func aLeaseInsideItsOwnLeaseIsAnErrorInsteadOfAWaitForever() async throws {
        let (policy, _) = try policy()
        _ = try await policy.generate { _ in
            await #expect(throws: PlacementError.nested(role: "policy", held: .generating(PolicyVersion(0)))) {
                _ = try await policy.infer { _ in }
            }
        }
        _ = try await policy.infer { _ in }
    }

    @Test func phasesOfSeveralTasksDoNotOverlap() async throws {
        let (policy, weight) = try policy()
        var tasks: [Task<Int, any Error>] = []
        for number in 0..<30 {
            tasks.append(
                Task { @TensorActor in
                    switch number % 3 {
                    case 0:
                        try await policy.generate { lease in
                            let before = policy.phase
                            await Task.yield()
                            #expect(policy.phase == before)
                            return lease.version.number
                        }.value
                    case 1:
                        try await policy.train { lease in
                            await Task.yield()
                            #expect(policy.phase == .training(lease.version))
                            return .step(0, apply: { try weight.multiplyInPlace(2) })
                        }.value
                    default:
                        try await policy.infer { lease in
                            let seen = try lease.parameters["weight"]!.floats()[0]
                            await Task.yield()
                            #expect(try lease.parameters["weight"]!.floats()[0] == seen)
                            return lease.version.number
                        }.value
                    }
                })
        }
        for task in tasks { _ = try await task.value }
        #expect(policy.phase == .idle(PolicyVersion(10)))
        #expect(try weight.floats()[0] == 1024)  // ten doublings
    }

    @Test func aTaskCancelledWhileItWaitsLeavesTheOthersAlone() async throws {
        let (policy, _) = try policy()
        let gate = Gate()
        let holder = Task { @TensorActor in
            try await policy.generate { _ in while !gate.isOpen { await Task.yield() } }
        }
        while policy.phase != .generating(PolicyVersion(0)) { await Task.yield() }
        let waiter = Task { @TensorActor in try await policy.train { _ in .step((), apply: {}) } }
        await Task.yield()
        waiter.cancel()
        await #expect(throws: CancellationError.self) { _ = try await waiter.value }
        gate.isOpen = true
        _ = try await holder.value
        #expect(policy.phase == .idle(PolicyVersion(0)))
    }

    @Test func weightsThatAreNoFloatsAreRefused() throws {
        #expect(throws: PlacementError.self) {
            _ = try ReallocatingActor(
                role: "policy", parameters: ParameterSet(trainable: ["weight": Tensor([1, 2] as [Int])]))
        }
        #expect(throws: PlacementError.self) { _ = try ReallocatingActor(role: "policy", parameters: ParameterSet()) }
    }

    @TensorActor final class Gate { var isOpen = false }
}

@TensorActor @Suite("The fingerprint of the weights")
struct WeightFingerprintTests {
    private func fingerprint(_ first: [Float], _ second: [Float] = [5]) throws -> WeightFingerprint {
        try WeightFingerprint(of: ["a": Tensor(first), "b": Tensor(second)])
    }

    @Test func isEqualForEqualWeights() throws {
        #expect(try fingerprint([1, 2, 3]) == fingerprint([1, 2, 3]))
    }

    @Test(arguments: [[1, 3, 2], [1, 2, Float(3).nextUp], [-1, 2, 3], [1, 2, 0]] as [[Float]])
    func namesTheTensorThatDiffers(_ other: [Float]) throws {
        #expect(try fingerprint([1, 2, 3]).firstDifference(from: fingerprint(other)) == "a")
    }

    @Test func seesEveryBit() throws {
        let values: [Float] = [1, -2.5, 0]
        let whole = try fingerprint(values)
        for index in values.indices {
            for bit in 0..<32 {
                var other = values
                other[index] = Float(bitPattern: values[index].bitPattern ^ (1 << UInt32(bit)))
                #expect(try fingerprint(other) != whole, "bit \(bit) of \(values[index])")
            }
        }
    }

    @Test func seesTheSignOfZeroAndASwapBetweenTensors() throws {
        #expect(try fingerprint([0]) != fingerprint([-0.0]))
        #expect(try fingerprint([1], [2]) != fingerprint([2], [1]))
    }

    @Test func readsDoublesToTheLastBit() throws {
        let one = try WeightFingerprint(of: ["a": Tensor([Double(1)])])
        let next = try WeightFingerprint(of: ["a": Tensor([Double(1).nextUp])])
        #expect(one != next)
    }
}
