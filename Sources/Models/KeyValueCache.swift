package import Tensors

/// Keys and values of prompts, each kept once for all its completions, and of the rows that are being sampled.
///
/// A prompt slot holds one prompt; a row slot holds what was sampled after one. Slots are reused by writing over them:
/// a prefill starts a prompt slot anew, a row's first token starts a row slot anew.
package final class KeyValueCache {
    package let promptSlots: Int
    /// Tokens of the longest prompt that fits.
    package let promptCapacity: Int
    package let rowSlots: Int
    /// Tokens of the longest completion that fits.
    package let rowCapacity: Int
    let layers: [LayerCache]

    /// - Parameter ranks: How many share the model's heads: each keeps those of its own.
    /// - Throws: ``ModelError/call(_:)`` for a count below 1, ``TensorError`` when the memory is not there.
    package init(
        configuration: ModelConfiguration, promptSlots: Int, promptCapacity: Int, rowSlots: Int, rowCapacity: Int,
        type: ElementType = .float32, device: Device = .cpu, ranks: Int = 1
    ) throws {
        guard min(promptSlots, promptCapacity, rowSlots, rowCapacity) >= 1 else {
            throw ModelError.call("a cache needs at least one slot and one token of each kind")
        }
        (self.promptSlots, self.promptCapacity) = (promptSlots, promptCapacity)
        (self.rowSlots, self.rowCapacity) = (rowSlots, rowCapacity)
        layers = try configuration.slidingWindows.map { window in
            let ring = window.flatMap { $0 < promptCapacity + rowCapacity ? $0 : nil }
            let cache = try DecodeCache(
                promptSlots: ring == nil ? promptSlots : 1, promptCapacity: ring == nil ? promptCapacity : 1,
                rowSlots: rowSlots, rowCapacity: ring ?? rowCapacity,
                keyValueHeads: configuration.keyValueHeads / ranks, headSize: configuration.headSize, type: type,
                device: device)
            return LayerCache(cache, ring: ring)
        }
    }

    /// Everything that is kept.
    package var tensors: [Tensor] { layers.flatMap(\.tensors) }

    /// Whether another cache of these sizes could be done without: slots and tokens may be fewer than there are.
    package func fits(promptSlots: Int, promptCapacity: Int, rowSlots: Int, rowCapacity: Int) -> Bool {
        promptSlots <= self.promptSlots && promptCapacity <= self.promptCapacity && rowSlots <= self.rowSlots
            && rowCapacity <= self.rowCapacity
    }

    /// Refuses prompts that do not fit.
    func check(_ layout: SequenceLayout, _ slots: [Int]) throws(ModelError) {
        guard layout.groups.count == slots.count, layout.groups.allSatisfy({ $0.completions.isEmpty }) else {
            throw .call("prefill of \(layout.groups.count) groups into \(slots.count) slots; expected a prompt a slot")
        }
        let longest = layout.groups.map(\.prompt.count).max() ?? 0
        guard longest <= promptCapacity else {
            throw .call("a prompt of \(longest) tokens; the cache holds \(promptCapacity)")
        }
        guard Set(slots).count == slots.count, slots.allSatisfy((0..<promptSlots).contains) else {
            throw .call("prompt slots \(slots); expected different ones from 0 to \(promptSlots - 1)")
        }
    }
}

/// Puts the prompts of one prefill into one layer's cache.
struct PromptWriter {
    let cache: LayerCache
    let layout: SequenceLayout
    let slots: [Int]

    /// Where a layer that is one operation puts them: the cache, and the slot and the tokens of each prompt; `nil` for a ring.
    var whole: (cache: DecodeCache, prompts: [(slot: Int, length: Int)])? {
        cache.whole.map { ($0, zip(slots, layout.groups).map { ($0, $1.prompt.count) }) }
    }

    /// keys (turned) and values `[tokens, Hkv, d]`.
    func write(keys: Tensor, values: Tensor) throws(TensorError) {
        try cache.writePrompts(keys: keys, values: values, layout, slots)
    }
}

/// One layer of a ``KeyValueCache``.
///
/// A layer with a sliding window shorter than the texts keeps a ring of `ring` tokens a row, position p at p mod
/// `ring`: what falls out of the window is written over. Such a row starts with the end of its prompt, which is copied
/// in with the row's first token. Keys carry their position, so their order in the ring does not matter.
final class LayerCache {
    private let cache: DecodeCache
    private let ring: Int?
    /// Ends of prompts by slot: at most `ring` − 1 tokens, the last of the prompt.
    private var ends: [Int: (keys: Tensor, values: Tensor)] = [:]

    init(_ cache: DecodeCache, ring: Int?) {
        self.cache = cache
        self.ring = ring
    }

    var tensors: [Tensor] { cache.tensors + ends.values.flatMap { [$0.keys, $0.values] } }

    func writePrompts(
        keys: Tensor, values: Tensor, _ layout: SequenceLayout, _ slots: [Int]
    ) throws(TensorError) {
        guard let ring else {
            let tokenSlots = zip(layout.groups, slots).flatMap { group, slot in
                [Int](repeating: slot, count: group.prompt.count)
            }
            return try cache.writePrompt(keys: keys, values: values, slots: tokenSlots, positions: layout.positions)
        }
        for (group, slot) in zip(layout.groups, slots) {
            let count = min(group.prompt.count, ring - 1)
            let start = group.prompt.upperBound - count
            ends[slot] = (
                try keys.narrow(axis: 0, start: start, count: count).clone(),
                try values.narrow(axis: 0, start: start, count: count).clone()
            )
        }
    }

    /// The cache of rows that see all of their prompt; `nil` where they read a ring.
    var whole: DecodeCache? { ring == nil ? cache : nil }

    /// Adds the present token of each row: keys (turned) and values `[rows, Hkv, d]`.
    func append(keys: Tensor, values: Tensor, _ rows: DecodeRows) throws {
        guard let ring else {
            return try cache.writeOwn(
                keys: keys, values: values, slots: rows.ownSlots, positions: rows.ownLengths.map { $0 - 1 })
        }
        for row in rows.ownSlots.indices where rows.ownLengths[row] == 1 { try begin(row, rows, ring) }
        try cache.writeOwn(
            keys: keys, values: values, slots: rows.ownSlots,
            positions: zip(rows.promptLengths, rows.ownLengths).map { ($0 + $1 - 1) % ring })
    }

    /// Copies the end of a row's prompt into the row's ring.
    private func begin(_ row: Int, _ rows: DecodeRows, _ ring: Int) throws {
        guard let end = ends[rows.promptSlots[row]] else {
            throw ModelError.call("row \(row) follows prompt slot \(rows.promptSlots[row]), which holds no prompt")
        }
        let length = rows.promptLengths[row]
        let count = try end.keys.size(0)
        guard count > 0 else { return }
        guard count == min(length, ring - 1) else {
            throw ModelError.call("row \(row) states a prompt of \(length) tokens, its slot holds another one")
        }
        try cache.writeOwn(
            keys: end.keys, values: end.values, slots: [Int](repeating: rows.ownSlots[row], count: count),
            positions: (length - count..<length).map { $0 % ring })
    }

    /// `[rows, H, d]` queries over everything each row sees, its present token included.
    func attended(query: Tensor, _ rows: DecodeRows, scale: Double) throws(TensorError) -> AttentionResult {
        guard let ring else { return try cache.attend(query: query, rows: rows, scale: scale) }
        let none = [Int](repeating: 0, count: rows.ownSlots.count)
        let inRing = DecodeRows(
            promptSlots: none, promptLengths: none, ownSlots: rows.ownSlots,
            ownLengths: zip(rows.promptLengths, rows.ownLengths).map { min($0 + $1, ring) })
        return try cache.attend(query: query, rows: inRing, scale: scale)
    }
}
