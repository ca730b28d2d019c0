internal import Foundation
internal import Records
internal import Runs

/// A tracker's own client in the user's Python, which sends the rows of `metrics.jsonl` as they come.
///
/// The process reads the file itself, at its own pace, so that a slow network holds up no step. It sends what is left
/// when its standard input ends: at the end of the run, and when this process is killed.
actor TrackerProcess {
    private let tracker: ReportSettings.Tracker
    private let process: Process
    private let input: Pipe
    private let log: URL
    private var hasTold = false

    private struct Greeting: Decodable {
        var place: String?
        var missing: String?
        var problem: String?
    }

    /// What the program is told.
    private struct Options: Encodable {
        let tracker: String
        let folder: String
        let name: String
        let project: String?
        let default_project = ReportSettings.defaultProject
        let config: [String: String]
        let resumes: Bool
    }

    private init(_ tracker: ReportSettings.Tracker, _ process: Process, _ input: Pipe, log: URL) {
        self.tracker = tracker
        self.process = process
        self.input = input
        self.log = log
    }

    /// Starts the client and waits until it has begun its run.
    ///
    /// - Parameters:
    ///   - config: The job's keys and their values as YAML.
    ///   - resumes: Whether the folder's rows go on where an earlier start ended.
    /// - Returns: The process, and where the run can be seen; `nil` when the client is not installed and may be
    ///   missing.
    /// - Throws: ``JobError`` when Python or the client is missing, or the client cannot start.
    static func start(
        _ tracker: ReportSettings.Tracker, _ settings: ReportSettings, folder: RunFolder, config: [String: String],
        resumes: Bool
    ) async throws -> (process: TrackerProcess, place: String)? {
        let log = folder.url.appending(path: "tracker_logs/\(tracker.rawValue).log")
        let options = Options(
            tracker: tracker.rawValue, folder: folder.url.path, name: settings.runName, project: settings.project,
            config: config, resumes: resumes)
        let (process, input, output) = (Process(), Pipe(), Pipe())
        process.executableURL = URL(filePath: "/usr/bin/env")
        // Unbuffered: what the client printed stands in the log before what ended it.
        process.arguments = [
            "python3", "-u", "-c", TrackerProgram.source,
            String(decoding: try JSONEncoder().encode(options), as: UTF8.self),
        ]
        process.standardInput = input
        process.standardOutput = output
        try FileOperations.system.createFolder(log.deletingLastPathComponent())
        try FileOperations.system.writeFile([], log)
        process.standardError = try FileHandle(forWritingTo: log)
        try process.run()
        let started = TrackerProcess(tracker, process, input, log: log)
        let greeting = await answer(on: output.fileHandleForReading, of: process.processIdentifier)
        if let place = greeting?.place { return (started, place) }
        if greeting?.missing != nil, settings.leavesOutMissing { return nil }
        throw JobError(place: "report_to", message: problem(tracker, greeting, log))
    }

    /// The program's first line; `nil` when it ends without one, or says nothing for two minutes.
    private static func answer(on output: FileHandle, of processID: Int32) async -> Greeting? {
        let deadline = DispatchWorkItem { kill(processID, SIGKILL) }
        DispatchQueue.global().asyncAfter(deadline: .now() + 120, execute: deadline)
        let bytes = await withCheckedContinuation { continuation in
            DispatchQueue.global().async { continuation.resume(returning: output.readDataToEndOfFile()) }
        }
        deadline.cancel()
        do { return try JSONDecoder().decode(Greeting.self, from: bytes) } catch { return nil }
    }

    private static func problem(_ tracker: ReportSettings.Tracker, _ greeting: Greeting?, _ log: URL) -> String {
        if let missing = greeting?.missing {
            return "python3 on the PATH has no \(tracker.rawValue) (\(missing)); pip install \(tracker.rawValue), "
                + "or leave \(tracker.rawValue) out of report_to"
        }
        return "\(tracker.rawValue) did not start: \(greeting?.problem ?? lastLine(of: log))"
    }

    private static func lastLine(of log: URL) -> String {
        let text = (try? String(contentsOf: log, encoding: .utf8)) ?? ""  // no log: nothing to quote
        return text.split(separator: "\n").last.map(String.init) ?? "it said nothing"
    }

    /// What there is to say of a client that has ended before the run, once.
    func complaint() -> String? {
        guard !hasTold, !process.isRunning else { return nil }
        hasTold = true
        return "\(tracker.rawValue) has ended early: \(Self.lastLine(of: log)) (tracker_logs/\(tracker.rawValue).log); "
            + "metrics.jsonl goes on"
    }

    /// Tells the client that the run is over, and gives it some time to send what is left.
    ///
    /// - Returns: What there is to say.
    func close(patience: Duration = .seconds(60)) async -> String? {
        guard !hasTold else { return nil }
        do { try input.fileHandleForWriting.close() } catch { /* it has ended */  }
        let deadline = ContinuousClock.now + patience
        while process.isRunning {
            guard ContinuousClock.now < deadline else {
                return
                    "\(tracker.rawValue) is still sending and goes on by itself (process \(process.processIdentifier))"
            }
            do { try await Task.sleep(for: .milliseconds(50)) } catch { return nil }
        }
        return process.terminationStatus == 0 ? nil : complaint()
    }
}
