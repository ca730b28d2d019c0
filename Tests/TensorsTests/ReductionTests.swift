import Foundation
import Tensors
import TestSupport
import Testing

@TensorActor @Suite("Reductions against plain loops")
struct ReductionTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let axis: @Sendable (Tensor, Int, Bool) throws -> Tensor
        let all: @Sendable (Tensor) throws -> Tensor
        let list: @Sendable ([Double]) -> Double
    }

    nonisolated static let cases = [
        Case(
            testDescription: "sum", axis: { try $0.sum(axis: $1, keepsAxis: $2) }, all: { try $0.sum() },
            list: { $0.reduce(0, +) }),
        Case(
            testDescription: "mean", axis: { try $0.mean(axis: $1, keepsAxis: $2) }, all: { try $0.mean() },
            list: { $0.reduce(0, +) / Double($0.count) }),
    ]

    @Test("over rows, columns and everything, with gradients", arguments: cases)
    func reduction(_ example: Case) throws {
        var numbers = TestRandom(seed: 8)
        let values = numbers.doubles(12)
        let tensor = try Tensor(values, shape: [3, 4])
        let rows = (0..<3).map { row in example.list((0..<4).map { values[4 * row + $0] }) }
        let columns = (0..<4).map { column in example.list((0..<3).map { values[4 * $0 + column] }) }
        #expect(relativeError(try example.axis(tensor, 1, false).doubles(), rows) < 1e-14)
        #expect(relativeError(try example.axis(tensor, -1, false).doubles(), rows) < 1e-14)
        #expect(relativeError(try example.axis(tensor, 0, false).doubles(), columns) < 1e-14)
        #expect(try example.axis(tensor, 0, true).shape == [1, 4])
        let all = try example.all(tensor)
        #expect(all.shape == [])
        #expect(relativeError(try all.item(), example.list(values)) < 1e-14)
        #expect(try gradientError(at: [(values, [3, 4])]) { try example.axis($0[0], 1, false) } < 1e-7)
        #expect(try gradientError(at: [(values, [3, 4])]) { try example.all($0[0]) } < 1e-7)
        #expect(throws: TensorError.self) { try example.axis(tensor, 2, false) }
    }

    @Test("the largest element; equal ones share the gradient")
    func largest() throws {
        #expect(try Tensor([-1.0, 3, 2, -4], shape: [2, 2]).max().doubles() == [3])
        #expect(try Tensor([1.0, .nan, 2]).max().doubles()[0].isNaN)
        let x = try Tensor([1.0, 3, 3]).requiringGradient()
        try x.max().backward()
        #expect(try x.gradient?.doubles() == [0, 0.5, 0.5])
    }

    @Test("argmax gives the lowest index among equals, at every width that vector code may take")
    func argmax() throws {
        for width in [1, 2, 7, 8, 16, 33, 1000] {
            let values = [Float](repeating: 2, count: width)
            #expect(try Tensor(values).argmax(axis: 0).integers() == [0])
            var later = values
            later[0] = 1
            #expect(try Tensor(later).argmax(axis: 0).integers() == [min(1, width - 1)])
        }
        let rows = try Tensor([1.0, 5, 5, 7, 7, 0], shape: [2, 3])
        #expect(try rows.argmax(axis: 1).integers() == [1, 0])
        #expect(try rows.argmax(axis: 1, keepsAxis: true).shape == [2, 1])
        #expect(try rows.argmax(axis: 0).integers() == [1, 1, 0])
    }

    @Test("softmax and log-softmax, also far from 0 and with impossible entries")
    func softmax() throws {
        var numbers = TestRandom(seed: 9)
        let values = numbers.doubles(10, in: -3...3)
        let total = values.map { exp($0) }.reduce(0, +)
        let tensor = try Tensor(values)
        #expect(relativeError(try tensor.softmax(axis: 0).doubles(), values.map { exp($0) / total }) < 1e-13)
        #expect(relativeError(try tensor.logSoftmax(axis: 0).doubles(), values.map { $0 - log(total) }) < 1e-13)
        let shifted = try (tensor + 1000).logSoftmax(axis: 0).doubles()
        #expect(relativeError(shifted, values.map { $0 - log(total) }) < 1e-11)
        #expect(try Tensor([0.0, -.infinity]).softmax(axis: 0).doubles() == [1, 0])
        #expect(try gradientError(at: [(values, [2, 5])]) { try $0[0].softmax(axis: 1) } < 1e-7)
        #expect(try gradientError(at: [(values, [2, 5])]) { try $0[0].logSoftmax(axis: 0) } < 1e-7)
    }

    @Test("allFinite sees one bad element anywhere, and is not misled by an overflowing sum")
    func allFinite() throws {
        for bad in [Float.infinity, -.infinity, .nan] {
            for index in [0, 500, 999] {
                var values = [Float](repeating: 1, count: 1000)
                #expect(try Tensor(values).allFinite())
                values[index] = bad
                #expect(try !Tensor(values).allFinite())
            }
        }
        #expect(try Tensor([Float](repeating: 3e38, count: 8)).allFinite())
        #expect(try !Tensor([Float.infinity, -.infinity]).allFinite())
        #expect(try Tensor([Int.max, Int.max]).allFinite())
        #expect(try !Tensor([Float.infinity]).to(.bfloat16).allFinite())
    }

    @Test("segment sums, also out of order, empty and interleaved")
    func segmentSum() throws {
        let values = try Tensor([1.0, 2, 4, 8, 16])
        let segments = try Tensor([2, 0, 2, 0, 3])
        #expect(try values.segmentSum(segments, count: 5).doubles() == [10, 0, 5, 16, 0])
        let grouped: ([Tensor]) throws -> Tensor = { try $0[0].segmentSum(segments, count: 4).square() }
        #expect(try gradientError(at: [([1, 2, 4, 8, 16], [5])], of: grouped) < 1e-7)
        #expect(try Tensor([Float]()).segmentSum(Tensor([Int]()), count: 2).floats() == [0, 0])
        #expect(throws: TensorError.self) { try values.segmentSum(Tensor([0, 0, 0, 0, 5]), count: 5) }
        #expect(throws: TensorError.self) { try values.segmentSum(Tensor([0, 0, 0, 0, -1]), count: 5) }
        #expect(throws: TensorError.shape(operation: "segmentSum", expected: "[5]", got: [2])) {
            try values.segmentSum(Tensor([0, 1]), count: 5)
        }
    }

    @Test("a long segment of float32 is added in float64 and rounded once")
    func segmentPrecision() throws {
        let values = [Float](repeating: 0.1, count: 100_000)
        let sum = try Tensor(values).segmentSum(Tensor([Int](repeating: 0, count: values.count)), count: 1)
        #expect(try sum.floats() == [Float(100_000 * Double(Float(0.1)))])
    }

    @Test("the largest elements of each row, largest first")
    func topK() throws {
        var numbers = TestRandom(seed: 4)
        let values = numbers.doubles(21)
        let (largest, indices) = try Tensor(values, shape: [3, 7]).topK(3)
        let found = try indices.integers()
        for row in 0..<3 {
            let order = (0..<7).sorted { values[7 * row + $0] > values[7 * row + $1] }
            #expect(Array(found[3 * row..<3 * row + 3]) == Array(order[..<3]))
        }
        #expect(try largest.doubles() == found.enumerated().map { values[7 * ($0 / 3) + $1] })
        #expect(throws: TensorError.self) { try Tensor(values, shape: [3, 7]).topK(8) }
    }
}
