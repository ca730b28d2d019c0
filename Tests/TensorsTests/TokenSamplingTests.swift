import Foundation
import Tensors
import Testing

@TensorActor @Suite("Drawing tokens")
struct TokenSamplingTests {
    /// One line of Tests/References/sampling_filters.py.
    struct Case: Decodable, Sendable {
        var repetitionPenalty, temperature, topP, minP: Double
        var topK: Int
        var logits: [Float]
        var seen: [Int]
        var probabilities, policy: [Double]

        var distribution: PolicyDistribution {
            PolicyDistribution(
                repetitionPenalty: repetitionPenalty, temperature: temperature, topK: topK, topP: topP, minP: minP)
        }
    }

    nonisolated static func cases() throws -> [Case] {
        let url = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("sampling_filters.json")
        return try JSONDecoder().decode([Case].self, from: Data(contentsOf: url))
    }

    /// Draws at the middle and near both ends of every token's share of transformers' distribution give that token,
    /// with its log-probs; a token that was filtered is never drawn.
    @Test func distributionsOfTransformers() throws {
        let cases = try Self.cases()
        #expect(cases.count == 12)
        for example in cases {
            var uniforms: [Double] = []
            var expected: [Int] = []
            var before = 0.0
            for (token, probability) in example.probabilities.enumerated() where probability > 0 {
                for share in [1e-3, 0.5, 1 - 1e-3] where probability > 1e-4 {
                    uniforms.append(before + share * probability)
                    expected.append(token)
                }
                before += probability
            }
            let logits = try Tensor(example.logits, shape: [1, example.logits.count])
                .expanded([uniforms.count, example.logits.count])
            let drawn = try logits.sampledTokens(
                from: example.distribution, choices: uniforms.map { .draw(uniform: $0) },
                seenTokens: uniforms.map { _ in example.seen })
            #expect(drawn.tokens == expected)
            for (index, token) in drawn.tokens.enumerated() {
                let sampling = Double(drawn.samplingLogProbabilities[index])
                #expect(abs(sampling - log(example.probabilities[token])) < 1e-5)
                #expect(abs(Double(drawn.policyLogProbabilities[index]) - example.policy[token]) < 1e-5)
            }
        }
    }

    @Test func frequenciesFollowTheDistribution() throws {
        var random = RandomValues(seed: 31)
        let words = 700
        let logits = try random.tensor([1, words], .float32) * 3
        let probabilities = try logits.to(.float64).softmax(axis: 1).doubles()
        var counts = [Double](repeating: 0, count: words)
        let draws = 200_000
        for start in stride(from: 0, to: draws, by: 2000) {
            let choices = (start..<start + 2000).map {
                TokenChoice.draw(uniform: RandomAddress(token: $0).uniform(seed: 4, stream: .sample))
            }
            for token in try logits.expanded([2000, words]).sampledTokens(from: .init(), choices: choices).tokens {
                counts[token] += 1
            }
        }
        // χ² with 699 degrees of freedom has mean 699 and standard deviation √1398 ≈ 37.4.
        let statistic = zip(counts, probabilities).reduce(0) {
            $0 + ($1.0 - $1.1 * Double(draws)) * ($1.0 - $1.1 * Double(draws)) / ($1.1 * Double(draws))
        }
        #expect(abs(statistic - 699) < 4 * 37.4)
    }

    @Test func greedyTakesTheLowestIdOnTies() throws {
        let logits = try Tensor([0, 3, 1, 3, -2, 3] as [Float], shape: [1, 6])
        let plain = try logits.sampledTokens(from: .init(temperature: 0.5), choices: [.greedy])
        #expect(plain.tokens == [1])
        #expect(plain.samplingLogProbabilities == [0])
        let expected = try (logits / 0.5).logSoftmax(axis: 1).floats()[1]
        #expect(abs(plain.policyLogProbabilities[0] - expected) < 1e-6)
        // The penalty counts before the choice, as in transformers' greedy decoding.
        let penalized = try logits.sampledTokens(
            from: .init(repetitionPenalty: 2), choices: [.greedy], seenTokens: [[1, 3]])
        #expect(penalized.tokens == [5])
    }

    @Test func lastShareOfTheMassDrawsAToken() throws {
        let logits = try Tensor([1, 2, -Float.infinity] as [Float], shape: [1, 3])
        let drawn = try logits.sampledTokens(from: .init(), choices: [.draw(uniform: 1 - 0x1p-53)])
        #expect(drawn.tokens == [1])
    }

    @Test(arguments: [Float.nan, .infinity]) func logitsThatAreNotFiniteAreRefused(_ value: Float) throws {
        let logits = try Tensor([0, 1, 2, value] as [Float], shape: [2, 2])
        #expect(throws: TensorError.engine(operation: "sampledTokens", message: "row 1 has logits that are not finite"))
        {
            try logits.sampledTokens(from: .init(), choices: [.greedy, .draw(uniform: 0.5)])
        }
    }
}
