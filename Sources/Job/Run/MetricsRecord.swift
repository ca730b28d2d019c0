internal import Foundation
internal import Records
internal import Runs

/// A run's numbers on their way to `metrics.jsonl` and to where `report_to` sends them.
actor MetricsRecord {
    private let folder: RunFolder
    private let events: EventFile?
    private let trackers: [TrackerProcess]
    /// Where the run can be seen, a line each.
    nonisolated let lines: [String]

    /// - Parameters:
    ///   - folder: Rewound to where the run begins.
    ///   - resumes: Whether that is after an earlier start's steps.
    /// - Throws: ``JobError`` when a tracker's client is missing or cannot start.
    init(_ settings: ReportSettings, folder: RunFolder, config: [String: String], resumes: Bool) async throws {
        self.folder = folder
        var (lines, trackers) = ([String](), [TrackerProcess]())
        if settings.writesEvents {
            let events = folder.url.appending(path: "tensorboard")
            self.events = try EventFile(in: events, repeating: folder.metricsFile)
            lines.append("tensorboard --logdir \(folder.url.relativePath)")
        } else {
            events = nil
        }
        do {
            for tracker in settings.trackers {
                let started = try await TrackerProcess.start(
                    tracker, settings, folder: folder, config: config, resumes: resumes)
                guard let started else { continue }
                trackers.append(started.process)
                lines.append("\(tracker.rawValue): \(started.place)")
            }
        } catch {
            for tracker in trackers { _ = await tracker.close() }
            throw error
        }
        (self.lines, self.trackers) = (lines, trackers)
    }

    /// Adds a row.
    ///
    /// - Returns: What there is to say of a tracker that has ended.
    func append(_ metrics: Metrics, step: Int) async throws -> [String] {
        // In milliseconds, as the file holds it.
        let time = Date(timeIntervalSince1970: (Date().timeIntervalSince1970 * 1000).rounded() / 1000)
        let values = metrics.entries
        try folder.appendMetrics(step: step, time: time, values)
        try events?.append(step: step, time: time, values)
        var complaints: [String] = []
        for tracker in trackers {
            if let complaint = await tracker.complaint() { complaints.append(complaint) }
        }
        return complaints
    }

    /// Lets the trackers send what is left.
    func close() async -> [String] {
        var remarks: [String] = []
        for tracker in trackers {
            if let remark = await tracker.close() { remarks.append(remark) }
        }
        return remarks
    }
}
