/// |found − expected| / max(|expected|, floor). NaN when either number is NaN: no comparison with a tolerance holds
/// then.
package func relativeError(_ found: Double, _ expected: Double, floor: Double = 1e-12) -> Double {
    if found == expected { return 0 }
    return abs(found - expected) / max(abs(expected), floor)
}

/// The largest difference of two lists over the largest expected magnitude. Infinite when the lengths differ or a
/// difference is not finite; 0 for two empty lists.
package func relativeError(_ found: [Double], _ expected: [Double], floor: Double = 1e-12) -> Double {
    guard found.count == expected.count else { return .infinity }
    var largest = 0.0
    for (a, b) in zip(found, expected) where a != b {
        let difference = abs(a - b)
        guard difference.isFinite else { return .infinity }
        largest = max(largest, difference)
    }
    let scale = expected.map { $0.isFinite ? abs($0) : 0 }.max() ?? 0
    return largest / max(scale, floor)
}

package func relativeError(_ found: [Float], _ expected: [Double], floor: Double = 1e-12) -> Double {
    relativeError(found.map(Double.init), expected, floor: floor)
}

/// ‖found − expected‖ / max(‖expected‖, tiny). NaN when the lengths differ or a number found is not finite: no comparison
/// holds then, neither below a tolerance nor above it.
package func relativeDistance(_ found: [Double], _ expected: [Double]) -> Double {
    guard found.count == expected.count, found.allSatisfy(\.isFinite) else { return .nan }
    let distance = zip(found, expected).map { ($0 - $1) * ($0 - $1) }.reduce(0, +).squareRoot()
    return distance / max(expected.map { $0 * $0 }.reduce(0, +).squareRoot(), 1e-300)
}

/// The largest |found − expected|; 0 for two empty lists. NaN as of ``relativeDistance(_:_:)``.
package func largestDifference(_ found: [Double], _ expected: [Double]) -> Double {
    guard found.count == expected.count, found.allSatisfy(\.isFinite) else { return .nan }
    return zip(found, expected).map { abs($0 - $1) }.max() ?? 0
}

/// The gradient of a function of many numbers, by differences to both sides.
///
/// With float64 and a step of 1e-6 the error is about 1e-9 of the function's size.
package func centralDifferences(
    at point: [Double], step: Double = 1e-6, of function: ([Double]) throws -> Double
) rethrows -> [Double] {
    var moved = point
    return try point.indices.map { i in
        defer { moved[i] = point[i] }
        moved[i] = point[i] + step
        let above = try function(moved)
        moved[i] = point[i] - step
        let below = try function(moved)
        return (above - below) / (2 * step)
    }
}
