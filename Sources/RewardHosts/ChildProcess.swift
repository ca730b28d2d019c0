import Foundation
import RewardInterface

/// A ``SpawnedProcess`` spoken to in lines, every wait bounded by a deadline.
///
/// Belongs to one thread, the one that made it.
final class ChildProcess {
    enum Received {
        case line([UInt8])
        case timedOut
        /// The program ended or broke the rules; with what it last wrote to stderr.
        case ended(String)
    }

    private let process: SpawnedProcess
    private var standardInput: Int32
    private let standardOutput: Int32
    private let standardError: Int32
    private var outgoing: ArraySlice<UInt8> = []
    private var incoming: [UInt8] = []
    private var scanned = 0
    private var errorTail: [UInt8] = []
    private let log: RewardLogWriter
    private var isOpen = true

    /// A longer line is no answer.
    static let lineLimit = 256 << 20

    /// - Throws: ``RewardError/unusable(reward:problem:)`` when there is no such program.
    init(
        reward: String, arguments: [String], environment: [String: String], log: RewardLog = .none
    ) throws(RewardError) {
        self.log = RewardLogWriter(log, reward: reward)
        // The program's ends are closed here once it has its own.
        let (process, ours) = try SpawnedProcess.alone { () throws(RewardError) in
            let pipes = try SpawnedProcess.pipes(3, reward: reward)
            let ours = [pipes[0].write, pipes[1].read, pipes[2].read]
            let theirs = [pipes[0].read, pipes[1].write, pipes[2].write]
            defer { theirs.forEach { _ = Glibc.close($0) } }
            do throws(RewardError) {
                let process = try SpawnedProcess(
                    reward: reward, arguments: arguments, environment: environment, descriptors: theirs)
                return (process, ours)
            } catch {
                ours.forEach { _ = Glibc.close($0) }
                throw error
            }
        }
        self.process = process
        (standardInput, standardOutput, standardError) = (ours[0], ours[1], ours[2])
        for descriptor in ours { _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK) }
    }

    deinit { end() }

    // MARK: Lines

    /// Puts a line in front of the program; it is written while waiting for an answer.
    func send(_ line: [UInt8]) { outgoing = outgoing + line + [UInt8(ascii: "\n")] }

    /// Writes what is waiting and reads until a whole line is there, the program ends, or the deadline passes.
    func receiveLine(by deadline: ContinuousClock.Instant) -> Received {
        while true {
            if let end = incoming[scanned...].firstIndex(of: UInt8(ascii: "\n")) {
                let line = Array(incoming[..<end])
                incoming.removeSubrange(...end)
                scanned = 0
                return .line(line)
            }
            scanned = incoming.count
            if incoming.count > Self.lineLimit { return .ended("wrote a line longer than \(Self.lineLimit >> 20) MiB") }
            let left = deadline - .now
            guard left > .zero else { return .timedOut }
            guard pump(for: left) else { return .ended(reasonOfEnd()) }
        }
    }

    /// One round of waiting, writing and reading; `false` when stdout is closed.
    private func pump(for left: Duration) -> Bool {
        var polled = [
            pollfd(fd: standardOutput, events: Int16(POLLIN), revents: 0),
            pollfd(fd: standardError, events: Int16(POLLIN), revents: 0),
            pollfd(fd: outgoing.isEmpty ? -1 : standardInput, events: Int16(POLLOUT), revents: 0),
        ]
        let milliseconds = left.components.seconds * 1000 + left.components.attoseconds / 1_000_000_000_000_000 + 1
        guard poll(&polled, 3, Int32(min(milliseconds, 60_000))) > 0 else { return true }  // 0: time; -1: a signal
        if polled[2].revents != 0 { writeSome() }
        if polled[1].revents != 0, let bytes = readSome(standardError) {
            note(bytes)
        } else if polled[1].revents & Int16(POLLIN) == 0, polled[1].revents != 0, polled[0].revents == 0 {
            usleep(1000)  // stderr is closed and stdout is not: poll would return at once, again and again
        }
        guard polled[0].revents != 0 else { return true }
        guard let bytes = readSome(standardOutput) else { return false }
        incoming += bytes
        return true
    }

    private func writeSome() {
        let written = outgoing.withUnsafeBytes { write(standardInput, $0.baseAddress, $0.count) }
        if written > 0 {
            outgoing = outgoing.dropFirst(written)
        } else if errno != EAGAIN && errno != EINTR {
            outgoing = []  // the program reads no more; that it is gone shows on stdout
        }
    }

    /// What is there to read; `nil` at the end of the stream.
    private func readSome(_ descriptor: Int32) -> [UInt8]? {
        var wouldBlock = false
        let bytes = [UInt8](unsafeUninitializedCapacity: 1 << 16) { buffer, count in
            let size = read(descriptor, buffer.baseAddress, buffer.count)
            wouldBlock = size < 0 && (errno == EAGAIN || errno == EINTR)
            count = max(size, 0)
        }
        return bytes.isEmpty && !wouldBlock ? nil : bytes
    }

    // MARK: The end

    /// The last of stderr, for messages.
    var lastWords: String {
        drainErrors()
        let text = String(decoding: errorTail, as: UTF8.self)
        return text.allSatisfy(\.isWhitespace) ? "" : "; it wrote to stderr:\n\(text)"
    }

    private func drainErrors() {
        while let bytes = readSome(standardError), !bytes.isEmpty { note(bytes) }
    }

    private func note(_ bytes: [UInt8]) {
        errorTail = (errorTail + bytes).suffix(8192)
        log.write(bytes)
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
        _ = Glibc.close(standardInput)
        standardInput = -1
        _ = process.exitStatus(within: milliseconds)
        end()
    }

    /// Ends the program and everything it started.
    func end() {
        guard isOpen else { return }
        isOpen = false
        process.end()
        drainErrors()
        closeDescriptors()
    }

    private func closeDescriptors() {
        for descriptor in [standardInput, standardOutput, standardError] where descriptor >= 0 {
            _ = Glibc.close(descriptor)
        }
    }
}
