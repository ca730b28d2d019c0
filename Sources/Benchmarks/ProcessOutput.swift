internal import Foundation
internal import JSON
internal import Job
internal import Records

/// A program that is run to its end.
struct ChildProcess {
    let program: URL
    let arguments: [String]
    var folder: URL?
    /// Whether its progress is kept from the terminal, and known only when it fails.
    var isQuiet = false
    /// Kills it, with what it started, when that is asked for.
    var stop = StopSignal()

    /// What a program wrote that ended with status 0.
    struct Output {
        let text: String
        /// From its start to the first byte of ``text``; `nil` for none.
        let secondsToFirstByte: Double?
    }

    /// This program.
    static var own: URL { URL(filePath: "/proc/self/exe").resolvingSymlinksInPath() }

    /// - Throws: ``ProcessFailure`` for another end than status 0, `StopRequested` when it was killed on request,
    ///   `CocoaError` when it cannot be started.
    func run() throws -> Output {
        try stop.check()
        let process = Process()
        process.executableURL = program
        process.arguments = arguments
        process.currentDirectoryURL = folder
        let (output, progress) = (Pipe(), Pipe())
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = output
        process.standardError = progress
        let clock = ContinuousClock()
        let start = clock.now
        try process.run()
        defer { if process.isRunning { Self.kill(groupOf: process) } }
        var streams = [output, progress].map { Stream(descriptor: $0.fileHandleForReading.fileDescriptor) }
        var first: Double?
        while true {
            try stop.check()
            // Asked before reading: what is read afterwards is then everything.
            let isOver = Self.isOver(process)
            let (text, said) = Self.read(&streams, milliseconds: isOver ? 0 : 50)
            if first == nil, !text.isEmpty { first = (clock.now - start) / .seconds(1) }
            if !isQuiet { Self.show(said) }
            if isOver, text.isEmpty, said.isEmpty { break }
        }
        Self.kill(groupOf: process)
        let ending: ProcessFailure.Ending =
            process.terminationReason == .uncaughtSignal
            ? .signal(process.terminationStatus) : .status(process.terminationStatus)
        guard ending == .status(0) else {
            throw ProcessFailure(
                program: "\(program.lastPathComponent) \(arguments.joined(separator: " "))", ending: ending,
                progress: String(decoding: streams[1].bytes.suffix(Self.progressKept), as: UTF8.self))
        }
        return Output(text: String(decoding: streams[0].bytes, as: UTF8.self), secondsToFirstByte: first)
    }

    private static let progressKept = 4096

    /// Whether it has ended, also where something that it started lives on and holds its streams open. It is not
    /// collected by this: `Process` does that.
    private static func isOver(_ process: Process) -> Bool {
        var ended = siginfo_t()
        let result = waitid(P_PID, id_t(process.processIdentifier), &ended, WEXITED | WNOHANG | WNOWAIT)
        return result != 0 || ended.si_signo == SIGCHLD
    }

    /// Ends a program that still runs, and what it left behind: `Process` makes each the leader of a process group, and
    /// waits for all that have its descriptors.
    private static func kill(groupOf process: Process) {
        _ = Foundation.kill(-process.processIdentifier, SIGKILL)
        process.waitUntilExit()
    }

    /// Progress that cannot be shown stops nothing.
    private static func show(_ bytes: [UInt8]) {
        var left = bytes[...]
        while !left.isEmpty {
            let written = left.withUnsafeBytes { Foundation.write(STDERR_FILENO, $0.baseAddress, $0.count) }
            if written < 0, errno == EINTR { continue }
            guard written > 0 else { return }
            left = left.dropFirst(written)
        }
    }

    // MARK: Its streams

    private struct Stream {
        let descriptor: Int32
        var isOpen = true
        var bytes: [UInt8] = []

        /// What there is now.
        mutating func read() -> [UInt8] {
            var buffer = [UInt8](repeating: 0, count: 65_536)
            let count = Foundation.read(descriptor, &buffer, buffer.count)
            if count < 0, errno == EINTR { return [] }
            guard count > 0 else {
                isOpen = false
                return []
            }
            bytes += buffer.prefix(count)
            return Array(buffer.prefix(count))
        }
    }

    /// What comes from the first and from the second stream, waited for at most so long.
    private static func read(
        _ streams: inout [Stream], milliseconds: Int32
    ) -> (text: [UInt8], progress: [UInt8]) {
        // A negative descriptor is passed over.
        var polled = streams.map { pollfd(fd: $0.isOpen ? $0.descriptor : -1, events: Int16(POLLIN), revents: 0) }
        poll(&polled, nfds_t(polled.count), milliseconds)
        let read = streams.indices.map { polled[$0].revents == 0 ? [] : streams[$0].read() }
        return (read[0], read[1])
    }
}

/// How a program ended that should have ended with status 0.
package struct ProcessFailure: Error, Sendable, Equatable {
    /// What became of it.
    package enum Ending: Sendable, Equatable {
        /// It ended by itself.
        case status(Int32)
        /// Something ended it.
        case signal(Int32)
    }

    /// With its arguments.
    package let program: String
    package let ending: Ending
    /// The end of what it wrote to its standard error.
    package let progress: String

    package init(program: String, ending: Ending, progress: String) {
        (self.program, self.ending, self.progress) = (program, ending, progress)
    }

    /// In the width of a cell: `signal 9`, `status 1`.
    package var short: String {
        switch ending {
        case .status(let status): "status \(status)"
        case .signal(let signal): "signal \(signal)"
        }
    }

    /// In words, with the last line of what it said: `killed by signal 9, probably out of memory`.
    package var words: String {
        let said = lastLine.map { ": \($0)" } ?? ""
        return switch ending {
        case .status(let status): "ended with status \(status)" + said
        // Nobody but the kernel kills without being asked, and it does so when memory runs out.
        case .signal(SIGKILL): "killed by signal \(SIGKILL), probably out of memory"
        case .signal(let signal): "killed by signal \(signal)" + said
        }
    }

    /// At most 300 characters of the last line that is not blank.
    private var lastLine: String? {
        let lines = progress.split(whereSeparator: \.isNewline).map { $0.trimmingCharacters(in: .whitespaces) }
        return lines.last { !$0.isEmpty }.map { String($0.prefix(300)) }
    }
}

/// Runs a program that is no row of a table: its failure is the failure of the whole.
enum ProcessOutput {
    /// What it wrote to its standard output.
    ///
    /// - Parameter quiet: Whether its progress is left out, and shown only when it fails.
    /// - Throws: `JobError` with the end of its progress for a status other than 0.
    static func of(_ program: URL, _ arguments: [String], folder: URL? = nil, quiet: Bool = false) throws -> String {
        do {
            return try ChildProcess(program: program, arguments: arguments, folder: folder, isQuiet: quiet).run().text
        } catch let failure as ProcessFailure {
            let said = quiet ? ": \(failure.progress.suffix(500))" : ""
            let ending =
                switch failure.ending {
                case .status(let status): "ended with status \(status)"
                case .signal(let signal): "killed by signal \(signal)"
                }
            throw JobError(place: failure.program, message: ending + said)
        }
    }
}

/// The JSON object that a measuring process prints last.
enum LastObject {
    /// - Parameter place: Who printed it, for the error.
    /// - Throws: `JobError` where the last line is no object.
    static func of(_ text: String, from place: String) throws -> JSONValue {
        let last = text.split(separator: "\n").last.map(String.init) ?? ""
        guard let object = try? JSONValue(parsing: last), object.members != nil else {
            throw JobError(place: place, message: "the last line it printed is no JSON object")
        }
        return object
    }
}
