import Glibc
import Tensors
import TestSupport
import Testing

@TensorActor @Suite("Memory of the process", .serialized)
struct ProcessMemoryTests {
    @Test("a span that is open sees the peak of one that began and ended within it")
    func peaksOfSpansThatOverlap() throws {
        ProcessMemory.returnFreed()  // what is kept for the next tensors is resident already
        let outer = PeakMemory.shared.begin()
        let before = try #require(ProcessMemory.residentBytes)
        let bytes = 64 << 20
        let inner = PeakMemory.shared.begin()
        do { _ = try Tensor.ones([bytes / 4]) }
        let innerPeak = PeakMemory.shared.end(inner)
        let outerPeak = PeakMemory.shared.end(outer)
        guard let innerPeak, let outerPeak else {
            withKnownIssue("this system lets nobody set back its mark of memory") { Issue.record("no peaks") }
            return
        }
        // Other tests of the process hold and free memory of their own meanwhile.
        #expect(innerPeak > before + bytes / 2)
        #expect(outerPeak >= innerPeak)
        #expect(ProcessMemory.peakResidentBytes >= outerPeak)
    }

    /// Nothing else makes tensors between the lines of a test that does not wait.
    @Test("a freed tensor's memory is the next one's, of another size too, until it is given back")
    func memoryIsUsedAgain() throws {
        func pages(of tensor: Tensor) throws -> Range<UInt> {
            let (start, bytes) = try tensor.withBytes { (UInt(bitPattern: $0.baseAddress), UInt($0.count)) }
            #expect(start % UInt(sysconf(Int32(_SC_PAGESIZE))) == 0)
            return start..<start + bytes
        }
        ProcessMemory.returnFreed()
        #expect(ProcessMemory.keptBytes == 0)
        let bytes = 96 << 20
        let first = try pages(of: Tensor.ones([bytes / 4]))
        #expect(ProcessMemory.keptBytes == bytes)
        #expect(try pages(of: Tensor.zeros([bytes / 4])) == first)
        do {
            let parts = try (0..<3).map { try Tensor.full([bytes / 12], Double($0)) }
            let places = try parts.map { try pages(of: $0) }
            #expect(ProcessMemory.keptBytes == 0)
            #expect(places.allSatisfy { $0.clamped(to: first) == $0 })
            #expect(try parts.map { try $0.sum().item() / Double(bytes / 12) } == [0, 1, 2])  // none lies in another
            withExtendedLifetime(parts) {}
        }
        #expect(ProcessMemory.keptBytes == bytes)  // joined again
        #expect(try pages(of: Tensor.zeros([bytes / 4])) == first)
        let stays = try Tensor.ones([bytes / 8])
        let before = try #require(ProcessMemory.residentBytes)
        ProcessMemory.returnFreed()
        #expect(ProcessMemory.keptBytes == 0)
        #expect(before - (ProcessMemory.residentBytes ?? 0) > bytes / 4)  // half of it was free
        #expect(try stays.sum().item() == Double(bytes / 8))
    }

    @Test("a tensor below 1 MiB is the C library's, one that fits nowhere is refused in libtorch's words")
    func smallAndHugeTensors() throws {
        ProcessMemory.returnFreed()
        do { _ = try Tensor.ones([(1 << 18) - 1]) }
        #expect(ProcessMemory.keptBytes == 0)
        do { _ = try Tensor.ones([1 << 18]) }
        #expect(ProcessMemory.keptBytes == 64 << 20)  // one piece of the system's
        let error = #expect(throws: TensorError.self) { try Tensor.zeros([1 << 50]) }
        #expect("\(error as Any)".contains("can't allocate memory: you tried to allocate \(1 << 52) bytes"))
        #expect(ProcessMemory.keptBytes == 0)  // given back before it was refused
        #expect(try Tensor.ones([1 << 18]).sum().item() == Double(1 << 18))
    }

    @Test("a watch counts allocations and their bytes, small and large, and has one of them fail")
    func watchedAllocations() async throws {
        let small = [Float](repeating: 1, count: 4)
        let earlier = try Tensor(small)
        var kept: [Tensor] = []
        let call = await watchingAllocations(failingAt: 3) {
            do { _ = try Tensor([Float](repeating: 1, count: 1 << 19)) }
            kept.append(try Tensor(small))
            let error = #expect(throws: TensorError.self) { try Tensor(small) }
            #expect("\(error as Any)".contains("can't allocate memory: you tried to allocate 16 bytes"))
            kept.append(try earlier.clone())
            _ = try earlier.reshaped([2, 2])  // the same memory
        }
        #expect(call.error == nil && call.isAlone && !call.lacksMemory)
        #expect(call.allocations.count == 4)
        #expect(call.allocations.mostBytes == 2 << 20 && call.allocations.heldBytes == 32)
        kept.append(try Tensor(small))  // watched no more
        #expect(AllocationWatch.end().count == 0)
        let refused = await watchingAllocations(failingAt: 1) { kept.append(try Tensor(small)) }
        #expect(refused.lacksMemory && refused.allocations.mostBytes == 0 && kept.count == 3)
    }

    @Test("threads that make and free tensors at once do not write into one another's")
    nonisolated func severalThreads() async throws {
        let areRight = try await withThrowingTaskGroup(of: Bool.self) { group in
            for task in 1...4 {
                group.addTask {
                    var held: [(tensor: Tensor, value: Double)] = []
                    var isRight = true
                    for round in 0..<24 {
                        let value = Double(task * 100 + round)
                        let count = (1 << 18) + (round * 7 + task) % 5 * 50_000
                        held.append((try Tensor.full([count], value), value))
                        guard held.count > 3 else { continue }
                        let (tensor, expected) = held.remove(at: round % 3)
                        let values = try tensor.floats()
                        isRight = isRight && values.allSatisfy { Double($0) == expected }
                    }
                    return isRight
                }
            }
            return try await group.reduce(into: [Bool]()) { $0.append($1) }
        }
        #expect(areRight == [true, true, true, true])
    }

    @Test("tensors over the same elements name the same memory, others another")
    func storage() throws {
        let tensor = try Tensor([1, 2, 3, 4] as [Float], shape: [2, 2])
        #expect(tensor.storage.bytes == 16)
        #expect(try tensor.reshaped([4]).storage == tensor.storage)
        #expect(try tensor.narrow(axis: 0, start: 1, count: 1).storage == tensor.storage)  // the whole of it
        #expect(try tensor.clone().storage.identity != tensor.storage.identity)
        #expect(try Tensor.zeros([]).expanded([1000]).storage.bytes == 4)
    }

    @Test("a share of the time bounds how often memory goes back")
    func giveBackWaits() {
        _ = ReturnedMemory.shared.giveBack(share: nil)
        #expect(ReturnedMemory.shared.giveBack(share: 1e-9) != nil)
        #expect(ReturnedMemory.shared.giveBack(share: 1e-9) == nil)
        #expect(ReturnedMemory.shared.giveBack(share: nil) != nil)
        #expect(ProcessMemory.secondsPerFreshByte > 0 && ProcessMemory.secondsPerFreshByte < 1e-7)
    }

    @Test("a device that is not there is refused with what lacks it")
    func devices() {
        #expect(throws: Never.self) { try TensorEngine.require(.cpu) }
        let count = TensorEngine.cudaDeviceCount
        let error = #expect(throws: TensorError.self) { try TensorEngine.require(.cuda(count)) }
        let words =
            !TensorEngine.hasCUDA ? "built without CUDA" : count == 0 ? "no GPU on this machine" : "no GPU \(count)"
        #expect("\(error as Any)".contains(words))
    }
}
