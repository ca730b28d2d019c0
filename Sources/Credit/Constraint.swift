internal import Foundation
package import Records

/// A limit on the mean of a reward: an entry of `constraints:`.
///
///     constraints:
///       - {reward: completion_length, limit: 200, kind: at_most}
package struct Constraint: Sendable, Equatable {
    package enum Kind: String, SettingsChoice {
        case atLeast = "at_least"
        case atMost = "at_most"
        case equal
    }

    /// The name of the reward whose mean score is held.
    package var reward: String
    /// θ, in the reward's own units.
    package var limit: Double
    package var kind: Kind
    /// What the distance to the limit, and the reward as an objective, are divided by.
    package var scale: Double
    /// Where a search may move the limit; `nil` where nothing is searched.
    package var range: ClosedRange<Double>?
    /// Names its metrics and its multiplier; the reward's unless given.
    package var name: String

    /// - Parameter scale: 1 unless given, |limit| where that is larger: a limit of 200 tokens counts in shares of
    ///   itself.
    package init(
        _ reward: String, limit: Double, kind: Kind = .atLeast, scale: Double? = nil,
        range: ClosedRange<Double>? = nil, name: String? = nil
    ) {
        self.range = range
        self.reward = reward
        self.limit = limit
        self.kind = kind
        self.scale = scale ?? max(1, abs(limit))
        self.name = name ?? reward
    }

    /// +1 where the reward is to grow when its multiplier is above 0, −1 where it is to fall.
    package var sign: Double { kind == .atMost ? -1 : 1 }

    /// How far a mean is on the wrong side of the limit, in the reward's units: negative where there is room, for
    /// `equal` the distance.
    package func violation(_ mean: Double) -> Double {
        kind == .equal ? abs(mean - limit) : sign * (limit - mean)
    }

    /// How far the weight of the reward is from what would bring the mean to the limit: what moves the multiplier.
    func pull(_ mean: Double) -> Double { sign * (limit - mean) / scale }

    /// In words: `at most 200`.
    var demand: String {
        let words = [Kind.atLeast: "at least ", .atMost: "at most ", .equal: "equal to "]
        return (words[kind] ?? "") + limit.shown
    }
}

extension Constraint: SettingsValue {
    private static let keys = ["reward", "limit", "kind", "scale", "low", "high", "name"]

    package static var expectation: String {
        "a section with reward, limit and kind (at_least, at_most or equal), as {reward: completion_length, limit: 200, kind: at_most}"
    }

    package static func read(_ node: SettingsNode) throws(SettingsProblem) -> Constraint? {
        guard case .map(let members) = node.content else { return nil }
        if let unknown = members.first(where: { !keys.contains($0.key) }) {
            let near = nearestNames(to: unknown.key, among: keys)
            throw unknown.node.problem(
                "a constraint has no '\(unknown.key)'; "
                    + (near.isEmpty ? "it has \(keys.joined(separator: ", "))" : "did you mean \(near[0])?"))
        }
        func value<Value: SettingsValue>(_ key: String, _ type: Value.Type) throws(SettingsProblem) -> Value? {
            guard let member = members.last(where: { $0.key == key }), member.node.content != .null else { return nil }
            guard let value = try Value.read(member.node) else {
                throw member.node.problem(
                    "a constraint's \(key) is \(member.node.found); expected \(Value.expectation)")
            }
            guard value.isInReach else {
                throw member.node.beyondReach("a constraint's \(key)", Value.expectation)
            }
            return value
        }
        guard let reward = try value("reward", String.self), let limit = try value("limit", Double.self) else {
            throw node.problem("a constraint needs reward and limit; found \(node.found)")
        }
        let scale = try value("scale", Double.self)
        if let scale, scale <= 0 { throw node.problem("a constraint's scale is \(scale); expected a number above 0") }
        guard let kind = try value("kind", Kind.self) else {
            throw node.problem("a constraint needs kind: at_least, at_most or equal; found \(node.found)")
        }
        let (low, high) = (try value("low", Double.self), try value("high", Double.self))
        if low != nil || high != nil {
            guard let low, let high, low < high, (low...high).contains(limit) else {
                throw node.problem(
                    "a constraint's low and high bound the search for its limit: give both, with low ≤ limit ≤ "
                        + "high; found \(low?.shown ?? "none") and \(high?.shown ?? "none") around \(limit.shown)"
                )
            }
            return Constraint(
                reward, limit: limit, kind: kind, scale: scale, range: low...high, name: try value("name", String.self))
        }
        return Constraint(reward, limit: limit, kind: kind, scale: scale, name: try value("name", String.self))
    }

    package var yaml: String {
        "{reward: \(reward.yaml), limit: \(limit.yaml), kind: \(kind.yaml), scale: \(scale.yaml), "
            + (range.map { "low: \($0.lowerBound.yaml), high: \($0.upperBound.yaml), " } ?? "") + "name: \(name.yaml)}"
    }
}

extension Double {
    /// Four digits, for a person.
    var shown: String {
        let text = String(format: "%.4g", self)
        return text == "-0" ? "0" : text
    }
}
