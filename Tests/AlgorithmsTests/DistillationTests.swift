import Algorithms
import Foundation
import Tensors
import TestSupport
import Testing

/// What `Tests/References/trl_gkd.py` wrote: the divergences of TRL's GKD trainer.
private struct GKDReference: Decodable, Sendable {
    struct Case: Decodable, Sendable {
        var beta: Double
        var temperature: Double
        var loss: Double
        var gradient: [Double]
    }

    /// `[4, 3]`, `[6, 3]`, `[4, 5]`, `[6, 5]`.
    var student: [Double], head: [Double], teacher: [Double], teacherHead: [Double]
    var cases: [Case]

    static func read() throws -> GKDReference {
        let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "trl_gkd.json")
        return try JSONDecoder().decode(GKDReference.self, from: Data(contentsOf: file))
    }
}

@TensorActor @Suite("Distillation")
struct DistillationTests {
    private func inputs(
        divergences: Tensor? = nil, logProbabilities: Tensor, advantages: [Double], old: [Double]? = nil
    ) throws -> PolicyLossInputs {
        PolicyLossInputs(
            logProbabilities: logProbabilities, oldLogProbabilities: try old.map { try Tensor($0).to(.float64) },
            exactDivergences: divergences, advantages: try Tensor(advantages).to(.float64),
            spans: try CompletionSpans(lengths: [3, 1]),
            denominators: Denominators(tokens: 4, sequences: 2, maxCompletionLength: 3))
    }

    /// The mean over tokens, through the kernel and the loss, with its gradient by the hidden states.
    @Test func theDivergenceIsThatOfGKD() throws {
        let reference = try GKDReference.read()
        #expect(reference.cases.count == 10)
        for example in reference.cases {
            let settings = DistillationSettings(beta: example.beta)
            let student = try Tensor(reference.student, shape: [4, 3]).to(.float64).requiringGradient()
            let divergences = try Tensor.divergence(
                hidden: student, head: Tensor(reference.head, shape: [6, 3]).to(.float64),
                referenceHidden: Tensor(reference.teacher, shape: [4, 5]).to(.float64),
                referenceHead: Tensor(reference.teacherHead, shape: [6, 5]).to(.float64),
                temperature: example.temperature, beta: settings.divergenceBeta)
            let result = try settings.loss(
                inputs(
                    divergences: divergences, logProbabilities: Tensor.zeros([4], .float64),
                    advantages: [0, 0, 0, 0]))
            try result.loss.backward()
            #expect(relativeError(try result.loss.item(), example.loss) < 1e-12)
            #expect(relativeError(try #require(student.gradient).doubles(), example.gradient) < 1e-11)
        }
    }

    /// ¼·(½·0.1 + 0·0.2 + ½·0.3 + 1·0.4) = 0.15; the number that is shown is the plain mean, 0.25.
    @Test func whatMultipliersLeaveTheTeacherIsItsWeight() throws {
        let divergences = try Tensor([0.1, 0.2, 0.3, 0.4]).to(.float64).requiringGradient()
        var weighted = try inputs(
            divergences: divergences, logProbabilities: Tensor.zeros([4], .float64), advantages: [0, 0, 0, 0])
        weighted.klWeights = try Tensor([0.5, 0, 0.5, 1]).to(.float64)
        let result = try DistillationSettings().loss(weighted)
        try result.loss.backward()
        #expect(try divergences.gradient?.doubles() == [0.125, 0, 0.125, 0.25])
        let found = try result.read()
        #expect(abs(found.loss - 0.15) < 1e-13)
        #expect(abs(try #require(found.metrics.metrics["distill/divergence"]) - 0.25) < 1e-13)
    }

    /// By loops: −(1/4) Σ min(ρA, clip(ρ)A), and the divergences on top where the loss has them.
    @Test func advantagesStandBesideIt() throws {
        let (own, old) = ([-1.0, -0.5, -2, -0.25], [-1.1, -0.1, -2.5, -0.25])
        let (advantages, divergences) = ([0.5, -1.0, 2, 0.75], [0.1, 0.2, 0.3, 0.4])
        func loops(_ own: [Double], full: Bool) -> Double {
            own.indices.reduce(0) { sum, i in
                let (ratio, a) = (exp(own[i] - old[i]), advantages[i])
                return sum - min(ratio * a, min(max(ratio, 0.8), 1.2) * a) + (full ? divergences[i] : 0)
            } / 4
        }
        for form in [DistillationSettings.Form.full, .sampled] {
            let logs = try Tensor(own).to(.float64).requiringGradient()
            let result = try DistillationSettings(form: form, usesAdvantages: true).loss(
                inputs(
                    divergences: Tensor(divergences).to(.float64), logProbabilities: logs, advantages: advantages,
                    old: old))
            let objective = DistillationSettings(form: form, usesAdvantages: true)
            #expect(objective.terms == (form == .full ? ["rewards", "teacher"] : []))
            let terms = try result.terms.map { try $0().item() }
            #expect(terms.count == objective.terms.count)
            for (term, expected) in zip(terms, [loops(own, full: false), 0.25]) {
                #expect(abs(term - expected) < 1e-12)
            }
            try result.loss.backward()
            #expect(abs(try result.loss.item() - loops(own, full: form == .full)) < 1e-12)
            let expected = centralDifferences(at: own) { loops($0, full: false) }
            #expect(relativeError(try #require(logs.gradient).doubles(), expected) < 1e-8)
        }
    }

    @Test func withoutTheTeachersDivergencesItIsAnError() throws {
        #expect(throws: LossError.self) {
            try DistillationSettings().loss(
                inputs(logProbabilities: Tensor.zeros([4], .float64), advantages: [0, 0, 0, 0]))
        }
    }
}
