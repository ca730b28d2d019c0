package import Records

/// What controllers make of the weights of rewards and of their streams of advantages.
///
///     weight of a stream = (value, or the job's own) · its factor · factor + addend
///
/// Each part has its owner, so that several controllers compose: schedules and adaptive weights set values, multipliers
/// add themselves and scale what they stand beside, a step-size factor acts on the finished advantages.
package struct StreamWeights: Sendable, Equatable, ExpressibleByDictionaryLiteral {
    /// In place of the job's own weights, by the names of rewards and streams.
    package var values: [String: Double]
    /// What every stream's own weight is multiplied by, that of the KL to the reference included.
    package var factor = 1.0
    /// What a stream's own weight is multiplied by beside that, by stream.
    package var factors: [String: Double] = [:]
    /// What the loss of the completions that are imitated beside the rewards is multiplied by.
    package var imitationFactor = 1.0
    /// What is added behind that, by stream.
    package var addends: [String: Double] = [:]
    /// What the advantages of all rewards are multiplied by when everything is normalized.
    package var advantageFactor = 1.0
    /// What rewards are multiplied by before anything is normalized.
    package var rewardFactor = 1.0

    package init(_ values: [String: Double] = [:]) { self.values = values }

    package init(dictionaryLiteral elements: (String, Double)...) {
        self.init(Dictionary(elements) { _, last in last })
    }

    /// The value of a name that has one.
    package subscript(name: String) -> Double? { values[name] }

    /// The weight of a stream.
    ///
    /// - Parameter own: What it is without controllers.
    package func weight(of name: String, own: Double) -> Double {
        (values[name] ?? own) * (factors[name] ?? 1) * factor + (addends[name] ?? 0)
    }

    /// Whether a controller says what a name weighs, be it 0 in this step.
    func moves(_ name: String) -> Bool { values[name] != nil || addends[name] != nil }

    /// What each reward weighs in the step after all controllers, `reward_weights/NAME`; nothing where no controller
    /// moves one.
    package func metrics(of rewards: RewardCombination) -> Metrics {
        var metrics = Metrics()
        var others = self
        others.values[AdvantageStream.penaltyName] = nil
        others.imitationFactor = 1
        guard others != StreamWeights() else { return metrics }
        for (name, own) in zip(rewards.names, rewards.weights) {
            metrics["reward_weights/\(name)", .last] = weight(of: name, own: own) * advantageFactor * rewardFactor
        }
        return metrics
    }

    /// Takes in what another controller says. No two may set the value of one name.
    package mutating func merge(_ other: StreamWeights) {
        values.merge(other.values) { _, _ in preconditionFailure("two controllers set one weight") }
        factor *= other.factor
        factors.merge(other.factors, uniquingKeysWith: *)
        imitationFactor *= other.imitationFactor
        addends.merge(other.addends, uniquingKeysWith: +)
        advantageFactor *= other.advantageFactor
        rewardFactor *= other.rewardFactor
    }
}
