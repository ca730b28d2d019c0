internal import Foundation
package import Records

/// Looks for the limits of constraints within one run, by what a gold reward says of the policy that keeps them: NM-PPO
/// (Moskovitz et al. 2023, arXiv:2310.04373, §4.2).
///
///     f(θ) = −gold of an evaluation of the policy at the limits θ
///
/// A point is tried by giving its limits to the constraints and training on from the policy there is: until an
/// evaluation finds every mean within a share of its limit, or for so many rollouts at most. ``NelderMead`` says which
/// point is next. When its search ends, or its rollouts are spent, the limits stay at the best point's. Only
/// evaluations are read: rows that are held out for the search, never those that a result is reported on.
package struct ThresholdSearch: Sendable {
    package let settings: ThresholdSearchSettings
    private var held: LagrangianConstraints
    private var search: NelderMead
    private var rolloutsAtPoint = 0
    private var rollouts = 0

    /// - Parameter held: Constraints with limits to begin with, each with bounds in the settings.
    package init(_ held: LagrangianConstraints, _ settings: ThresholdSearchSettings, seed: UInt64) {
        self.held = held
        self.settings = settings
        search = NelderMead(
            simplex: Self.simplex(held.constraints, settings, seed: seed),
            .init(bounds: settings.bounds, tolerance: settings.tolerance, cacheDistance: settings.cacheDistance))
    }

    /// θ0, and for each constraint a point with every limit at θ0 + U(0, 1)·(upper − θ0).
    private static func simplex(
        _ constraints: [Constraint], _ settings: ThresholdSearchSettings, seed: UInt64
    ) -> [NelderMead.Point] {
        let start = Dictionary(uniqueKeysWithValues: constraints.map { ($0.name, $0.limit) })
        var draw = mix64(seed ^ 0x7468_7265_7368)
        let names = constraints.map(\.name).sorted()
        return [start]
            + names.map { _ in
                Dictionary(
                    uniqueKeysWithValues: names.map { name in
                        draw = mix64(draw)
                        let uniform = Double(draw >> 11) / 0x1p53
                        let (from, to) = (start[name] ?? 0, settings.bounds[name]?.upperBound ?? 0)
                        return (name, from + uniform * (to - from))
                    })
            }
    }

    /// What is held, at the limits in force.
    package var constraints: [Constraint] { held.constraints }

    /// Whether limits are still moved.
    private var isSearching: Bool { search.point != nil && rollouts < settings.maxRollouts }

    /// The limits in force.
    package var limits: [String: Double] {
        (isSearching ? search.point : search.best?.point) ?? search.best?.point ?? [:]
    }

    private mutating func moveLimits() { held.move(limits: limits) }
}

/// Settings of ``ThresholdSearch``: `threshold_search:`.
package struct ThresholdSearchSettings: Sendable, Equatable {
    /// The reward whose mean in evaluations is to be as large as possible.
    package var gold: String
    /// Where each constraint's limit may lie, by the constraints' names.
    package var bounds: [String: ClosedRange<Double>]
    /// Rollouts of the whole search.
    package var maxRollouts: Int
    /// Rollouts of one point at most.
    package var rolloutsPerPoint: Int
    /// The share of a limit within which a mean has reached it.
    package var reach: Double
    package var tolerance: Double
    package var cacheDistance: Double

    package init(
        gold: String, bounds: [String: ClosedRange<Double>], maxRollouts: Int, rolloutsPerPoint: Int? = nil,
        reach: Double = 0.05, tolerance: Double = 0.01, cacheDistance: Double = 5e-3
    ) {
        self.gold = gold
        self.bounds = bounds
        self.maxRollouts = maxRollouts
        self.rolloutsPerPoint = rolloutsPerPoint ?? max(1, maxRollouts / 10)
        self.reach = reach
        self.tolerance = tolerance
        self.cacheDistance = cacheDistance
    }

    /// `nil` where nothing is searched.
    ///
    /// - Parameters:
    ///   - constraints: The job's; each needs `low` and `high`, and its limit room up to `high`.
    ///   - rewards: The names of the job's rewards; `nil` while they are not all known.
    package init?(reading job: inout SettingsReader, constraints: [Constraint], rewards: [String]?) {
        let gold: String? = job.read(
            "threshold_search.gold", optional: nil,
            "The reward whose evaluated mean a search within the run maximizes by moving the limits of all constraints (Nelder-Mead, arXiv:2310.04373). Each constraint needs low and high, the limit below high; evaluations (eval_steps) must be on rows that no result is reported on."
        )
        let maxRollouts = job.read(
            "threshold_search.max_rollouts", default: 100, .atLeast(1),
            "Rollouts after which the limits stay at the best point.")
        let perPoint: Int? = job.read(
            "threshold_search.rollouts_per_point", optional: nil, .atLeast(1),
            "Most rollouts per point; a tenth of max_rollouts unless set.")
        let reach = job.read(
            "threshold_search.reach", default: 0.05, .above(0),
            "A point is reached when every mean is within this share of its limit.")
        let tolerance = job.read(
            "threshold_search.tolerance", default: 0.01, .atLeast(0),
            "The search ends when gold's deviation over the simplex is smaller.")
        let cache = job.read(
            "threshold_search.cache_distance", default: 5e-3, .atLeast(0),
            "A point this close to a known one in every limit takes its value.")
        guard let gold else {
            job.ignore(
                "threshold_search.max_rollouts", "threshold_search.rollouts_per_point", "threshold_search.reach",
                "threshold_search.tolerance", "threshold_search.cache_distance")
            return nil
        }
        var bounds: [String: ClosedRange<Double>] = [:]
        for constraint in constraints {
            guard let range = constraint.range else {
                job.refuse(
                    "threshold_search.gold",
                    "threshold_search moves the limit of \(constraint.name); give it low and high, as {reward: \(constraint.reward), …, low: 0, high: 1}"
                )
                continue
            }
            bounds[constraint.name] = range
            // The first points lie from the limit to high; where all are equal no move ever leads away.
            if constraint.limit == range.upperBound {
                job.refuse(
                    "constraints",
                    "constraints: \(constraint.name) has the limit \(constraint.limit.shown) and the same high, and threshold_search begins between them; expected a high above the limit"
                )
            }
        }
        Self.refuseOnePoint(constraints, cacheDistance: cache, &job)
        if constraints.isEmpty {
            job.refuse(
                "threshold_search.gold", "threshold_search looks for the limits of constraints; the job has none")
        }
        if let rewards, !rewards.contains(gold) {
            let near = nearestNames(to: gold, among: rewards)
            job.refuse(
                "threshold_search.gold",
                "threshold_search.gold: no reward is named '\(gold)'; "
                    + (near.isEmpty
                        ? "reward_funcs has \(rewards.joined(separator: ", "))" : "did you mean \(near[0])?"))
        }
        self.init(
            gold: gold, bounds: bounds, maxRollouts: maxRollouts, rolloutsPerPoint: perPoint, reach: reach,
            tolerance: tolerance, cacheDistance: cache)
    }

    /// Refuses limits whose first points all take the value of one. A limit with little room may stand beside one with
    /// more.
    private static func refuseOnePoint(
        _ constraints: [Constraint], cacheDistance: Double, _ job: inout SettingsReader
    ) {
        let rooms = constraints.compactMap { constraint in
            constraint.range.map { (constraint: constraint, high: $0.upperBound) }
        }
        guard !rooms.isEmpty, rooms.count == constraints.count, rooms.allSatisfy({ $0.high > $0.constraint.limit }),
            rooms.allSatisfy({ $0.high - $0.constraint.limit <= cacheDistance })
        else { return }
        let words = rooms.map { "\($0.constraint.name) from \($0.constraint.limit.shown) to \($0.high.shown)" }
        job.refuse(
            "threshold_search.cache_distance",
            "threshold_search.cache_distance is \(cacheDistance.shown), and no limit has more room than that up to its high (\(words.joined(separator: ", "))): every point would take the value of the first; expected less, or a larger high"
        )
    }
}

extension ThresholdSearch: RewardController {
    /// Everything a search goes on from.
    package struct State: Sendable, Equatable, Codable {
        package var multipliers: LagrangianConstraints.State
        package var search: NelderMead
        package var rolloutsAtPoint: Int
        package var rollouts: Int
    }

    package var name: String { "threshold_search" }

    package var state: State {
        get {
            State(multipliers: held.state, search: search, rolloutsAtPoint: rolloutsAtPoint, rollouts: rollouts)
        }
        set {
            held.state = newValue.multipliers
            (search, rolloutsAtPoint, rollouts) = (newValue.search, newValue.rolloutsAtPoint, newValue.rollouts)
            moveLimits()
        }
    }

    package func check(_ saved: State) throws {
        try held.check(saved.multipliers)
        guard saved.search.settings == search.settings else {
            throw ControllerStateError("the checkpoint's search has other bounds or tolerances than the job's")
        }
    }

    package func weights(at step: Int) -> StreamWeights { held.weights(at: step) }

    /// Metrics: those of ``LagrangianConstraints``, the moving limits among them.
    package mutating func observe(_ step: ObservedStep) -> ControllerUpdate? {
        guard let update = held.observe(step) else { return nil }
        guard isSearching else { return update }
        rollouts += 1
        rolloutsAtPoint += 1
        guard !isSearching else { return update }
        moveLimits()
        var ended = update
        ended.note = [update.note, conclusion(step: nil)].compactMap(\.self).joined(separator: "; ")
        return ended
    }

    /// Metrics: `threshold_search/gold`, of the evaluation; `threshold_search/best`, `threshold_search/points` and
    /// `threshold_search/cache_hits` so far.
    package mutating func observe(_ evaluation: ObservedEvaluation) -> ControllerUpdate? {
        guard isSearching, rolloutsAtPoint > 0, evaluation.measuresRewards else { return ControllerUpdate() }
        let named = held.constraints.compactMap { constraint in
            evaluation.means[constraint.reward].map { (constraint, $0) }
        }
        guard let gold = evaluation.means[settings.gold], gold.isFinite, named.count == held.constraints.count else {
            return nil
        }
        var update = ControllerUpdate()
        update.metrics["threshold_search/gold", .last] = gold
        let isReached = named.allSatisfy { abs($1 - $0.limit) <= settings.reach * abs($0.limit) }
        if isReached || rolloutsAtPoint >= settings.rolloutsPerPoint {
            let tried = Self.words(limits)
            search.tell(-gold)
            rolloutsAtPoint = 0
            moveLimits()
            update.note =
                "the limits \(tried) "
                + "\(isReached ? "were reached" : "were not reached in \(settings.rolloutsPerPoint) rollouts"): "
                + "gold is \(gold.shown), the best so far \((-(search.best?.value ?? 0)).shown); "
                + (isSearching ? "next \(Self.words(limits))" : conclusion(step: evaluation.step))
        }
        update.metrics["threshold_search/best", .last] = search.best.map { -$0.value }
        update.metrics["threshold_search/points", .last] = Double(search.evaluated.count)
        update.metrics["threshold_search/cache_hits", .last] = Double(search.cacheHits)
        return update
    }

    private func conclusion(step: Int?) -> String {
        guard search.best != nil else { return "the search ended before it had tried a point" }
        return "the search has ended, the limits stay at its best, \(Self.words(limits))"
    }

    private static func words(_ limits: [String: Double]) -> String {
        limits.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value.shown)" }.joined(separator: ", ")
    }
}
