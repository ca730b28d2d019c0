internal import CTorch

/// Which keys each row of a decoding step sees. Every array has one element a row.
package struct DecodeRows: Sendable, Equatable {
    /// Slot of the row's prompt; rows of one group name the same.
    package var promptSlots: [Int]
    /// Keys of that prompt.
    package var promptLengths: [Int]
    /// The row's own slot.
    package var ownSlots: [Int]
    /// Keys of the row itself, the token of this step included.
    package var ownLengths: [Int]

    package init(promptSlots: [Int], promptLengths: [Int], ownSlots: [Int], ownLengths: [Int]) {
        precondition(
            promptLengths.count == promptSlots.count && ownSlots.count == promptSlots.count
                && ownLengths.count == promptSlots.count, "one element a row in every array")
        self.promptSlots = promptSlots
        self.promptLengths = promptLengths
        self.ownSlots = ownSlots
        self.ownLengths = ownLengths
    }

    package var count: Int { promptSlots.count }

    func withRaw<Result>(_ body: (ctorch_decode_rows) -> Result) -> Result {
        promptSlots.withUnsafeBufferPointer { promptSlots in
            promptLengths.withUnsafeBufferPointer { promptLengths in
                ownSlots.withUnsafeBufferPointer { ownSlots in
                    ownLengths.withUnsafeBufferPointer { ownLengths in
                        body(
                            ctorch_decode_rows(
                                prompt_slots: promptSlots.baseAddress, prompt_lengths: promptLengths.baseAddress,
                                own_slots: ownSlots.baseAddress, own_lengths: ownLengths.baseAddress, count: count))
                    }
                }
            }
        }
    }
}

/// Keys and values of one layer while completions are written token by token.
///
/// A prompt's keys stand once, whatever number of completions read them; each row has a slot of its own for what it
/// wrote. Slots may be given to another prompt or row at any time: what stands behind a length is never read, so that a slot
/// takes memory for the longest text that it has held, not for all that would fit. Copies of the struct are the same cache.
package struct DecodeCache {
    private let promptKeys: Tensor
    private let promptValues: Tensor
    private let ownKeys: Tensor
    private let ownValues: Tensor

    /// - Parameters:
    ///   - promptSlots: prompts held at a time.
    ///   - promptCapacity: most tokens of a prompt.
    ///   - rowSlots: rows held at a time.
    ///   - rowCapacity: most tokens a row writes.
    ///   - keyValueHeads: Hkv.
    ///   - headSize: d.
    package init(
        promptSlots: Int, promptCapacity: Int, rowSlots: Int, rowCapacity: Int, keyValueHeads: Int, headSize: Int,
        type: ElementType = .float32, device: Device = .cpu
    ) throws(TensorError) {
        // Keys stand in tiles of 16, [slots, Hkv, tiles, d, 16], so that one vector holds one element of 16 keys.
        func keys(_ slots: Int, _ capacity: Int) throws(TensorError) -> Tensor {
            try Tensor.unwritten([slots, keyValueHeads, (capacity + 15) / 16, headSize, 16], type, device: device)
        }
        func values(_ slots: Int, _ capacity: Int) throws(TensorError) -> Tensor {
            try Tensor.unwritten([slots, keyValueHeads, capacity, headSize], type, device: device)
        }
        promptKeys = try keys(promptSlots, promptCapacity)
        promptValues = try values(promptSlots, promptCapacity)
        ownKeys = try keys(rowSlots, rowCapacity)
        ownValues = try values(rowSlots, rowCapacity)
    }

    /// Everything that is kept.
    package var tensors: [Tensor] { [promptKeys, promptValues, ownKeys, ownValues] }

    /// Keeps prompt tokens: token i at `positions[i]` of prompt slot `slots[i]`. Keys and values are `[tokens, Hkv,
    /// d]`, keys with their positions applied. No gradient is recorded.
    package func writePrompt(keys: Tensor, values: Tensor, slots: [Int], positions: [Int]) throws(TensorError) {
        try Self.write(promptKeys, promptValues, keys, values, slots, positions, "writePrompt")
    }

    /// Keeps tokens that rows wrote: token i at `positions[i]`, counted from the row's first, of row slot `slots[i]`.
    package func writeOwn(keys: Tensor, values: Tensor, slots: [Int], positions: [Int]) throws(TensorError) {
        try Self.write(ownKeys, ownValues, keys, values, slots, positions, "writeOwn")
    }

    private static func write(
        _ cacheKeys: Tensor, _ cacheValues: Tensor, _ keys: Tensor, _ values: Tensor, _ slots: [Int],
        _ positions: [Int],
        _ operation: String
    ) throws(TensorError) {
        guard slots.count == positions.count else {
            throw .shape(
                operation: operation, expected: "a position for each slot", got: [slots.count, positions.count])
        }
        let cache = ctorch_decode_cache(keys: cacheKeys.raw, values: cacheValues.raw)
        try Tensor.check(operation, ctorch_cache_write(cache, keys.raw, values.raw, slots, positions, slots.count))
    }

    /// Attention of one new token a row to its prompt and to what the row wrote, this token included (write it before).
    ///
    /// Equals plain attention of each row over its own keys, to rounding.
    ///
    /// - Parameters:
    ///   - query: `[R, H, d]`, positions applied.
    ///   - rows: what each row sees.
    ///   - scale: factor of the scores.
    ///   - composed: Whether libtorch's operations are taken, the way of devices without the kernel.
    /// - Returns: Of `[R, H, d]`, without gradient.
    package func attend(
        query: Tensor, rows: DecodeRows, scale: Double, composed: Bool = false
    ) throws(TensorError) -> AttentionResult {
        let made = try Tensor.make("decodeAttention", count: 2) { outs in
            rows.withRaw { ctorch_decode_attention(query.raw, prompt, own, $0, scale, composed, outs, outs + 1) }
        }
        return AttentionResult(found: made[0], logSums: made[1])
    }

    var prompt: ctorch_decode_cache { ctorch_decode_cache(keys: promptKeys.raw, values: promptValues.raw) }
    var own: ctorch_decode_cache { ctorch_decode_cache(keys: ownKeys.raw, values: ownValues.raw) }
}
