import Algorithms
import Foundation
import Tensors
import TestSupport
import Testing

/// What `Tests/References/luffy_losses.py` wrote: LUFFY's own loss, gradient and advantages.
private struct LUFFYReference: Decodable, Sendable {
    var lengths: [Int]
    var isDemonstration: [Bool]
    var maxCompletionLength: Int
    /// One per completion.
    var advantages: [Double]
    var logProbabilities: [Double]
    var oldLogProbabilities: [Double]
    var loss: Double
    var gradient: [Double]
    var demonstrationProbability: Double
    var demonstrationWeight: Double

    static func read() throws -> LUFFYReference {
        let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "luffy_losses.json")
        return try JSONDecoder().decode(LUFFYReference.self, from: Data(contentsOf: file))
    }

    var tokens: Int { lengths.reduce(0, +) }

    func perToken<Value>(_ values: [Value]) -> [Value] {
        zip(values, lengths).flatMap { [Value](repeating: $0, count: $1) }
    }

    /// The completions' inputs with the denominators of all.
    func inputs(
        _ completions: [Int]? = nil, at logs: [Double]? = nil, meanEntropy: Double? = nil, type: ElementType = .float64
    ) throws -> (inputs: PolicyLossInputs, policy: Tensor, entropies: Tensor) {
        let chosen = completions ?? Array(lengths.indices)
        let owners = perToken(Array(lengths.indices))
        func tensor(_ values: [Double]) throws -> Tensor {
            try Tensor(zip(owners, values).filter { chosen.contains($0.0) }.map(\.1)).to(type)
        }
        let policy = try tensor(logs ?? logProbabilities).requiringGradient()
        let entropies = try tensor(self.entropies).requiringGradient()
        let demonstrated = perToken(isDemonstration)
        return (
            PolicyLossInputs(
                logProbabilities: policy, oldLogProbabilities: try tensor(oldLogProbabilities),
                advantages: try tensor(perToken(advantages)),
                demonstrationMask: try tensor(demonstrated.map { $0 ? 1 : 0 }),
                meanEntropy: try meanEntropy.map { try Tensor([$0], shape: []).to(type) }, entropies: entropies,
                spans: try CompletionSpans(lengths: chosen.map { lengths[$0] }),
                denominators: Denominators(
                    tokens: tokens, sequences: lengths.count, maxCompletionLength: maxCompletionLength,
                    demonstrationTokens: demonstrated.count(where: \.self))), policy, entropies
        )
    }

    var entropies: [Double] { (0..<tokens).map { 0.3 + 0.05 * Double($0 * 7 % 11) } }
}

@TensorActor @Suite("Losses of groups with a demonstration")
struct DemonstratedLossTests {
    private let reference: LUFFYReference

    init() throws { reference = try .read() }

    @Test(arguments: [(ElementType.float64, 1e-12), (.float32, 1e-5)])
    func luffyIsItsReleasedCode(_ type: ElementType, _ tolerance: Double) throws {
        let (inputs, policy, _) = try reference.inputs(type: type)
        let result = try LUFFYSettings(entropyCoefficient: 0).loss(inputs)
        try result.loss.backward()
        let found = try result.read()
        #expect(relativeError(found.loss, reference.loss) < tolerance)
        #expect(relativeError(try #require(policy.gradient).doubles(), reference.gradient) < tolerance)
        let metrics = found.metrics.metrics
        #expect(
            relativeError(
                try #require(metrics["demonstrations/probability"]), reference.demonstrationProbability) < tolerance)
        #expect(
            relativeError(try #require(metrics["demonstrations/weight"]), reference.demonstrationWeight) < tolerance)
    }

    /// d f/d log p = p·γ/(p + γ)² = 0.1·0.1/0.2² = ¼ at p = γ = 0.1.
    @Test func theShapingsSlopeAtATenth() throws {
        let policy = try Tensor([log(0.1)]).to(.float64).requiringGradient()
        let inputs = PolicyLossInputs(
            logProbabilities: policy, advantages: try Tensor([-1.0]).to(.float64),
            demonstrationMask: try Tensor([1.0]).to(.float64), spans: try CompletionSpans(lengths: [1]),
            denominators: Denominators(tokens: 1, sequences: 1, maxCompletionLength: 1))
        try LUFFYSettings(entropyCoefficient: 0).loss(inputs).loss.backward()
        #expect(abs(try #require(policy.gradient).doubles()[0] - 0.25) < 1e-12)
    }

    /// The loss is lowered by c times the entropy averaged over all tokens.
    @Test func luffysEntropyBonus() throws {
        let (inputs, _, entropies) = try reference.inputs()
        let result = try LUFFYSettings(entropyCoefficient: 0.5).loss(inputs)
        try result.loss.backward()
        let mean = reference.entropies.reduce(0, +) / Double(reference.tokens)
        #expect(abs(try result.loss.item() - (reference.loss - 0.5 * mean)) < 1e-12)
        let expected = [Double](repeating: -0.5 / Double(reference.tokens), count: reference.tokens)
        #expect(relativeError(try #require(entropies.gradient).doubles(), expected) < 1e-12)
    }

    /// By loops, from the paper's formulas with H given.
    private func srftByLoops(_ settings: SRFTSettings, at logs: [Double], entropy: Double) -> Double {
        var (demonstrated, own) = (0.0, 0.0)
        let counts = (
            demonstrated: reference.perToken(reference.isDemonstration).count(where: \.self),
            own: reference.perToken(reference.isDemonstration).count(where: { !$0 })
        )
        let advantages = reference.perToken(reference.advantages)
        for (index, isDemonstration) in reference.perToken(reference.isDemonstration).enumerated() {
            let (x, a) = (logs[index], advantages[index])
            if isDemonstration {
                let p = exp(x)
                demonstrated -= settings.imitationScale * exp(-entropy) * x
                demonstrated -= min(p * a, min(max(p, 0.8), 1.2) * a)
            } else {
                own += a > 0 ? -settings.rewardScale * exp(entropy) * x : a < 0 ? max(x, -20) : 0
            }
        }
        return demonstrated / Double(counts.demonstrated) + own / Double(counts.own)
    }

    @Test func srftIsItsFormulas() throws {
        var logs = reference.logProbabilities
        logs[0] = -25  // a wrong completion's token that is pushed no further
        let entropy = reference.entropies.reduce(0, +) / Double(reference.tokens)
        for settings in [SRFTSettings(), SRFTSettings(imitationScale: 2, rewardScale: 0.7)] {
            let (inputs, policy, entropies) = try reference.inputs(at: logs)
            let result = try settings.loss(inputs)
            try result.loss.backward()
            #expect(abs(try result.loss.item() - srftByLoops(settings, at: logs, entropy: entropy)) < 1e-12)
            let expected = centralDifferences(at: logs, step: 1e-5) {
                srftByLoops(settings, at: $0, entropy: entropy)
            }
            let gradient = try #require(policy.gradient).doubles()
            #expect(relativeError(gradient, expected) < 1e-7)
            #expect(gradient[0] == 0 && gradient[1] != 0)
            #expect(try entropies.gradient == nil || entropies.gradient!.doubles().allSatisfy { $0 == 0 })
        }
    }

    /// By loops over the tokens: imitation, off-policy reward and the policy's own of SRFT; the policy's own and the
    /// demonstrations' of LUFFY.
    private func termsByLoops(at logs: [Double], entropy: Double) -> (srft: [Double], luffy: [Double]) {
        var (srft, luffy) = ([0.0, 0, 0], [0.0, 0])
        let isDemonstration = reference.perToken(reference.isDemonstration)
        let advantages = reference.perToken(reference.advantages)
        let demonstrated = Double(isDemonstration.count(where: \.self))
        let own = Double(reference.tokens) - demonstrated
        let size = Double(reference.lengths.count * reference.maxCompletionLength)
        for index in logs.indices {
            let (x, a, p) = (logs[index], advantages[index], exp(logs[index]))
            if isDemonstration[index] {
                srft[0] -= 0.5 * exp(-entropy) * x / demonstrated
                srft[1] -= min(p * a, min(max(p, 0.8), 1.2) * a) / demonstrated
                luffy[1] -= p / (p + 0.1) * a / size
            } else {
                srft[2] += (a > 0 ? -0.1 * exp(entropy) * x : a < 0 ? max(x, -20) : 0) / own
                luffy[0] -= exp(x - reference.oldLogProbabilities[index]) * a / size
            }
        }
        return (srft, luffy + [-0.5 * entropy])
    }

    @Test func theTermsAreWhatTheLossIsASumOf() throws {
        let entropy = reference.entropies.reduce(0, +) / Double(reference.tokens)
        let loops = termsByLoops(at: reference.logProbabilities, entropy: entropy)
        let cases: [(objective: any Objective, expected: [Double])] = [
            (SRFTSettings(), loops.srft), (LUFFYSettings(entropyCoefficient: 0.5), loops.luffy),
        ]
        for (objective, expected) in cases {
            let (inputs, policy, entropies) = try reference.inputs()
            let result = try objective.loss(inputs)
            #expect(objective.terms.count == expected.count && result.terms.count == expected.count)
            for (term, value) in zip(result.terms, expected) {
                #expect(abs(try term().item() - value) < 1e-12 && abs(value) > 1e-4, "\(objective.terms)")
            }
            #expect(abs(try result.loss.item() - expected.reduce(0, +)) < 1e-12)
            try result.loss.backward()
            let whole = (try #require(policy.gradient).doubles(), try entropies.gradient?.doubles())
            let (again, otherPolicy, otherEntropies) = try reference.inputs()
            for index in expected.indices { try objective.loss(again).terms[index]().backward() }  // they add up
            #expect(relativeError(try #require(otherPolicy.gradient).doubles(), whole.0) < 1e-12)
            #expect(
                relativeError(try otherEntropies.gradient?.doubles() ?? [], whole.1 ?? []) < 1e-12)
        }
        #expect(LUFFYSettings(entropyCoefficient: 0).terms == ["rollouts", "demonstrations"])
    }

    /// With the step's mean entropy the shares of two micro-batches add up to the whole.
    @Test func aCutChangesNothing() throws {
        let entropy = reference.entropies.reduce(0, +) / Double(reference.tokens)
        for objective in [LUFFYSettings() as any Objective, SRFTSettings()] {
            let whole = try objective.loss(reference.inputs().inputs).loss.item()
            let parts = try [[0, 3, 5], [1, 2, 4, 6, 7]].map {
                try objective.loss(reference.inputs($0, meanEntropy: entropy).inputs).loss.item()
            }
            #expect(abs(parts[0] + parts[1] - whole) < 1e-12)
        }
    }
}
