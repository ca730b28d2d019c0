import Foundation
import Synchronization

/// The command with a terminal for its standard error, where it shows in which part of a step it is.
final class TerminalRun {
    let process = Process()
    private let transcript = Transcript()

    /// What the terminal received; written by the thread that reads it.
    private final class Transcript: Sendable {
        let bytes = Mutex<[UInt8]>([])
        /// Whether everything has been read.
        let isClosed = Mutex(false)
    }

    struct NoTerminal: Error {}

    init(_ arguments: [String], in folder: URL) throws {
        // Linux's numbers for "unlock" and "which one is it"; their macros do not reach Swift.
        let (unlock, number) = (UInt(0x4004_5431), UInt(0x8004_5430))
        var zero: Int32 = 0
        var index: Int32 = 0
        let terminal = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC)
        guard terminal >= 0, ioctl(terminal, unlock, &zero) == 0, ioctl(terminal, number, &index) == 0 else {
            throw NoTerminal()
        }
        let side = open("/dev/pts/\(index)", O_RDWR | O_NOCTTY | O_CLOEXEC)
        guard side >= 0 else { throw NoTerminal() }
        process.executableURL = Command.executable
        process.arguments = arguments
        process.currentDirectoryURL = folder
        process.environment = ProcessInfo.processInfo.environment.merging(["TERM": "xterm"]) { $1 }
        process.environment?["NO_COLOR"] = nil
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle(fileDescriptor: side, closeOnDealloc: false)
        try process.run()
        close(side)
        let transcript = transcript
        Thread.detachNewThread {
            var buffer = [UInt8](repeating: 0, count: 4096)
            while case let count = read(terminal, &buffer, buffer.count), count > 0 {
                transcript.bytes.withLock { $0 += buffer[..<count] }
            }
            transcript.isClosed.withLock { $0 = true }
            close(terminal)
        }
    }

    /// Everything shown so far.
    var text: String { String(decoding: transcript.bytes.withLock { $0 }, as: UTF8.self) }

    /// Waits until `piece` was shown; false when the process ended before, or after a minute.
    func shows(_ piece: String) -> Bool {
        for _ in 0..<60_000 {
            if text.contains(piece) { return true }
            guard process.isRunning || !transcript.isClosed.withLock({ $0 }) else { return text.contains(piece) }
            usleep(1_000)
        }
        return false
    }

    /// Waits for the end; the exit code.
    func wait() -> Int32 {
        process.waitUntilExit()
        _ = shows("is saved, resume")  // the last words may still be on their way
        return process.terminationStatus
    }
}
