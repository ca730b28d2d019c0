import Foundation

/// Where it goes what a reward's process writes to stderr, and what a Python function prints.
package enum RewardLog: Sendable, Equatable {
    /// Nowhere; messages of failures still quote the last of it.
    case none
    /// To our own stderr.
    case standardError
    /// To a file for each reward in this folder. The folder is made with the first line, and not before the folder it
    /// is to be in.
    case folder(String)
}

/// Passes on what one process writes, up to a limit. Belongs to one thread.
final class RewardLogWriter {
    /// A reward that prints without end fills no disk.
    static let byteLimit = 16 << 20
    /// Kept until there is a place for it.
    private static let waitingLimit = 64 << 10

    private let log: RewardLog
    private let fileName: String
    private var descriptor: Int32 = -1
    private var waiting: [UInt8] = []
    private var byteCount = 0
    private var lastByte: UInt8 = 0

    /// - Parameter reward: A name, or `path/file.py:function`, which writes to `file.py.function.log`.
    init(_ log: RewardLog, reward: String) {
        self.log = log
        let last = reward.split(separator: "/").last.map(String.init) ?? "reward"
        fileName = last.replacing(":", with: ".") + ".log"
    }

    deinit { if case .folder = log, descriptor >= 0 { _ = Glibc.close(descriptor) } }

    func write(_ bytes: [UInt8]) {
        guard log != .none, byteCount < Self.byteLimit else { return }
        if descriptor < 0 { descriptor = opened() }
        guard descriptor >= 0 else {
            waiting = (waiting + bytes).suffix(Self.waitingLimit)
            return
        }
        put(log == .standardError ? visible(waiting + bytes) : waiting + bytes)
        waiting = []
        if byteCount >= Self.byteLimit { put(Array("\n… the reward wrote more, which is left out\n".utf8)) }
    }

    /// For a terminal: control characters written out (`\x1b`), but for line ends and tabs; a carriage return ends the
    /// line.
    private func visible(_ bytes: [UInt8]) -> [UInt8] {
        bytes.reduce(into: []) { text, byte in
            defer { lastByte = byte }
            switch byte {
            case 9, 10: text.append(byte)
            case 13: text.append(10)
            case 0..<32, 127: text += String(format: "\\x%02x", Int(byte)).utf8
            case 0x80..<0xa0 where lastByte == 0xc2: text += String(format: "\\x%02x", Int(byte)).utf8
            default: text.append(byte)
            }
        }
    }

    private func opened() -> Int32 {
        switch log {
        case .none: return -1
        case .standardError: return STDERR_FILENO
        case .folder(let folder):
            mkdir(folder, 0o777)  // when it fails, so does what follows
            return open("\(folder)/\(fileName)", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o666)
        }
    }

    private func put(_ bytes: [UInt8]) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let written = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            guard written > 0 || errno == EINTR else { break }  // a full disk ends no run for the sake of a log
            rest = rest.dropFirst(max(written, 0))
        }
        byteCount += bytes.count
    }
}
