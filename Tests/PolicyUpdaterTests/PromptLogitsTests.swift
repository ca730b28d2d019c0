import Algorithms
import Foundation
import Models
import Placement
import PolicyUpdater
import Records
import TestSupport
import Tensors
import Testing

/// A preference is of completions: what the model expects within the prompt is no part of the loss.
@TensorActor @Suite("Pairs do not ask what the prompt's own tokens are worth")
struct PromptLogitsTests {
    private static let prompt = [1, 2, 3, 6]
    private static let sides = [[4], [5, 0, 2]]
    private static let (vocabulary, hidden) = (7, 12)

    private let configuration: ModelConfiguration
    private let weights: [String: [Double]]

    init() throws {
        // An output matrix of its own, which can be moved without moving what the model reads.
        configuration = try ModelConfiguration(
            json: """
                {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "vocab_size": \(Self.vocabulary),
                 "hidden_size": \(Self.hidden), "intermediate_size": 10, "num_hidden_layers": 2, "num_attention_heads": 2,
                 "num_key_value_heads": 1, "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
                 "hidden_act": "silu", "tie_word_embeddings": false}
                """)
        weights = Dictionary(
            uniqueKeysWithValues: configuration.parameterShapes.enumerated().map { number, parameter in
                let offset = parameter.role == .norm ? 1.0 : 0
                return (
                    parameter.name,
                    (0..<parameter.count).map { offset + 0.5 * sin(1.7 * Double($0 + 1) + 2.3 * Double(number)) }
                )
            })
    }

    private func tensors(_ weights: [String: [Double]]) throws -> [String: Tensor] {
        var tensors: [String: Tensor] = [:]
        for parameter in configuration.parameterShapes {
            tensors[parameter.name] = try Tensor(weights[parameter.name]!, shape: parameter.shape).to(.float64)
        }
        return tensors
    }

    private func loss(_ weights: [String: [Double]]) async throws -> Double {
        let updater = try PolicyUpdater(
            policy: ReallocatingActor(role: "policy", parameters: ParameterSet(trainable: tensors(weights))),
            configuration: configuration,
            parts: [PartPlan(DPOSettings(beta: 0.4, isReferenceFree: true), on: .pairs)],
            settings: .plain(learningRate: 0.01))
        let part = UpdatePart(.pairs, [ExampleBatch.group(Self.prompt, Self.sides)])
        return try await updater.measure(part, by: updater.parts[0]).loss
    }

    /// The last hidden states of the prompt with one side behind it, `[token][hidden]`.
    private func states(_ side: [Int]) throws -> [[Double]] {
        let model = try Transformer(configuration: configuration, parameters: tensors(weights))
        let tokens = Self.prompt + side
        let flat = try Tensor.withoutGradients {
            try model.hiddenStates(
                tokens: Tensor(tokens), layout: SequenceLayout(sequenceLengths: [tokens.count])
            ).doubles()
        }
        return tokens.indices.map { Array(flat[$0 * Self.hidden..<($0 + 1) * Self.hidden]) }
    }

    private func dot(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }

    /// What is left of a vector without its parts along others (Gram and Schmidt, twice for the rounding).
    private func rest(of vector: [Double], beside others: [[Double]]) -> [Double] {
        var basis: [[Double]] = []
        func reduced(_ vector: [Double]) -> [Double] {
            (0..<2).reduce(vector) { current, _ in
                basis.reduce(current) { left, unit in
                    let share = dot(left, unit)
                    return zip(left, unit).map { $0 - share * $1 }
                }
            }
        }
        for other in others {
            let left = reduced(other)
            let length = dot(left, left).squareRoot()
            basis.append(left.map { $0 / length })
        }
        return reduced(vector)
    }

    /// The output matrix moves by u·aᵀ: where a token of a completion is predicted a·h is 0, and within the prompt it
    /// is not.
    @Test func theLossIsThatOfTheCompletionsAlone() async throws {
        let last = Self.prompt.count - 1
        let (chosen, rejected) = (try states(Self.sides[0]), try states(Self.sides[1]))
        let predicting = [chosen[last]] + rejected[last + 1..<last + Self.sides[1].count]
        let inner = chosen[0]
        let direction = rest(of: inner, beside: Array(predicting))
        #expect(predicting.allSatisfy { abs(dot(direction, $0)) < 1e-12 })
        func moved(along direction: [Double]) -> [String: [Double]] {
            var moved = weights
            for token in 0..<Self.vocabulary {
                for index in 0..<Self.hidden {
                    moved["lm_head.weight"]![token * Self.hidden + index] += cos(Double(3 * token)) * direction[index]
                }
            }
            return moved
        }
        // The prompt's own logits move by as much, nine orders above what the loss may.
        #expect(abs(dot(direction, inner)) > 1e-3)
        let before = try await loss(weights)
        let within = try await loss(moved(along: direction))
        let predicted = try await loss(moved(along: chosen[last]))
        #expect(abs(within - before) < 1e-12)
        #expect(abs(predicted - before) > 1e-3)
    }
}
