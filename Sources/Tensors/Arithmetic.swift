internal import CTorch

// Arithmetic on each element. Two tensors have equally many axes, and an axis of size 1 stands for any size; a tensor
// without axes goes with any other. A number beside a tensor takes its element type; a whole number beside integers
// stays whole, another number makes float32. All of it is differentiable in both operands.
extension Tensor {
    package static func + (a: Tensor, b: Tensor) throws(TensorError) -> Tensor { try binary("+", CTORCH_ADD, a, b) }
    package static func - (a: Tensor, b: Tensor) throws(TensorError) -> Tensor {
        try binary("-", CTORCH_SUBTRACT, a, b)
    }
    package static func * (a: Tensor, b: Tensor) throws(TensorError) -> Tensor {
        try binary("*", CTORCH_MULTIPLY, a, b)
    }
    package static func / (a: Tensor, b: Tensor) throws(TensorError) -> Tensor { try binary("/", CTORCH_DIVIDE, a, b) }

    package static func + (a: Tensor, b: Double) throws(TensorError) -> Tensor { try binary("+", CTORCH_ADD, a, b) }
    package static func - (a: Tensor, b: Double) throws(TensorError) -> Tensor {
        try binary("-", CTORCH_SUBTRACT, a, b)
    }
    package static func * (a: Tensor, b: Double) throws(TensorError) -> Tensor {
        try binary("*", CTORCH_MULTIPLY, a, b)
    }
    package static func / (a: Tensor, b: Double) throws(TensorError) -> Tensor { try binary("/", CTORCH_DIVIDE, a, b) }

    package static func + (a: Double, b: Tensor) throws(TensorError) -> Tensor { try b + a }
    package static func * (a: Double, b: Tensor) throws(TensorError) -> Tensor { try b * a }
    package static func - (a: Double, b: Tensor) throws(TensorError) -> Tensor {
        try make("-") { ctorch_scalar_minus(a, b.raw, $0) }
    }
    package static func / (a: Double, b: Tensor) throws(TensorError) -> Tensor {
        try make("/") { ctorch_scalar_over(a, b.raw, $0) }
    }

    package static prefix func - (a: Tensor) throws(TensorError) -> Tensor { try a.unary("-", CTORCH_NEGATE) }

    /// Each element moved into the range; outside it, and for NaN, the gradient is 0.
    package func clamped(to range: ClosedRange<Double>) throws(TensorError) -> Tensor {
        try Tensor.make("clamped") { ctorch_clamp(raw, range.lowerBound, range.upperBound, $0) }
    }

    static func binary(
        _ operation: String, _ op: ctorch_binary_op, _ a: Tensor, _ b: Tensor
    ) throws(TensorError) -> Tensor {
        try requireRanks(operation, a, b)
        return try make(operation) { ctorch_binary(op, a.raw, b.raw, $0) }
    }

    static func binary(
        _ operation: String, _ op: ctorch_binary_op, _ a: Tensor, _ b: Double
    ) throws(TensorError) -> Tensor {
        try make(operation) { ctorch_binary_scalar(op, a.raw, b, $0) }
    }

    /// libtorch would line up the last axes; a forgotten axis then gives a wrong result instead of an error.
    static func requireRanks(_ operation: String, _ a: Tensor, _ b: Tensor) throws(TensorError) {
        guard ctorch_ranks_fit(a.raw, b.raw) else {
            throw .shape(
                operation: operation, expected: "as many axes as \(a.shape) (write unsqueezed to add one)",
                got: b.shape)
        }
    }
}

/// The smaller of each pair; equal ones share the gradient. NaN where either is NaN.
package func minimum(_ a: Tensor, _ b: Tensor) throws(TensorError) -> Tensor {
    try Tensor.binary("minimum", CTORCH_MINIMUM, a, b)
}

/// The smaller of each element and a number. NaN stays.
package func minimum(_ a: Tensor, _ b: Double) throws(TensorError) -> Tensor {
    try Tensor.binary("minimum", CTORCH_MINIMUM, a, b)
}

/// The larger of each pair; equal ones share the gradient. NaN where either is NaN.
package func maximum(_ a: Tensor, _ b: Tensor) throws(TensorError) -> Tensor {
    try Tensor.binary("maximum", CTORCH_MAXIMUM, a, b)
}

/// The larger of each element and a number. NaN stays.
package func maximum(_ a: Tensor, _ b: Double) throws(TensorError) -> Tensor {
    try Tensor.binary("maximum", CTORCH_MAXIMUM, a, b)
}
