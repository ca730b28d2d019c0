internal import Evaluation
package import JSON

/// What each optimizer, and adapters in place of one, keep and take: steps on one rollout of a model, each in a process
/// of its own, so that its peak of memory is its own.
package struct OptimizerTable: Sendable {
    /// A way to train, as the flags of `bench update` name it.
    package struct Setting: Sendable {
        package let name: String
        package let flags: [String]

        init(_ name: String, _ flags: String...) { (self.name, self.flags) = (name, flags) }
    }

    /// As the README compares them. A matrix without two sides longer than a rank has AdamW.
    package static let settings = [
        Setting("adamw_torch"),
        Setting("adamw_8bit", "--optim", "adamw_8bit"),
        Setting("lion", "--optim", "lion"),
        Setting("low_rank 128 (GaLore)", "--optim", "low_rank", "--low-rank", "rank=128"),
        Setting("low_rank 32 (GaLore)", "--optim", "low_rank", "--low-rank", "rank=32"),
        Setting("low_rank 32 (FRUGAL)", "--optim", "low_rank", "--low-rank", "rank=32", "remainder=sign_sgd"),
        Setting("low_rank 32 (Fira)", "--optim", "low_rank", "--low-rank", "rank=32", "remainder=fira"),
        Setting(
            "low_rank 32 (Fira, dct)", "--optim", "low_rank", "--low-rank", "rank=32", "remainder=fira",
            "projector=dct"),
        Setting("adapters 16", "--lora-rank", "16"),
        Setting("adapters 16, base in 8 bits", "--lora-rank", "16", "--load-in-8bit"),
    ]

    private let arguments: [String]

    /// - Parameter flags: Of `bench update`, the model and the workload.
    package init(flags: [String]) { arguments = ["bench", "update", "--json"] + flags }

    /// Measures one setting after the other.
    ///
    /// - Parameter note: Hears what is measured next.
    package func run(note: (String) -> Void) throws -> String {
        let rows = try Self.settings.map { setting in
            note(setting.name)
            let printed = try ProcessOutput.of(ChildProcess.own, arguments + setting.flags)
            return try Self.row(setting.name, LastObject.of(printed, from: "bench update"))
        }
        return Table(Self.heading, rows).text
    }

    /// What `--dry-run` estimates beside what was measured. The estimate is of bytes that are kept between steps, and of
    /// the process's peak.
    static let heading = [
        "optimizer", "state MB", "measured", "peak GiB", "measured", "step s",
    ]

    /// - Throws: `JobError` for an object without the numbers.
    package static func row(_ name: String, _ object: JSONValue) throws -> [String] {
        let step = try StepMeasurement(object, of: "bench update")
        func text(_ bytes: Double?, per unit: Double) -> String { bytes.map { NumberText.compact($0 / unit) } ?? "" }
        return [
            name, text(object["optimizer_state_bytes"]?.double, per: 1e6),
            text(object["memory"]?["optimizer_gb"]?.double, per: 1e-3),
            text(object["estimated_peak_bytes"]?.double, per: 1_073_741_824),
            text(step.peakBytes, per: 1_073_741_824), NumberText.compact(step.seconds),
        ]
    }
}
