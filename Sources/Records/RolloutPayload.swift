/// What some of a completion's actions were made of, where a token's id does not say it (``SoftTokens``: mixtures of
/// tokens).
///
/// The core carries it from the sampler to the method's own scorer and loss, and knows of it what stands here. A new
/// kind is a type of its own and one line in ``HeldPayload/kinds``.
package protocol RolloutPayload: Sendable, Equatable, Codable {
    /// What such actions are called, in messages and in files.
    static var kind: String { get }
    /// Actions that it describes; as many as its completion has.
    var actionCount: Int { get }

    /// Keeps what the method's scorer found under a role's weights.
    ///
    /// - Parameter scores: Flat numbers in the order and with the meaning that the payload and its scorer have agreed
    ///   on.
    mutating func keep(_ scores: [Float], of role: InferenceRole)
    /// Takes what the sampler noted for the old policy's scores.
    mutating func keepSamplersScores()

    /// Whether a completion with this payload holds nothing that a reward could judge.
    func lacksAnswer(_ completion: Completion) -> Bool
    /// Numbers about the payloads of a step's rollouts, some of which may have none.
    static func metrics(of rollouts: [Rollout]) -> Metrics
}

/// A payload inside a record: compared, written and read as the type that it is. A record without one is written as if
/// the field did not exist.
@propertyWrapper
package struct HeldPayload: Sendable, Equatable, Codable {
    /// Every kind there is.
    package static let kinds: [any RolloutPayload.Type] = [SoftTokens.self]

    package var wrappedValue: (any RolloutPayload)?

    package init(wrappedValue: (any RolloutPayload)?) { self.wrappedValue = wrappedValue }

    package static func == (left: Self, right: Self) -> Bool {
        func equals<Payload: RolloutPayload>(_ payload: Payload) -> Bool {
            (right.wrappedValue as? Payload) == payload
        }
        return left.wrappedValue.map { equals($0) } ?? (right.wrappedValue == nil)
    }

    private enum CodingKeys: String, CodingKey { case kind, value }

    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        let name = try container.decode(String.self, forKey: .kind)
        guard let kind = Self.kinds.first(where: { $0.kind == name }) else {
            throw DecodingError.dataCorruptedError(
                forKey: .kind, in: container, debugDescription: "'\(name)' is no kind of payload")
        }
        wrappedValue = try container.decode(kind, forKey: .value)
    }

    package func encode(to encoder: any Encoder) throws {
        guard let wrappedValue else { return }
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(type(of: wrappedValue).kind, forKey: .kind)
        try container.encode(wrappedValue, forKey: .value)
    }
}

// The synthesized coding of a record calls these for the field.
extension KeyedEncodingContainer {
    package mutating func encode(_ payload: HeldPayload, forKey key: Key) throws {
        if payload.wrappedValue != nil { try encodeIfPresent(payload, forKey: key) }
    }
}

extension KeyedDecodingContainer {
    package func decode(_ type: HeldPayload.Type, forKey key: Key) throws -> HeldPayload {
        try decodeIfPresent(type, forKey: key) ?? HeldPayload(wrappedValue: nil)
    }
}

extension [Rollout] {
    /// Numbers about the payloads of these rollouts; empty without any.
    package var payloadMetrics: Metrics {
        var metrics = Metrics()
        for kind in HeldPayload.kinds { metrics.merge(kind.metrics(of: self)) }
        return metrics
    }
}
