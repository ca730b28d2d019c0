/// One key of a job file: how it is read, checked, written and explained.
package struct JobField: Sendable {
    /// The key, dotted for a nested section.
    package let name: String
    /// One to three sentences for `plumbline explain`: what it does, its formula or denominator, its source.
    package let summary: String
    /// What a right value is.
    package let expectation: String
    let read: @Sendable (JobNode, inout JobSettings) throws(JobProblem) -> Void
    /// The value as YAML.
    package let yaml: @Sendable (JobSettings) -> String
    /// The methods that read it; `nil` for all.
    package private(set) var methods: Set<JobAlgorithm>?

    /// The same field, read by these methods alone.
    func only(_ methods: Set<JobAlgorithm>) -> JobField {
        var field = self
        field.methods = methods
        return field
    }

    /// A field stored at `path`.
    ///
    /// - Parameters:
    ///   - requirement: What a value must be beyond its type, in words, with its check.
    init<Value: JobScalar>(
        _ name: String, _ path: WritableKeyPath<JobSettings, Value> & Sendable, _ summary: String,
        requirement: (text: String, holds: @Sendable (Value) -> Bool)? = nil
    ) {
        self.name = name
        self.summary = summary
        let expectation = requirement.map { Value.expectation(that: $0.text) } ?? Value.expectation
        self.expectation = expectation
        read = { (node, settings) throws(JobProblem) in
            guard let value = Value.read(node), requirement?.holds(value) ?? true else {
                throw node.problem("\(name) is \(node.found); expected \(expectation)")
            }
            settings[keyPath: path] = value
        }
        yaml = { $0[keyPath: path].yaml }
    }

    /// A number in a closed range.
    init(
        _ name: String, _ path: WritableKeyPath<JobSettings, Int> & Sendable, in range: ClosedRange<Int>,
        _ summary: String
    ) {
        let text =
            range.upperBound == .max
            ? "of at least \(range.lowerBound)" : "from \(range.lowerBound) to \(range.upperBound)"
        self.init(name, path, summary, requirement: (text, { range.contains($0) }))
    }

    /// A number above or from a bound.
    init(
        _ name: String, _ path: WritableKeyPath<JobSettings, Double> & Sendable, _ bound: JobBound, _ summary: String
    ) {
        self.init(name, path, summary, requirement: (bound.text, bound.holds))
    }

    /// A number above or from a bound, or nothing.
    init(
        _ name: String, _ path: WritableKeyPath<JobSettings, Double?> & Sendable, _ bound: JobBound, _ summary: String
    ) {
        self.init(name, path, summary, requirement: (bound.text, { $0.map(bound.holds) ?? true }))
    }

    /// A count of at least `least`, or nothing.
    init(_ name: String, _ path: WritableKeyPath<JobSettings, Int?> & Sendable, least: Int, _ summary: String) {
        self.init(name, path, summary, requirement: ("of at least \(least)", { $0.map { $0 >= least } ?? true }))
    }
}

/// A bound of a real number.
struct JobBound: Sendable {
    let text: String
    let holds: @Sendable (Double) -> Bool

    static let positive = JobBound(text: "above 0") { $0 > 0 }
    static let notNegative = JobBound(text: "of at least 0") { $0 >= 0 }
    static let fraction = JobBound(text: "from 0 to 1") { (0...1).contains($0) }
    static let share = JobBound(text: "above 0 and at most 1") { $0 > 0 && $0 <= 1 }
    static let belowOne = JobBound(text: "from 0 to below 1") { $0 >= 0 && $0 < 1 }
    static let aboveOne = JobBound(text: "above 1") { $0 > 1 }
}
