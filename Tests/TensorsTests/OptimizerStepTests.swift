import Foundation
import Tensors
import TestSupport
import Testing

@TensorActor @Suite("AdamW, norms and scaling over lists")
struct OptimizerStepTests {
    /// Loshchilov & Hutter 2019, algorithm 2, in plain loops.
    private struct PlainAdamW {
        var values: [Double], first: [Double], second: [Double]
        let rate, beta1, beta2, epsilon, decay: Double

        mutating func step(_ t: Int, _ gradient: [Double]) {
            for i in values.indices {
                values[i] -= rate * decay * values[i]
                first[i] = beta1 * first[i] + (1 - beta1) * gradient[i]
                second[i] = beta2 * second[i] + (1 - beta2) * gradient[i] * gradient[i]
                let m = first[i] / (1 - Foundation.pow(beta1, Double(t)))
                let v = second[i] / (1 - Foundation.pow(beta2, Double(t)))
                values[i] -= rate * m / (v.squareRoot() + epsilon)
            }
        }
    }

    @Test("twenty steps equal the plain algorithm", arguments: [ElementType.float64, .float32], [0, 0.1])
    func adamW(_ type: ElementType, _ decay: Double) throws {
        var numbers = SeededNumbers(seed: 31)
        let sizes = [37, 1, 0, 260]  // whole vectors of the kernel, rests of them, and nothing
        var plain = sizes.map { size in
            PlainAdamW(
                values: numbers.doubles(size), first: [Double](repeating: 0, count: size),
                second: [Double](repeating: 0, count: size), rate: 0.01, beta1: 0.9, beta2: 0.98, epsilon: 1e-8,
                decay: decay)
        }
        let parameters = try plain.map { try Tensor($0.values).to(type).requiringGradient() }
        let first = try sizes.map { try Tensor.zeros([$0], type) }
        let second = try sizes.map { try Tensor.zeros([$0], type) }
        for step in 1...20 {
            let gradients = sizes.map { numbers.doubles($0) }
            for i in sizes.indices { plain[i].step(step, gradients[i]) }
            try Tensor.adamWStep(
                parameters: parameters, gradients: gradients.map { try Tensor($0).to(type) }, firstMoments: first,
                secondMoments: second, step: step, learningRate: 0.01, beta1: 0.9, beta2: 0.98, epsilon: 1e-8,
                weightDecay: decay)
        }
        let tolerance = type == .float64 ? 1e-12 : 1e-5
        for i in sizes.indices {
            #expect(relativeError(try parameters[i].doubles(), plain[i].values) < tolerance)
            #expect(relativeError(try first[i].doubles(), plain[i].first) < tolerance)
            #expect(relativeError(try second[i].doubles(), plain[i].second) < tolerance)
        }
        #expect(parameters.allSatisfy { $0.requiresGradient })
    }

    @Test("lists that do not go together are refused before the kernel sees them")
    func refused() throws {
        func step(
            _ gradient: Tensor, first: Tensor, at step: Int = 1, parameter: Tensor? = nil
        ) throws {
            let parameter = try parameter ?? Tensor.ones([2, 2])
            try Tensor.adamWStep(
                parameters: [parameter], gradients: [gradient], firstMoments: [first],
                secondMoments: [Tensor.zeros([2, 2])], step: step, learningRate: 0.1, beta1: 0.9, beta2: 0.99,
                epsilon: 1e-8, weightDecay: 0)
        }
        let good = try Tensor.zeros([2, 2])
        #expect(throws: Never.self) { try step(good, first: good) }
        let error = try #require(throws: TensorError.self) { try step(Tensor.zeros([3]), first: good) }
        #expect(error.description == "adamWStep: gradient 0 is CPUFloatType [3], its parameter CPUFloatType [2, 2]")
        #expect(throws: TensorError.self) { try step(good, first: Tensor.zeros([2, 2], .float64)) }
        #expect(throws: TensorError.self) { try step(good, first: good.transposed(0, 1)) }
        #expect(throws: TensorError.self) { try step(good, first: good, parameter: good.transposed(0, 1)) }
        #expect(throws: TensorError.self) { try step(good, first: good, at: 0) }
        #expect(throws: TensorError.self) {
            try Tensor.adamWStep(
                parameters: [good], gradients: [], firstMoments: [good], secondMoments: [good], step: 1,
                learningRate: 0.1, beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0)
        }
    }

    @Test("a gradient in another layout is stepped in the parameter's order")
    func transposedGradient() throws {
        let parameter = try Tensor.zeros([2, 2])
        try Tensor.adamWStep(
            parameters: [parameter], gradients: [Tensor([Float(1), -1, 1, 1], shape: [2, 2]).transposed(0, 1)],
            firstMoments: [Tensor.zeros([2, 2])], secondMoments: [Tensor.zeros([2, 2])], step: 1, learningRate: 1,
            beta1: 0.9, beta2: 0.99, epsilon: 0, weightDecay: 0)
        // The first step moves by the rate against the gradient's sign.
        #expect(relativeError(try parameter.floats(), [-1, -1, 1, -1]) < 1e-6)
    }

    @Test("the norm of a list is added in float64, over every type and layout")
    func norm() throws {
        // 3² + 4² + 12² = 13²
        let list = try [
            Tensor([3.0]), Tensor([Float(4)], shape: [1, 1]), Tensor([12.0]).to(.bfloat16), Tensor([Float]()),
        ]
        #expect(relativeError(try Tensor.norm(of: list), 13) < 1e-12)
        #expect(try Tensor.norm(of: []) == 0)
        var numbers = SeededNumbers(seed: 41)
        let values = numbers.doubles(1003)
        let expected = values.map { $0 * $0 }.reduce(0, +).squareRoot()
        #expect(relativeError(try Tensor.norm(of: [Tensor(values)]), expected) < 1e-13)
        let columns = try Tensor(values, shape: [17, 59]).transposed(0, 1)
        #expect(relativeError(try Tensor.norm(of: [columns]), expected) < 1e-13)
        #expect(relativeError(try Tensor.norm(of: [Tensor([Float](repeating: 1e25, count: 4))]), 2e25) < 1e-7)
        #expect(try Tensor.norm(of: [Tensor([1.0, .nan])]).isNaN)
        #expect(try Tensor.norm(of: [Tensor([Float(1), -.infinity])]) == .infinity)
    }

    @Test("a list is scaled in place")
    func scale() throws {
        let list = try [Tensor([1.0, 2]).requiringGradient(), Tensor([Float(3)])]
        try Tensor.scaleInPlace(list, by: 0.5)
        #expect(try list.map { try $0.doubles() } == [[0.5, 1], [1.5]])
        try Tensor.scaleInPlace([], by: 2)
    }
}
