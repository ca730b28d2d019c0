import Foundation
import Records
import RewardInterface

/// Runs calls on one process at a time: starts it, talks to it, gives it up when it breaks, and starts the next.
///
/// Unchecked: everything mutable is read and written on its thread.
final class HostWorker: @unchecked Sendable {
    /// How the process is started and what it must say before it is asked anything.
    struct Program: Sendable {
        let reward: String
        let arguments: [String]
        let environment: [String: String]
        let timeoutSeconds: Double
        let startSeconds: Double
        /// Whether the program says `{"ready":1,…}` first. One that does not may take the time for starting before its
        /// first answer.
        let greets: Bool
        /// Where it goes what the program writes to stderr.
        let log: RewardLog

        /// What to say of the variables that the program reads, when some of them are there and it does not get them.
        func withheld(of variables: [String]) -> String? {
            let ours = ProcessInfo.processInfo.environment
            let withheld = variables.filter { ours[$0] != nil && environment[$0] == nil }
            guard !withheld.isEmpty else { return nil }
            let names = withheld.joined(separator: ", ")
            let (are, them) = withheld.count > 1 ? ("are", "them") : ("is", "it")
            return "\(names) \(are) set here but not handed to the reward; "
                + "pass_environment: [\(names)] hands \(them) over"
        }
    }

    /// What a Python host says when it is ready.
    struct Greeting: Decodable, Sendable {
        let ready: Int
        let error: String?
        let name: String?
        let style: String?
        let source: String?
        /// Parameters that must come from the prompt's row.
        let columns: [String]?
        /// Environment variables that the function's file reads by their names.
        let variables: [String]?
        /// Whether the function names the token ids among its parameters.
        let readsTokenIDs: Bool?
    }

    private let program: Program
    private let thread: ProgramThread
    private var process: ChildProcess?
    private var lastID = 0
    /// Whether the process has yet to show that it has started.
    private var isStarting = false

    init(_ program: Program) {
        self.program = program
        thread = ProgramThread(name: program.reward)
    }

    /// Some workers for one program. The first one's process is started, so that what cannot work is known now; the
    /// others' are started when they are needed.
    ///
    /// - Throws: ``RewardError/unusable(reward:problem:)``, `CancellationError`.
    static func start(
        _ program: Program, workers count: Int
    ) async throws -> (workers: Slots<HostWorker>, greeting: Greeting?) {
        let workers = (0..<count).map { _ in HostWorker(program) }
        let first = workers[0]
        return (Slots(workers), try await first.thread.run { try first.start($0) })
    }

    /// Gets an answer for every completion of the call; whatever breaks is the state of those it broke for.
    ///
    /// - Throws: `CancellationError` when the task is cancelled; the process is ended then.
    func run(_ call: HostCall) async throws -> HostAnswer { try await thread.run { try self.answer(call, $0) } }

    /// Lets the process end by itself for a moment, then ends it.
    fileprivate func close() async {
        // It throws nothing, cancelled or not.
        try? await thread.run { _ in
            self.process?.close(patience: 300)
            self.process = nil
        }
    }

    // MARK: On the thread

    /// Starts the process when none runs.
    @discardableResult
    private func start(_ stop: StopSignal) throws -> Greeting? {
        guard process == nil else { return nil }
        if stop.isRequested { throw CancellationError() }
        let process = try ChildProcess(
            reward: program.reward, arguments: program.arguments, environment: program.environment, log: program.log)
        let greeting = program.greets ? try greeting(of: process, stop) : nil
        self.process = process
        isStarting = !program.greets
        return greeting
    }

    private func greeting(of process: ChildProcess, _ stop: StopSignal) throws -> Greeting {
        func unusable(_ problem: String) -> RewardError {
            process.end()
            return .unusable(reward: program.reward, problem: problem)
        }
        switch try process.receiveLine(by: .now + .seconds(program.startSeconds), stop) {
        case .timedOut: throw unusable("it did not start within \(program.startSeconds) s\(process.lastWords)")
        case .ended(let reason): throw unusable(reason)
        case .line(let line):
            let greeting: Greeting
            do {
                greeting = try JSONDecoder().decode(Greeting.self, from: Data(line))
            } catch {
                throw unusable("it greeted with '\(String(decoding: line.prefix(200), as: UTF8.self))'")
            }
            guard greeting.ready == 1 else {
                let hint = program.withheld(of: greeting.variables ?? []).map { "\n\($0)" } ?? ""
                throw unusable((greeting.error ?? "it is not ready and does not say why") + hint)
            }
            return greeting
        }
    }

    private func answer(_ call: HostCall, _ stop: StopSignal) throws -> HostAnswer {
        defer { Descendants.tidy() }
        var answer = HostAnswer([])
        while answer.scores.count < call.count {
            do {
                try start(stop)
            } catch let error as RewardError {
                let missing = call.count - answer.scores.count
                answer.scores += Array(repeating: .failed(message: error.description), count: missing)
                return answer
            }
            do {
                try ask(call, &answer, stop)
            } catch {
                process?.end()
                process = nil
                throw error
            }
        }
        return answer
    }

    /// Sends what is not yet answered and reads until all is, or the process breaks.
    private func ask(_ call: HostCall, _ answer: inout HostAnswer, _ stop: StopSignal) throws(CancellationError) {
        guard let process else { return }
        lastID += 1
        let first = answer.scores.count
        process.send(Array("{\"id\":\(lastID),\"op\":\"score\",".utf8) + call.body(first) + [UInt8(ascii: "}")])
        while answer.scores.count < call.count {
            let count = call.answersSingly ? 1 : call.count - first
            let seconds = program.timeoutSeconds + (isStarting ? program.startSeconds : 0)
            switch try process.receiveLine(by: .now + .seconds(seconds), stop) {
            case .line(let line):
                isStarting = false
                switch Self.reply(line, id: lastID) {
                case .success(let reply):
                    answer.append(reply.answer(count: count), at: answer.scores.count, of: call.count)
                case .failure(let garbage):
                    return giveUp(.failed(message: garbage.text + process.lastWords), count, &answer)
                }
            case .timedOut: return giveUp(.timedOut(seconds: seconds), count, &answer)
            case .ended(let reason): return giveUp(.failed(message: reason), count, &answer)
            }
        }
    }

    /// Ends the process with all it started and notes `score` for the completions it was busy with.
    private func giveUp(_ score: RewardScore, _ count: Int, _ answer: inout HostAnswer) {
        process?.end()
        process = nil
        answer.scores += Array(repeating: score, count: count)
    }

    private struct Garbage: Error { let text: String }

    private static func reply(_ line: [UInt8], id: Int) -> Result<HostReply, Garbage> {
        let reply: HostReply
        do {
            reply = try JSONDecoder().decode(HostReply.self, from: Data(line))
        } catch {
            let start = String(decoding: line.prefix(200), as: UTF8.self)
            return .failure(Garbage(text: "the reward wrote '\(start)' instead of a JSON object with 'scores'"))
        }
        guard reply.id == nil || reply.id == id else {
            return .failure(Garbage(text: "the reward answered request \(reply.id ?? 0) instead of \(id)"))
        }
        return .success(reply)
    }
}

extension Slots<HostWorker> {
    /// Waits for a free worker, then for its answer.
    ///
    /// - Throws: `CancellationError` when the task is cancelled.
    func run(_ call: HostCall) async throws -> HostAnswer {
        do {
            return try await lend { try await $0.run(call).visible }
        } catch is Closed {
            let closed = RewardScore.failed(message: "the reward was closed before its turn")
            return HostAnswer(repeating: closed, count: call.count)
        }
    }

    /// Answers what waits, lets what runs come to its end or its time limit, and ends every process.
    func end() async {
        await withTaskGroup(of: Void.self) { tasks in
            for worker in await close() { tasks.addTask { await worker.close() } }
        }
    }
}

extension HostAnswer {
    /// Takes over `part`, whose completions begin at `offset` of `count`.
    mutating func append(_ part: HostAnswer, at offset: Int, of count: Int) {
        scores += part.scores
        for (name, values) in part.extraColumns {
            var column = extraColumns[name] ?? Array(repeating: .null, count: count)
            for (index, value) in values.enumerated() where offset + index < count { column[offset + index] = value }
            extraColumns[name] = column
        }
        metrics.merge(part.metrics) { _, new in new }
    }
}
