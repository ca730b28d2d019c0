import Tensors
import Testing

@TensorActor @Suite("Decoding attention against plain attention of each row")
struct DecodeCacheTests {
    struct Example: Sendable {
        var prompts: [Int]
        /// Prompt of each row, and what it has written.
        var rows: [(prompt: Int, length: Int)]
        var heads: Int
        var keyHeads: Int
        var size: Int
    }

    nonisolated static let examples = [
        Example(prompts: [1], rows: [(0, 1)], heads: 1, keyHeads: 1, size: 4),
        Example(prompts: [17, 3], rows: [(0, 5), (1, 1), (0, 33), (1, 16)], heads: 4, keyHeads: 2, size: 8),
        Example(
            prompts: [40, 15, 16], rows: (0..<23).map { ($0 % 3, 1 + $0 * 3 % 31) }, heads: 9, keyHeads: 3, size: 64),
        Example(prompts: [100], rows: (0..<11).map { (0, 2 + $0) }, heads: 6, keyHeads: 1, size: 50),
    ]

    /// Writes what no sum survives into every place of a cache: what stands behind a length may be anything.
    private func fill(
        _ cache: DecodeCache, promptSlots: Int, rowSlots: Int, _ example: Example, _ type: ElementType
    ) throws {
        func places(_ slots: Int, _ capacity: Int) throws -> (tokens: Tensor, slots: [Int], positions: [Int]) {
            let all = (0..<slots * capacity).map { ($0 / capacity, $0 % capacity) }
            let nothing = try Tensor.full([all.count, example.keyHeads, example.size], .nan, type)
            return (nothing, all.map(\.0), all.map(\.1))
        }
        let (prompts, rows) = (try places(promptSlots, 101), try places(rowSlots, 37))
        try cache.writePrompt(
            keys: prompts.tokens, values: prompts.tokens, slots: prompts.slots, positions: prompts.positions)
        try cache.writeOwn(keys: rows.tokens, values: rows.tokens, slots: rows.slots, positions: rows.positions)
    }

    private func check(_ example: Example, _ type: ElementType, composed: Bool, tolerance: Double) throws {
        var random = RandomValues(seed: 8)
        // Slots in another order than prompts and rows, and capacities that are no multiple of a tile.
        let promptSlots = example.prompts.indices.map { example.prompts.count - $0 }
        let rowSlots = example.rows.indices.map { ($0 * 5 + 2) % (5 * example.rows.count + 3) }
        let cache = try DecodeCache(
            promptSlots: example.prompts.count + 1, promptCapacity: 101, rowSlots: 5 * example.rows.count + 3,
            rowCapacity: 37, keyValueHeads: example.keyHeads, headSize: example.size, type: type)
        try fill(cache, promptSlots: example.prompts.count + 1, rowSlots: 5 * example.rows.count + 3, example, type)
        var promptKeys: [(Tensor, Tensor)] = []
        for (index, length) in example.prompts.enumerated() {
            let shape = [length, example.keyHeads, example.size]
            let pair = (try random.tensor(shape, type) * 3, try random.tensor(shape, type))
            try cache.writePrompt(
                keys: pair.0, values: pair.1, slots: Array(repeating: promptSlots[index], count: length),
                positions: Array(0..<length))
            promptKeys.append(pair)
        }
        let query = try random.tensor([example.rows.count, example.heads, example.size], type) * 3
        var expected: [Tensor] = []
        var expectedSums: [Tensor] = []
        for (index, row) in example.rows.enumerated() {
            let shape = [row.length, example.keyHeads, example.size]
            let pair = (try random.tensor(shape, type) * 3, try random.tensor(shape, type))
            try cache.writeOwn(
                keys: pair.0, values: pair.1, slots: Array(repeating: rowSlots[index], count: row.length),
                positions: Array(0..<row.length))
            let heads = try Tensor((0..<example.heads).map { $0 * example.keyHeads / example.heads })
            let prompt = promptKeys[row.prompt]
            let keys = try Tensor.concatenated([prompt.0, pair.0]).transposed(0, 1).rows(at: heads)
            let values = try Tensor.concatenated([prompt.1, pair.1]).transposed(0, 1).rows(at: heads)
            let q = try query.narrow(axis: 0, start: index, count: 1).transposed(0, 1)
            let scores = try q.matmul(keys.transposed(1, 2)) * 0.3
            expected.append(try scores.softmax(axis: 2).matmul(values).transposed(0, 1))
            expectedSums.append(try scores.exp().sum(axis: 2).log().transposed(0, 1))
        }
        let rows = DecodeRows(
            promptSlots: example.rows.map { promptSlots[$0.prompt] },
            promptLengths: example.rows.map { example.prompts[$0.prompt] }, ownSlots: rowSlots,
            ownLengths: example.rows.map(\.length))
        let result = try cache.attend(query: query, rows: rows, scale: 0.3, composed: composed)
        #expect(try relativeDistance(result.found, Tensor.concatenated(expected)) < tolerance)
        #expect(try relativeDistance(result.logSums, Tensor.concatenated(expectedSums)) < tolerance)
        var shorter = rows
        shorter.promptLengths[0] -= 1
        let other = try cache.attend(query: query, rows: shorter, scale: 0.3, composed: composed).found
        #expect(try relativeDistance(other, Tensor.concatenated(expected)) > tolerance)
    }

    @Test(arguments: examples.indices, [false, true]) func float64(_ index: Int, composed: Bool) throws {
        try check(Self.examples[index], .float64, composed: composed, tolerance: 1e-12)
    }

    @Test(arguments: examples.indices, [false, true]) func float32(_ index: Int, composed: Bool) throws {
        try check(Self.examples[index], .float32, composed: composed, tolerance: 1e-5)
    }

    @Test func slotsAndLengthsOutsideTheCacheAreRefused() throws {
        let cache = try DecodeCache(
            promptSlots: 1, promptCapacity: 4, rowSlots: 2, rowCapacity: 3, keyValueHeads: 1, headSize: 4)
        let token = try Tensor.zeros([1, 1, 4])
        #expect(throws: TensorError.self) {
            try cache.writePrompt(keys: token, values: token, slots: [1], positions: [0])
        }
        #expect(throws: TensorError.self) {
            try cache.writePrompt(keys: token, values: token, slots: [0], positions: [4])
        }
        #expect(throws: TensorError.self) {
            try cache.writeOwn(keys: token, values: token, slots: [0], positions: [-1])
        }
        #expect(throws: TensorError.self) {
            try cache.writeOwn(keys: token, values: token, slots: [0, 1], positions: [0, 0])
        }
        for (prompt, own) in [(5, 1), (-1, 1), (1, 4), (1, 0)] {
            let rows = DecodeRows(promptSlots: [0], promptLengths: [prompt], ownSlots: [0], ownLengths: [own])
            #expect(throws: TensorError.self) { try cache.attend(query: token, rows: rows, scale: 1) }
        }
    }
}
