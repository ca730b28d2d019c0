internal import Foundation
internal import Records

/// Watches what a policy must not lose while it learns something else: numbers of an evaluation, each of a set of its
/// own. Moves no weight.
///
/// Of each number it keeps the first that was measured, the lowest since, and the newest. One that lies more than its
/// tolerance below the first is an alarm, said once and noted as `alarms/eval_guard/NAME` in every evaluation that
/// shows it; where the guard is to stop the run, it then has a reason to end.
package struct EvaluationGuard: RewardController {
    /// A number that is watched.
    package struct Watched: Sendable, Equatable {
        /// The set's name.
        package let name: String
        /// The number's name among those of an evaluation; larger is better.
        package let metric: String
        /// How far it may fall below its first value.
        package let tolerance: Double
        /// Whether the run ends when it has fallen farther.
        package let stops: Bool

        package init(_ name: String, metric: String, tolerance: Double, stops: Bool) {
            self.name = name
            self.metric = metric
            self.tolerance = tolerance
            self.stops = stops
        }
    }

    /// What it remembers: the course of each number that was measured, by the set's name.
    package struct State: Sendable, Equatable, Codable {
        package fileprivate(set) var courses: [String: Course] = [:]
    }

    /// The course of one number.
    package struct Course: Sendable, Equatable, Codable {
        package let first: Reading
        package fileprivate(set) var worst: Reading
        package fileprivate(set) var newest: Reading
        /// The newest within the tolerance.
        package fileprivate(set) var within: Reading
        /// Whether its alarm was said.
        fileprivate var isSaid = false

        fileprivate init(_ first: Reading) { (self.first, worst, newest, within) = (first, first, first, first) }
    }

    /// A value and the optimizer steps before it.
    package struct Reading: Sendable, Equatable, Codable {
        package let step: Int
        package let value: Double
    }

    package let name = "eval_guard"
    package var state = State()
    private let watched: [Watched]

    package init(_ watched: [Watched]) { self.watched = watched }

    package func weights(at step: Int) -> StreamWeights { StreamWeights() }

    package func check(_ state: State) throws {
        let (mine, saved) = (Set(watched.map(\.name)), Set(state.courses.keys))
        guard saved.isSubset(of: mine) else {
            throw ControllerStateError(
                "the checkpoint guards \(saved.sorted().joined(separator: ", ")); the job \(mine.sorted().joined(separator: ", "))"
            )
        }
    }

    package mutating func observe(_ step: ObservedStep) -> ControllerUpdate? { ControllerUpdate() }

    /// Until each number has a first value.
    package var needsEvaluation: Bool { watched.contains { state.courses[$0.name] == nil } }

    /// What each number that was measured has metrics of, as `eval_guard/NAME/first`; the change is that from the first.
    package static let parts = ["first", "worst", "change"]

    /// See ``parts``.
    package mutating func observe(_ evaluation: ObservedEvaluation) -> ControllerUpdate? {
        var update = ControllerUpdate()
        var next = state
        var news: [String] = []
        for watched in watched {
            guard let value = evaluation.measured[watched.metric] else { continue }
            guard value.isFinite else { return nil }
            let reading = Reading(step: evaluation.step, value: value)
            var course = next.courses[watched.name] ?? Course(reading)
            course.newest = reading
            if value < course.worst.value { course.worst = reading }
            let family = "eval_guard/\(watched.name)"
            for (part, value) in zip(Self.parts, [course.first.value, course.worst.value, value - course.first.value]) {
                update.metrics["\(family)/\(part)", .last] = value
            }
            if course.isBelow(watched.tolerance) {
                update.metrics["alarms/\(family)", .max] = 1
                if !course.isSaid { news.append(watched.alarm(course)) }
                course.isSaid = true
            } else {
                course.within = reading
            }
            next.courses[watched.name] = course
        }
        state = next
        update.note = news.isEmpty ? nil : news.joined(separator: "; ")
        return update
    }

    package var endsRun: String? {
        watched.lazy.filter(\.stops).compactMap { watched in
            state.courses[watched.name].flatMap { $0.isBelow(watched.tolerance) ? watched.alarm($0) : nil }
        }.first
    }
}

extension EvaluationGuard.Course {
    fileprivate func isBelow(_ tolerance: Double) -> Bool { newest.value < first.value - tolerance }
}

extension EvaluationGuard.Watched {
    fileprivate func alarm(_ course: EvaluationGuard.Course) -> String {
        func shown(_ value: Double) -> String { String(format: "%.4g", value) }
        return
            "eval_guard \(name) has fallen by \(shown(course.first.value - course.newest.value)), from \(shown(course.first.value)) "
            + "to \(shown(course.newest.value)) at step \(course.newest.step) (tolerance \(shown(tolerance)), last kept at step "
            + "\(course.within.step)): the policy loses what it had"
    }
}
