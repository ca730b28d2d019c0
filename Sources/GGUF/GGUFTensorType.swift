/// How a GGUF file stores the values of a tensor.
///
/// Apart from the three plain types, values stand in blocks along a row: small whole numbers with one or more shared
/// scales. The numbers are those of the file.
package enum GGUFTensorType: UInt32, Sendable, Equatable, CaseIterable {
    case f32 = 0
    case f16 = 1
    /// 32 values of 4 bits and a scale.
    case q40 = 2
    /// 32 values of 4 bits, a scale and a minimum.
    case q41 = 3
    /// 32 values of 5 bits and a scale.
    case q50 = 6
    /// 32 values of 5 bits, a scale and a minimum.
    case q51 = 7
    /// 32 values of 8 bits and a scale.
    case q80 = 8
    /// 256 values of 2 bits; scales and minima of 16 values each have 4 bits.
    case q2K = 10
    /// 256 values of 3 bits; scales of 16 values each have 6 bits.
    case q3K = 11
    /// 256 values of 4 bits; scales and minima of 32 values each have 6 bits.
    case q4K = 12
    /// 256 values of 5 bits; scales and minima of 32 values each have 6 bits.
    case q5K = 13
    /// 256 values of 6 bits; scales of 16 values each have 8 bits.
    case q6K = 14
    case bf16 = 30

    /// As llama.cpp calls it: `Q4_0`.
    package var name: String {
        switch self {
        case .f32: "F32"
        case .f16: "F16"
        case .bf16: "BF16"
        case .q40: "Q4_0"
        case .q41: "Q4_1"
        case .q50: "Q5_0"
        case .q51: "Q5_1"
        case .q80: "Q8_0"
        case .q2K: "Q2_K"
        case .q3K: "Q3_K"
        case .q4K: "Q4_K"
        case .q5K: "Q5_K"
        case .q6K: "Q6_K"
        }
    }

    /// The type with a name, in letters of either case.
    package init?(name: String) {
        guard let type = Self.allCases.first(where: { $0.name == name.uppercased() }) else { return nil }
        self = type
    }

    /// Values of one block; a row is a whole number of blocks.
    package var blockCount: Int {
        switch self {
        case .f32, .f16, .bf16: 1
        case .q40, .q41, .q50, .q51, .q80: 32
        case .q2K, .q3K, .q4K, .q5K, .q6K: 256
        }
    }

    /// Bytes of one block.
    package var blockByteCount: Int {
        switch self {
        case .f32: 4
        case .f16, .bf16: 2
        case .q40: 2 + 16
        case .q41: 2 + 2 + 16
        case .q50: 2 + 4 + 16
        case .q51: 2 + 2 + 4 + 16
        case .q80: 2 + 32
        case .q2K: 16 + 64 + 2 + 2
        case .q3K: 32 + 64 + 12 + 2
        case .q4K: 2 + 2 + 12 + 128
        case .q5K: 2 + 2 + 12 + 32 + 128
        case .q6K: 128 + 64 + 16 + 2
        }
    }

    /// Whether values lose their exact bits on the way into a file of this type.
    package var isQuantized: Bool { blockCount > 1 }

    /// Bytes of `count` values, which fill whole blocks.
    package func byteCount(of count: Int) -> Int { count / blockCount * blockByteCount }

    /// Every type that is read, for messages.
    package static var supported: String { allCases.map(\.name).joined(separator: ", ") }

    /// What other numbers of the file mean; their values are not read.
    static let otherNames: [UInt32: String] = [
        4: "Q4_2", 5: "Q4_3", 9: "Q8_1", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S",
        20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64",
        29: "IQ1_M", 31: "Q4_0_4_4", 32: "Q4_0_4_8", 33: "Q4_0_8_8", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4",
        40: "NVFP4", 41: "Q1_0",
    ]
}
