/// The volume that points of an objective space dominate, exact.
package enum Hypervolume {
    /// The volume of the union of the boxes between the origin and each point; more is better on every axis.
    ///
    /// Coordinates below 0 count as 0: a point that is worse than the reference somewhere dominates nothing there, and
    /// takes nothing away. Computed by slices along the last axis, and in each slice along the one before: exact, and
    /// quick for up to five axes and some hundred points.
    ///
    /// - Parameter points: All with as many coordinates, at least one.
    package static func volume(_ points: [[Double]]) -> Double {
        sliced(points.map { $0.map { max($0, 0) } }.filter { $0.allSatisfy { $0 > 0 } })
    }

    private static func sliced(_ points: [[Double]]) -> Double {
        guard let axes = points.first?.count else { return 0 }
        guard axes > 1 else { return points.map { $0[0] }.max() ?? 0 }
        let falling = points.sorted { $0[axes - 1] > $1[axes - 1] }
        var volume = 0.0
        var slice: [[Double]] = []
        for (index, point) in falling.enumerated() {
            slice = nondominated(slice + [Array(point.dropLast())])
            let floor = index + 1 < falling.count ? falling[index + 1][axes - 1] : 0
            let height = point[axes - 1] - floor
            if height > 0 { volume += height * sliced(slice) }
        }
        return volume
    }

    /// Those of the points that no other is at least as good as everywhere; of equal ones the first.
    static func nondominated(_ points: [[Double]]) -> [[Double]] {
        points.enumerated().filter { index, point in
            !points.enumerated().contains { other, rival in
                other != index && zip(rival, point).allSatisfy { $0 >= $1 } && (rival != point || other < index)
            }
        }.map(\.element)
    }
}
