internal import Foundation

/// A quadratic surface through what a gold reward is worth at means of trained rewards, and where it is highest: the
/// proxy point, beyond which more of a reward is no longer more of what is meant (Moskovitz et al. 2023,
/// arXiv:2310.04373, §4.1).
///
///     gold(r) ≈ c + b·u + u'Cu,   u = (r − mean)/deviation, by least squares
///
/// Of one reward it is a parabola; of several the highest point is the joint proxy point, which differs from the
/// separate ones because rewards rise and fall together. It is looked for among the means that were seen and between them:
/// a surface says nothing beyond, not of a corner where each reward alone has been, but never both.
package struct ProxySurface: Sendable {
    /// One point that was seen.
    package struct Observation: Sendable, Equatable {
        /// One a reward.
        package var rewards: [Double]
        package var gold: Double

        package init(rewards: [Double], gold: Double) {
            self.rewards = rewards
            self.gold = gold
        }
    }

    /// The most rewards that a surface is fitted over.
    package static let mostRewards = 6

    /// The share of the gold's variance that the surface explains; 1 of a gold that is constant.
    package let explained: Double
    /// Least and largest mean of each reward.
    package let bounds: [ClosedRange<Double>]
    private let means: [Double]
    private let deviations: [Double]
    private let constant: Double
    private let linear: [Double]
    /// Symmetric: u'Cu.
    private let quadratic: [[Double]]
    /// The u of each observation.
    private let seen: [[Double]]

    /// Numbers that the surface of so many rewards has: no fewer observations will do.
    package static func terms(of rewards: Int) -> Int { 1 + rewards + rewards * (rewards + 1) / 2 }

    /// `nil` of observations that do not determine a surface: too few, of a reward that is always the same, or on a line.
    package init?(_ observations: [Observation]) {
        guard let count = observations.first?.rewards.count, (1...Self.mostRewards).contains(count),
            observations.count >= Self.terms(of: count)
        else { return nil }
        let columns = (0..<count).map { reward in observations.map { $0.rewards[reward] } }
        means = columns.map { $0.reduce(0, +) / Double($0.count) }
        deviations = zip(columns, means).map { column, mean in
            (column.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(column.count)).squareRoot()
        }
        bounds = columns.map { ($0.min() ?? 0)...($0.max() ?? 0) }
        // Of equal means the deviation is 0 but for rounding.
        guard bounds.allSatisfy({ $0.lowerBound < $0.upperBound }),
            deviations.allSatisfy({ $0 > 0 && $0.isFinite })
        else { return nil }
        let (centres, scales) = (means, deviations)
        seen = observations.map { zip($0.rewards, zip(centres, scales)).map { ($0 - $1.0) / $1.1 } }
        let rows = seen.map(Self.features)
        let size = Self.terms(of: count)
        var normal = [[Double]](repeating: [Double](repeating: 0, count: size), count: size)
        var right = [Double](repeating: 0, count: size)
        for (row, observation) in zip(rows, observations) {
            for i in 0..<size {
                right[i] += row[i] * observation.gold
                for j in 0..<size { normal[i][j] += row[i] * row[j] }
            }
        }
        guard let found = Self.solved(normal, right) else { return nil }
        constant = found[0]
        linear = Array(found[1...count])
        var square = [[Double]](repeating: [Double](repeating: 0, count: count), count: count)
        var next = count + 1
        for i in 0..<count {
            for j in i..<count {
                square[i][j] += found[next] / 2
                square[j][i] += found[next] / 2
                next += 1
            }
        }
        quadratic = square
        let golds = observations.map(\.gold)
        let mean = golds.reduce(0, +) / Double(golds.count)
        let variance = golds.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
        let rest = zip(rows, golds).reduce(0) { sum, pair in
            let fitted = zip(pair.0, found).reduce(0) { $0 + $1.0 * $1.1 }
            return sum + (pair.1 - fitted) * (pair.1 - fitted)
        }
        explained = variance > 0 ? 1 - rest / variance : 1
    }

    /// 1, every u, and every product of two of them.
    private static func features(_ u: [Double]) -> [Double] {
        [1] + u + u.indices.flatMap { i in u[i...].map { u[i] * $0 } }
    }

    /// What the surface gives at means of the rewards.
    package func gold(at rewards: [Double]) -> Double {
        value(zip(rewards, zip(means, deviations)).map { ($0 - $1.0) / $1.1 })
    }

    private func value(_ u: [Double]) -> Double {
        u.indices.reduce(constant) { sum, i in
            sum + linear[i] * u[i] + u.indices.reduce(0) { $0 + u[i] * quadratic[i][$1] * u[$1] }
        }
    }

    /// The highest point among what was seen and what lies between it (the convex hull), found for one and two rewards
    /// exactly: where the slope is 0, if that is inside, else on a line between two observations. Of more rewards the
    /// faces are searched along such lines alone.
    package var highest: (rewards: [Double], gold: Double) {
        var best: (u: [Double], gold: Double) = (seen[0], value(seen[0]))
        func consider(_ u: [Double]) {
            let gold = value(u)
            if gold > best.gold { best = (u, gold) }
        }
        for (index, start) in seen.enumerated() {
            consider(start)
            for end in seen[(index + 1)...] {
                let way = zip(end, start).map { $0 - $1 }
                let slope = dot(linear, way) + 2 * dot(start, quadratic.map { dot($0, way) })
                let bend = dot(way, quadratic.map { dot($0, way) })
                let share = -slope / (2 * bend)
                guard bend < 0, (0...1).contains(share) else { continue }
                consider(zip(start, way).map { $0 + share * $1 })
            }
        }
        if let flat = Self.solved(quadratic.map { $0.map { 2 * $0 } }, linear.map { -$0 }), isBetweenSeen(flat) {
            consider(flat)
        }
        return (best.u.indices.map { means[$0] + best.u[$0] * deviations[$0] }, best.gold)
    }

    /// Whether a point is within a thousandth of a deviation of the convex hull of what was seen: the nearest point of
    /// the hull is approached from one observation to the next (Frank and Wolfe 1956), until a plane parts the two.
    private func isBetweenSeen(_ point: [Double]) -> Bool {
        var near = seen[0]
        for _ in 0..<10_000 {
            let away = zip(near, point).map { $0 - $1 }
            guard dot(away, away) > 1e-6 else { return true }
            guard let next = seen.min(by: { dot(away, $0) < dot(away, $1) }),
                dot(away, next) <= dot(away, point)
            else { return false }
            let way = zip(next, near).map { $0 - $1 }
            let share = min(1, -dot(away, way) / dot(way, way))
            near = zip(near, way).map { $0 + share * $1 }
        }
        return false
    }

    private func dot(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }

    /// The solution of linear equations, by elimination with pivots; `nil` where they have none or many.
    private static func solved(_ matrix: [[Double]], _ right: [Double]) -> [Double]? {
        var rows = zip(matrix, right).map { $0 + [$1] }
        let size = rows.count
        let largest = matrix.joined().map(abs).max() ?? 1
        for column in 0..<size {
            guard let pivot = (column..<size).max(by: { abs(rows[$0][column]) < abs(rows[$1][column]) }),
                abs(rows[pivot][column]) > 1e-10 * largest
            else { return nil }
            rows.swapAt(column, pivot)
            for row in 0..<size where row != column {
                let factor = rows[row][column] / rows[column][column]
                for entry in column...size { rows[row][entry] -= factor * rows[column][entry] }
            }
        }
        return rows.indices.map { rows[$0][size] / rows[$0][$0] }
    }
}
