import Tensors
import TestSupport
import Testing

@TensorActor @Suite("Indexing and changes in place")
struct IndexingTests {
    @Test("rows come in the order asked for, and a row asked for twice gets both gradients")
    func rows() throws {
        let table = try Tensor([0.0, 1, 10, 11, 20, 21], shape: [3, 2]).requiringGradient()
        let chosen = try table.rows(at: [2, 0, 2])
        #expect(try chosen.doubles() == [20, 21, 0, 1, 20, 21])
        try (chosen * Tensor([1.0, 10, 100], shape: [3, 1])).sum().backward()
        #expect(try table.gradient?.doubles() == [10, 10, 0, 0, 101, 101])
        #expect(try table.rows(at: [Int]()).shape == [0, 2])
    }

    @Test("an index out of range is an error", arguments: [3, -1, Int.max])
    func outOfRange(_ index: Int) throws {
        let table = try Tensor.zeros([3, 2])
        #expect(throws: TensorError.self) { try table.rows(at: [index]) }
        #expect(throws: TensorError.self) { try table.gathered(axis: 0, index: Tensor([index], shape: [1, 1])) }
        #expect(throws: TensorError.self) {
            try table.indexAdded(axis: 0, index: Tensor([index]), source: Tensor.zeros([1, 2]))
        }
    }

    @Test("an index that is no whole number is an error")
    func wrongIndexType() throws {
        #expect(throws: TensorError.self) { try Tensor.zeros([3, 2]).rows(at: Tensor([1.0])) }
    }

    @Test("one element for each index, and added back")
    func gatherAndAdd() throws {
        let table = try Tensor([0.0, 1, 2, 10, 11, 12], shape: [2, 3])
        let index = try Tensor([2, 0, 1, 1], shape: [2, 2])
        #expect(try table.gathered(axis: 1, index: index).doubles() == [2, 0, 11, 11])
        let source = try Tensor([1.0, 2, 3, 4], shape: [2, 2])
        let added = try table.indexAdded(axis: 1, index: Tensor([1, 1]), source: source)
        #expect(try added.doubles() == [0, 4, 2, 10, 18, 12])
    }

    @Test("gradients of gathering and adding at indices")
    func gradients() throws {
        var numbers = TestRandom(seed: 21)
        let (table, source) = (numbers.doubles(6), numbers.doubles(4))
        let inputs = [(values: table, shape: [2, 3]), (source, [2, 2])]
        let index = try Tensor([2, 0, 1, 1], shape: [2, 2])
        let gathered = try gradientError(at: [inputs[0]]) { try $0[0].gathered(axis: 1, index: index).square() }
        let added = try gradientError(at: inputs) {
            try $0[0].indexAdded(axis: 1, index: Tensor([1, 1]), source: $0[1]).square()
        }
        #expect(max(gathered, added) < 1e-7)
    }

    @Test("the backward of an embedding with many repeats is the same to the bit every time")
    func deterministicBackward() throws {
        var numbers = TestRandom(seed: 4)
        let (rows, width, tokens) = (7, 64, 4096)
        let table = try Tensor(numbers.doubles(rows * width), shape: [rows, width]).to(.float32).requiringGradient()
        let index = try Tensor((0..<tokens).map { _ in numbers.integer(below: rows) })
        let weights = try Tensor(numbers.doubles(tokens * width), shape: [tokens, width]).to(.float32)
        let columns = try Tensor(
            (0..<tokens * width).map { _ in numbers.integer(below: rows) }, shape: [tokens, width])
        var seen: [[Float]] = []
        for _ in 0..<6 {
            try table.zeroGradient()
            let gathered = try table.gathered(axis: 0, index: columns)
            try (table.rows(at: index) * weights + gathered * weights).sum().backward()
            seen.append(try #require(try table.gradient?.floats()))
        }
        #expect(seen.allSatisfy { $0 == seen[0] })
        #expect(seen[0].contains { $0 != 0 })
    }

    @Test("changes in place show in the tensor and leave no trace for gradients")
    func inPlace() throws {
        let tensor = try Tensor([1.0, 2, 3, 4], shape: [2, 2]).requiringGradient()
        try tensor.addInPlace(Tensor([1.0, 1, 1, 1], shape: [2, 2]), scaledBy: 0.5)
        #expect(try tensor.doubles() == [1.5, 2.5, 3.5, 4.5])
        try tensor.multiplyInPlace(2)
        #expect(try tensor.doubles() == [3, 5, 7, 9])
        try tensor.copy(from: Tensor([Float(1), 0, 0, 1], shape: [2, 2]))
        #expect(try tensor.doubles() == [1, 0, 0, 1])
        try tensor.fillInPlace(-1)
        #expect(try tensor.doubles() == [-1, -1, -1, -1])
        try tensor.square().sum().backward()
        #expect(try tensor.gradient?.doubles() == [-2, -2, -2, -2])
    }

    @Test("nothing is broadcast into a tensor in place")
    func inPlaceSizes() throws {
        let tensor = try Tensor.zeros([2, 2])
        #expect(throws: TensorError.self) { try tensor.copy(from: Tensor.zeros([1, 2])) }
        #expect(throws: TensorError.self) { try tensor.addInPlace(Tensor.zeros([1, 1])) }
    }

    @Test("a value that backward needs and that was changed in between is an error, not a wrong gradient")
    func changedBeforeBackward() throws {
        let x = try Tensor([2.0]).requiringGradient()
        let y = try x * 3
        let z = try (y * y).sum()
        try y.fillInPlace(0)
        let error = try #require(throws: TensorError.self) { try z.backward() }
        #expect(error.description.contains("modified by an inplace operation"))
    }

    @Test("rows are kept side by side and found again; those that are kept nowhere are zeros")
    func keptRows() throws {
        let (short, long) = (try Tensor.zeros([2, 3]), try Tensor.zeros([4, 3]))
        let runs = [
            RowRun(long, first: 1, count: 2), RowRun(nil, first: 0, count: 1), RowRun(short, first: 1, count: 1),
        ]
        let (left, right) = (
            try Tensor([1.0, 2, 3, 4, 5, 6, 7, 8], shape: [4, 2]).to(.float32),
            try Tensor([10.0, 20, 30, 40], shape: [4, 1]).to(.float32)
        )
        try Tensor.store([left, right], in: runs)
        #expect(try long.doubles() == [0, 0, 0, 1, 2, 10, 3, 4, 20, 0, 0, 0])
        #expect(try short.doubles() == [0, 0, 0, 7, 8, 40])
        let found = try Tensor.collected(from: runs, widths: [2, 1], like: left)
        #expect(try found.map { try $0.doubles() } == [[1, 2, 3, 4, 0, 0, 7, 8], [10, 20, 0, 40]])
        // Of every second row of a wider tensor, whose rows do not lie one behind another.
        let wide = try Tensor((0..<24).map(Double.init), shape: [4, 6]).to(.float32)
        try Tensor.store([wide.narrow(axis: 1, start: 2, count: 2), right], in: runs)
        let chosen = try Tensor.collected(from: runs, widths: [2, 1], like: left)[0]
        #expect(try chosen.doubles() == [2, 3, 8, 9, 0, 0, 20, 21])
        let many = [RowRun(try Tensor.zeros([1000, 7]), first: 3, count: 900)]
        let numbers = try Tensor((0..<6300).map(Double.init), shape: [900, 7])
        try Tensor.store([numbers.to(.float32)], in: many)
        let end = try Tensor.collected(from: many, widths: [3, 4], like: left)[1].narrow(axis: 0, start: 899, count: 1)
        #expect(try end.doubles() == [6296, 6297, 6298, 6299])
    }

    @Test(
        "rows that a matrix does not have are an error",
        arguments: [(3, 2, 3, 4), (-1, 2, 3, 4), (0, 2, 2, 4), (0, 3, 3, 4), (0, 2, 3, 8)])
    func wrongRuns(_ first: Int, _ count: Int, _ width: Int, _ bytes: Int) throws {
        let matrix = try Tensor.zeros([4, 3], bytes == 8 ? .float64 : .float32)
        #expect(throws: TensorError.self) {
            try Tensor.store([Tensor.zeros([2, width])], in: [RowRun(matrix, first: first, count: count)])
        }
    }
}
