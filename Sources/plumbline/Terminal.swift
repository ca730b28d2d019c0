import Foundation

/// Writing to the two streams: results to standard output, progress to standard error.
enum Terminal {
    /// Whether standard error is a terminal that understands cursor movements.
    static var isInteractive: Bool {
        isatty(STDERR_FILENO) == 1 && ProcessInfo.processInfo.environment["TERM"] != "dumb"
            && ProcessInfo.processInfo.environment["NO_COLOR"] == nil
    }

    /// Columns of the terminal, 100 when nobody says.
    static var width: Int {
        var size = winsize()
        guard ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 100 }
        return Int(size.ws_col)
    }

    static func result(_ text: String) { write(text + "\n", to: STDOUT_FILENO) }
    static func progress(_ text: String) { write(text + "\n", to: STDERR_FILENO) }

    /// Writes without a line break, for a line that is rewritten.
    static func rewrite(_ text: String) { write("\r\u{1B}[2K" + text, to: STDERR_FILENO) }

    private static func write(_ text: String, to descriptor: Int32) {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let written = bytes.withUnsafeBytes { Foundation.write(descriptor, $0.baseAddress, $0.count) }
            guard written > 0 else { return }  // nobody reads any more
            bytes = bytes.dropFirst(written)
        }
    }
}
