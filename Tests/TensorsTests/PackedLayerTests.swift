import Tensors
import Testing

@TensorActor @Suite("A layer as one operation against its single operations")
struct PackedLayerTests {
    struct Example: Sendable, CustomTestStringConvertible {
        var rows: Int
        var heads: Int
        var keyHeads: Int
        var size: Int
        var inner: Int
        var form = PackedMatrix.Form.float32
        var hasHeadNorms = false
        var hasBiases = false
        var testDescription: String { "\(rows) rows, \(heads)/\(keyHeads) heads of \(size), \(inner) inside, \(form)" }
    }

    /// One row, rows of one block and of several, of several groups of blocks; widths that fill no panel and no vector.
    nonisolated static let examples = [
        Example(rows: 1, heads: 4, keyHeads: 2, size: 16, inner: 96),
        Example(rows: 3, heads: 2, keyHeads: 2, size: 8, inner: 48, form: .int8, hasBiases: true),
        Example(rows: 13, heads: 6, keyHeads: 2, size: 16, inner: 304, hasHeadNorms: true),
        Example(rows: 30, heads: 4, keyHeads: 1, size: 8, inner: 90),
        Example(rows: 64, heads: 8, keyHeads: 4, size: 32, inner: 512, hasHeadNorms: true, hasBiases: true),
        Example(rows: 40, heads: 9, keyHeads: 3, size: 64, inner: 1536, form: .int8),
        Example(rows: 401, heads: 3, keyHeads: 1, size: 16, inner: 80),
    ]

    /// A layer, two prompts in a cache, and rows behind them that have written one or two tokens.
    private struct Made {
        let example: Example
        let hidden: Tensor
        let angles: (cosines: Tensor, sines: Tensor)
        let norms: (attention: Tensor, feedForward: Tensor)
        let headNorms: (query: Tensor?, key: Tensor?)
        let projections: [PackedLayer.Projection]
        let rows: DecodeRows
        private let prompt: (keys: Tensor, values: Tensor)
        private let written: (keys: Tensor, values: Tensor)
        let scale = 0.3, epsilon = 1e-5

        init(_ example: Example) throws {
            self.example = example
            var random = RandomValues(seed: 12)
            func float(_ shape: [Int], _ factor: Double = 1) throws -> Tensor {
                try (random.tensor(shape) * factor).to(.float32)
            }
            let (queries, keys) = (example.heads * example.size, example.keyHeads * example.size)
            let width = queries - 5
            hidden = try float([example.rows, width])
            let shapes = [
                [queries, width], [keys, width], [keys, width], [width, queries], [example.inner, width],
                [example.inner, width], [width, example.inner],
            ]
            projections = try shapes.map { shape in
                (
                    try PackedMatrix(float(shape, 3 / Double(shape[1]).squareRoot()), as: example.form),
                    example.hasBiases ? try float([shape[0]]) : nil
                )
            }
            norms = (try float([width]), try float([width]))
            headNorms =
                example.hasHeadNorms ? (try float([example.size]), try float([example.size])) : (nil, nil)
            angles = (
                try float([example.rows, example.size / 2]), try float([example.rows, example.size / 2])
            )
            let all = Array(0..<example.rows)
            rows = DecodeRows(
                promptSlots: all.map { $0 / 3 % 2 }, promptLengths: all.map { [19, 4][$0 / 3 % 2] },
                ownSlots: all.reversed(), ownLengths: all.map { 1 + $0 % 2 })
            prompt = (
                try float([23, example.keyHeads, example.size]), try float([23, example.keyHeads, example.size])
            )
            written = (
                try float([example.rows, example.keyHeads, example.size]),
                try float([example.rows, example.keyHeads, example.size])
            )
        }

        func cache() throws -> DecodeCache {
            let cache = try DecodeCache(
                promptSlots: 2, promptCapacity: 19, rowSlots: example.rows, rowCapacity: 20,
                keyValueHeads: example.keyHeads, headSize: example.size)
            try cache.writePrompt(
                keys: prompt.keys, values: prompt.values, slots: (0..<23).map { $0 / 19 },
                positions: (0..<23).map { $0 % 19 })
            try cache.writeOwn(
                keys: written.keys, values: written.values, slots: Array(0..<example.rows),
                positions: Array(repeating: 0, count: example.rows))
            return cache
        }

        var layer: PackedLayer {
            PackedLayer(norms: norms, headNorms: headNorms, projections: projections, epsilon: epsilon, scale: scale)
        }

        /// The states behind the layer, and what each projection made, with what attention made behind.
        func apart() throws -> (out: Tensor, products: [Tensor]) {
            let cache = try cache()
            return try pass { query, key, value in
                try cache.writeOwn(
                    keys: key, values: value, slots: rows.ownSlots, positions: rows.ownLengths.map { $0 - 1 })
                return try cache.attend(query: query, rows: rows, scale: scale)
            }
        }

        /// The same with any attention, of turned queries and keys and of values.
        func pass(
            _ attention: (_ query: Tensor, _ key: Tensor, _ value: Tensor) throws -> AttentionResult
        ) throws -> (out: Tensor, products: [Tensor]) {
            func made(_ x: Tensor, _ numbers: [Int]) throws -> [Tensor] {
                try numbers.map { try x.linear(weight: projections[$0].weight, bias: projections[$0].bias) }
            }
            func turned(_ x: Tensor, _ heads: Int, _ norm: Tensor?) throws -> Tensor {
                let split = try x.reshaped([example.rows, heads, example.size])
                let normalized = try norm.map { try split.rmsNorm(weight: $0, epsilon: epsilon) } ?? split
                return try normalized.rotated(cosines: angles.cosines, sines: angles.sines)
            }
            let read = try made(hidden.rmsNorm(weight: norms.attention, epsilon: epsilon), [0, 1, 2])
            let attention = try attention(
                turned(read[0], example.heads, headNorms.query), turned(read[1], example.keyHeads, headNorms.key),
                read[2].reshaped([example.rows, example.keyHeads, example.size]))
            let found = try attention.found.reshaped([example.rows, example.heads * example.size])
            let joined = try made(found, [3])
            let between = try hidden + joined[0]
            let inner = try made(between.rmsNorm(weight: norms.feedForward, epsilon: epsilon), [4, 5])
            let narrowed = try made(inner[0].swiGLU(inner[1]), [6])
            return (try between + narrowed[0], read + joined + inner + narrowed + [found, attention.logSums])
        }
    }

    @Test(arguments: examples) func hasTheSameBits(_ example: Example) throws {
        let made = try Made(example)
        let (expected, products) = try made.apart()
        let (plain, keeping) = (try made.cache(), try made.cache())
        let found = try made.layer.decoded(
            made.hidden, angles: made.angles, cache: plain, rows: made.rows, kept: nil)
        #expect(try found.floats() == expected.floats())
        #expect(try expected.allFinite() && expected.floats().contains { $0 != 0 })

        // Every row but the first is kept, the last ones in another matrix.
        let width = products.reduce(0) { $0 + $1.shape[1] }
        let (first, second) = (try Tensor.zeros([example.rows, width]), try Tensor.zeros([2, width]))
        let last = example.rows > 1 ? 1 : 0
        let kept = try made.layer.decoded(
            made.hidden, angles: made.angles, cache: keeping, rows: made.rows,
            kept: [
                RowRun(nil, first: 0, count: 1), RowRun(first, first: 1, count: example.rows - 1 - last),
                RowRun(second, first: 1, count: last),
            ])
        #expect(try kept.floats() == expected.floats())
        let whole = try Tensor.concatenated(products, axis: 1)
        if example.rows > 1 {
            let middle = example.rows - 2
            #expect(
                try first.narrow(axis: 0, start: 1, count: middle).floats()
                    == whole.narrow(axis: 0, start: 1, count: middle).floats())
            #expect(
                try second.narrow(axis: 0, start: 1, count: 1).floats()
                    == whole.narrow(axis: 0, start: example.rows - 1, count: 1).floats())
        }
        #expect(try first.narrow(axis: 0, start: 0, count: 1).floats().allSatisfy { $0 == 0 })

        // Rows that have no room for what attention makes.
        let narrow = try Tensor.zeros([example.rows, products.prefix(7).reduce(0) { $0 + $1.shape[1] }])
        _ = try made.layer.decoded(
            made.hidden, angles: made.angles, cache: made.cache(), rows: made.rows,
            kept: [RowRun(narrow, first: 0, count: example.rows)])
        #expect(try narrow.floats() == Tensor.concatenated(Array(products.prefix(7)), axis: 1).floats())
    }

    /// The rows as the tokens of three prompts, one of them a token alone.
    @Test(arguments: examples.filter { $0.rows > 3 }) func prefillsWithTheSameBits(_ example: Example) throws {
        let made = try Made(example)
        let lengths = [1, example.rows / 2, example.rows - 1 - example.rows / 2], slots = [2, 0, 1]
        let layout = try SequenceLayout(sequenceLengths: lengths)
        func cache() throws -> DecodeCache {
            try DecodeCache(
                promptSlots: 3, promptCapacity: example.rows, rowSlots: 1, rowCapacity: 1,
                keyValueHeads: example.keyHeads, headSize: example.size)
        }
        /// What a query finds in the keys of the prompts, and in one key of its own.
        func found(in cache: DecodeCache) throws -> [Float] {
            var random = RandomValues(seed: 5)
            let own = try random.tensor([1, example.keyHeads, example.size]).to(.float32)
            try cache.writeOwn(keys: own, values: own, slots: [0], positions: [0])
            let query = try random.tensor([3, example.heads, example.size]).to(.float32)
            let rows = DecodeRows(
                promptSlots: slots, promptLengths: lengths, ownSlots: [0, 0, 0], ownLengths: [1, 1, 1])
            return try cache.attend(query: query, rows: rows, scale: made.scale).found.floats()
        }
        let (apart, whole) = (try cache(), try cache())
        let (expected, products) = try made.pass { query, key, value in
            try apart.writePrompt(
                keys: key, values: value,
                slots: zip(slots, lengths).flatMap { [Int](repeating: $0, count: $1) }, positions: layout.positions)
            return try Tensor.sharedPromptAttention(
                query: query, key: key, value: value, plan: layout.attentionPlan, scale: made.scale)
        }
        let kept = try Tensor.zeros([example.rows, products.reduce(0) { $0 + $1.shape[1] }])
        let out = try made.layer.prefilled(
            made.hidden, angles: made.angles, cache: whole, prompts: zip(slots, lengths).map { ($0, $1) },
            kept: [RowRun(kept, first: 0, count: example.rows)])
        #expect(try out.floats() == expected.floats())
        #expect(try kept.floats() == Tensor.concatenated(products, axis: 1).floats())
        #expect(try found(in: whole) == found(in: apart))
    }

    @Test func saysWhatDoesNotFit() throws {
        let made = try Made(Self.examples[2])
        let cache = try made.cache()
        func message(_ rows: DecodeRows, kept: [RowRun]? = nil) -> String {
            do throws(TensorError) {
                _ = try made.layer.decoded(made.hidden, angles: made.angles, cache: cache, rows: rows, kept: kept)
                return "nothing"
            } catch { return "\(error)" }
        }
        var rows = made.rows
        rows.ownLengths[5] = 21
        #expect(message(rows).contains("row 5: own slot 7 with 21 keys"))
        let fewer = DecodeRows(promptSlots: [0], promptLengths: [1], ownSlots: [0], ownLengths: [1])
        #expect(message(fewer).contains("of 1 rows"))
        for (prompts, part) in [
            ([(0, 12)], "of 12 tokens"), ([(2, 13)], "13 tokens in slot 2, the cache has 2 slots"),
            ([(1, 6), (1, 7)], "two prompts in slot 1"),
        ] as [([(slot: Int, length: Int)], String)] {
            #expect {
                try made.layer.prefilled(
                    made.hidden, angles: made.angles, cache: cache, prompts: prompts, kept: nil)
            } throws: { "\($0)".contains(part) }
        }
        let narrow = try Tensor.zeros([13, 7])
        #expect(message(made.rows, kept: [RowRun(narrow, first: 0, count: 13)]).contains("for products of"))
        let run = RowRun(nil, first: 0, count: 4)
        #expect(message(made.rows, kept: [run]).contains("4 rows are kept of a step of 13"))
    }
}
