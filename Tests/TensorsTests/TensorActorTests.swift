import Glibc
import Tensors
import Testing

@Suite("The tensor thread and the engine")
struct TensorActorTests {
    /// Never inlined: C declares `pthread_self` constant, and the compiler would move it to before the change of
    /// thread.
    @inline(never) @TensorActor private static func thread() -> pthread_t { pthread_self() }

    @Test("every job of the actor runs on one thread, whichever task asks")
    func oneThread() async {
        let first = await Self.thread()
        let others = await withTaskGroup(of: pthread_t.self) { group in
            for _ in 0..<50 { group.addTask { await Self.thread() } }
            return await group.reduce(into: Set<pthread_t>()) { $0.insert($1) }
        }
        #expect(others == [first])
    }

    @Test("jobs from many tasks all run, and state kept on the actor is never torn")
    func manyJobs() async {
        final class Counter { var value = 0 }
        @TensorActor final class Owner {
            let counter = Counter()
            func add() { counter.value += 1 }
            var value: Int { counter.value }
        }
        let owner = await Owner()
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<500 { group.addTask { await owner.add() } }
        }
        #expect(await owner.value == 500)
    }

    @Test("the isolation can be assumed on the thread")
    @TensorActor func assumed() {
        TensorActor.shared.assertIsolated()
        TensorActor.shared.preconditionIsolated()
    }

    @Test("tensors are freed with their last reference, also after an error and through lists")
    @TensorActor func freed() throws {
        // Other suites may hold a few tensors meanwhile; a leak shows once a round.
        let rounds = 300
        let before = TensorEngine.liveTensors
        for _ in 0..<rounds {
            let x = try Tensor([1.0, 2, 3]).requiringGradient()
            let parts = try (x * x).split([1, 2])
            let loss = try Tensor.concatenated(parts).sum()
            try Tensor.checkpoint(inputs: [loss]) { try $0[0] * 2 }.backward()
            _ = x.gradient
            #expect(throws: TensorError.self) { try x.matmul(Tensor([1.0])) }
            #expect(throws: TensorError.self) {
                try Tensor.checkpoint(inputs: [x]) { try $0[0].matmul(Tensor([1.0])) }
            }
        }
        #expect(TensorEngine.liveTensors < before + rounds)
        let held = try (0..<10).map { try Tensor([$0]) }
        #expect(TensorEngine.liveTensors >= before + held.count)
    }

    @Test("a failure whose message finds no memory is a failure all the same")
    func failureWithoutMemory() {
        #expect(
            throws: TensorError.engine(
                operation: "failWithoutMemory", message: "failed, and no memory was left to say why")
        ) { try TensorEngine.failWithoutMemory() }
    }

    @Test("the engine says what it is")
    @TensorActor func engine() throws {
        #expect(TensorEngine.version.split(separator: ".").count >= 3)
        #expect(ProcessMemory.peakResidentBytes > 1 << 20)
        #expect(TensorEngine.cudaDeviceCount >= 0)
        let count = TensorEngine.threadCount
        defer { #expect(throws: Never.self) { try TensorEngine.setThreadCount(count) } }
        try TensorEngine.setThreadCount(1)
        #expect(TensorEngine.threadCount == 1)
        #expect(throws: TensorError.self) { try TensorEngine.setThreadCount(0) }
        #expect(TensorEngine.threadCount == 1)
    }
}
