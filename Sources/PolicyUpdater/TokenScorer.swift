internal import Algorithms
internal import Models
internal import Records
internal import Tensors

/// Scores the actions of a micro-batch under a model, at the sampling temperature.
///
/// ``TokenScorer`` knows words. An objective whose actions are more than words brings a scorer of its own:
/// ``Objective/tokenScorer(_:)``.
protocol TokenScoring {
    /// Log-probs and entropies of the pass's actions; log-probs with a gradient when the model's parameters have one.
    func scores(_ packed: PackedMicroBatch, under model: Transformer) throws -> PackedScores

    /// The states at packed indices, `[indices, hidden]`; those that predict the actions for `nil`.
    func states(_ packed: PackedMicroBatch, _ model: Transformer, at indices: [Int]?) throws -> Tensor

    /// What is wrong with a payload, in words; `nil` when it can be learned from.
    ///
    /// - Parameters:
    ///   - required: The arrays that the objective reads.
    ///   - hasOld: Whether the batch has scores of the policy that produced the data.
    func problem(of payload: any RolloutPayload, requiring required: BatchFields, hasOld: Bool, vocabulary: Range<Int>)
        -> String?
}

extension TokenScoring {
    /// The states that predict the actions, `[actions, hidden]`.
    func states(_ packed: PackedMicroBatch, _ model: Transformer) throws -> Tensor {
        try states(packed, model, at: nil)
    }
}

/// The scorer of actions that are words.
struct TokenScorer: TokenScoring {
    let temperature: Double
    let checkpointsBlocks: Bool

    func scores(_ packed: PackedMicroBatch, under model: Transformer) throws -> PackedScores {
        let hidden = try states(packed, model)
        let scores = try model.tokenScores(
            hidden: hidden, targets: Tensor(packed.targets, device: model.device), temperature: temperature)
        return PackedScores(
            states: hidden, logProbabilities: scores.logProbabilities, entropies: scores.entropies, payload: nil)
    }

    func states(_ packed: PackedMicroBatch, _ model: Transformer, at indices: [Int]?) throws -> Tensor {
        try model.hiddenStates(
            tokens: Tensor(packed.tokens, device: model.device), layout: packed.layout,
            at: indices ?? packed.predictionIndices, checkpointsBlocks: checkpointsBlocks, dropout: packed.dropout,
            kept: indices == nil ? packed.kept : nil)
    }

    func problem(of payload: any RolloutPayload, requiring required: BatchFields, hasOld: Bool, vocabulary: Range<Int>)
        -> String?
    {
        "it has \(type(of: payload).kind), which this method does not learn from"
    }
}

/// The scores of a pass.
struct PackedScores {
    /// The states that the actions were predicted from, `[actions, hidden]`.
    let states: Tensor
    /// `[actions]`, in nats; 0 where `payload` has the action's.
    let logProbabilities: Tensor
    /// `[actions]`, in nats.
    let entropies: Tensor
    /// `nil` where every action is a word.
    let payload: (any PayloadScores)?

    /// What ``joined(_:at:)`` makes each action's log-prob of.
    var columns: [Tensor] { [logProbabilities] + (payload.map { [$0.logDensities] } ?? []) }

    /// Each action's log-prob, or log-density where it is more than a word, of the copied ``columns``.
    ///
    /// - Parameter positions: Those of the payload's scores.
    static func joined(_ columns: [[Double]], at positions: [Int]) -> [Double] {
        var values = columns[0]
        for (position, value) in zip(positions, columns.dropFirst().joined()) { values[position] = value }
        return values
    }
}

/// What an objective's own scorer found at actions that are more than words.
protocol PayloadScores {
    /// Which of the pass's actions these are, ascending.
    var positions: [Int] { get }
    /// How likely each was, in nats: `[positions]`, without a gradient.
    var logDensities: Tensor { get }

    /// What the objective's loss reads.
    func lossInputs() throws -> any PayloadLossInputs
    /// The payloads of the pass's completions, in packed order, with these scores kept for a role.
    func payloads(keptFor role: InferenceRole) throws -> [(any RolloutPayload)?]
}
