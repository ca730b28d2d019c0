internal import CTorch

/// What one element of a tensor is.
package enum ElementType: Sendable, Equatable, CaseIterable {
    case float32, float64, bfloat16, float16, int64, int32, uint8, bool

    /// Bytes of one element.
    package var byteCount: Int {
        switch self {
        case .float64, .int64: 8
        case .float32, .int32: 4
        case .bfloat16, .float16: 2
        case .uint8, .bool: 1
        }
    }

    package var isFloatingPoint: Bool {
        switch self {
        case .float32, .float64, .bfloat16, .float16: true
        case .int64, .int32, .uint8, .bool: false
        }
    }

    /// As tensor files spell it.
    package var name: String {
        switch self {
        case .float32: "F32"
        case .float64: "F64"
        case .bfloat16: "BF16"
        case .float16: "F16"
        case .int64: "I64"
        case .int32: "I32"
        case .uint8: "U8"
        case .bool: "BOOL"
        }
    }

    /// The type a tensor file calls `name`, if this room has it.
    package init?(name: String) {
        guard let type = Self.allCases.first(where: { $0.name == name }) else { return nil }
        self = type
    }

    init(code: ctorch_type) {
        guard let type = Self.allCases.first(where: { $0.code == code }) else {
            preconditionFailure("CTorch gave the element type code \(code.rawValue), which its header does not have")
        }
        self = type
    }

    var code: ctorch_type {
        switch self {
        case .float32: CTORCH_FLOAT32
        case .float64: CTORCH_FLOAT64
        case .bfloat16: CTORCH_BFLOAT16
        case .float16: CTORCH_FLOAT16
        case .int64: CTORCH_INT64
        case .int32: CTORCH_INT32
        case .uint8: CTORCH_UINT8
        case .bool: CTORCH_BOOL
        }
    }
}

/// Where a tensor's elements live.
package enum Device: Sendable, Equatable {
    case cpu
    /// A CUDA device by its index.
    case cuda(Int)

    var code: ctorch_device {
        switch self {
        case .cpu: ctorch_device(cuda_index: -1)
        // CTorch refuses an index no machine has; below 0 it would read the CPU.
        case .cuda(let index): ctorch_device(cuda_index: index < 0 ? Int32.max : Int32(clamping: index))
        }
    }

    init(code: ctorch_device) {
        self = code.cuda_index < 0 ? .cpu : .cuda(Int(code.cuda_index))
    }
}
