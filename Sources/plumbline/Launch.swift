import ArgumentParser
import Foundation
import Job
import Records

struct Launch: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run a command in several processes on this machine that work as one.",
        discussion: """
            Each samples, scores and learns from its share of every step; the first shows and writes the run:

                plumbline launch -n 2 train job.yaml

            torchrun --no-python and srun do the same, also over several machines. In the job, max_staleness: 1 and
            generation_ranks: N let the last N only sample and score while the others learn; tensor_parallel_size: N
            computes the layers of a training pass in groups of N, and generation_tensor_parallel_size: N samples in
            such groups.
            """)

    @Option(name: .shortAndLong, help: "Processes.") var number = 2
    @Option(help: "The port they meet at; a free one unless set.") var port: Int?
    @Argument(parsing: .captureForPassthrough, help: "The command: train, its job and overrides.")
    var command: [String]

    func validate() throws {
        guard (1...1024).contains(number) else {
            throw ValidationError("--number is \(number); expected 1 to 1024 processes")
        }
        if let port, !(1...65_535).contains(port) {
            throw ValidationError("--port is \(port); expected 1 to 65535")
        }
        if ["-h", "--help"].contains(command.first) { throw CleanExit.helpRequest(Self.self) }
        guard command.first == "train" else {
            throw ValidationError(
                "launch only starts 'train', found \(command.first.map { "'\($0)'" } ?? "nothing")")
        }
    }

    func run() async throws {
        guard let program = Bundle.main.executablePath else {
            throw JobError(place: "launch", message: "the path of this program is not known")
        }
        // What is no command is refused here, once.
        do { _ = try Plumbline.parseAsRoot(command) } catch { Plumbline.exit(withError: error) }
        let meeting = try port.map { UInt16($0) } ?? Self.freePort()
        let messages = try RankMessages()
        defer { messages.remove() }
        Interruption.shared.hold()  // it waits for those it has started
        Interruption.shared.onlyAsks()
        let processes = try (0..<number).map { rank in
            let process = Process()
            process.executableURL = URL(filePath: program)
            process.arguments = command
            process.environment = ProcessInfo.processInfo.environment.merging([
                "RANK": "\(rank)", "LOCAL_RANK": "\(rank)", "WORLD_SIZE": "\(number)",
                "LOCAL_WORLD_SIZE": "\(number)", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "\(meeting)",
            ]) { $1 }.merging(messages.environment) { $1 }
            try process.run()
            return process
        }
        let status = await wait(for: processes)
        let isKilled = processes.contains { $0.terminationReason == .uncaughtSignal }
        for text in messages.news(ofRanks: number, isExplained: isKilled) { Terminal.progress("plumbline: \(text)") }
        if status != 0 { throw ExitCode(status) }
    }

    /// What the others have to end by themselves when one has failed: they say why, unless they still wait for it to
    /// come. Then they are told to, and at the end they are killed.
    private static let grace = (telling: Duration.seconds(2), killing: Duration.seconds(15))

    /// - Returns: The first rank's status, or that of the first that failed.
    private func wait(for processes: [Process]) async -> Int32 {
        let clock = ContinuousClock()
        var isTold = false
        var failed: Int32?
        var failedAt: ContinuousClock.Instant?
        while processes.contains(where: \.isRunning) {
            if Interruption.shared.stop.isRequested, !isTold {
                isTold = true
                for process in processes where process.isRunning { process.terminate() }
            }
            if failed == nil, let first = processes.first(where: { !$0.isRunning && Self.status(of: $0) != 0 }) {
                failed = Self.status(of: first)
                if failed != ExitStatus.stopped.rawValue { failedAt = clock.now }  // one that was stopped is waited for
                if !isTold, first.terminationReason == .uncaughtSignal, let rank = processes.firstIndex(of: first) {
                    Terminal.progress("rank \(rank) was killed by signal \(first.terminationStatus)")
                }
            }
            if let failedAt, clock.now - failedAt > Self.grace.telling {
                let isKilling = clock.now - failedAt > Self.grace.killing
                for process in processes where process.isRunning && (isKilling || !isTold) {
                    kill(process.processIdentifier, isKilling ? SIGKILL : SIGTERM)
                }
                isTold = true
            }
            try? await Task.sleep(for: .milliseconds(20))  // cut short only by the end of the process
        }
        return failed ?? processes.map { Self.status(of: $0) }.first { $0 != 0 } ?? 0
    }

    private static func status(of process: Process) -> Int32 {
        process.terminationReason == .uncaughtSignal ? 128 + process.terminationStatus : process.terminationStatus
    }

    /// A port that nobody uses at the moment.
    private static func freePort() throws -> UInt16 {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isBound = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, length) == 0 && getsockname(descriptor, $0, &length) == 0
            }
        }
        guard descriptor >= 0, isBound else {
            throw JobError(place: "launch", message: "no free port: \(String(cString: strerror(errno)))")
        }
        return UInt16(bigEndian: address.sin_port)
    }
}
