internal import CTorch

// Functions of each element. Differentiable, of the same shape and floating type.
extension Tensor {
    package func exp() throws(TensorError) -> Tensor { try unary("exp", CTORCH_EXP) }
    /// exp(x) − 1, exact near 0.
    package func expm1() throws(TensorError) -> Tensor { try unary("expm1", CTORCH_EXPM1) }
    /// Natural logarithm.
    package func log() throws(TensorError) -> Tensor { try unary("log", CTORCH_LOG) }
    package func sqrt() throws(TensorError) -> Tensor { try unary("sqrt", CTORCH_SQRT) }
    /// 1/√x
    package func rsqrt() throws(TensorError) -> Tensor { try unary("rsqrt", CTORCH_RSQRT) }
    package func square() throws(TensorError) -> Tensor { try unary("square", CTORCH_SQUARE) }
    /// |x|, with gradient 0 at 0.
    package func abs() throws(TensorError) -> Tensor { try unary("abs", CTORCH_ABS) }
    /// −1, 0 or 1.
    package func sign() throws(TensorError) -> Tensor { try unary("sign", CTORCH_SIGN) }
    /// 1/(1 + exp(−x))
    package func sigmoid() throws(TensorError) -> Tensor { try unary("sigmoid", CTORCH_SIGMOID) }
    /// log(sigmoid(x)), without overflow.
    package func logSigmoid() throws(TensorError) -> Tensor { try unary("logSigmoid", CTORCH_LOG_SIGMOID) }
    package func tanh() throws(TensorError) -> Tensor { try unary("tanh", CTORCH_TANH) }
    package func cos() throws(TensorError) -> Tensor { try unary("cos", CTORCH_COS) }
    package func sin() throws(TensorError) -> Tensor { try unary("sin", CTORCH_SIN) }
    /// log Γ(x), for x above 0.
    package func logGamma() throws(TensorError) -> Tensor { try unary("logGamma", CTORCH_LOG_GAMMA) }
    /// ψ(x), the derivative of log Γ.
    package func digamma() throws(TensorError) -> Tensor { try unary("digamma", CTORCH_DIGAMMA) }

    func unary(_ operation: String, _ op: ctorch_unary_op) throws(TensorError) -> Tensor {
        try Tensor.make(operation) { ctorch_unary(op, raw, $0) }
    }
}

// Comparisons and choices. The results are bool, without gradient; sizes go together as in arithmetic.
extension Tensor {
    package func greater(than other: Tensor) throws(TensorError) -> Tensor {
        try Tensor.binary("greater", CTORCH_GREATER, self, other)
    }
    package func greater(than value: Double) throws(TensorError) -> Tensor {
        try Tensor.binary("greater", CTORCH_GREATER, self, value)
    }
    package func less(than other: Tensor) throws(TensorError) -> Tensor {
        try Tensor.binary("less", CTORCH_LESS, self, other)
    }
    package func less(than value: Double) throws(TensorError) -> Tensor {
        try Tensor.binary("less", CTORCH_LESS, self, value)
    }
    package func lessOrEqual(to other: Tensor) throws(TensorError) -> Tensor {
        try Tensor.binary("lessOrEqual", CTORCH_LESS_EQUAL, self, other)
    }
    package func lessOrEqual(to value: Double) throws(TensorError) -> Tensor {
        try Tensor.binary("lessOrEqual", CTORCH_LESS_EQUAL, self, value)
    }
    package func equal(to other: Tensor) throws(TensorError) -> Tensor {
        try Tensor.binary("equal", CTORCH_EQUAL, self, other)
    }
    package func equal(to value: Double) throws(TensorError) -> Tensor {
        try Tensor.binary("equal", CTORCH_EQUAL, self, value)
    }
    package func logicalAnd(_ other: Tensor) throws(TensorError) -> Tensor {
        try Tensor.binary("logicalAnd", CTORCH_LOGICAL_AND, self, other)
    }
    package func logicalNot() throws(TensorError) -> Tensor { try unary("logicalNot", CTORCH_LOGICAL_NOT) }

    /// `a` where the condition is true, `b` elsewhere. Differentiable in `a` and `b`: each gets its own elements'
    /// gradient.
    package static func `where`(
        _ condition: Tensor, _ a: Tensor, _ b: Tensor
    ) throws(TensorError) -> Tensor {
        try requireRanks("where", condition, a)
        try requireRanks("where", condition, b)
        return try make("where") { ctorch_where(condition.raw, a.raw, b.raw, $0) }
    }

    /// `value` where the bool mask is true, this tensor's element elsewhere. Differentiable.
    package func filled(where mask: Tensor, with value: Double) throws(TensorError) -> Tensor {
        try Tensor.requireRanks("filled", self, mask)
        return try Tensor.make("filled") { ctorch_masked_fill(raw, mask.raw, value, $0) }
    }
}
