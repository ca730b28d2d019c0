import Foundation
import RewardInterface

/// One program that runs to its end: bytes in, bytes out, with a deadline and a bound on what it writes.
///
/// Belongs to one thread.
final class ProgramExchange {
    private let process: SpawnedProcess
    private var input: ArraySlice<UInt8>
    private var standardInput: Int32
    private var standardOutput: Int32
    private var standardError: Int32
    private var output: [UInt8] = []
    private var errorTail: [UInt8] = []

    /// - Parameters:
    ///   - process: Has the other ends of the three descriptors.
    ///   - streams: Our ends of its standard input, output and error; closed when this ends.
    init(_ process: SpawnedProcess, input: [UInt8], streams: (input: Int32, output: Int32, errors: Int32)) {
        self.process = process
        self.input = input[...]
        (standardInput, standardOutput, standardError) = streams
        for descriptor in [standardInput, standardOutput, standardError] {
            _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
        }
        if input.isEmpty { closeInput() }
    }

    deinit {
        for descriptor in [standardInput, standardOutput, standardError] where descriptor >= 0 {
            _ = Glibc.close(descriptor)
        }
    }

    /// Waits for the program's end, or for a limit, and ends it with all it started.
    func outcome(seconds: Double, outputLimit: Int) -> ProgramOutcome {
        let deadline = ContinuousClock.now + .seconds(seconds)
        let end = end(by: deadline, seconds, outputLimit)
        process.end()
        return ProgramOutcome(
            end: end, output: String(decoding: output.prefix(outputLimit), as: UTF8.self),
            lastErrors: String(decoding: errorTail, as: UTF8.self))
    }

    private func end(
        by deadline: ContinuousClock.Instant, _ seconds: Double, _ outputLimit: Int
    ) -> ProgramOutcome.End {
        while true {
            // Asked for before reading: what the program wrote before its end is there to be read then.
            let status = process.exitStatus(within: 0)
            exchange(waits: status == nil)
            if output.count > outputLimit { return .tooMuchOutput(bytes: outputLimit) }
            switch status {
            case .exited(let code): return .exited(Int(code))
            case .signalled(let signal): return .killed(signal: Int(signal))
            case nil: if deadline <= .now { return .timedOut(seconds: seconds) }
            }
        }
    }

    /// Writes and reads what can be; waits for it for a moment.
    private func exchange(waits: Bool) {
        var polled = [
            pollfd(fd: standardOutput, events: Int16(POLLIN), revents: 0),
            pollfd(fd: standardError, events: Int16(POLLIN), revents: 0),
            pollfd(fd: standardInput, events: Int16(POLLOUT), revents: 0),
        ]
        // With every stream closed this is a pause; the end of the program shows on its streams otherwise.
        guard poll(&polled, 3, waits ? 5 : 0) > 0 else { return }
        if polled[2].revents != 0 { writeSome() }
        if polled[0].revents != 0 { read(&standardOutput, into: &output) }
        if polled[1].revents != 0 {
            read(&standardError, into: &errorTail)
            errorTail = errorTail.suffix(4096)
        }
    }

    private func writeSome() {
        let written = input.withUnsafeBytes { write(standardInput, $0.baseAddress, $0.count) }
        if written > 0 {
            input = input.dropFirst(written)
        } else if errno != EAGAIN && errno != EINTR {
            input = []  // the program reads no more
        }
        if input.isEmpty { closeInput() }
    }

    private func closeInput() {
        _ = Glibc.close(standardInput)
        standardInput = -1
    }

    /// Reads all that is there, up to 1 MiB; closes the stream at its end.
    private func read(_ descriptor: inout Int32, into bytes: inout [UInt8]) {
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        for _ in 0..<16 {
            let size = Glibc.read(descriptor, &buffer, buffer.count)
            if size > 0 {
                bytes += buffer.prefix(size)
            } else {
                if size < 0 && (errno == EAGAIN || errno == EINTR) { return }
                _ = Glibc.close(descriptor)
                descriptor = -1
                return
            }
        }
    }
}
