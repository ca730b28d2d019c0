import Foundation
import Tensors
import TestSupport
import Testing

@TensorActor @Suite("Functions of each element against the C library's")
struct ElementwiseTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let tensor: @Sendable (Tensor) throws -> Tensor
        let number: @Sendable (Double) -> Double
        var range = -2.0...2.0
    }

    nonisolated static let cases = [
        Case(testDescription: "exp", tensor: { try $0.exp() }, number: { exp($0) }),
        Case(testDescription: "expm1", tensor: { try $0.expm1() }, number: { expm1($0) }),
        Case(testDescription: "log", tensor: { try $0.log() }, number: { log($0) }, range: 0.1...3),
        Case(testDescription: "sqrt", tensor: { try $0.sqrt() }, number: { $0.squareRoot() }, range: 0.1...3),
        Case(testDescription: "rsqrt", tensor: { try $0.rsqrt() }, number: { 1 / $0.squareRoot() }, range: 0.1...3),
        Case(testDescription: "square", tensor: { try $0.square() }, number: { $0 * $0 }),
        Case(testDescription: "abs", tensor: { try $0.abs() }, number: { abs($0) }),
        Case(testDescription: "sign", tensor: { try $0.sign() }, number: { $0 > 0 ? 1 : $0 < 0 ? -1 : 0 }),
        Case(testDescription: "sigmoid", tensor: { try $0.sigmoid() }, number: { 1 / (1 + exp(-$0)) }),
        Case(testDescription: "logSigmoid", tensor: { try $0.logSigmoid() }, number: { -log1p(exp(-$0)) }),
        Case(testDescription: "tanh", tensor: { try $0.tanh() }, number: { tanh($0) }),
        Case(testDescription: "cos", tensor: { try $0.cos() }, number: { cos($0) }),
        Case(testDescription: "sin", tensor: { try $0.sin() }, number: { sin($0) }),
        Case(testDescription: "logGamma", tensor: { try $0.logGamma() }, number: { lgamma($0) }, range: 0.1...5),
        Case(testDescription: "digamma", tensor: { try $0.digamma() }, number: digamma, range: 0.1...5),
    ]

    /// ψ(x) = ψ(x + n) − Σ 1/(x + k), and Stirling's series far out.
    private nonisolated static func digamma(_ x: Double) -> Double {
        let far = x + 15
        let steps = (0..<15).map { 1 / (x + Double($0)) }.reduce(0, +)
        let square = 1 / (far * far)
        let series = square * (1.0 / 12 - square * (1.0 / 120 - square * (1.0 / 252 - square / 240)))
        return log(far) - 1 / (2 * far) - series - steps
    }

    @Test("values and gradients", arguments: cases)
    func function(_ example: Case) throws {
        var numbers = TestRandom(seed: 5)
        let x = numbers.doubles(20, in: example.range)
        let expected = x.map(example.number)
        let found = try example.tensor(Tensor(x, shape: [4, 5]))
        #expect(found.shape == [4, 5])
        #expect(relativeError(try found.doubles(), expected) < 1e-13)
        #expect(relativeError(try example.tensor(Tensor(x).to(.float32)).doubles(), expected) < 1e-6)
        #expect(relativeError(try (found * 1.001).doubles(), expected) > 1e-4)  // the check can fail
        #expect(try gradientError(at: [(x, [4, 5])]) { try example.tensor($0[0]) } < 1e-7)
    }

    @Test("no overflow far from 0")
    func extremes() throws {
        let far = try Tensor([-1000.0, 1000])
        #expect(try far.sigmoid().doubles() == [0, 1])
        #expect(try far.logSigmoid().doubles() == [-1000, 0])
        #expect(try Tensor([1e-20]).expm1().doubles() == [1e-20])
    }

    @Test("a function without meaning for integers makes float32")
    func integers() throws {
        let result = try Tensor([0, 1]).exp()
        #expect(result.elementType == .float32)
        #expect(relativeError(try result.doubles(), [1, M_E]) < 1e-6)
    }
}
