import Tensors
import TestSupport
import Testing

@TensorActor @Suite("Packed matrices against plain loops")
struct PackedMatrixTests {
    /// Rows below, at and above what is multiplied together; outputs that do not fill a panel; inputs beyond one piece.
    @Test(arguments: [
        (1, 1, 1), (1, 576, 33), (2, 7, 32), (3, 64, 31), (6, 100, 64), (7, 1025, 5), (12, 40, 96), (13, 300, 70),
        (26, 128, 64), (30, 129, 65), (97, 20, 40), (200, 1500, 33),
    ])
    func products(_ rows: Int, _ inputs: Int, _ outputs: Int) throws {
        var numbers = TestRandom(seed: UInt64(rows * inputs))
        let (x, w, b) = (numbers.doubles(rows * inputs), numbers.doubles(outputs * inputs), numbers.doubles(outputs))
        let narrowed = [x, w, b].map { $0.map { Double(Float($0)) } }
        let expected = (0..<rows).flatMap { row in
            (0..<outputs).map { output in
                (0..<inputs).reduce(narrowed[2][output]) {
                    $0 + narrowed[0][row * inputs + $1] * narrowed[1][output * inputs + $1]
                }
            }
        }
        let matrix = try PackedMatrix(Tensor(w, shape: [outputs, inputs]).to(.float32), as: .float32)
        let input = try Tensor(x, shape: [rows, inputs]).to(.float32)
        let found = try input.linear(weight: matrix, bias: Tensor(b).to(.float32))
        #expect(found.shape == [rows, outputs])
        // Rounding of a sum of n terms of at most 1 each.
        let limit = 1e-7 * Double(inputs + 1)
        #expect(try zip(found.doubles(), expected).allSatisfy { abs($0 - $1) < limit })
        #expect(matrix.byteCount == (outputs + 31) / 32 * 32 * inputs * 4)
    }

    /// What stands beside a row changes none of its bits.
    @Test(arguments: [PackedMatrix.Form.float32, .int8])
    func aRowIsTheSameWhateverStandsBesideIt(_ form: PackedMatrix.Form) throws {
        var numbers = TestRandom(seed: 5)
        let matrix = try PackedMatrix(Tensor(numbers.doubles(50 * 1100), shape: [50, 1100]).to(.float32), as: form)
        let all = try Tensor(numbers.doubles(40 * 1100), shape: [40, 1100]).to(.float32)
        let together = try all.linear(weight: matrix)
        for (start, count) in [(0, 1), (3, 1), (5, 7), (20, 13), (39, 1)] {
            let some = try all.narrow(axis: 0, start: start, count: count).linear(weight: matrix)
            #expect(try some.floats() == together.narrow(axis: 0, start: start, count: count).floats())
        }
    }

    /// Several matrices together make what each makes alone, to the bit; panels that are not full stand between them.
    @Test(arguments: [PackedMatrix.Form.float32, .int8])
    func togetherOrApart(_ form: PackedMatrix.Form) throws {
        var numbers = TestRandom(seed: 11)
        let matrices = try [70, 5, 64].map { outputs in
            try PackedMatrix(Tensor(numbers.doubles(outputs * 130), shape: [outputs, 130]).to(.float32), as: form)
        }
        let biases = [nil, try Tensor(numbers.doubles(5)).to(.float32), nil]
        for rows in [1, 40] {
            let x = try Tensor(numbers.doubles(rows * 130), shape: [rows, 130]).to(.float32)
            let together = try x.linear(weights: matrices, biases: biases)
            for (found, (matrix, bias)) in zip(together, zip(matrices, biases)) {
                #expect(try found.floats() == x.linear(weight: matrix, bias: bias).floats())
            }
        }
    }

    /// Scales, ties to even, the largest, a row of zeros and a negative zero, by hand. The scale of the first row is
    /// 127 / 127 = 1: 0.5 → 0, 1.5 → 2, 2.5 → 2, −0.5 → 0, −127 → −127. Of the second 254 / 127 = 2: 3 / 2 → 2,
    /// 254 → 127, −1 / 2 → 0.
    @Test func eightBits() throws {
        let rows: [[Float]] = [[0.5, 1.5, 2.5, -0.5, -127], [3, 254, -1, 0, 5], [0, -0.0, 0, 0, 0]]
        let matrix = try PackedMatrix(Tensor(rows.flatMap { $0 }, shape: [3, 5]), as: .int8)
        #expect(try matrix.elements.shape == [1, 5, 32] && matrix.scales?.floats().prefix(4) == [1, 2, 1, 1])
        // A one at each input reads a column of scale · q.
        let unit = try Tensor(
            (0..<5).flatMap { input in (0..<5).map { $0 == input ? Float(1) : 0 } }, shape: [5, 5])
        let columns = try unit.linear(weight: matrix).floats()
        let read = (0..<3).map { row in (0..<5).map { columns[$0 * 3 + row] } }
        #expect(read == [[0, 2, 2, 0, -127], [4, 254, 0, 0, 4], [0, 0, 0, 0, 0]])
        #expect(matrix.byteCount == 5 * 32 + 4 * 32)
    }

    /// Of more rows than one task takes; bfloat16 beside it.
    @Test func anyNumberOfThreadsMakesTheSame() throws {
        var numbers = TestRandom(seed: 8)
        let weights = try Tensor(numbers.doubles(704 * 300), shape: [704, 300]).to(.float32)
        let count = TensorEngine.threadCount
        defer { #expect(throws: Never.self) { try TensorEngine.setThreadCount(count) } }
        func made(by threads: Int) throws -> [[UInt8]] {
            try TensorEngine.setThreadCount(threads)
            let matrix = try PackedMatrix(weights, as: .int8)
            let scales = try #require(matrix.scales)
            let wide = try PackedMatrix(weights, as: .float32)
            let all = try [matrix.elements, scales, wide.elements, weights.to(.bfloat16)]
            return try all.map { tensor in try tensor.withBytes { Array($0) } }
        }
        #expect(try made(by: 1) == made(by: 8))
    }

    /// ∂/∂x of Σ g·(x·Ŵᵀ + b) is g·Ŵ, by plain loops over what was packed; more outputs than are unpacked together.
    @Test(arguments: [(1, 1, 1), (3, 40, 33), (2, 70, 300)])
    func theGradientOfTheInput(_ rows: Int, _ inputs: Int, _ outputs: Int) throws {
        var numbers = TestRandom(seed: UInt64(rows + inputs))
        let (x, w) = (numbers.doubles(rows * inputs), numbers.doubles(outputs * inputs))
        let g = numbers.doubles(rows * outputs)
        for form in [PackedMatrix.Form.float32, .int8] {
            let matrix = try PackedMatrix(Tensor(w, shape: [outputs, inputs]).to(.float32), as: form)
            // s·q of each element, with s = max|w| / 127 worked out here.
            let kept = (0..<outputs).flatMap { output in
                let row = w[output * inputs..<(output + 1) * inputs].map { Float($0) }
                let scale = row.map(abs).max()! / 127
                let kept = form == .float32 ? row : row.map { scale * ($0 / scale).rounded(.toNearestOrEven) }
                return kept.map(Double.init)
            }
            let leaf = try Tensor(x, shape: [rows, inputs]).to(.float32).requiringGradient()
            let weights = try Tensor(g, shape: [rows, outputs]).to(.float32)
            let bias = try Tensor([Float](repeating: 1, count: outputs))
            try (leaf.linear(weight: matrix, bias: bias) * weights).sum().backward()
            let found = try #require(leaf.gradient).doubles()
            for row in 0..<rows {
                for input in 0..<inputs {
                    let expected = (0..<outputs).reduce(0.0) {
                        $0 + Double(Float(g[row * outputs + $1])) * kept[$1 * inputs + input]
                    }
                    #expect(abs(found[row * inputs + input] - expected) < 1e-6 * Double(outputs + 1))
                }
            }
            #expect(!matrix.elements.requiresGradient)
        }
    }

    @Test func whatCannotBePackedIsRefused() throws {
        let matrix = try PackedMatrix(Tensor([1, 2, 3, 4] as [Float], shape: [2, 2]), as: .float32)
        for make in [
            { _ = try PackedMatrix(Tensor([1, 2] as [Float]), as: .float32) },
            { _ = try PackedMatrix(Tensor([1, 2] as [Double], shape: [1, 2]), as: .float32) },
            { _ = try PackedMatrix(Tensor([1, .nan] as [Float], shape: [1, 2]), as: .int8) },
            { _ = try Tensor([1, 2, 3] as [Float], shape: [1, 3]).linear(weight: matrix) },
            { _ = try Tensor([1, 2] as [Float], shape: [1, 2]).linear(weight: matrix, bias: Tensor([1] as [Float])) },
        ] as [() throws -> Void] {
            #expect(throws: TensorError.self) { try make() }
        }
    }
}
