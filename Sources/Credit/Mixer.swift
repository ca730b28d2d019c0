internal import Records

/// One objective's advantages of a batch, and what they count in the sum.
package struct AdvantageStream: Sendable, Equatable {
    /// The objective's name: `reward`, a reward's own name, or ``penaltyName``.
    package var name: String
    package var weight: Double
    /// `[group][completion][token]`
    package var values: [[[Double]]]
    /// Whether a completion is learned from and has a score of this objective, `[group][completion]`. The others enter
    /// no mean and no deviation.
    package var isValid: [[Bool]]

    package init(name: String, weight: Double, values: [[[Double]]], isValid: [[Bool]]) {
        self.name = name
        self.weight = weight
        self.values = values
        self.isValid = isValid
    }

    /// The name of the KL penalty's stream, and of its weight. Its advantages are those of the reward −k per token,
    /// in nats: like every stream it is to grow, and its weight is β.
    package static let penaltyName = "kl"
}

/// Adds the streams of advantages that a credit rule gives, and says what is normalized on the way.
///
///     none         A = Σ_k w_k·A_k                      added where gradients are taken
///     eachStream   A = Σ_k w_k·whiten(A_k)              added where gradients are taken
///     rewards      the same, the KL stream as it is     so that β keeps its meaning
///     mix          A = whiten(Σ_k w_k·A_k)              added here: the mean is that of the whole batch
///
/// whiten is ``Whitening``, over the valid tokens of the batch; a stream that is constant there becomes 0, and tokens
/// that are not valid get 0. With `eachStream` the size of an objective cancels, β of a KL stream included.
package struct Mixer: Sendable, Equatable {
    package enum Normalization: Sendable, Equatable, CaseIterable { case none, eachStream, rewards, mix }

    package var normalization: Normalization

    package init(_ normalization: Normalization = .none) { self.normalization = normalization }

    /// What is left to be added, by the weights the streams then have: with `mix` a single stream of weight 1.
    ///
    /// - Parameter streams: At least one, all of the same batch.
    package func prepared(_ streams: [AdvantageStream]) -> [AdvantageStream] {
        switch normalization {
        case .none: streams
        case .eachStream: streams.map(whitened)
        case .rewards: streams.map { $0.name == AdvantageStream.penaltyName ? $0 : whitened($0) }
        case .mix: [whitened(mixed(streams))]
        }
    }

    private func mixed(_ streams: [AdvantageStream]) -> AdvantageStream {
        let weights = streams.map(\.weight)
        var mix = streams[0]
        for group in mix.values.indices {
            for completion in mix.values[group].indices {
                mix.values[group][completion] = UpdateCompletion.mixed(
                    streams.map { $0.values[group][completion] }, weights)
                mix.isValid[group][completion] = streams.contains { $0.isValid[group][completion] }
            }
        }
        mix.name = streams.map(\.name).joined(separator: "+")
        mix.weight = 1
        return mix
    }

    private func whitened(_ stream: AdvantageStream) -> AdvantageStream {
        var result = stream
        let indices = stream.values.indices.flatMap { group in
            stream.values[group].indices.filter { stream.isValid[group][$0] }.map { (group, $0) }
        }
        result.values = stream.values.map { $0.map { $0.map { _ in 0 } } }
        let rows = Whitening.whitened(indices.map { stream.values[$0.0][$0.1] })
        for ((group, completion), row) in zip(indices, rows) { result.values[group][completion] = row }
        return result
    }
}
