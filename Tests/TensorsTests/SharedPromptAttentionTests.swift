import Tensors
import Testing

/// Plain attention of every prompt and of every prompt with one completion behind it, alone, by libtorch's matrix
/// product and softmax; differentiated by its autograd.
private struct UnsharedAttention {
    let layout: SequenceLayout
    let scale: Double

    func callAsFunction(_ query: Tensor, _ key: Tensor, _ value: Tensor) throws -> Tensor {
        var parts: [Tensor] = []
        for group in layout.groups {
            parts.append(try sequence(Array(group.prompt), keeping: group.prompt.count, query, key, value))
            for completion in group.completions where !completion.isEmpty {
                parts.append(
                    try sequence(
                        Array(group.prompt) + Array(completion), keeping: completion.count, query, key, value))
            }
        }
        return try Tensor.concatenated(parts)
    }

    private func sequence(
        _ tokens: [Int], keeping last: Int, _ query: Tensor, _ key: Tensor, _ value: Tensor
    ) throws -> Tensor {
        let index = try Tensor(tokens)
        let repeats = query.shape[1] / key.shape[1]
        let heads = try Tensor((0..<query.shape[1]).map { $0 / repeats })
        let q = try query.rows(at: index).transposed(0, 1)
        let k = try key.rows(at: index).transposed(0, 1).rows(at: heads)
        let v = try value.rows(at: index).transposed(0, 1).rows(at: heads)
        let later = try Tensor(
            tokens.indices.flatMap { row in tokens.indices.map { $0 > row } }, shape: [1, tokens.count, tokens.count])
        let scores = try (q.matmul(k.transposed(1, 2)) * scale)
            .filled(where: later.expanded([q.shape[0], tokens.count, tokens.count]), with: -.infinity)
        let out = try scores.softmax(axis: 2).matmul(v).transposed(0, 1)
        return try out.narrow(axis: 0, start: tokens.count - last, count: last)
    }
}

@TensorActor @Suite("Attention with shared prompts against plain attention of each sequence")
struct SharedPromptAttentionTests {
    struct Example: Sendable, CustomTestStringConvertible {
        var groups: [(promptLength: Int, completionLengths: [Int])]
        var heads: Int
        var keyHeads: Int
        var size: Int
        var testDescription: String { "\(groups) \(heads)/\(keyHeads) heads of \(size)" }
    }

    nonisolated static let examples: [Example] = {
        var random = RandomValues(seed: 3)
        var examples = [
            Example(groups: [(4, [3, 3]), (4, [3, 3])], heads: 4, keyHeads: 2, size: 8),
            Example(groups: [(1, []), (5, []), (2, [0]), (3, [0, 4, 0])], heads: 2, keyHeads: 2, size: 6),
            Example(groups: [(70, [40, 65, 130]), (70, [33, 2]), (3, [200])], heads: 6, keyHeads: 2, size: 16),
            Example(groups: [(7, [5, 9, 1]), (9, [12, 3]), (7, [1, 2, 3, 4])], heads: 3, keyHeads: 1, size: 10),
            // More than the 96 keys, 48 rows and 32 numbers of a head that meet at a time, and more than 256 tokens.
            Example(groups: [(200, [130, 97, 64, 90, 96]), (97, [300, 1])], heads: 6, keyHeads: 2, size: 40),
            Example(groups: [(33, [100, 31])], heads: 50, keyHeads: 1, size: 4),
            Example(groups: [(20, [30, 40])], heads: 4, keyHeads: 2, size: 130),
            Example(groups: [(1, Array(repeating: 1, count: 300)), (5, [])], heads: 2, keyHeads: 1, size: 4),
        ]
        for _ in 0..<8 {
            let groups = (0..<random.integer(1..<7)).map { _ in
                (
                    promptLength: random.integer(1..<40),
                    completionLengths: (0..<random.integer(0..<5)).map { _ in random.integer(0..<30) }
                )
            }
            let keyHeads = random.integer(1..<4)
            examples.append(
                Example(groups: groups, heads: keyHeads * random.integer(1..<4), keyHeads: keyHeads, size: 8))
        }
        return examples
    }()

    /// Value and gradients of Σ weight·out.
    private func run(
        _ inputs: [Tensor], _ weight: Tensor, _ attention: (Tensor, Tensor, Tensor) throws -> Tensor
    ) throws -> [Tensor] {
        let leaves = try inputs.map { try $0.requiringGradient() }
        let out = try attention(leaves[0], leaves[1], leaves[2])
        try (out * weight).sum().backward()
        return try [out.detached()] + leaves.map { try #require($0.gradient) }
    }

    private func compare(_ example: Example, _ type: ElementType, composed: Bool, tolerance: Double) throws {
        var random = RandomValues(seed: 11)
        let layout = try SequenceLayout(groups: example.groups)
        let tokens = layout.tokenCount
        let inputs = try [
            random.tensor([tokens, example.heads, example.size], type) * 3,
            random.tensor([tokens, example.keyHeads, example.size], type) * 3,
            random.tensor([tokens, example.keyHeads, example.size], type),
        ]
        let weight = try random.tensor([tokens, example.heads, example.size], type)
        let shared = try run(inputs, weight) {
            try Tensor.sharedPromptAttention(
                query: $0, key: $1, value: $2, plan: layout.attentionPlan, scale: 0.4, composed: composed
            ).found
        }
        let plain = try run(inputs, weight) { try UnsharedAttention(layout: layout, scale: 0.4)($0, $1, $2) }
        for (name, pair) in zip(["out", "query", "key", "value"], zip(shared, plain)) {
            let distance = try relativeDistance(pair.0, pair.1)
            #expect(distance < tolerance, "\(name) differs by \(distance)")
        }
        // The comparison can fail: without the prompt the result is another one.
        let alone = try SequenceLayout(groups: [(tokens, [])])
        if layout.groups.contains(where: { $0.completions.filter { !$0.isEmpty }.count > 1 }) {
            let other = try Tensor.sharedPromptAttention(
                query: inputs[0], key: inputs[1], value: inputs[2], plan: alone.attentionPlan, scale: 0.4
            ).found
            #expect(try relativeDistance(other, plain[0]) > tolerance)
        }
    }

    @Test(arguments: examples) func float64(_ example: Example) throws {
        try compare(example, .float64, composed: false, tolerance: 1e-10)
    }

    @Test(arguments: examples) func float32(_ example: Example) throws {
        try compare(example, .float32, composed: false, tolerance: 1e-5)
    }

    @Test(arguments: examples.prefix(6)) func composedWayOfOtherDevices(_ example: Example) throws {
        try compare(example, .float64, composed: true, tolerance: 1e-10)
        try compare(example, .float32, composed: true, tolerance: 1e-5)
    }

    @Test func repeatsToTheBit() throws {
        var random = RandomValues(seed: 5)
        let layout = try SequenceLayout(
            groups: [(30, [20, 11, 7]), (12, [4, 44]), (30, [9, 9]), (40, [200, 90, 70])])
        let inputs = try [4, 2, 2].map { try random.tensor([layout.tokenCount, $0, 16], .float32) }
        let weight = try random.tensor([layout.tokenCount, 4, 16], .float32)
        func once() throws -> [[Float]] {
            try run(inputs, weight) {
                try Tensor.sharedPromptAttention(
                    query: $0, key: $1, value: $2, plan: layout.attentionPlan, scale: 0.25
                ).found
            }.map { try $0.floats() }
        }
        let first = try once()
        let count = TensorEngine.threadCount
        defer { #expect(throws: Never.self) { try TensorEngine.setThreadCount(count) } }
        for threads in [1, 1, 2, 3, 5] {
            try TensorEngine.setThreadCount(threads)
            #expect(try once() == first)
        }
    }

    /// The value is the one that is given, to the bit, though it is another; the gradients are those of attention, which
    /// its value and log-sum-exps are enough for.
    @Test(arguments: [ElementType.float32, .float64], [false, true])
    func whatIsKnownIsTaken(_ type: ElementType, composed: Bool) throws {
        var random = RandomValues(seed: 6)
        let layout = try SequenceLayout(groups: [(30, [20, 11, 7]), (12, [4, 44])])
        let inputs = try [4, 2, 2].map { try random.tensor([layout.tokenCount, $0, 16], type) }
        let weight = try random.tensor([layout.tokenCount, 4, 16], type)
        func attention(_ inputs: [Tensor], known: AttentionResult? = nil) throws -> AttentionResult {
            try Tensor.sharedPromptAttention(
                query: inputs[0], key: inputs[1], value: inputs[2], plan: layout.attentionPlan, scale: 0.25,
                composed: composed, known: known)
        }
        let first = try attention(inputs)
        let known = try AttentionResult(
            found: first.found.reshaped([layout.tokenCount, 64]), logSums: first.logSums)
        let worked = try run(inputs, weight) { try attention([$0, $1, $2]).found }
        let taken = try run(inputs, weight) { try attention([$0, $1, $2], known: known).found }
        for (one, other) in zip(worked, taken) { #expect(try one.doubles() == other.doubles()) }

        let other = try AttentionResult(found: known.found * 2, logSums: known.logSums)
        let doubled = try run(inputs, weight) { try attention([$0, $1, $2], known: other).found }
        #expect(try doubled[0].doubles() == (first.found * 2).doubles())
        #expect(try relativeDistance(doubled[1], worked[1]) > 0.1)
        #expect(throws: TensorError.self) {
            try attention(inputs, known: AttentionResult(found: known.found, logSums: known.found))
        }
    }

    @Test func aPlanOfOtherTokensIsRefused() throws {
        let x = try Tensor.zeros([5, 2, 4])
        let plan = try SequenceLayout(groups: [(4, [])]).attentionPlan
        #expect(throws: TensorError.self) {
            try Tensor.sharedPromptAttention(query: x, key: x, value: x, plan: plan, scale: 1)
        }
    }
}
