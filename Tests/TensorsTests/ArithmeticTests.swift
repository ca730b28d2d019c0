import Tensors
import TestSupport
import Testing

@TensorActor @Suite("Arithmetic on each element against plain loops")
struct ArithmeticTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let tensors: @Sendable (Tensor, Tensor) throws -> Tensor
        let numbers: @Sendable (Double, Double) -> Double
    }

    nonisolated static let cases = [
        Case(testDescription: "+", tensors: { try $0 + $1 }, numbers: { $0 + $1 }),
        Case(testDescription: "-", tensors: { try $0 - $1 }, numbers: { $0 - $1 }),
        Case(testDescription: "*", tensors: { try $0 * $1 }, numbers: { $0 * $1 }),
        Case(testDescription: "/", tensors: { try $0 / $1 }, numbers: { $0 / $1 }),
        Case(testDescription: "minimum", tensors: { try minimum($0, $1) }, numbers: { min($0, $1) }),
        Case(testDescription: "maximum", tensors: { try maximum($0, $1) }, numbers: { max($0, $1) }),
        Case(
            testDescription: "where", tensors: { try Tensor.where($0.greater(than: $1), $0 * 2, $1 * 3) },
            numbers: { $0 > $1 ? $0 * 2 : $1 * 3 }),
        Case(testDescription: "+ number", tensors: { a, _ in try a + 1.5 }, numbers: { a, _ in a + 1.5 }),
        Case(testDescription: "number +", tensors: { a, _ in try 1.5 + a }, numbers: { a, _ in a + 1.5 }),
        Case(testDescription: "- number", tensors: { a, _ in try a - 1.5 }, numbers: { a, _ in a - 1.5 }),
        Case(testDescription: "number -", tensors: { a, _ in try 1.5 - a }, numbers: { a, _ in 1.5 - a }),
        Case(testDescription: "* number", tensors: { a, _ in try a * 1.5 }, numbers: { a, _ in a * 1.5 }),
        Case(testDescription: "number *", tensors: { a, _ in try 1.5 * a }, numbers: { a, _ in a * 1.5 }),
        Case(testDescription: "/ number", tensors: { a, _ in try a / 1.5 }, numbers: { a, _ in a / 1.5 }),
        Case(testDescription: "number /", tensors: { a, _ in try 1.5 / a }, numbers: { a, _ in 1.5 / a }),
        Case(testDescription: "minus", tensors: { a, _ in try -a }, numbers: { a, _ in -a }),
        Case(
            testDescription: "clamped", tensors: { a, _ in try a.clamped(to: -0.3...0.4) },
            numbers: { a, _ in min(max(a, -0.3), 0.4) }),
        Case(
            testDescription: "minimum with a number", tensors: { a, _ in try minimum(a, 0.1) },
            numbers: { a, _ in min(a, 0.1) }),
        Case(
            testDescription: "maximum with a number", tensors: { a, _ in try maximum(a, 0.1) },
            numbers: { a, _ in max(a, 0.1) }),
        Case(
            testDescription: "filled", tensors: { try $0.filled(where: $1.less(than: 0), with: 7) },
            numbers: { $1 < 0 ? 7 : $0 }),
    ]

    @Test("values in float64 and float32, and gradients", arguments: cases)
    func operation(_ example: Case) throws {
        var numbers = TestRandom(seed: 11)
        let (a, b) = (numbers.doubles(12), numbers.doubles(12))
        let expected = zip(a, b).map(example.numbers)
        let found = try example.tensors(Tensor(a, shape: [3, 4]), Tensor(b, shape: [3, 4]))
        #expect(found.shape == [3, 4])
        #expect(relativeError(try found.doubles(), expected) < 1e-14)
        let single = try example.tensors(Tensor(a).to(.float32), Tensor(b).to(.float32))
        #expect(single.elementType == .float32)
        #expect(relativeError(try single.doubles(), expected) < 1e-6)
        let used = a.indices.contains { example.numbers(a[$0], b[$0]) != example.numbers(a[$0], b[$0] + 0.01) }
        let inputs = [(values: a, shape: [3, 4])] + (used && example.testDescription != "filled" ? [(b, [3, 4])] : [])
        let error = try gradientError(at: inputs) { leaves in
            try example.tensors(leaves[0], leaves.count > 1 ? leaves[1] : Tensor(b, shape: [3, 4]))
        }
        #expect(error < 1e-7)
    }

    @Test("an axis of size 1 stands for any size, with the gradient added up over it")
    func broadcast() throws {
        let a = try Tensor([1.0, 2, 3], shape: [3, 1]).requiringGradient()
        let b = try Tensor([10.0, 20], shape: [1, 2]).requiringGradient()
        let product = try a * b
        #expect(try product.doubles() == [10, 20, 20, 40, 30, 60])
        try product.sum().backward()
        #expect(try a.gradient?.doubles() == [30, 30, 30])
        #expect(try b.gradient?.doubles() == [6, 6])
        #expect(try (a * Tensor.full([], 2, .float64)).doubles() == [2, 4, 6])
    }

    @Test("another number of axes is an error that says what to write")
    func ranks() throws {
        let error = try #require(throws: TensorError.self) { try Tensor.ones([4, 3]) * Tensor.ones([3]) }
        #expect(
            error
                == .shape(
                    operation: "*", expected: "as many axes as [4, 3] (write unsqueezed to add one)", got: [3]))
    }

    @Test("sizes that do not fit are an error in libtorch's words")
    func sizes() throws {
        let error = try #require(throws: TensorError.self) { try Tensor.ones([4, 3]) + Tensor.ones([4, 2]) }
        guard case .engine(operation: "+", let message) = error else {
            Issue.record("expected an engine error, got \(error)")
            return
        }
        #expect(message == "The size of tensor a (3) must match the size of tensor b (2) at non-singleton dimension 1")
    }

    @Test("a whole number leaves integers integers, another makes float32, and division always does")
    func integers() throws {
        let tensor = try Tensor([1, 2, 3])
        for (result, expected) in try [
            (tensor + 2, [3, 4, 5]), (2 - tensor, [1, 0, -1]), (tensor * -3, [-3, -6, -9]),
            (tensor.clamped(to: 2...9), [2, 2, 3]), (maximum(tensor, 2), [2, 2, 3]),
        ] {
            #expect(result.elementType == .int64)
            #expect(try result.integers() == expected)
        }
        #expect(try (tensor + 0.5).elementType == .float32)
        #expect(try (tensor / 2).doubles() == [0.5, 1, 1.5])
        #expect(try tensor.equal(to: 2).booleans() == [false, true, false])
        #expect(try tensor.greater(than: 1.5).booleans() == [false, true, true])
    }

    @Test("float32 times a Double stays float32; bfloat16 beside float32 becomes float32")
    func promotion() throws {
        #expect(try (Tensor.ones([1]) * 0.1).elementType == .float32)
        #expect(try (Tensor.ones([1], .bfloat16) + Tensor.ones([1])).elementType == .float32)
        #expect(try (Tensor.ones([1], .bfloat16) * 3).elementType == .bfloat16)
    }

    @Test("comparisons and logic")
    func comparisons() throws {
        let a = try Tensor([1.0, 2, .nan])
        let b = try Tensor([2.0, 2, 2])
        #expect(try a.less(than: b).booleans() == [true, false, false])
        #expect(try a.lessOrEqual(to: b).booleans() == [true, true, false])
        #expect(try a.greater(than: b).booleans() == [false, false, false])
        #expect(try a.equal(to: b).booleans() == [false, true, false])
        #expect(try a.less(than: 2).booleans() == [true, false, false])
        #expect(try a.lessOrEqual(to: 1).booleans() == [true, false, false])
        let (yes, no) = (try Tensor([true, true, false]), try Tensor([true, false, false]))
        #expect(try yes.logicalAnd(no).booleans() == [true, false, false])
        #expect(try yes.logicalNot().booleans() == [false, false, true])
    }
}
