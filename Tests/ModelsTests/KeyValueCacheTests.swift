import Models
import Tensors
import TestSupport
import Testing

@TensorActor @Suite("Prefill and decode against the packed forward")
struct KeyValueCacheTests {
    nonisolated static let models = [
        "llama_biases", "llama3", "qwen2", "qwen2_sliding", "mistral_sliding", "qwen3", "llama_multi_query",
    ]

    @Test("hidden states equal those of the whole text, with rows that come and go", arguments: models)
    func equalsForward(_ name: String) throws {
        let model = try ModelFolder.load(PublishedModel(name).folder)
        var session = try Session(model)
        // Two prompts prefilled together, rows 0 and 1 on the first, row 2 on the second, in slots out of order.
        try session.prefill([(slot: 2, length: 13), (slot: 0, length: 4)])
        for _ in 0..<6 { try session.decode([(row: 3, prompt: 2), (row: 0, prompt: 2), (row: 1, prompt: 0)]) }
        // Row 0 ends; its slot is taken by a row of a new prompt, which takes over a prompt slot that is no longer
        // read.
        session.end(row: 0)
        session.end(row: 1)
        try session.prefill([(slot: 0, length: 17)])
        for _ in 0..<8 { try session.decode([(row: 0, prompt: 0), (row: 3, prompt: 2)]) }
        try session.decode([(row: 3, prompt: 2), (row: 0, prompt: 0), (row: 2, prompt: 0)])
        print("\(name): largest |Δ hidden| of decoding \(session.worst)")
        #expect(session.worst <= 2e-5)
        #expect(session.compared == 2 + 18 + 1 + 16 + 3)
    }

    @Test("a prompt that does not fit is an error that says by how much")
    func tooLong() throws {
        let model = try ModelFolder.load(PublishedModel("qwen2").folder)
        let cache = try KeyValueCache(
            configuration: model.configuration, promptSlots: 1, promptCapacity: 4, rowSlots: 1, rowCapacity: 4)
        let error = try #require(throws: ModelError.self) {
            try model.prefill(
                tokens: [3, 4, 5, 6, 7], layout: SequenceLayout(sequenceLengths: [5]), cache: cache, promptSlots: [0])
        }
        #expect(error == .call("a prompt of 5 tokens; the cache holds 4"))
        #expect(throws: ModelError.self) {
            try model.prefill(
                tokens: [3, 4], layout: SequenceLayout(sequenceLengths: [2]), cache: cache, promptSlots: [1])
        }
    }
}

/// Decodes texts through a cache and compares every hidden state with the forward pass over the same text.
private struct Session {
    let model: Transformer
    let cache: KeyValueCache
    var prompts: [Int: [Int]] = [:]
    var rows: [Int: [Int]] = [:]
    var drawn = 0
    var compared = 0
    var worst = 0.0

    @TensorActor init(_ model: Transformer) throws {
        self.model = model
        cache = try KeyValueCache(
            configuration: model.configuration, promptSlots: 3, promptCapacity: 17, rowSlots: 4, rowCapacity: 16)
    }

    mutating func next() -> Int {
        drawn += 1
        return PackedTransformerTests.token(drawn)
    }

    mutating func end(row: Int) { rows[row] = nil }

    @TensorActor mutating func prefill(_ new: [(slot: Int, length: Int)]) throws {
        for (slot, length) in new { prompts[slot] = (0..<length).map { _ in next() } }
        let texts = new.map { prompts[$0.slot] ?? [] }
        let hidden = try model.prefill(
            tokens: texts.flatMap(\.self), layout: SequenceLayout(sequenceLengths: texts.map(\.count)), cache: cache,
            promptSlots: new.map(\.slot))
        try compare(hidden, with: texts)
    }

    @TensorActor mutating func decode(_ slots: [(row: Int, prompt: Int)]) throws {
        for slot in slots { rows[slot.row, default: []].append(next()) }
        let own = slots.map { rows[$0.row] ?? [] }
        let read = slots.map { prompts[$0.prompt] ?? [] }
        let hidden = try model.decode(
            tokens: own.compactMap(\.last), cache: cache,
            rows: DecodeRows(
                promptSlots: slots.map(\.prompt), promptLengths: read.map(\.count), ownSlots: slots.map(\.row),
                ownLengths: own.map(\.count)))
        try compare(hidden, with: zip(read, own).map { $0 + $1 })
    }

    @TensorActor private mutating func compare(_ hidden: Tensor, with texts: [[Int]]) throws {
        for (index, text) in texts.enumerated() {
            let whole = try Tensor.withoutGradients {
                try model.hiddenStates(tokens: Tensor(text), layout: SequenceLayout(sequenceLengths: [text.count]))
            }
            let expected = try whole.selected(axis: 0, at: text.count - 1).doubles()
            worst = max(worst, largestDifference(try hidden.selected(axis: 0, at: index).doubles(), expected))
            compared += 1
        }
    }
}
