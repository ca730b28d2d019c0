internal import Evaluation
internal import Foundation
package import JSON
package import Planning

/// A plan and its simulated run, for people and for programs.
package struct PlanListing {
    private let plan: ExecutionPlan
    private let timeline: Timeline

    /// Simulates the plan.
    ///
    /// - Parameter profile: What it costs; sizes and the cluster's rates without.
    /// - Throws: `PlanError` with every rule it breaks, memory among them, and calls that the profile does not know.
    package init(_ plan: ExecutionPlan, iterations: Int, profile: CostProfile? = nil) throws(PlanError) {
        self.plan = plan
        timeline = try PlanSimulator(plan, costs: Self.costs(plan.cluster, profile)).validate(iterations: iterations)
    }

    static func costs(_ cluster: Cluster, _ profile: CostProfile?) -> any CostModel {
        guard let profile else { return AnalyticCosts(cluster) }
        return ProfiledCosts(profile, cluster)
    }

    /// The timeline for chrome://tracing or Perfetto.
    package var trace: JSONValue { timeline.chromeTrace(devicesPerNode: plan.cluster.devicesPerNode) }

    /// The calls, then what an iteration takes.
    package var text: String {
        let iteration = timeline.iterationNanoseconds
        let durations = DurationText(longest: iteration)
        let rows = plan.graph.calls.map { call -> [String] in
            let time = timeline.tasks.first { $0.name == call.name }.map { $0.end - $0.start } ?? 0
            guard let own = plan.assignments[call.name] else {
                return [call.name, "host", "", "", "", durations.number(time)]
            }
            return [
                call.name, "\(own.mesh)", "\(own.strategy)", own.layout.rawValue,
                own.after.sorted().map(\.rawValue).joined(separator: " "), durations.number(time),
            ]
        }
        let heading = ["call", "mesh", "strategy", "layout", "after", durations.unit]
        let between = [TimelineTask.Kind.reallocate, .transfer, .reload, .offload].compactMap { kind -> String? in
            let time = timeline.nanoseconds(of: kind)
            return time == 0 ? nil : "\(kind.rawValue) \(durations.text(time))"
        }
        let peak = timeline.peakBytes.max() ?? 0
        let lines = [
            Table(heading, rows, textColumns: 5).text,
            "an iteration: \(durations.text(iteration)) by the estimator"
                + (between.isEmpty ? "" : ", of which " + between.joined(separator: ", ")),
            "the fullest device: \(Self.gibibytes(peak)) of \(Self.gibibytes(plan.cluster.memoryBytes)) GiB",
            "planHash \(plan.planHash)",
        ]
        return lines.joined(separator: "\n")
    }

    /// The numbers as one object.
    package var json: JSONValue {
        .object([
            .init("plan_hash", .string(plan.planHash)),
            .init("iteration_s", .number(Double(timeline.iterationNanoseconds) / 1e9)),
            .init("peak_bytes", .array(timeline.peakBytes.map { .number($0) })),
            .init(
                "busy_s",
                .array(
                    (0..<timeline.devices).map { .number(Double(timeline.busyNanoseconds(ofDevice: $0)) / 1e9) })),
            .init("reallocation_s", .number(Double(timeline.nanoseconds(of: .reallocate)) / 1e9)),
        ])
    }

    static func gibibytes(_ bytes: Int) -> String { NumberText.compact(Double(bytes) / 1_073_741_824) }
}

/// Plans that can be run, for people and for programs.
package struct LocalPlanListing {
    private let candidates: [LocalPlans.Candidate]

    /// - Parameter candidates: At least one, the chosen one first.
    package init(_ candidates: [LocalPlans.Candidate]) { self.candidates = candidates }

    /// Rows that a person reads.
    private static let most = 12

    /// The candidates, the chosen one first.
    package var text: String {
        let durations = DurationText(longest: candidates.prefix(Self.most).map(\.nanoseconds).max() ?? 0)
        let rows = candidates.prefix(Self.most).map { candidate in
            candidate.words + [
                durations.number(candidate.nanoseconds),
                PlanListing.gibibytes(candidate.predictedBytes) + (candidate.fits ? "" : " too much"),
            ]
        }
        let heading = LocalPlans.Candidate.heading + [durations.unit, "GiB a rank"]
        let more = candidates.count - rows.count
        return Table(heading, rows, textColumns: 1).text + (more > 0 ? "\nand \(more) more" : "")
            + "\nthe first is chosen, planHash \(candidates[0].plan.planHash)"
    }

    /// All of them as one object.
    package var json: JSONValue {
        .object([
            .init("plan_hash", .string(candidates[0].plan.planHash)),
            .init(
                "candidates",
                .array(
                    candidates.map { candidate in
                        .object(candidate.members + [.init("fits", .bool(candidate.fits))])
                    })),
        ])
    }
}

extension LocalPlans.Candidate {
    static let heading = [
        "layout to sample", "ranks", "a layer to train", "to sample", "moments", "sequences a pass", "rows at once",
    ]

    /// With the process itself, which a plan's own bytes are without.
    var predictedBytes: Int { peakBytes + MemoryEstimate.process }

    /// What it is of the choices, below ``heading``.
    var words: [String] {
        [
            generation?.rawValue ?? "", "\(plan.cluster.devices)", "\(shards)",
            generation == nil ? "" : "\(generationShards)", offloads ? "file" : "memory", "\(sequencesOfPass)",
            rows.map(String.init) ?? "",
        ]
    }

    /// The same with what it is predicted to take.
    var members: [JSONValue.Member] {
        [
            .init("generation_layout", generation.map { .string($0.rawValue) } ?? .null),
            .init("ranks", .number(plan.cluster.devices)), .init("tensor_parallel", .number(shards)),
            .init("generation_tensor_parallel", generation == nil ? .null : .number(generationShards)),
            .init("offload_optimizer", .bool(offloads)), .init("sequences_of_pass", .number(sequencesOfPass)),
            .init("rows", rows.map { .number($0) } ?? .null),
            .init("iteration_s", .number(Double(nanoseconds) / 1e9)), .init("peak_bytes", .number(peakBytes)),
            .init("predicted_peak_bytes", .number(predictedBytes)),
        ]
    }
}

extension SearchResult {
    /// How the plan was found, in one line.
    package var line: String {
        let best = seedNanoseconds.min().map {
            let durations = DurationText(longest: max($0, iterationNanoseconds))
            return "; the best plan made by hand takes \(durations.text($0)), this one "
                + durations.text(iterationNanoseconds)
        }
        return "simulated \(evaluated) of \(space < 1e6 ? String(Int(space)) : String(format: "%.1e", space)) plans"
            + (best ?? "; the space was enumerated whole")
    }
}
