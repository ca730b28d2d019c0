internal import CTorch
internal import Foundation
internal import Glibc
internal import Synchronization

/// Memory of this process, as the system counts it.
package enum ProcessMemory {
    /// Bytes resident now; `nil` where the system does not say.
    package static var residentBytes: Int? { status("VmRSS:") }

    /// The most bytes ever resident.
    package static var peakResidentBytes: Int { PeakMemory.shared.highest }

    /// Gives memory that was freed back to the system.
    ///
    /// Tensors of 1 MiB and more come from a pool that keeps what is freed for the next ones, and glibc does the same
    /// with smaller ones. Giving back is cheap, about 70 ms for 1 GB; what costs is that the next use faults every page
    /// in again (0.2 to 0.6 s for 1 GB, see ``secondsPerFreshByte``). So it belongs at the ends of phases, never between
    /// micro-batches.
    package static func returnFreed() { ctorch_return_memory() }

    /// Bytes of freed tensors, each of 1 MiB and more, that are kept until ``returnFreed()``.
    package static var keptBytes: Int { ctorch_kept_bytes() }

    /// What the first write to a byte of fresh memory costs here, measured once over 16 MiB.
    package static let secondsPerFreshByte: Double = {
        let bytes = 16 << 20
        let page = Int(sysconf(Int32(_SC_PAGESIZE)))
        guard
            let start = mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
            start != MAP_FAILED
        else { return 0 }
        defer { munmap(start, bytes) }
        let clock = ContinuousClock()
        let began = clock.now
        for offset in stride(from: 0, to: bytes, by: page) {
            start.storeBytes(of: 1, toByteOffset: offset, as: UInt8.self)
        }
        return (clock.now - began) / .seconds(1) / Double(bytes)
    }()

    /// A line of `/proc/self/status`, in kB there.
    fileprivate static func status(_ key: String) -> Int? {
        guard let data = FileManager.default.contents(atPath: "/proc/self/status") else { return nil }
        let line = String(decoding: data, as: UTF8.self).split(separator: "\n").first { $0.hasPrefix(key) }
        return line?.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap { Int($0) }.map { $0 * 1024 }
    }
}

/// The most memory that the process held within spans of time, which may overlap.
///
/// The system keeps one mark for the whole process (VmHWM). Here it is set back (5 to `/proc/self/clear_refs`) whenever a
/// span begins or ends, and what it was goes to every span that is open.
package final class PeakMemory: Sendable {
    package static let shared = PeakMemory()

    private struct State {
        /// Over the life of the process.
        var highest = 0
        var open: [Int: Int] = [:]
        var next = 0
    }

    private let state = Mutex(State())

    /// A span that has begun.
    package struct Span: Sendable { fileprivate let number: Int }

    package func begin() -> Span {
        state.withLock { state in
            _ = note(&state)
            state.next += 1
            state.open[state.next] = ProcessMemory.residentBytes ?? 0
            return Span(number: state.next)
        }
    }

    /// - Returns: the most bytes resident since the span began; `nil` where the system does not say.
    package func end(_ span: Span) -> Int? {
        state.withLock { state in
            let isKnown = note(&state)
            let peak = state.open.removeValue(forKey: span.number)
            return isKnown ? peak : nil
        }
    }

    fileprivate var highest: Int {
        state.withLock { state in
            _ = note(&state)
            return state.highest
        }
    }

    /// Takes the system's mark and sets it back.
    ///
    /// - Returns: Whether the mark is that of the time since the last call.
    private func note(_ state: inout State) -> Bool {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        let mark = ProcessMemory.status("VmHWM:")
        state.highest = max(state.highest, mark ?? usage.ru_maxrss << 10)
        guard let mark else { return false }
        let descriptor = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        guard write(descriptor, "5", 1) == 1 else { return false }
        for span in state.open.keys { state.open[span] = max(state.open[span] ?? 0, mark) }
        return true
    }
}

/// When memory that a phase has freed goes back to the system: always, or as far as faulting it in again takes no more
/// than a share of the time.
///
/// One for the process, as its heap is.
@TensorActor
package final class ReturnedMemory {
    package static let shared = ReturnedMemory()

    private let clock = ContinuousClock()
    private var notBefore: ContinuousClock.Instant?

    /// - Parameter share: Of the time since the last return, how much this one may cost; `nil` returns in any case.
    /// - Returns: The bytes that went back, as far as the system says; `nil` when it was not time.
    @discardableResult
    package func giveBack(share: Double?) -> Int? {
        let now = clock.now
        if share != nil, let notBefore, now < notBefore { return nil }
        let before = ProcessMemory.residentBytes ?? 0
        ProcessMemory.returnFreed()
        let returned = max(0, before - (ProcessMemory.residentBytes ?? 0))
        let spent = (clock.now - now) / .seconds(1) + Double(returned) * ProcessMemory.secondsPerFreshByte
        notBefore = share.map { now + .seconds(spent / $0) }
        return returned
    }
}
