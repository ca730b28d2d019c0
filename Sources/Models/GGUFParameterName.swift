/// What llama.cpp calls the tensors of the built families.
enum GGUFParameterName {
    private static let outer = [
        "token_embd.weight": ParameterName.embedding, "output_norm.weight": ParameterName.finalNorm,
        "output.weight": ParameterName.head,
    ]
    private static let parts = [
        "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
        "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm", "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
    ]
    private static let outerBack = Dictionary(uniqueKeysWithValues: outer.map { ($1, $0) })
    private static let partsBack = Dictionary(uniqueKeysWithValues: parts.map { ($1, $0) })

    /// The factors of Llama 3's rotary frequencies, which follow from the configuration.
    static let rotaryFactors = "rope_freqs.weight"

    /// The Hugging Face name; `nil` for a tensor that no built family has.
    static func huggingFace(_ name: String) -> String? {
        if let known = outer[name] { return known }
        let pieces = name.split(separator: ".", omittingEmptySubsequences: false)
        guard pieces.count == 4, pieces[0] == "blk", let layer = Int(pieces[1]), let part = parts[String(pieces[2])]
        else { return nil }
        return ParameterName.layer(layer, part) + ".\(pieces[3])"
    }

    /// llama.cpp's name of a parameter.
    static func gguf(_ name: String) -> String {
        if let known = outerBack[name] { return known }
        let pieces = name.split(separator: ".")  // model.layers.3.self_attn.q_proj.weight
        let part = pieces.dropFirst(3).dropLast().joined(separator: ".")
        guard let known = partsBack[part], let kind = pieces.last else {
            preconditionFailure("\(name) is a parameter that llama.cpp has no name for")
        }
        return "blk.\(pieces[2]).\(known).\(kind)"
    }
}

/// The order of the rows of queries and keys in llama.cpp's files of the Llama architecture, which turns neighbours
/// where transformers turns the two halves of a head: row 2·i + h of a head there is row h·(size / 2) + i here.
struct GGUFRowOrder {
    let heads: Int
    let rows: Int

    /// - Returns: `nil` when the rows stand in the same order in both.
    init?(of name: String, rows: Int, in configuration: ModelConfiguration) {
        guard configuration.family.ggufName == "llama" else { return nil }
        if name.contains(".q_proj.") {
            heads = configuration.heads
        } else if name.contains(".k_proj.") {
            heads = configuration.keyValueHeads
        } else {
            return nil
        }
        guard rows % (2 * heads) == 0 else { return nil }
        self.rows = rows
    }

    /// Where each row of the file stands here.
    var toHere: [Int] {
        let size = rows / heads
        return (0..<rows).map { row in
            let (head, index) = (row / size, row % size)
            return head * size + index % 2 * (size / 2) + index / 2
        }
    }

    /// The rows of the file in the order they have here; of bytes, so that blocks stay whole.
    func restored(_ bytes: UnsafeRawBufferPointer) -> [UInt8] {
        let width = bytes.count / rows
        return [UInt8](unsafeUninitializedCapacity: bytes.count) { target, count in
            for (row, here) in toHere.enumerated() {
                UnsafeMutableRawBufferPointer(
                    rebasing: UnsafeMutableRawBufferPointer(target)[here * width..<(here + 1) * width]
                )
                .copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[row * width..<(row + 1) * width]))
            }
            count = bytes.count
        }
    }

    /// The other way round, of values.
    func permuted(_ values: [Float]) -> [Float] {
        let width = values.count / rows
        return toHere.flatMap { values[$0 * width..<($0 + 1) * width] }
    }
}

extension ModelFamily {
    /// The name of the architecture in llama.cpp, which has Mistral as a Llama.
    var ggufName: String {
        switch self {
        case .llama, .mistral: "llama"
        case .qwen2: "qwen2"
        case .qwen3: "qwen3"
        }
    }
}
