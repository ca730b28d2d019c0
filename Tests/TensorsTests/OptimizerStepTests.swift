import Foundation
import Tensors
import TestSupport
import Testing

@TensorActor @Suite("Steps of AdamW, its 8-bit form and Lion; norms and scaling over lists")
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
        var numbers = TestRandom(seed: 31)
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

    /// Chen et al. 2023, algorithm 2, in plain loops, over lengths of whole tasks of the kernel and a rest.
    @Test("Lion's six steps equal the plain algorithm", arguments: [ElementType.float64, .float32])
    func lion(_ type: ElementType) throws {
        var numbers = TestRandom(seed: 37)
        for size in [0, 5, 16384 + 77] {
            var (values, momentum) = (numbers.doubles(size), [Double](repeating: 0, count: size))
            let parameter = try Tensor(values).to(type).requiringGradient()
            let kept = try Tensor.zeros([size], type)
            for _ in 0..<6 {
                // Zeros among them, whose first sign is 0.
                let gradient = numbers.doubles(size).enumerated().map { $0 % 7 == 0 ? 0 : $1 }
                for i in values.indices {
                    let mix = 0.9 * momentum[i] + (1 - 0.9) * gradient[i]
                    values[i] -= 0.01 * (0.1 * values[i] + (mix > 0 ? 1 : mix < 0 ? -1 : 0))
                    momentum[i] = 0.98 * momentum[i] + (1 - 0.98) * gradient[i]
                }
                try Tensor.lionStep(
                    parameter: parameter, gradient: Tensor(gradient).to(type), momentum: kept, learningRate: 0.01,
                    beta1: 0.9, beta2: 0.98, weightDecay: 0.1)
            }
            #expect(relativeError(try parameter.doubles(), values) < (type == .float64 ? 1e-12 : 1e-5))
            #expect(relativeError(try kept.doubles(), momentum) < (type == .float64 ? 1e-12 : 1e-5))
        }
    }

    /// The 256 numbers by their definition: 0, 1 and the middles of equal parts of 0.1 ... 1 at seven powers of ten.
    private func dynamicMap(isSigned: Bool) -> [Float] {
        var numbers: [Float] = [0, 1]
        for power in 0..<7 {
            let count = (isSigned ? 1 : 2) << power
            for part in 0..<count {
                let middle = Float(
                    Foundation.pow(10, Double(power - 6)) * (0.1 + 0.9 * (Double(part) + 0.5) / Double(count)))
                numbers += isSigned ? [middle, -middle] : [middle]
            }
        }
        return numbers.sorted()
    }

    /// A block's bytes by a search through all 256 numbers, and its scale.
    private func encoded(_ values: ArraySlice<Double>, _ map: [Float]) -> (bytes: [UInt8], scale: Float) {
        let largest = values.map(abs).max()!
        let inverse = largest > 0 ? 1 / largest : 0
        let bytes = values.map { value in
            let x = Float(value * inverse)
            return UInt8((1..<256).count { x > 0.5 * (map[$0 - 1] + map[$0]) })
        }
        return (bytes, Float(largest))
    }

    /// Dettmers et al. 2021 in plain loops: two blocks and a part of one, sizes of a gradient from 1 to 10⁻⁸.
    @Test("AdamW with byte moments equals the plain algorithm to the byte")
    func adamW8bit() throws {
        var numbers = TestRandom(seed: 43)
        let (size, blocks) = (600, 3)
        #expect(CodedTensor.blockCount(size) == blocks)
        let maps = [dynamicMap(isSigned: true), dynamicMap(isSigned: false)]
        var values = numbers.doubles(size)
        var bytes = [[UInt8]](repeating: [UInt8](repeating: 0, count: size), count: 2)
        var scales = [[Float]](repeating: [Float](repeating: 0, count: blocks), count: 2)
        let parameter = try Tensor(values).requiringGradient()
        let coded = try (0..<2).map { _ in
            CodedTensor(bytes: try Tensor.zeros([size], .uint8), scales: try Tensor.zeros([blocks]))
        }
        for step in 1...6 {
            let gradient = numbers.doubles(size).enumerated().map { $1 * Foundation.pow(10, -Double($0 % 9)) }
            var moments = (0..<2).map { which in
                (0..<size).map { Double(maps[which][Int(bytes[which][$0])] * scales[which][$0 / 256]) }
            }
            for i in 0..<size {
                moments[0][i] = 0.9 * moments[0][i] + (1 - 0.9) * gradient[i]
                moments[1][i] = 0.99 * moments[1][i] + (1 - 0.99) * gradient[i] * gradient[i]
                let m = moments[0][i] / (1 - Foundation.pow(0.9, Double(step)))
                let v = moments[1][i] / (1 - Foundation.pow(0.99, Double(step)))
                values[i] -= 0.01 * (0.1 * values[i] + m / (v.squareRoot() + 1e-8))
            }
            for (which, block) in (0..<2).flatMap({ which in (0..<blocks).map { (which, $0) } }) {
                let range = block * 256..<min(size, (block + 1) * 256)
                let found = encoded(moments[which][range], maps[which])
                bytes[which].replaceSubrange(range, with: found.bytes)
                scales[which][block] = found.scale
            }
            try Tensor.adamW8bitStep(
                parameter: parameter, gradient: Tensor(gradient), firstMoment: coded[0], secondMoment: coded[1],
                step: step, learningRate: 0.01, beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0.1)
            #expect(relativeError(try parameter.doubles(), values) < 1e-12)
            for which in 0..<2 {
                #expect(try coded[which].bytes.integers() == bytes[which].map(Int.init))
                #expect(relativeError(try coded[which].scales.floats(), scales[which].map(Double.init)) < 1e-6)
            }
        }
        let first = try coded[0].decoded(isSigned: true).floats()
        #expect(first == (0..<size).map { maps[0][Int(bytes[0][$0])] * scales[0][$0 / 256] })
        #expect(Set(bytes[0]).count > 50 && Set(bytes[1]).count > 50)
    }

    /// In float32 it is the same step to rounding, whose bytes differ where a number lies between two.
    @Test("byte moments of a float32 parameter are those of a float64 one but for rounding")
    func adamW8bitInBothTypes() throws {
        var numbers = TestRandom(seed: 47)
        let size = 32 * 256 * 3 + 19  // three whole tasks of the kernel and a rest
        let (start, gradient) = (numbers.doubles(size), numbers.doubles(size))
        let found = try [ElementType.float32, .float64].map { type in
            let parameter = try Tensor(start).to(type)
            let coded = try (0..<2).map { _ in
                CodedTensor(
                    bytes: try Tensor.zeros([size], .uint8), scales: try Tensor.zeros([CodedTensor.blockCount(size)]))
            }
            try Tensor.adamW8bitStep(
                parameter: parameter, gradient: Tensor(gradient).to(type), firstMoment: coded[0],
                secondMoment: coded[1], step: 1, learningRate: 0.01, beta1: 0.9, beta2: 0.99, epsilon: 1e-12,
                weightDecay: 0)
            return (values: try parameter.doubles(), bytes: try coded.flatMap { try $0.bytes.integers() })
        }
        #expect(relativeError(found[0].values, found[1].values) < 1e-6)
        #expect(zip(found[0].bytes, found[1].bytes).count { $0 != $1 } < 20)
        // The first step moves by the rate against the gradient's sign.
        #expect(relativeError(zip(start, gradient).map { $0 - 0.01 * ($1 > 0 ? 1 : -1) }, found[1].values) < 1e-6)
    }

    @Test("bytes that do not go with their parameter are refused")
    func refusedBytes() throws {
        func coded(_ shape: [Int], blocks: Int, _ type: ElementType = .uint8) throws -> CodedTensor {
            CodedTensor(bytes: try Tensor.zeros(shape, type), scales: try Tensor.zeros([blocks]))
        }
        func step(_ first: CodedTensor, gradient: Tensor? = nil, at number: Int = 1) throws {
            try Tensor.adamW8bitStep(
                parameter: Tensor.zeros([300]), gradient: gradient ?? Tensor.zeros([300]), firstMoment: first,
                secondMoment: coded([300], blocks: 2), step: number, learningRate: 1, beta1: 0.9, beta2: 0.9,
                epsilon: 1, weightDecay: 0)
        }
        #expect(throws: Never.self) { try step(coded([300], blocks: 2)) }
        for wrong in try [coded([300], blocks: 1), coded([301], blocks: 2), coded([300], blocks: 2, .int64)] {
            #expect(throws: TensorError.self) { try step(wrong) }
        }
        #expect(throws: TensorError.self) { try step(coded([300], blocks: 2), gradient: Tensor.zeros([299])) }
        #expect(throws: TensorError.self) { try step(coded([300], blocks: 2), at: 0) }
        #expect(throws: TensorError.self) {
            try Tensor.lionStep(
                parameter: Tensor.zeros([3]), gradient: Tensor.zeros([3]), momentum: Tensor.zeros([3], .float64),
                learningRate: 1, beta1: 0.9, beta2: 0.9, weightDecay: 0)
        }
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
        var numbers = TestRandom(seed: 41)
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
