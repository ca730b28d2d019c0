package import Foundation
package import Job
package import Planning
internal import Records

/// Runs plans of a job for a few steps each, in processes of their own: what `plumbline plan --measure` compares the
/// estimator with.
package struct PlanTrials {
    private let job: URL
    private let overrides: [String]
    private let steps: Int

    /// - Parameters:
    ///   - overrides: Of the job, `key=value`.
    ///   - steps: That count; one before them warms up.
    package init(job: URL, overrides: [String], steps: Int) {
        self.job = job
        self.overrides = overrides
        self.steps = steps
    }

    /// What a process takes beside its steps, about: to start, to read a model and to write one.
    private static let secondsBesideSteps = 5.0

    /// The plans to run: of those that fit, the first ones, and of the others the corners of every layout, number of
    /// ranks, number of ranks that sample together, and way to train: the shortest and the longest passes with the fewest and the most rows at once.
    ///
    /// - Parameters:
    ///   - candidates: In the estimator's order.
    ///   - best: How many of the first are taken in any case, at least 1.
    /// - Returns: Them in that order.
    package static func chosen(among candidates: [LocalPlans.Candidate], best: Int) -> [LocalPlans.Candidate] {
        struct Kind: Hashable {
            let layout: WeightLayout?
            let ranks, shards, generationShards: Int
            let offloads: Bool
        }
        let fitting = candidates.filter(\.fits)
        let kinds = Dictionary(grouping: fitting) {
            Kind(
                layout: $0.generation, ranks: $0.plan.cluster.devices, shards: $0.shards,
                generationShards: $0.generationShards, offloads: $0.offloads)
        }
        let corners = kinds.values.flatMap { kind in
            let (passes, rows) = (kind.map(\.sequencesOfPass), kind.map { $0.rows ?? 0 })
            return kind.filter {
                [passes.min(), passes.max()].contains($0.sequencesOfPass)
                    && [rows.min(), rows.max()].contains($0.rows ?? 0)
            }
        }
        let hashes = Set(corners.map(\.plan.planHash))
        return fitting.enumerated().filter { $0.offset < best || hashes.contains($0.element.plan.planHash) }
            .map(\.element)
    }

    /// What running all of them takes, by the estimator.
    package func seconds(of candidates: [LocalPlans.Candidate]) -> Double {
        candidates.reduce(0) { sum, candidate in
            sum + Self.secondsBesideSteps + Double(steps + 1) * Double(candidate.nanoseconds) / 1e9
        }
    }

    /// Runs one after the other. A plan whose run fails is a row that says why.
    ///
    /// - Parameters:
    ///   - seconds: No run begins when those before have taken longer.
    ///   - note: Hears what runs next.
    package func run(
        _ candidates: [LocalPlans.Candidate], seconds: Double, note: (String) -> Void
    ) throws -> [PlanMeasurement.Row] {
        let workspace = FileManager.default.temporaryDirectory.appending(path: "plumbline-plans-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: workspace, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: workspace) }  // a leftover in /tmp spoils no number
        let clock = ContinuousClock()
        let start = clock.now
        var rows: [PlanMeasurement.Row] = []
        for (index, candidate) in candidates.enumerated() {
            guard (clock.now - start) / .seconds(1) < seconds else {
                note("the time is up: \(candidates.count - index) of the plans are not run")
                break
            }
            note("plan \(index + 1) of \(candidates.count)")
            do {
                rows.append(PlanMeasurement.Row(candidate, try measured(candidate, in: workspace)))
            } catch let error as JobError {
                rows.append(PlanMeasurement.Row(candidate, nil, failure: "\(error)"))
            }
        }
        return rows
    }

    private func measured(
        _ candidate: LocalPlans.Candidate, in workspace: URL
    ) throws -> PlanMeasurement.Measured {
        let (plan, folder) = (workspace.appending(path: "plan.json"), workspace.appending(path: "run"))
        try Data(candidate.plan.json.indented.utf8).write(to: plan)
        defer { try? FileManager.default.removeItem(at: folder) }  // as the workspace
        let ranks = candidate.plan.cluster.devices
        _ = try ProcessOutput.of(
            ChildProcess.own,
            (ranks > 1 ? ["launch", "-n", "\(ranks)"] : []) + ["train", job.path] + overrides
                + Self.overrides(plan: plan, output: folder, steps: steps), quiet: true)
        let limit = try ResolvedJob(JobFile(url: folder.appending(path: "config.yaml"))).sampling.maxCompletionLength
        return try Self.measured(String(contentsOf: folder.appending(path: "metrics.jsonl"), encoding: .utf8), limit)
    }

    /// What a run under a plan has in place of the job's own.
    ///
    /// - Parameter steps: That count.
    package static func overrides(plan: URL, output: URL, steps: Int) -> [String] {
        [
            "placement=\(plan.path.yaml)", "output_dir=\(output.path.yaml)", "max_steps=\(steps + 1)",
            "save_steps=\(steps + 1)", "resume_from_checkpoint=false", "warmup_steps=0",
            "lr_scheduler_type=constant", "eval_strategy=no", "load_best_model_at_end=false",
            "log_completions=false", "report_to=none", "reward_error_budget=1",
        ]
    }

    /// What the rows of `metrics.jsonl` say, without the first step, which warms up.
    ///
    /// - Parameter limit: Tokens that a completion may have.
    /// - Throws: `JobError` where there is no step after the first.
    package static func measured(_ metrics: String, _ limit: Int) throws -> PlanMeasurement.Measured {
        let rows = try metrics.split(separator: "\n").compactMap {
            try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any]
        }.filter { $0["step_time"] is NSNumber }
        func values(_ name: String, _ rows: some Sequence<[String: Any]>) -> [Double] {
            rows.compactMap { ($0[name] as? NSNumber)?.doubleValue }
        }
        let counted = rows.dropFirst()
        guard !counted.isEmpty else {
            throw JobError(place: "plan --measure", message: "the run's metrics.jsonl has \(rows.count) steps")
        }
        let peaks = ["generating", "scoring", "training"].flatMap { values("memory/\($0)_peak_gb", rows) }
        let lengths = values("completions/mean_length", counted)
        return PlanMeasurement.Measured(
            seconds: Spread(values("step_time", counted)).median, peakBytes: peaks.max().map { Int($0 * 1e9) },
            fullness: lengths.isEmpty
                ? nil : lengths.reduce(0, +) / Double(lengths.count) / Double(limit))
    }
}
