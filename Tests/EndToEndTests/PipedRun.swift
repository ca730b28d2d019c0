import Foundation
import Synchronization

/// The command with a pipe for its standard error, whose reader may go away.
final class PipedRun {
    let process = Process()
    private let reader: Reader

    private final class Reader: Sendable {
        let bytes = Mutex<[UInt8]>([])
        let isClosing = Mutex(false)
        let isClosed = Mutex(false)
        let end: Int32

        init(_ end: Int32) { self.end = end }

        func run() {
            var buffer = [UInt8](repeating: 0, count: 4096)
            var polled = pollfd(fd: end, events: Int16(POLLIN), revents: 0)
            while !isClosing.withLock({ $0 }) {
                guard poll(&polled, 1, 10) == 1 else { continue }
                let count = read(end, &buffer, buffer.count)
                guard count > 0 else { break }
                bytes.withLock { $0 += buffer[..<count] }
            }
            close(end)
            isClosed.withLock { $0 = true }
        }
    }

    init(_ arguments: [String], in folder: URL) throws {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw POSIXError(.EMFILE) }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        process.executableURL = Command.executable
        process.arguments = arguments
        process.currentDirectoryURL = folder
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle(fileDescriptor: ends[1], closeOnDealloc: false)
        try process.run()
        close(ends[1])
        reader = Reader(ends[0])
        let reader = reader
        Thread.detachNewThread { reader.run() }
    }

    /// What the process wrote to standard error so far.
    var text: String { String(decoding: reader.bytes.withLock { $0 }, as: UTF8.self) }

    /// Waits for something to come true; false when the process ended before, or after a minute.
    func waits(_ isTrue: () -> Bool) -> Bool {
        for _ in 0..<60_000 {
            if isTrue() { return true }
            guard process.isRunning else { return isTrue() }
            usleep(1_000)
        }
        return false
    }

    /// Lets the reader go away.
    func closePipe() {
        reader.isClosing.withLock { $0 = true }
        while !reader.isClosed.withLock({ $0 }) { usleep(1_000) }
    }

    /// Waits for the end; the exit code.
    func wait() -> Int32 {
        process.waitUntilExit()
        for _ in 0..<2_000 where !reader.isClosed.withLock({ $0 }) { usleep(1_000) }  // the last words
        return process.terminationReason == .exit ? process.terminationStatus : -process.terminationStatus
    }
}
