/// The numbers of one step, by their TRL or verl names. A number that was not computed is absent.
package struct Metrics: Sendable, Equatable, Codable {
    /// How the numbers that several optimizer steps have under one name become one. Declared where the number is
    /// measured.
    package enum Reduction: String, Sendable, Equatable, Codable {
        case mean, sum, min, max
        /// Keeps the value of the last step that has one; for states, not measurements.
        case last
    }

    private struct Number: Sendable, Equatable, Codable {
        var value: Double
        var reduction: Reduction
    }

    /// In the order in which they were set.
    package private(set) var names: [String] = []
    private var numbers: [String: Number] = [:]

    package init() {}

    /// A number whose reduction is the mean, or what it was declared as before.
    package subscript(name: String) -> Double? {
        get { numbers[name]?.value }
        set { self[name, numbers[name]?.reduction ?? .mean] = newValue }
    }

    /// A number with its reduction.
    package subscript(name: String, reduction: Reduction) -> Double? {
        get { numbers[name]?.value }
        set {
            if numbers[name] == nil, newValue != nil { names.append(name) }
            if newValue == nil { names.removeAll { $0 == name } }
            numbers[name] = newValue.map { Number(value: $0, reduction: reduction) }
        }
    }

    /// The number of a name, to be changed in place; one that is absent counts as `value`.
    package subscript(name: String, default value: Double) -> Double {
        get { self[name] ?? value }
        set { self[name] = newValue }
    }

    /// Adds or replaces every number of `other`, with its reduction.
    package mutating func merge(_ other: Metrics) {
        for name in other.names { self[name, other.numbers[name]?.reduction ?? .mean] = other[name] }
    }

    /// Removes the numbers of a family: those whose names begin with `family/`.
    package mutating func removeAll(in family: String) {
        for name in names where name.hasPrefix(family + "/") { self[name] = nil }
    }

    /// Name and value pairs in order.
    package var entries: [(name: String, value: Double)] { names.map { ($0, self[$0] ?? .nan) } }

    /// One row for several optimizer steps: each name's numbers, of the steps that have it, brought to one by its
    /// reduction.
    package static func reduced(_ steps: [Metrics]) -> Metrics {
        var row = Metrics()
        for name in steps.flatMap(\.names) where row.numbers[name] == nil {
            let all = steps.compactMap { $0.numbers[name] }
            guard let reduction = all.first?.reduction else { continue }
            row[name, reduction] = reduction.combined(all.map(\.value))
        }
        return row
    }
}

extension Metrics.Reduction {
    /// - Parameter numbers: At least one, in the order of the steps.
    fileprivate func combined(_ numbers: [Double]) -> Double? {
        switch self {
        case .mean: numbers.reduce(0, +) / Double(numbers.count)
        case .sum: numbers.reduce(0, +)
        case .min: numbers.min()
        case .max: numbers.max()
        case .last: numbers.last
        }
    }
}
