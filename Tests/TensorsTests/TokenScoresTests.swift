import Tensors
import Testing

@TensorActor @Suite("Token scores against softmax over the whole vocabulary")
struct TokenScoresTests {
    /// [log-probs, entropies, gradient of hidden, gradient of head] of Σ a·logp + b·entropy by libtorch's log-softmax.
    private func expected(_ inputs: Inputs, temperature: Double) throws -> [Tensor] {
        let (hidden, head) = (try inputs.hidden.requiringGradient(), try inputs.head.requiringGradient())
        let logs = try (hidden.matmul(head.transposed(0, 1)) / temperature).logSoftmax(axis: 1)
        let picked = try logs.gathered(axis: 1, index: inputs.targets.unsqueezed(1)).squeezed(1)
        let entropies = try -(logs.exp() * logs).sum(axis: 1)
        try ((picked * inputs.a).sum() + (entropies * inputs.b).sum()).backward()
        return try [
            picked.detached(), entropies.detached(), #require(hidden.gradient), #require(head.gradient),
        ]
    }

    struct Inputs {
        var hidden, head, targets, a, b: Tensor

        init(tokens: Int, vocabulary: Int, size: Int, _ type: ElementType) throws {
            var random = RandomValues(seed: 9)
            hidden = try random.tensor([tokens, size], type) * 2
            head = try random.tensor([vocabulary, size], type)
            targets = try Tensor((0..<tokens).map { _ in random.integer(0..<vocabulary) })
            a = try random.tensor([tokens], type)
            b = try random.tensor([tokens], type)
        }
    }

    private func check(_ type: ElementType, tokens: Int, vocabulary: Int, chunk: Int, tolerance: Double) throws {
        let inputs = try Inputs(tokens: tokens, vocabulary: vocabulary, size: 12, type)
        let all = tokens * vocabulary
        for (temperature, kept) in [(1.0, 0), (0.7, 0), (1, all), (0.7, all), (1, all - 1), (0.7, all / 2)] {
            let (hidden, head) = (try inputs.hidden.requiringGradient(), try inputs.head.requiringGradient())
            let scores = try Tensor.tokenScores(
                hidden: hidden, head: head, targets: inputs.targets, temperature: temperature, chunk: chunk,
                kept: kept)
            try ((scores.logProbabilities * inputs.a).sum() + (scores.entropies * inputs.b).sum()).backward()
            let found = try [
                scores.logProbabilities, scores.entropies, #require(hidden.gradient), #require(head.gradient),
            ]
            for (found, expected) in zip(found, try expected(inputs, temperature: temperature)) {
                #expect(try relativeDistance(found, expected) < tolerance)
            }
        }
    }

    // Chunks of one row, of some rows, and of all; logits kept for the backward pass, computed again in it, and some of
    // each.
    @Test(arguments: [1, 4 * 37, 1 << 20]) func float64(chunk: Int) throws {
        try check(.float64, tokens: 11, vocabulary: 37, chunk: chunk, tolerance: 1e-12)
    }

    @Test(arguments: [1, 4 * 1003, 1 << 20]) func float32(chunk: Int) throws {
        try check(.float32, tokens: 19, vocabulary: 1003, chunk: chunk, tolerance: 2e-6)
    }

    @Test func aChunkIs16MiBOr256RowsAndWhatIsKept256MiB() {
        #expect(Tensor.scoreChunk(vocabulary: 512) == 4_194_304)  // of 4 bytes
        #expect(Tensor.scoreChunk(vocabulary: 49_152) == 12_582_912)
        // 256 MiB are 1,365 rows of 49,152 words; 256 rows of 300,000 words are more.
        #expect(Tensor.keptScores(vocabulary: 49_152) / 49_152 == 1365)
        #expect(Tensor.keptScores(vocabulary: 300_000) == 256 * 300_000)
    }

    /// p = (½, ½), q = (¼, ¾): ½·ln 2 + ½·ln ⅔.
    @Test func aDivergenceByHand() throws {
        let one = try Tensor([1.0], shape: [1, 1])
        let found = try Tensor.divergence(
            hidden: one, head: Tensor([0.0, 0], shape: [2, 1]), referenceHidden: one,
            referenceHead: Tensor([0, 1.098_612_288_668_11], shape: [2, 1]))
        #expect(abs(try found.item() - 0.143_841_036_225_89) < 1e-13)
    }

    // Chunks of one row, of some rows, and of all.
    @Test(arguments: [1, 4 * 37, 1 << 20]) func divergencesAreThoseOfWholeRows(chunk: Int) throws {
        let inputs = try Inputs(tokens: 11, vocabulary: 37, size: 12, .float64)
        var random = RandomValues(seed: 4)
        let (others, otherHead) = (
            try random.tensor([11, 7], .float64).requiringGradient(), try random.tensor([37, 7], .float64)
        )
        func results(_ divergence: (Tensor, Tensor) throws -> Tensor) throws -> [Tensor] {
            let (hidden, head) = (try inputs.hidden.requiringGradient(), try inputs.head.requiringGradient())
            let found = try divergence(hidden, head)
            try (found * inputs.a).sum().backward()
            return try [found.detached(), #require(hidden.gradient), #require(head.gradient)]
        }
        for temperature in [1.0, 0.7] {
            func logs(_ states: Tensor, _ words: Tensor) throws -> Tensor {
                try (states.matmul(words.transposed(0, 1)) / temperature).logSoftmax(axis: 1)
            }
            let expected = try results { hidden, head in
                let own = try logs(hidden, head)
                return try (own.exp() * (own - logs(others.detached(), otherHead))).sum(axis: 1)
            }
            let found = try results { hidden, head in
                try Tensor.divergence(
                    hidden: hidden, head: head, referenceHidden: others, referenceHead: otherHead,
                    temperature: temperature, chunk: chunk)
            }
            for (found, expected) in zip(found, expected) {
                #expect(try relativeDistance(found, expected) < 1e-12)
            }
        }
        #expect(others.gradient == nil)
        let same = try Tensor.divergence(
            hidden: inputs.hidden, head: inputs.head, referenceHidden: inputs.hidden, referenceHead: inputs.head)
        #expect(try same.doubles().allSatisfy { $0 == 0 })
        #expect(throws: TensorError.self) {
            try Tensor.divergence(
                hidden: inputs.hidden, head: inputs.head, referenceHidden: others, referenceHead: inputs.head)
        }
    }

    /// β·KL(q‖m) + (1 − β)·KL(p‖m) over whole rows, differentiated by the engine itself.
    @Test(arguments: [0, 0.1, 0.5, 0.9, 1]) func betweenThePoliciesLiesTheJensenShannonDivergence(_ beta: Double) throws
    {
        let inputs = try Inputs(tokens: 11, vocabulary: 37, size: 12, .float64)
        var random = RandomValues(seed: 4)
        let (others, otherHead) = (try random.tensor([11, 7], .float64), try random.tensor([37, 7], .float64))
        func results(_ divergence: (Tensor, Tensor) throws -> Tensor) throws -> [Tensor] {
            let (hidden, head) = (try inputs.hidden.requiringGradient(), try inputs.head.requiringGradient())
            let found = try divergence(hidden, head)
            try (found * inputs.a).sum().backward()
            return try [found.detached(), #require(hidden.gradient), #require(head.gradient)]
        }
        func logs(_ states: Tensor, _ words: Tensor) throws -> Tensor {
            try (states.matmul(words.transposed(0, 1)) / 0.7).logSoftmax(axis: 1)
        }
        let expected = try results { hidden, head in
            let (own, other) = (try logs(hidden, head), try logs(others, otherHead))
            let mixture = try (own.exp() * (1 - beta) + other.exp() * beta).log()
            switch beta {
            case 0: return try (other.exp() * (other - own)).sum(axis: 1)
            case 1: return try (own.exp() * (own - other)).sum(axis: 1)
            default:
                return try (other.exp() * (other - mixture)).sum(axis: 1) * beta
                    + (own.exp() * (own - mixture)).sum(axis: 1) * (1 - beta)
            }
        }
        let found = try results { hidden, head in
            try Tensor.divergence(
                hidden: hidden, head: head, referenceHidden: others, referenceHead: otherHead, temperature: 0.7,
                beta: beta, chunk: 4 * 37)
        }
        for (found, expected) in zip(found, expected) { #expect(try relativeDistance(found, expected) < 1e-11) }
    }

    @Test func onlyWhatIsAskedForGetsAGradient() throws {
        let inputs = try Inputs(tokens: 3, vocabulary: 8, size: 12, .float64)
        let hidden = try inputs.hidden.requiringGradient()
        let scores = try Tensor.tokenScores(hidden: hidden, head: inputs.head, targets: inputs.targets)
        try scores.logProbabilities.sum().backward()
        #expect(try #require(hidden.gradient).allFinite())
        let silent = try Tensor.withoutGradients {
            try Tensor.tokenScores(hidden: hidden, head: inputs.head, targets: inputs.targets)
        }
        #expect(!silent.logProbabilities.requiresGradient)
        #expect(try silent.logProbabilities.doubles() == scores.logProbabilities.doubles())
    }

    @Test func bfloat16IsScoredInFloat32() throws {
        let inputs = try Inputs(tokens: 6, vocabulary: 50, size: 12, .float32)
        let (hidden, head) = (try inputs.hidden.to(.bfloat16), try inputs.head.to(.bfloat16))
        let narrow = try Tensor.tokenScores(hidden: hidden, head: head, targets: inputs.targets)
        let wide = try Tensor.tokenScores(
            hidden: hidden.to(.float32), head: head.to(.float32), targets: inputs.targets)
        #expect(narrow.logProbabilities.elementType == .float32)
        #expect(try narrow.logProbabilities.floats() == wide.logProbabilities.floats())
    }

    @Test func supportLogitsAreTheWordsOwn() throws {
        let inputs = try Inputs(tokens: 3, vocabulary: 8, size: 12, .float64)
        let support = try Tensor([0, 7, 3, 3, 1, 2], shape: [3, 2])
        let found = try Tensor.supportLogits(hidden: inputs.hidden, head: inputs.head, support: support)
        let all = try inputs.hidden.matmul(inputs.head.transposed(0, 1))
        #expect(try relativeDistance(found, all.gathered(axis: 1, index: support)) < 1e-12)
    }

    @Test func aTokenOutsideTheVocabularyIsRefused() throws {
        let (hidden, head) = (try Tensor.zeros([1, 2]), try Tensor.zeros([4, 2]))
        for token in [-1, 4] {
            #expect(throws: TensorError.self) {
                try Tensor.tokenScores(hidden: hidden, head: head, targets: Tensor([token]))
            }
        }
        #expect(throws: TensorError.self) {
            try Tensor.tokenScores(hidden: hidden, head: head, targets: Tensor([1]), temperature: 0)
        }
    }
}
