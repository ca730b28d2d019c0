public import JSON
public import Records

/// Rewards by name.
public struct RewardCatalogue: Sendable {
    /// In the order of the catalogue.
    public let types: [any Reward.Type]

    public init(_ types: [any Reward.Type]) { self.types = types }

    /// The names a job file may use, sorted.
    public var names: [String] { types.map { $0.name }.sorted() }

    /// The reward type named `name`.
    ///
    /// - Throws: ``RewardError/unknownReward(name:known:)`` with the nearest names,
    ///   ``RewardError/ambiguousReward(name:types:)`` when two types share the name.
    public func type(named name: String) throws(RewardError) -> any Reward.Type {
        let found = types.filter { $0.name == name }
        guard let type = found.first else { throw .unknownReward(name: name, known: names) }
        guard found.count == 1 else { throw .ambiguousReward(name: name, types: found.map { "\($0)" }) }
        return type
    }

    /// Makes the function `name` with what the job file sets for it; a setting the function lacks is an error.
    public func function(
        named name: String, settings values: [String: JSONValue] = [:]
    ) throws(RewardError) -> any RewardFunction {
        var settings = SettingsReader("reward \(name)", values: values)
        guard let function = try reward(named: name, settings: &settings) as? any RewardFunction else {
            throw .unusable(reward: name, problem: "it runs programs: it is no function, and needs a runner")
        }
        try settings.finishReward()
        return function
    }

    /// Makes the reward `name`, of either kind; what is wrong with its settings, and those it does not ask for, are
    /// left for the caller to read or to refuse (``Records/SettingsReader/finishReward()``).
    package func reward(named name: String, settings: inout SettingsReader) throws(RewardError) -> any Reward {
        let type = try type(named: name)
        do throws(RewardError) {
            return try type.init(reading: &settings)
        } catch {
            try settings.finishReward()  // an earlier setting may be what made it fail
            throw error
        }
    }

    /// What the reward `name` reads, in the order in which it does.
    ///
    /// Found by making the reward of nothing: what stands in for a required setting may be unfit, it was asked for all
    /// the same.
    public func settings(of name: String) throws(RewardError) -> [SettingsReader.Entry] {
        var settings = SettingsReader("reward \(name)")
        let type = try type(named: name)
        do {
            _ = try type.init(reading: &settings)
        } catch RewardError.wrongSetting {
            return settings.entries
        }
        return settings.entries
    }
}

extension SettingsReader {
    /// Throws everything that is wrong with a reward's settings, those it did not ask for among it.
    package mutating func finishReward() throws(RewardError) {
        do throws(SettingsError) { try finishAll() } catch { throw .settings(error) }
    }
}
