internal import Foundation
package import Records

/// A mean that distributional control gives a reward: an entry of `gdc.moments:`.
///
///     gdc:
///       moments: [{reward: polite, target: 0.5}]
package struct MomentTarget: Sendable, Equatable {
    package var reward: String
    /// In the reward's own units.
    package var target: Double

    package init(_ reward: String, target: Double) {
        self.reward = reward
        self.target = target
    }
}

extension MomentTarget: SettingsValue {
    package static var expectation: String { "a section with reward and target, as {reward: polite, target: 0.5}" }

    package static func read(_ node: SettingsNode) throws(SettingsProblem) -> MomentTarget? {
        guard case .map(let members) = node.content else { return nil }
        if let unknown = members.first(where: { !["reward", "target"].contains($0.key) }) {
            throw unknown.node.problem("a moment has no '\(unknown.key)'; it has reward and target")
        }
        guard let reward = members.first(where: { $0.key == "reward" }).flatMap({ String.read($0.node) }),
            let target = try members.first(where: { $0.key == "target" })?.node.number(of: "a moment's target")
        else { throw node.problem("a moment is \(node.found); expected \(expectation)") }
        return MomentTarget(reward, target: target)
    }

    package var yaml: String { "{reward: \(reward.yaml), target: \(target.yaml)}" }
}

/// Fits the target of distributional control so that rewards have given means there (Khalifa et al. 2021,
/// arXiv:2012.11635, §2.2 and 3.1).
///
///     p_λ(y|x) = p(y|x)·exp(r(y)/β + Σ_k λ_k·φ_k(y))/Z_λ(x)      φ_k: the rewards with a moment
///     mean over prompts of E_{p_λ}[φ_k] = target_k
///     E_{p_λ}[φ_k] ≈ Σ_j w_j·φ_k(y_j) / Σ_j w_j                   self-normalized importance sampling
///     w_j = p(y_j)·exp(r(y_j)/β + λ·φ(y_j)) / π(y_j)              π: the policy that wrote y_j
///
/// Of all policies with these means p_λ is the nearest, in KL, to the target without moments. λ is where the concave
/// λ·target − mean log Z_λ is largest, for its gradient is what the means lack; Newton's method goes there. In the
/// reward that is learned from, φ_k weighs β·λ_k.
///
/// Departs from the published code, which fits λ once, on samples of p, with one Z: each prompt has a Z of its own
/// here, and λ is fitted anew for each rollout step, on the completions of the last ones. The ratio of a prompt with G
/// completions is biased by the order of 1/G, but not where the policy has become the target and all weights are equal:
/// what the last fits rest on. Where no weights give the completions these means, λ moves by at most one nat over the
/// range of its reward, until a policy that has moved with it writes others.
package struct MomentConstraints: Sendable, Equatable {
    package let moments: [MomentTarget]
    /// β.
    package let coefficient: Double
    /// Rollout steps whose completions are fitted on.
    package let window: Int
    package var state: State

    package struct State: Sendable, Equatable, Codable {
        /// By reward.
        package internal(set) var lambdas: [String: Double]
        /// The groups of the last rollout steps, `[step][group]`.
        var window: [[Group]] = []
        fileprivate var isSaid = false

        /// The completions of a prompt.
        struct Group: Sendable, Equatable, Codable {
            /// log p − log π + r/β of each, without the moments.
            var logWeights: [Double]
            /// `[completion][moment]`
            var scores: [[Double]]
        }
    }

    /// - Parameter moments: At least one, each of another reward.
    package init(_ moments: [MomentTarget], coefficient: Double, window: Int) {
        precondition(
            !moments.isEmpty && Set(moments.map(\.reward)).count == moments.count, "one moment of a reward")
        self.moments = moments
        self.coefficient = coefficient
        self.window = window
        state = State(lambdas: Dictionary(uniqueKeysWithValues: moments.map { ($0.reward, 0) }))
    }

    private var lambdas: [Double] { moments.map { state.lambdas[$0.reward] ?? 0 } }
}

extension MomentConstraints: RewardController {
    package var name: String { "moments" }

    package func weights(at step: Int) -> StreamWeights {
        StreamWeights(state.lambdas.mapValues { coefficient * $0 })
    }

    package func check(_ saved: State) throws {
        let (mine, found) = (state.lambdas.keys.sorted(), saved.lambdas.keys.sorted())
        guard mine == found else {
            throw ControllerStateError(
                "the checkpoint has moments of \(found.joined(separator: ", ")); the job of \(mine.joined(separator: ", "))"
            )
        }
    }

    package mutating func observe(_ step: ObservedStep) -> ControllerUpdate? { ControllerUpdate() }

    /// Metrics: `moments/NAME/lambda`, in force in the step; `moments/NAME/target`; `moments/NAME/fitted`, the mean that
    /// the completions of the window have with the weights of p_λ; `alarms/moment_out_of_reach` where that is not the
    /// target.
    package mutating func prepare(for batch: CreditBatch, _ rewards: RewardCombination) -> ControllerUpdate? {
        // Of a batch that is not whole the rule says what is wrong.
        guard (try? batch.requireShapes(rewardCount: rewards.names.count)) != nil,
            let references = batch.referenceLogProbabilities
        else { return ControllerUpdate() }
        let groups = batch.groups.indices.compactMap { kept(of: batch, rewards, references, $0) }
        guard groups.allSatisfy({ $0.logWeights.allSatisfy(\.isFinite) }) else { return nil }
        var moved = self
        if !groups.isEmpty { moved.state.window = Array((state.window + [groups]).suffix(window)) }
        let known = Array(moved.state.window.joined())
        guard !known.isEmpty else { return ControllerUpdate() }
        let fit = MomentFit(known, targets: moments.map(\.target), from: lambdas)
        guard fit.lambdas.allSatisfy(\.isFinite) else { return nil }
        var update = ControllerUpdate()
        for (moment, (lambda, mean)) in zip(moments, zip(fit.lambdas, fit.means)) {
            moved.state.lambdas[moment.reward] = lambda
            update.metrics["moments/\(moment.reward)/lambda"] = lambda
            update.metrics["moments/\(moment.reward)/target"] = moment.target
            update.metrics["moments/\(moment.reward)/fitted"] = mean
        }
        if !fit.isMatched {
            update.metrics["alarms/moment_out_of_reach", .max] = 1
            if !state.isSaid { update.note = moved.remark(fit) }
        }
        moved.state.isSaid = !fit.isMatched
        self = moved
        return update
    }

    private func remark(_ fit: MomentFit) -> String {
        let means = zip(moments, fit.means).map { "\($0.reward) \($1.shown) of \($0.target.shown)" }
        return
            "no weights give the completions of the last \(state.window.count) rollout steps the means of gdc.moments (\(means.joined(separator: ", "))): "
            + "the policy rarely writes what would; its target moves one nat per step"
    }

    /// What is kept of a group; `nil` with fewer than two completions that every moment's reward scored.
    private func kept(
        of batch: CreditBatch, _ rewards: RewardCombination, _ references: [[[Float]]], _ group: Int
    ) -> State.Group? {
        let own = moments.map { moment in
            guard let index = rewards.names.firstIndex(of: moment.reward) else {
                preconditionFailure("every moment has a reward")
            }
            return index
        }
        let weights = rewards.weighed(by: batch.weights).weights
        var kept = State.Group(logWeights: [], scores: [])
        for (completion, scores) in batch.groups[group].scores.enumerated() {
            let found = own.compactMap { scores[$0].score }
            guard found.count == own.count else { continue }
            let others = rewards.names.indices.reduce(0) { sum, index in
                own.contains(index) ? sum : sum + weights[index] * (rewards.value(scores[index], at: index) ?? 0)
            }
            func total(_ values: [Float]) -> Double { values.reduce(0) { $0 + Double($1) } }
            kept.logWeights.append(
                total(references[group][completion])
                    - total(batch.oldLogProbabilities(group: group, completion: completion)) + others / coefficient)
            kept.scores.append(found)
        }
        return kept.scores.count > 1 ? kept : nil
    }
}

/// λ for which completions, weighed by exp(λ·φ), have given means.
struct MomentFit {
    let lambdas: [Double]
    /// The completions' means at λ, averaged over the prompts.
    let means: [Double]
    /// Whether these are the targets; else λ has gone towards them.
    let isMatched: Bool

    /// How far λ·φ may be apart between two completions, in nats, for weights that still mean something.
    private static let reach = 20.0
    /// How far each goes at a time where no weights do, in nats.
    private static let stride = 1.0
    /// What counts as equal, in shares of a reward's range.
    private static let tolerance = 1e-10

    /// - Parameters:
    ///   - groups: At least one.
    ///   - start: λ so far.
    init(_ groups: [MomentConstraints.State.Group], targets: [Double], from start: [Double]) {
        let ranges = Self.ranges(groups, targets)
        var point = Tilt(groups, targets, start)
        func isAt(_ point: Tilt) -> Bool {
            zip(point.gradient, ranges).allSatisfy { abs($0) <= Self.tolerance * $1 }
        }
        func nats(_ lambdas: [Double]) -> Double {
            zip(zip(lambdas, start), ranges).reduce(0) { max($0, abs($1.0.0 - $1.0.1) * $1.1) }
        }
        for _ in 0..<100 where !isAt(point) && nats(point.lambdas) <= Self.reach {
            guard let next = point.newton(groups, targets, ranges) else { break }
            point = next
        }
        isMatched = isAt(point) && nats(point.lambdas) <= Self.reach
        if !isMatched {
            let nearer = start.indices.map { moment in
                let most = Self.stride / ranges[moment]
                return start[moment] + min(max(point.lambdas[moment] - start[moment], -most), most)
            }
            point = Tilt(groups, targets, nearer)
        }
        (lambdas, means) = (point.lambdas, point.means)
    }

    /// What lies between a reward's least and largest score, or its distance to the target where all are equal.
    private static func ranges(_ groups: [MomentConstraints.State.Group], _ targets: [Double]) -> [Double] {
        targets.indices.map { moment in
            let scores = groups.flatMap { $0.scores.map { $0[moment] } }
            let (least, most) = (scores.min() ?? 0, scores.max() ?? 0)
            let range = most > least ? most - least : abs(targets[moment] - most)
            return range > 0 ? range : 1
        }
    }

    /// The completions at some λ.
    private struct Tilt {
        let lambdas: [Double]
        /// λ·target − mean log Z_λ.
        let dual: Double
        let means: [Double]
        let covariance: [[Double]]
        let gradient: [Double]

        init(_ groups: [MomentConstraints.State.Group], _ targets: [Double], _ lambdas: [Double]) {
            let moments = targets.indices
            var (means, squares) = (
                targets.map { _ in 0.0 }, targets.map { _ in targets.map { _ in 0.0 } }
            )
            var partition = 0.0
            for group in groups {
                let logs = group.scores.indices.map { completion in
                    moments.reduce(group.logWeights[completion]) { $0 + lambdas[$1] * group.scores[completion][$1] }
                }
                let largest = logs.max() ?? 0
                let masses = logs.map { exp($0 - largest) }
                let total = masses.reduce(0, +)
                partition += largest + log(total)
                let own = moments.map { moment in
                    zip(masses, group.scores).reduce(0) { $0 + $1.0 * $1.1[moment] } / total
                }
                for row in moments {
                    means[row] += own[row]
                    for column in moments {
                        squares[row][column] +=
                            zip(masses, group.scores).reduce(0) {
                                $0 + $1.0 * ($1.1[row] - own[row]) * ($1.1[column] - own[column])
                            } / total
                    }
                }
            }
            let count = Double(groups.count)
            self.lambdas = lambdas
            self.means = means.map { $0 / count }
            covariance = squares.map { $0.map { $0 / count } }
            dual = zip(lambdas, targets).reduce(0) { $0 + $1.0 * $1.1 } - partition / count
            gradient = zip(targets, self.means).map { $0 - $1 }
        }

        /// One step uphill; `nil` where rounding leaves none.
        func newton(
            _ groups: [MomentConstraints.State.Group], _ targets: [Double], _ ranges: [Double]
        ) -> Tilt? {
            // In units of the ranges, with a little on the diagonal: rewards that say the same have one λ too many.
            let matrix = gradient.indices.map { row in
                gradient.indices.map {
                    covariance[row][$0] / (ranges[row] * ranges[$0]) + (row == $0 ? 1e-12 : 0)
                }
            }
            let step = zip(Self.solution(matrix, zip(gradient, ranges).map { $0 / $1 }), ranges).map { $0 / $1 }
            let slope = zip(step, gradient).reduce(0) { $0 + $1.0 * $1.1 }
            var size = 1.0
            while size > 1e-9 {
                let next = Tilt(groups, targets, zip(lambdas, step).map { $0 + size * $1 })
                if next.dual >= dual + 1e-4 * size * slope - 1e-13 * (1 + abs(dual)) { return next }
                size /= 2
            }
            return nil
        }

        /// x of A·x = b, A symmetric and positive: by Gauss, its largest pivots first.
        private static func solution(_ matrix: [[Double]], _ right: [Double]) -> [Double] {
            var rows = zip(matrix, right).map { $0 + [$1] }
            let count = rows.count
            for column in 0..<count {
                let pivot = (column..<count).max { abs(rows[$0][column]) < abs(rows[$1][column]) } ?? column
                rows.swapAt(column, pivot)
                for row in 0..<count where row != column {
                    let factor = rows[row][column] / rows[column][column]
                    for index in column...count { rows[row][index] -= factor * rows[column][index] }
                }
            }
            return rows.indices.map { rows[$0][count] / rows[$0][$0] }
        }
    }
}
