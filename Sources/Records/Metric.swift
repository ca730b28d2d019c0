/// The numbers of one step, by their TRL or verl names. A number that was not computed is absent.
package struct Metrics: Sendable, Equatable {
    /// In the order in which they were set.
    package private(set) var names: [String] = []
    private var values: [String: Double] = [:]

    package init() {}

    package subscript(name: String) -> Double? {
        get { values[name] }
        set {
            if values[name] == nil, newValue != nil { names.append(name) }
            if newValue == nil { names.removeAll { $0 == name } }
            values[name] = newValue
        }
    }

    /// The number of a name, to be changed in place; one that is absent counts as `value`.
    package subscript(name: String, default value: Double) -> Double {
        get { values[name] ?? value }
        set { self[name] = newValue }
    }

    /// Adds or replaces every number of `other`.
    package mutating func merge(_ other: Metrics) {
        for name in other.names { self[name] = other[name] }
    }

    /// Removes the numbers of a family: those whose names begin with `family/`.
    package mutating func removeAll(in family: String) {
        for name in names where name.hasPrefix(family + "/") { self[name] = nil }
    }

    /// Name and value pairs in order.
    package var entries: [(name: String, value: Double)] { names.map { ($0, values[$0] ?? .nan) } }
}
