import JSON
internal import Records
internal import RewardHosts
internal import RewardInterface
internal import Runs
internal import ShippedRewards

/// What `plumbline reward list` shows.
package enum RewardListing {
    package struct Row: Sendable {
        package var name: String
        package var range: String
        package var settings: [String]
        /// Settings without which the reward does not start.
        package var required: [String]
    }

    package static func rows() throws -> [Row] {
        let catalogue = ShippedRewards.catalogue
        return try catalogue.names.map { name in
            let type = try catalogue.type(named: name)
            var shared = SettingsReader("reward \(name)")
            if type is any ProgramReward.Type { _ = ProgramSettings(reading: &shared) }
            _ = shared.read(RewardOpening.nameSetting, default: name, "The name in metrics.")
            if type.isDeterministic { _ = ScoreCaching(reading: &shared) }
            let own = try catalogue.settings(of: name)
            return Row(
                name: name, range: "\(bound(type.range.lowerBound))…\(bound(type.range.upperBound))",
                settings: (own + shared.entries).map(\.key), required: own.filter { $0.fallback == nil }.map(\.key))
        }
    }

    private static func bound(_ value: Double) -> String {
        value.magnitude == .greatestFiniteMagnitude || value.isInfinite
            ? (value < 0 ? "-∞" : "∞") : JSONValue.number(value).serialized
    }
}
