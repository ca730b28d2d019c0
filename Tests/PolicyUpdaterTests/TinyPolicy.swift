import Algorithms
import Foundation
import Models
import Placement
import PolicyUpdater
import Records
import Tensors
import Testing

/// A model small enough for central differences, and an updater over it.
@TensorActor
struct TinyPolicy {
    let actor: ReallocatingActor
    let updater: PolicyUpdater
    /// The role of the frozen weights.
    let reference: ReallocatingActor?
    /// The weights the actor reads: writing them goes behind its back.
    let parameters: [String: Tensor]

    static let vocabularySize = 7

    /// - Parameter others: Further lines of the JSON object, each ending with a comma.
    static func configuration(context: Int = 64, others: String = "") throws -> ModelConfiguration {
        try ModelConfiguration(
            json: """
                {\(others) "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "vocab_size": \(vocabularySize),
                 "hidden_size": 8, "intermediate_size": 10, "num_hidden_layers": 1, "num_attention_heads": 2,
                 "num_key_value_heads": 1, "max_position_embeddings": \(context), "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
                 "hidden_act": "silu", "tie_word_embeddings": true}
                """)
    }

    /// Weights of both signs that differ everywhere, as plain numbers by name.
    static func weights(phase: Double = 0) throws -> [String: [Double]] {
        var weights: [String: [Double]] = [:]
        for (number, parameter) in try configuration().parameterShapes.enumerated() {
            let scale = parameter.role == .weight ? 0.5 : 0.2
            let offset = parameter.role == .norm ? 1.0 : 0
            weights[parameter.name] = (0..<parameter.count).map { index in
                offset + scale * wave(1.7 * Double(index) + 2.3 * Double(number) + phase)
            }
        }
        return weights
    }

    /// Repeats itself after 97 whole steps at the earliest; between −1 and 1.
    private static func wave(_ x: Double) -> Double {
        let fraction = (x * 31.7).truncatingRemainder(dividingBy: 97) / 97
        return 4 * abs(fraction - 0.5) - 1
    }

    static func tensors(
        _ weights: [String: [Double]], _ type: ElementType = .float64
    ) throws -> [String: Tensor] {
        var tensors: [String: Tensor] = [:]
        for parameter in try configuration().parameterShapes {
            tensors[parameter.name] = try Tensor(weights[parameter.name]!, shape: parameter.shape).to(type)
        }
        return tensors
    }

    init(
        _ objective: Objective, _ settings: UpdaterSettings, temperature: Double = 1,
        weights: [String: [Double]]? = nil, type: ElementType = .float64, layout: ParameterLayout = .shared,
        reference: Transformer? = nil, valueHead: Tensor? = nil, critic: Critic? = nil
    ) throws {
        try self.init(
            parts: [PartPlan(objective, temperature: temperature)], settings, weights: weights, type: type,
            layout: layout, reference: reference, valueHead: valueHead, critic: critic)
    }

    init(
        parts: [PartPlan], _ settings: UpdaterSettings, weights: [String: [Double]]? = nil,
        type: ElementType = .float64, layout: ParameterLayout = .shared, reference: Transformer? = nil,
        valueHead: Tensor? = nil, critic: Critic? = nil, bringsReference: Bool = false
    ) throws {
        try TensorEngine.setThreadCount(1)  // a team of threads costs more than these matrices
        parameters = try Self.tensors(weights ?? Self.weights(), type)
        actor = try ReallocatingActor(
            role: "policy",
            parameters: ParameterSet(trainable: parameters, heads: valueHead.map { [Critic.headName: $0] } ?? [:]),
            layout: layout, verification: .everyHandOver)
        self.reference = try reference.map {
            try ReallocatingActor(
                role: "reference", parameters: ParameterSet(frozen: $0.parametersByName), verification: .everyHandOver)
        }
        updater = try PolicyUpdater(
            policy: actor, configuration: Self.configuration(), reference: self.reference, critic: critic,
            parts: parts, bringsReference: bringsReference, settings: settings)
    }

    /// The weights' bits, for comparisons that allow no difference.
    func bits() throws -> [String: [UInt64]] { try parameters.bits() }

    /// Everything that a step moves, to the bit.
    func state() throws -> State {
        State(
            weights: try bits(), optimizer: try updater.optimizer.state(), version: try actor.version,
            phase: actor.phase)
    }

    struct State: Equatable {
        let weights: [String: [UInt64]]
        let optimizer: OptimizerBits
        let version: PolicyVersion
        let phase: ActorPhase
    }

    /// log π of every action by plain means: one pass a completion, a softmax over Double, tokens that are no actions
    /// left out.
    static func logProbabilities(
        of batch: UpdateBatch, weights: [String: [Double]]? = nil, temperature: Double = 1
    ) throws -> [[[Double]]] {
        let model = try Transformer(configuration: configuration(), parameters: tensors(weights ?? Self.weights()))
        return try batch.groups.map { group in
            try group.completions.map { completion in
                let tokens = group.promptTokenIDs + completion.tokenIDs
                let logits = try Tensor.withoutGradients {
                    try model.hiddenStates(
                        tokens: Tensor(tokens), layout: SequenceLayout(sequenceLengths: [tokens.count])
                    ).linear(weight: model.head).doubles()
                }
                var found: [Double] = []
                for (position, token) in completion.tokenIDs.enumerated() where completion.isAction?[position] ?? true {
                    let start = (group.promptTokenIDs.count - 1 + position) * vocabularySize
                    let row = logits[start..<start + vocabularySize].map { $0 / temperature }
                    found.append(row[token] - log(row.reduce(0) { $0 + exp($1) }))
                }
                return found
            }
        }
    }

    static func reference(phase: Double = 0.4, _ type: ElementType = .float64) throws -> Transformer {
        try Transformer(configuration: configuration(), parameters: tensors(weights(phase: phase), type))
    }
}

/// An optimizer's state to the bit.
struct OptimizerBits: Equatable {
    /// By the names of a checkpoint.
    let tensors: [String: [UInt64]]
    let counters: OptimizerCounters
}

extension Optimizer {
    func state() throws -> OptimizerBits { OptimizerBits(tensors: try tensors.bits(), counters: counters) }
}

extension [String: Tensor] {
    func bits() throws -> [String: [UInt64]] {
        try mapValues { try $0.to(.float64).doubles().map(\.bitPattern) }
    }

    func doubles() throws -> [String: [Double]] { try mapValues { try $0.to(.float64).doubles() } }
}

extension Critic {
    /// One step beside a policy that stays where it is.
    func train(_ batch: UpdateBatch) async throws -> Metrics {
        try await TinyPolicy(SupervisedFineTuning(), .plain(learningRate: 0), critic: self).updater.train(batch)
    }
}

extension UpdaterSettings {
    /// A constant learning rate without clipping, unless said otherwise.
    static func plain(
        rule: OptimizerRule = .adamW, learningRate: Double, beta1: Double = 0.9, weightDecay: Double = 0,
        maxGradientNorm: Double? = nil, stabilization: StableSPAM? = nil, maxTokensPerMicroBatch: Int? = nil,
        schedule: LearningRateSchedule? = nil, checkpointsBlocks: Bool = false, referenceSync: ReferenceSync? = nil
    ) throws -> UpdaterSettings {
        UpdaterSettings(
            optimizer: OptimizerSettings(
                rule: rule, learningRate: learningRate, beta1: beta1, weightDecay: weightDecay,
                maxGradientNorm: maxGradientNorm, stabilization: stabilization,
                schedule: schedule ?? LearningRateSchedule(.constant, totalSteps: 100)),
            maxCompletionLength: 9, maxTokensPerMicroBatch: maxTokensPerMicroBatch,
            checkpointsBlocks: checkpointsBlocks, referenceSync: referenceSync)
    }
}

/// Batches for the tests.
enum ExampleBatch {
    /// The batch of ``mixed(temperature:)``, with values and returns of every token for a critic to learn from.
    @TensorActor
    static func valued() async throws -> UpdateBatch {
        var batch = try await mixed()
        for group in batch.groups.indices {
            for index in batch.groups[group].completions.indices {
                let tokens = batch.groups[group].completions[index].tokenIDs
                batch.groups[group].completions[index].oldValues = [tokens.map { Float($0) / 4 }]
                batch.groups[group].completions[index].returns = [tokens.map { 1 - Double($0) / 3 }]
            }
        }
        return batch
    }

    /// Three groups of unequal completions with log-probs near those of ``TinyPolicy``, some beyond the clip range.
    @TensorActor
    static func mixed(temperature: Double = 1) async throws -> UpdateBatch {
        var batch = UpdateBatch(groups: [
            group([1, 2, 3], [[4, 5], [6, 0, 1, 2], [3]]),
            group([5], [[2, 2, 6, 4, 1], [0, 3]]),
            group([6, 6, 0, 4], [[1, 1, 1], [5, 0, 2, 3, 4, 6]]),
        ])
        let scorer = try TinyPolicy(SupervisedFineTuning(), .plain(learningRate: 0), temperature: temperature)
        let present = try await scorer.updater.logProbabilities(batch, under: .oldPolicy).tokens
        var number = 0.0
        for group in batch.groups.indices {
            for index in batch.groups[group].completions.indices {
                let own = present[group][index]
                let shifts = own.indices.map { _ -> (Float, Double) in
                    number += 1
                    // ratios e^±0.09 stay inside the clip range of 0.2, e^±0.6 are far outside
                    let shift: Float = Int(number) % 5 == 0 ? 0.6 : 0.09
                    return (
                        Int(number) % 2 == 0 ? shift : -shift, 1.5 * (number.truncatingRemainder(dividingBy: 3) - 0.8)
                    )
                }
                batch.groups[group].completions[index].oldLogProbabilities = zip(own, shifts).map { $0 + $1.0 }
                batch.groups[group].completions[index].referenceLogProbabilities = own.enumerated().map {
                    $1 + ($0 % 2 == 0 ? 0.3 : -0.2)
                }
                batch.groups[group].completions[index].advantages = [shifts.map(\.1)]
            }
        }
        return batch
    }

    /// ``mixed(temperature:)`` after a tool or a rule wrote into its longer completions: of three tokens the second, of
    /// more the second and the third were nobody's choice, and have no numbers.
    @TensorActor
    static func withForcedTokens(temperature: Double = 1) async throws -> UpdateBatch {
        var batch = try await mixed(temperature: temperature)
        for group in batch.groups.indices {
            for index in batch.groups[group].completions.indices {
                let count = batch.groups[group].completions[index].tokenIDs.count
                guard count > 2 else { continue }
                let isAction = (0..<count).map { $0 != 1 && ($0 != 2 || count == 3) }
                func chosen<Value>(_ values: [Value]) -> [Value] { zip(values, isAction).filter(\.1).map(\.0) }
                var completion = batch.groups[group].completions[index]
                completion.isAction = isAction
                completion.advantages = completion.advantages.map(chosen)
                completion.oldLogProbabilities = chosen(completion.oldLogProbabilities)
                completion.referenceLogProbabilities = chosen(completion.referenceLogProbabilities)
                batch.groups[group].completions[index] = completion
            }
        }
        return batch
    }

    static func group(_ prompt: [Int], _ completions: [[Int]]) -> UpdateGroup {
        UpdateGroup(
            promptTokenIDs: prompt,
            completions: completions.map { tokens in
                UpdateCompletion(
                    tokenIDs: tokens, advantages: [tokens.indices.map { Double($0) - 0.5 + Double(tokens[0]) / 4 }])
            })
    }
}

/// Compares a critic's gradient with the central difference of its loss, which counts half (c_V = 0.5).
///
/// - Parameters:
///   - weights: What is trained beside the head, by name.
///   - loss: The value loss with other weights and another head.
@TensorActor
func expectSlope(
    _ name: String, of gradients: [String: [Double]], along direction: [Double], from weights: [String: [Double]],
    head: [Double], loss: @TensorActor ([String: [Double]], [Double]) async throws -> Double
) async throws {
    let step = 1e-5
    var losses: [Double] = []
    for sign in [1.0, -1] {
        var (moved, movedHead) = (weights, head)
        for (index, along) in direction.enumerated() {
            if name == Critic.headName {
                movedHead[index] += sign * step * along
            } else {
                moved[name]![index] += sign * step * along
            }
        }
        losses.append(try await loss(moved, movedHead))
    }
    let expected = 0.5 * (losses[0] - losses[1]) / (2 * step)
    let products: [Double] = zip(gradients[name]!, direction).map { $0 * $1 }
    let slope = products.reduce(0, +)
    #expect(abs(slope - expected) < 1e-6 * max(1, abs(expected)), "\(name): \(slope), \(expected)")
}
