package import Records

/// An entry of `metric_guard:`: a metric of training steps that is to stay within a bound.
package struct MetricGuard: SettingsValue {
    /// By the name that `metrics.jsonl` has.
    package var metric = ""
    /// Alarm above it; `nil` for no upper bound.
    package var above: Double?
    /// Alarm below it; `nil` for no lower bound.
    package var below: Double?
    /// Rollout steps in a row that must be beyond the bound.
    package var steps = 1
    /// Whether the run ends then.
    package var stops = false

    package static var expectation: String { "a section with metric, and above or below" }

    package static func read(_ node: SettingsNode) throws(SettingsProblem) -> MetricGuard? {
        guard case .map(let members) = node.content else { return nil }
        var entry = MetricGuard()
        for member in members { try entry.set(member.key, member.node) }
        guard !entry.metric.isEmpty, entry.above != nil || entry.below != nil else {
            throw node.problem("metric_guard: a guard is \(node.found); expected \(expectation)")
        }
        if let below = entry.below, let above = entry.above, below > above {
            throw node.problem(
                "metric_guard: below is \(below) and above is \(above); expected below to be at most above")
        }
        return entry
    }

    private static let keys = ["metric", "above", "below", "steps", "stop"]

    private mutating func set(_ key: String, _ node: SettingsNode) throws(SettingsProblem) {
        let section = "metric_guard"
        switch key {
        case "metric":
            metric = try node.value(key, of: section, "a metric of training steps, such as kl") {
                !$0.isEmpty && !$0.hasPrefix("eval_")
            }
        case "above": above = try node.value(key, of: section, "a number") { $0?.isInReach ?? true }
        case "below": below = try node.value(key, of: section, "a number") { $0?.isInReach ?? true }
        case "steps": steps = try node.value(key, of: section, "a whole number of at least 1") { $0 > 0 }
        case "stop": stops = try node.value(key, of: section, "true or false") { _ in true }
        default: throw node.unknownKey(key, of: section, among: Self.keys)
        }
    }

    package var yaml: String {
        var parts = ["metric: \(metric.yaml)"]
        if let above { parts.append("above: \(above.yaml)") }
        if let below { parts.append("below: \(below.yaml)") }
        return "{" + (parts + ["steps: \(steps.yaml)", "stop: \(stops.yaml)"]).joined(separator: ", ") + "}"
    }

    /// What the metric is in a step without it; `nil` where that is not known. Alarms and steps without anything to learn
    /// from are noted only where there are any; alarms of evaluations stand in no step.
    var absence: Double? {
        let isAlarm = metric.hasPrefix("alarms/") && !metric.hasPrefix("alarms/eval_guard/")
        return isAlarm || metric == "empty_steps" ? 0 : nil
    }

    /// Whether a value is beyond the bound, as one that is no number is.
    func isCrossed(by value: Double) -> Bool {
        if let above, !(value <= above) { return true }
        if let below, !(value >= below) { return true }
        return false
    }

    /// `above 0.5`, or `outside 0.1 to 0.5` of a guard with both.
    var words: String {
        switch (below, above) {
        case (let below?, let above?): "outside \(below) to \(above)"
        case (nil, let above?): "above \(above)"
        case (let below?, nil): "below \(below)"
        case (nil, nil): ""
        }
    }
}
