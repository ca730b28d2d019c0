internal import Foundation
package import Records

/// A reward's weight over the optimizer steps of a run.
package struct WeightCurve: Sendable, Equatable {
    /// What it is between two points.
    package enum Interpolation: String, SettingsChoice {
        /// On the line from one to the next.
        case linear
        /// The weight of the earlier point.
        case steps
    }

    /// In the order of the steps, at least one. Before the first and after the last the weight stays.
    package let points: [(step: Int, weight: Double)]

    package init(_ weight: Double) { points = [(0, weight)] }

    /// - Parameter points: At least one, of different steps.
    package init(_ points: [(step: Int, weight: Double)]) {
        precondition(!points.isEmpty, "a curve has a point")
        self.points = points.sorted { $0.step < $1.step }
    }

    package static func == (left: WeightCurve, right: WeightCurve) -> Bool {
        left.points.map(\.step) == right.points.map(\.step) && left.points.map(\.weight) == right.points.map(\.weight)
    }

    var isConstant: Bool { points.allSatisfy { $0.weight == points[0].weight } }
    /// What it ends with.
    package var last: Double { points[points.count - 1].weight }

    /// The weight of the optimizer step after `step` others.
    package func weight(at step: Int, _ interpolation: Interpolation) -> Double {
        guard let next = points.firstIndex(where: { $0.step > step }) else { return last }
        guard next > 0 else { return points[0].weight }
        let (before, after) = (points[next - 1], points[next])
        guard interpolation == .linear else { return before.weight }
        let share = Double(step - before.step) / Double(after.step - before.step)
        return before.weight + share * (after.weight - before.weight)
    }
}

extension WeightCurve: SettingsValue {
    package static var expectation: String { "a number, or weights by step such as {0: 1.0, 500: 0.2}" }

    /// A number, a section of `step: weight`, or a list of such sections.
    package static func read(_ node: SettingsNode) throws(SettingsProblem) -> WeightCurve? {
        switch node.content {
        case .scalar: return try node.number(of: "a weight").map(WeightCurve.init)
        case .map(let members): return try curve(members, at: node)
        case .list(let items):
            let members = items.flatMap { item -> [SettingsNode.Member] in
                if case .map(let members) = item.content { members } else { [] }
            }
            return members.count == items.count ? try curve(members, at: node) : nil
        case .null: return nil
        }
    }

    private static func curve(
        _ members: [SettingsNode.Member], at node: SettingsNode
    ) throws(SettingsProblem) -> WeightCurve? {
        var points: [(step: Int, weight: Double)] = []
        for member in members {
            guard let step = Int(member.key), step >= 0 else { return nil }
            guard let weight = try member.node.number(of: "the weight at step \(step)") else {
                throw member.node.problem(
                    "the weight at step \(step) is \(member.node.found); expected a finite number")
            }
            guard !points.contains(where: { $0.step == step }) else {
                throw member.node.problem("step \(step) has two weights")
            }
            points.append((step, weight))
        }
        return points.isEmpty ? nil : WeightCurve(points)
    }

    package var yaml: String {
        guard points.count > 1 else { return points[0].weight.yaml }
        return "{" + points.map { "\($0.step): \($0.weight.yaml)" }.joined(separator: ", ") + "}"
    }
}

/// `reward_weights:`, a list in the order of the rewards or a section by their names.
struct RewardWeights: SettingsValue {
    var curves: [WeightCurve]
    /// `nil` for a list.
    var names: [String]?

    static var expectation: String {
        "a list, each a number or weights by step such as {0: 1.0, 500: 0.2}, or a section of them by reward"
    }

    static func read(_ node: SettingsNode) throws(SettingsProblem) -> RewardWeights? {
        if case .map(let members) = node.content, members.contains(where: { Int($0.key) == nil }) {
            var curves: [WeightCurve] = []
            for member in members {
                guard let curve = try WeightCurve.read(member.node) else {
                    throw member.node.problem(
                        "the weight of \(member.key) is \(member.node.found); expected \(WeightCurve.expectation)")
                }
                curves.append(curve)
            }
            return RewardWeights(curves: curves, names: members.map(\.key))
        }
        return try [WeightCurve].read(node).map { RewardWeights(curves: $0) }
    }

    var yaml: String {
        guard let names else { return curves.yaml }
        return "{" + zip(names, curves).map { "\($0.yaml): \($1.yaml)" }.joined(separator: ", ") + "}"
    }
}
