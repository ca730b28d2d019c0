internal import Records

/// Where a run's numbers go beside `metrics.jsonl`: `report_to:`, with the Hugging Face trainer's words.
package struct ReportSettings: Sendable {
    package enum Target: String, SettingsChoice { case none, all, tensorboard, trackio, wandb }

    /// Trackers with a client in Python.
    package enum Tracker: String, Sendable, CaseIterable { case trackio, wandb }

    /// Whether TensorBoard's event files are written.
    package let writesEvents: Bool
    package let trackers: [Tracker]
    /// With `all`: a tracker whose client is not installed is left out.
    package let leavesOutMissing: Bool
    package let runName: String
    /// `nil` leaves it to the tracker's environment variable, else ``defaultProject``.
    package let project: String?

    package static let defaultProject = "plumbline"

    init(reading job: inout SettingsReader, outputDirectory: String) {
        let targets: [Target] = job.read(
            "report_to", default: [.none],
            "Where the numbers of metrics.jsonl also go: tensorboard (event files in output_dir/tensorboard, written here), trackio and wandb (by their own clients in python3), or several as a list; all takes those that are installed."
        )
        job.check(
            targets.count <= 1 || !targets.contains { $0 == .none || $0 == .all }, "report_to",
            "none or all alone, or a list of tensorboard, trackio and wandb")
        let all = targets.contains(.all)
        leavesOutMissing = all
        writesEvents = all || targets.contains(.tensorboard)
        trackers = Tracker.allCases.filter { tracker in
            all || targets.contains { $0.rawValue == tracker.rawValue }
        }
        let name: String? = job.read(
            "run_name", optional: nil, "The run's name for trackio and wandb; the last part of output_dir unless set.")
        runName = name ?? outputDirectory.split(separator: "/").last.map(String.init) ?? "run"
        project = job.read(
            "project", optional: nil,
            "The run's project in trackio and wandb; WANDB_PROJECT, TRACKIO_PROJECT or plumbline unless set."
        )
        job.ignore("run_name", when: trackers.isEmpty)
        // TRL's configurations name a project whether or not anything is reported.
        job.ignore("project", when: trackers.isEmpty && project != "huggingface")
    }
}
