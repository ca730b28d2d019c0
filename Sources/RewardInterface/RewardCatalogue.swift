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
        var settings = RewardSettings(reward: name, values: values)
        guard let function = try reward(named: name, settings: &settings) as? any RewardFunction else {
            throw .unusable(reward: name, problem: "it runs programs: it is no function, and needs a runner")
        }
        try settings.refuseUnasked()
        return function
    }

    /// Makes the reward `name`, of either kind; settings it does not ask for are left for the caller to read or to refuse.
    package func reward(named name: String, settings: inout RewardSettings) throws(RewardError) -> any Reward {
        let type = try type(named: name)
        do throws(RewardError) {
            return try type.init(settings: &settings)
        } catch {
            throw settings.misspelling(behind: error) ?? error
        }
    }

    /// The settings the reward `name` has, in the order in which it reads them, and those of them it requires.
    ///
    /// Found by making the reward: something that its bounds allow stands in for what is required.
    public func settings(of name: String) throws(RewardError) -> (names: [String], required: [String]) {
        var settings = RewardSettings(reward: name, standsIn: true)
        let type = try type(named: name)
        do {
            _ = try type.init(settings: &settings)
        } catch {
            // What stands in may be unfit; it was asked for all the same.
            guard case .wrongSetting = error else { throw error }
        }
        return (settings.knownNames, settings.missing)
    }
}
