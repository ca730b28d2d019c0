internal import Evaluation
internal import Foundation
package import JSON
package import Planning

/// Plans of a job beside what each took when it was run.
package struct PlanMeasurement {
    /// One plan that was run.
    package struct Row {
        package let candidate: LocalPlans.Candidate
        /// `nil` where the run failed.
        package let measured: Measured?
        /// Why it failed.
        package let failure: String?

        package init(_ candidate: LocalPlans.Candidate, _ measured: Measured?, failure: String? = nil) {
            self.candidate = candidate
            self.measured = measured
            self.failure = failure
        }
    }

    /// What steps of a run took.
    package struct Measured: Equatable {
        /// The median of a step.
        package let seconds: Double
        /// The most that the first rank held; `nil` where the system does not say.
        package let peakBytes: Int?
        /// Share of the tokens that completions may have that they had; `nil` where none are sampled.
        package let fullness: Double?

        package init(seconds: Double, peakBytes: Int?, fullness: Double?) {
            self.seconds = seconds
            self.peakBytes = peakBytes
            self.fullness = fullness
        }
    }

    private let rows: [Row]
    /// Plans that there are.
    private let count: Int

    /// - Parameters:
    ///   - rows: In the estimator's order, the chosen one first.
    ///   - count: Plans that could have been run.
    package init(_ rows: [Row], of count: Int) {
        self.rows = rows
        self.count = count
    }

    /// Where the chosen plan stands among those that were run, by the seconds they took, from 1 on; `nil` where it
    /// failed.
    package var rank: Int? { rows.first.flatMap { rank(of: $0) } }

    /// What a step of the chosen plan takes, by that of the fastest that was run; 1 where it is the chosen one.
    package var timesFastest: Double? {
        guard let own = rows.first?.measured, let best = rows.compactMap(\.measured?.seconds).min() else { return nil }
        return own.seconds / best
    }

    /// ln(predicted / measured) of the seconds, and of the bytes, of each that has them.
    private var errors: (seconds: [Double], bytes: [Double]) {
        let measured = rows.compactMap { row in row.measured.map { (row, $0) } }
        return (
            measured.map { log(Double($0.candidate.nanoseconds) / 1e9 / $1.seconds) },
            measured.compactMap { row, own in
                own.peakBytes.map { log(Double(row.candidate.predictedBytes) / Double($0)) }
            }
        )
    }

    /// The mean of |ln(predicted / measured)| over the plans that were run; `nil` for none.
    package var meanErrors: (seconds: Double?, bytes: Double?) {
        func mean(_ errors: [Double]) -> Double? {
            errors.isEmpty ? nil : errors.reduce(0) { $0 + abs($1) } / Double(errors.count)
        }
        return (mean(errors.seconds), mean(errors.bytes))
    }

    private func rank(of row: Row) -> Int? {
        row.measured.map { own in 1 + rows.count { ($0.measured?.seconds ?? .infinity) < own.seconds } }
    }

    // MARK: For people and for programs

    package var text: String {
        let longest = rows.map { max($0.candidate.nanoseconds, Int(($0.measured?.seconds ?? 0) * 1e9)) }.max() ?? 0
        let durations = DurationText(longest: longest)
        let heading =
            LocalPlans.Candidate.heading + [
                "\(durations.unit) predicted", "measured", "rank", "GiB a rank predicted", "measured",
            ]
        let table = rows.map { row in
            row.candidate.words + [
                durations.number(row.candidate.nanoseconds),
                row.measured.map { durations.number(Int($0.seconds * 1e9)) } ?? "failed",
                rank(of: row).map(String.init) ?? "", PlanListing.gibibytes(row.candidate.predictedBytes),
                row.measured?.peakBytes.map(PlanListing.gibibytes) ?? "",
            ]
        }
        var lines = [Table(heading, table, textColumns: 1).text]
        let ran = rows.count { $0.measured != nil }
        lines.append("\(ran) of \(count) plans that fit were run; the first is chosen")
        if let rank, let timesFastest {
            lines.append(
                "it ranks \(rank) among those, and takes \(NumberText.fixed(timesFastest, 2)) times as "
                    + "long as the fastest")
        }
        let mean = meanErrors
        for (what, error) in [("seconds", mean.seconds), ("bytes", mean.bytes)] {
            guard let error else { continue }
            lines.append(
                "the estimator's \(what) are off by a factor of \(NumberText.fixed(exp(error), 2)) on average "
                    + "(mean |ln| \(NumberText.fixed(error, 3)))")
        }
        if let fullness = rows.compactMap(\.measured?.fullness).min(), fullness < 0.95 {
            lines.append(
                "some completions had only \(NumberText.percent(fullness)) of the tokens they may have; the estimator "
                    + "assumes all")
        }
        lines += rows.compactMap { row in row.failure.map { "\(row.candidate.plan.planHash.prefix(12)): \($0)" } }
        return lines.joined(separator: "\n")
    }

    package var json: JSONValue {
        .object([
            .init("plan_hash", Self.json(rows.first?.candidate.plan.planHash)), .init("plans", .number(count)),
            .init("rank", Self.json(rank)), .init("times_fastest", Self.json(timesFastest)),
            .init("mean_ln_error_seconds", Self.json(meanErrors.seconds)),
            .init("mean_ln_error_bytes", Self.json(meanErrors.bytes)),
            .init("measured", .array(rows.map { .object(members(of: $0)) })),
        ])
    }

    private func members(of row: Row) -> [JSONValue.Member] {
        let hash: [JSONValue.Member] = [.init("plan_hash", .string(row.candidate.plan.planHash))]
        let found: [JSONValue.Member] = [
            .init("measured_s", Self.json(row.measured?.seconds)),
            .init("measured_peak_bytes", Self.json(row.measured?.peakBytes)),
            .init("fullness", Self.json(row.measured?.fullness)), .init("rank", Self.json(rank(of: row))),
            .init("failure", Self.json(row.failure)),
        ]
        return hash + row.candidate.members + found
    }

    private static func json(_ value: Double?) -> JSONValue { value.map { .number($0) } ?? .null }
    private static func json(_ value: Int?) -> JSONValue { value.map { .number($0) } ?? .null }
    private static func json(_ value: String?) -> JSONValue { value.map { .string($0) } ?? .null }
}
