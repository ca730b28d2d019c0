internal import Foundation

/// Count, mean and deviation of some numbers, the same to the bit in whatever order they come.
struct Moments {
    let count: Int
    /// `nil` of no numbers.
    let mean: Double?
    /// With the divisor n − 1; `nil` of fewer than two numbers.
    let standardDeviation: Double?
    /// Whether the largest number equals the smallest; true of fewer than two.
    let isConstant: Bool

    /// Sums in ascending order: a sum of floating-point numbers depends on their order, a group's statistics must not.
    init(_ values: some Sequence<Double>) {
        let sorted = values.sorted()
        count = sorted.count
        isConstant = sorted.first == sorted.last
        guard let first = sorted.first else {
            (mean, standardDeviation) = (nil, nil)
            return
        }
        // The mean of equal numbers is that number; the division can miss it by a rounding.
        let mean = isConstant ? first : sorted.reduce(0, +) / Double(count)
        self.mean = mean
        let squares = sorted.map { ($0 - mean) * ($0 - mean) }.sorted().reduce(0, +)
        standardDeviation = count < 2 ? nil : (squares / Double(count - 1)).squareRoot()
    }
}
