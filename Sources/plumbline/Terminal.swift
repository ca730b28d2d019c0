import Foundation
import Job
import Records
import Synchronization

/// Writing to the two streams: results to standard output, progress to standard error.
///
/// What a person reads has no control characters but line breaks and tabs: texts of prompts, completions and programs
/// must not move the cursor, rename the window or hide what stands there. What machines read is written as it is.
enum Terminal {
    /// Whether standard error is a terminal that understands cursor movements.
    static let isInteractive =
        isatty(STDERR_FILENO) == 1 && ProcessInfo.processInfo.environment["TERM"] != "dumb"
        && ProcessInfo.processInfo.environment["NO_COLOR"] == nil

    /// Whether the last line of the terminal is one that is rewritten.
    private static let hasStatusLine = Mutex(false)

    /// Columns of the terminal, 100 when nobody says.
    static var width: Int {
        var size = winsize()
        guard ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 100 }
        return Int(size.ws_col)
    }

    /// Prints a result for people.
    ///
    /// - Throws: `JobError` when it cannot be written, `StopRequested` when nobody reads it.
    static func result(_ text: String) throws { try exact(text.withVisibleControls) }

    /// Prints a result for machines, or one that a file gets: to the byte.
    ///
    /// - Throws: As ``result(_:)``.
    static func exact(_ text: String) throws {
        switch write(text + "\n", to: STDOUT_FILENO) {
        case 0: return
        case EPIPE: throw StopRequested()
        case let code:
            throw JobError(place: "standard output", message: "cannot be written: \(String(cString: strerror(code)))")
        }
    }

    /// Prints a text of a model: for people on a terminal, to the byte into a file or a pipe.
    static func text(_ text: String) throws { try isatty(STDOUT_FILENO) == 1 ? result(text) : exact(text) }

    /// Prints a line of progress.
    static func progress(_ text: String) {
        hasStatusLine.withLock { isShown in
            if isShown { write("\r\u{1B}[2K", to: STDERR_FILENO) }
            isShown = false
            write(text.withVisibleControls + "\n", to: STDERR_FILENO)
        }
    }

    /// Rewrites the line at the end of the terminal; only where ``isInteractive``.
    static func status(_ text: String) {
        hasStatusLine.withLock { isShown in
            write("\r\u{1B}[2K" + String(text.withVisibleControls.prefix(width - 1)), to: STDERR_FILENO)
            isShown = !text.isEmpty
        }
    }

    /// Prints a line unless that would have to wait: for the thread that must not.
    static func remark(_ text: String) {
        var polled = pollfd(fd: STDERR_FILENO, events: Int16(POLLOUT), revents: 0)
        guard poll(&polled, 1, 0) == 1, polled.revents & Int16(POLLOUT) != 0 else { return }
        write(text + "\n", to: STDERR_FILENO)
    }

    /// - Returns: 0, or the `errno` of what went wrong. Progress that cannot be shown stops nothing.
    @discardableResult
    private static func write(_ text: String, to descriptor: Int32) -> Int32 {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let written = bytes.withUnsafeBytes { Foundation.write(descriptor, $0.baseAddress, $0.count) }
            if written < 0, errno == EINTR { continue }
            guard written > 0 else { return errno }
            bytes = bytes.dropFirst(written)
        }
        return 0
    }
}
