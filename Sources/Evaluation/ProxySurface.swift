internal import Foundation

/// A quadratic surface through what a gold reward is worth at means of trained rewards, and where it is highest: the
/// proxy point, beyond which more of a reward is no longer more of what is meant (Moskovitz et al. 2023,
/// arXiv:2310.04373, §4.1).
///
///     gold(r) ≈ c + b·u + u'Cu,   u = (r − mean)/deviation, by least squares
///
/// Of one reward it is a parabola; of several the highest point is the joint proxy point, which differs from the
/// separate ones because rewards rise and fall together. It is looked for within the means that were seen: a surface
/// says nothing beyond them.
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

    /// Numbers that the surface of so many rewards has: no fewer observations will do.
    package static func terms(of rewards: Int) -> Int { 1 + rewards + rewards * (rewards + 1) / 2 }

    /// `nil` of observations that do not determine a surface: too few, or on a line.
    package init?(_ observations: [Observation]) {
        guard let count = observations.first?.rewards.count, (1...Self.mostRewards).contains(count),
            observations.count >= Self.terms(of: count)
        else { return nil }
        let columns = (0..<count).map { reward in observations.map { $0.rewards[reward] } }
        means = columns.map { $0.reduce(0, +) / Double($0.count) }
        deviations = zip(columns, means).map { column, mean in
            (column.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(column.count)).squareRoot()
        }
        guard deviations.allSatisfy({ $0 > 0 && $0.isFinite }) else { return nil }
        bounds = columns.map { ($0.min() ?? 0)...($0.max() ?? 0) }
        let (centres, scales) = (means, deviations)
        let rows = observations.map { observation in
            Self.features(zip(observation.rewards, zip(centres, scales)).map { ($0 - $1.0) / $1.1 })
        }
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

    /// The highest point within the bounds, exactly: on each face of the box, the box itself among them, a quadratic is
    /// highest where its slope is 0 or on a smaller face.
    package var highest: (rewards: [Double], gold: Double) {
        let count = means.count
        let box = zip(bounds, zip(means, deviations)).map { bound, scale in
            (bound.lowerBound - scale.0) / scale.1...(bound.upperBound - scale.0) / scale.1
        }
        var best: (u: [Double], gold: Double) = (box.map(\.lowerBound), -.infinity)
        let faces = (0..<count).reduce(1) { product, _ in 3 * product }
        for face in 0..<faces {
            var sides: [Int] = []
            var rest = face
            for _ in 0..<count {
                sides.append(rest % 3)
                rest /= 3
            }
            var u = sides.indices.map { sides[$0] == 1 ? box[$0].upperBound : box[$0].lowerBound }
            let free = sides.indices.filter { sides[$0] == 2 }
            let fixed = sides.indices.filter { sides[$0] != 2 }
            let slopes = free.map { i in -linear[i] - 2 * fixed.reduce(0) { $0 + quadratic[i][$1] * u[$1] } }
            guard let found = Self.solved(free.map { i in free.map { 2 * quadratic[i][$0] } }, slopes) else { continue }
            for (axis, number) in zip(free, found) { u[axis] = number }
            guard free.allSatisfy({ box[$0].contains(u[$0]) }) else { continue }
            let gold = value(u)
            if gold > best.gold { best = (u, gold) }
        }
        return (best.u.indices.map { means[$0] + best.u[$0] * deviations[$0] }, best.gold)
    }

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
