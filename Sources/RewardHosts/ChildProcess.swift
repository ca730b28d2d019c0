import Foundation
import Records
import RewardInterface

/// A program with its three streams, every wait bounded by a deadline and given up when a signal to stop is set.
///
/// Spoken to in lines, or run to its end. Belongs to one thread, the one that made it.
final class ChildProcess {
    private let process: SpawnedProcess
    // -1 once closed.
    private var standardInput: Int32
    private var standardOutput: Int32
    private var standardError: Int32
    private var outgoing: ArraySlice<UInt8> = []
    /// Whether the program's input ends with what is waiting.
    private var isInputWhole = false
    private var incoming: [UInt8] = []
    private var scanned = 0
    private var errorTail: [UInt8] = []
    private let log: RewardLogWriter
    private var isOpen = true

    /// Starts a program.
    ///
    /// - Parameters:
    ///   - descriptors: What it has from descriptor 3 on. The caller keeps its own copies and closes them.
    ///   - endsWhole: Whether ending the program ends all it started.
    ///   - log: Where it goes what the program writes to stderr.
    /// - Throws: ``RewardError/unusable(reward:problem:)`` when it cannot be started.
    init(
        reward: String, arguments: [String], environment: [String: String], descriptors: [Int32] = [],
        endsWhole: Bool = false, log: RewardLog = .none
    ) throws(RewardError) {
        self.log = RewardLogWriter(log, reward: reward)
        let pipes = try SpawnedProcess.pipes(3, reward: reward)
        let theirs = [pipes[0].read, pipes[1].write, pipes[2].write]
        (standardInput, standardOutput, standardError) = (pipes[0].write, pipes[1].read, pipes[2].read)
        defer { theirs.forEach { _ = Glibc.close($0) } }
        do throws(RewardError) {
            process = try SpawnedProcess(
                reward: reward, arguments: arguments, environment: environment, descriptors: theirs + descriptors,
                endsWhole: endsWhole)
        } catch {
            [pipes[0].write, pipes[1].read, pipes[2].read].forEach { _ = Glibc.close($0) }
            throw error
        }
        for descriptor in [standardInput, standardOutput, standardError] {
            _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
        }
    }

    deinit { end() }

    // MARK: Lines

    enum Received {
        case line([UInt8])
        case timedOut
        /// The program ended or broke the rules; with what it last wrote to stderr.
        case ended(String)
    }

    /// A longer line is no answer.
    static let lineLimit = 256 << 20

    /// Puts a line in front of the program; it is written while waiting for an answer.
    func send(_ line: [UInt8]) { outgoing = outgoing + line + [UInt8(ascii: "\n")] }

    /// Writes what is waiting and reads until a whole line is there, the program ends, or the deadline passes.
    ///
    /// - Throws: `CancellationError` when `stop` is set.
    func receiveLine(by deadline: ContinuousClock.Instant, _ stop: StopSignal) throws(CancellationError) -> Received {
        while true {
            if let end = incoming[scanned...].firstIndex(of: UInt8(ascii: "\n")) {
                let line = Array(incoming[..<end])
                incoming.removeSubrange(...end)
                scanned = 0
                return .line(line)
            }
            scanned = incoming.count
            if incoming.count > Self.lineLimit { return .ended("wrote a line longer than \(Self.lineLimit >> 20) MiB") }
            if standardOutput < 0 { return .ended(reasonOfEnd()) }
            if stop.isRequested { throw CancellationError() }
            let left = deadline - .now
            guard left > .zero else { return .timedOut }
            exchange(atMost: Int32((min(left, .milliseconds(50)) / .milliseconds(1)).rounded(.up)))
        }
    }

    // MARK: A run to the end

    /// Writes `input`, waits for the program's end or for a limit, and ends it with all it started.
    ///
    /// - Throws: `CancellationError` when `stop` is set.
    func outcome(
        of input: [UInt8], seconds: Double, outputLimit: Int, _ stop: StopSignal
    ) throws(CancellationError) -> ProgramOutcome {
        defer { end() }
        outgoing = input[...]
        isInputWhole = true
        if input.isEmpty { closeInput() }
        let end = try end(by: .now + .seconds(seconds), seconds, outputLimit, stop)
        return ProgramOutcome(
            end: end, output: String(decoding: incoming.prefix(outputLimit), as: UTF8.self),
            lastErrors: String(decoding: errorTail.suffix(4096), as: UTF8.self))
    }

    private func end(
        by deadline: ContinuousClock.Instant, _ seconds: Double, _ outputLimit: Int, _ stop: StopSignal
    ) throws(CancellationError) -> ProgramOutcome.End {
        while true {
            // Asked for before reading: what the program wrote before its end is there to be read then.
            let status = process.exitStatus(within: 0)
            // With every stream closed this is a pause; the end of the program shows on its streams otherwise.
            exchange(atMost: status == nil ? 5 : 0)
            if incoming.count > outputLimit { return .tooMuchOutput(bytes: outputLimit) }
            switch status {
            case .exited(let code): return .exited(Int(code))
            case .signalled(let signal): return .killed(signal: Int(signal))
            case nil: if deadline <= .now { return .timedOut(seconds: seconds) }
            }
            if stop.isRequested { throw CancellationError() }
        }
    }

    // MARK: The streams

    /// One round of waiting, writing and reading.
    private func exchange(atMost milliseconds: Int32) {
        var polled = [
            pollfd(fd: standardOutput, events: Int16(POLLIN), revents: 0),
            pollfd(fd: standardError, events: Int16(POLLIN), revents: 0),
            pollfd(fd: outgoing.isEmpty ? -1 : standardInput, events: Int16(POLLOUT), revents: 0),
        ]
        guard poll(&polled, 3, milliseconds) > 0 else { return }  // 0: time; -1: a signal
        if polled[2].revents != 0 { writeSome() }
        if polled[1].revents != 0 { read(&standardError) { note($0) } }
        if polled[0].revents != 0 { read(&standardOutput) { incoming += $0 } }
    }

    private func writeSome() {
        let written = outgoing.withUnsafeBytes { write(standardInput, $0.baseAddress, $0.count) }
        if written > 0 {
            outgoing = outgoing.dropFirst(written)
        } else if errno != EAGAIN && errno != EINTR {
            outgoing = []  // the program reads no more; that it is gone shows on stdout
        }
        if isInputWhole && outgoing.isEmpty { closeInput() }
    }

    /// Reads all that is there, up to 1 MiB; closes the stream at its end.
    private func read(_ descriptor: inout Int32, _ use: (ArraySlice<UInt8>) -> Void) {
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        for _ in 0..<16 where descriptor >= 0 {
            let size = Glibc.read(descriptor, &buffer, buffer.count)
            if size > 0 {
                use(buffer.prefix(size))
            } else {
                if size < 0 && (errno == EAGAIN || errno == EINTR) { return }
                _ = Glibc.close(descriptor)
                descriptor = -1
            }
        }
    }

    private func note(_ bytes: ArraySlice<UInt8>) {
        errorTail = (errorTail + bytes).suffix(8192)
        log.write(Array(bytes))
    }

    private func closeInput() {
        if standardInput >= 0 { _ = Glibc.close(standardInput) }
        standardInput = -1
    }

    // MARK: The end

    /// The last of stderr, for messages.
    var lastWords: String {
        read(&standardError) { note($0) }
        let text = String(decoding: errorTail, as: UTF8.self)
        return text.allSatisfy(\.isWhitespace) ? "" : "; it wrote to stderr:\n\(text)"
    }

    private func reasonOfEnd() -> String {
        // Closing stdout and exiting are not one moment.
        let status = process.exitStatus(within: 200)
        let words = lastWords
        guard let status else { return "the reward's process closed its output" + words }
        switch status {
        case .exited(let code): return "the reward's process exited with code \(code)" + words
        case .signalled(let signal): return "the reward's process was killed by signal \(signal)" + words
        }
    }

    /// Asks the program to end by closing its stdin, then ends it and everything it started.
    func close(patience milliseconds: Int) {
        guard isOpen else { return }
        closeInput()
        _ = process.exitStatus(within: milliseconds)
        end()
    }

    /// Ends the program and everything it started.
    func end() {
        guard isOpen else { return }
        isOpen = false
        process.end()
        read(&standardError) { note($0) }
        closeInput()
        for descriptor in [standardOutput, standardError] where descriptor >= 0 { _ = Glibc.close(descriptor) }
        (standardOutput, standardError) = (-1, -1)
    }
}
