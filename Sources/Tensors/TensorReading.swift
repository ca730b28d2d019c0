internal import CTorch

// Reading elements: copies, in row-major order, from any device, layout and element type.
extension Tensor {
    /// The elements as float32, rounded where the type is wider.
    package func floats() throws(TensorError) -> [Float] { try read("floats", .float32, filler: 0) }

    /// The elements as float64.
    package func doubles() throws(TensorError) -> [Double] { try read("doubles", .float64, filler: 0) }

    /// The elements of a tensor of integers or truth values (1 and 0).
    ///
    /// - Throws: ``TensorError/elementType(operation:expected:got:)`` for a floating type: rounding is the caller's
    ///   choice.
    package func integers() throws(TensorError) -> [Int] {
        let type = elementType
        guard !type.isFloatingPoint else {
            throw .elementType(operation: "integers", expected: "integers or bool", got: type)
        }
        return try read("integers", .int64, filler: 0)
    }

    /// The elements of a bool tensor.
    package func booleans() throws(TensorError) -> [Bool] {
        try requireType(.bool, in: "booleans")
        return try read("booleans", .bool, filler: false)
    }

    /// The only element.
    ///
    /// - Throws: ``TensorError/shape(operation:expected:got:)`` when there is not exactly one.
    package func item() throws(TensorError) -> Double {
        guard count == 1 else { throw .shape(operation: "item", expected: "one element", got: shape) }
        var value = 0.0
        try Tensor.check("item", ctorch_read(raw, CTORCH_FLOAT64, &value, 1))
        return value
    }

    /// Lends the raw elements of a contiguous tensor on the CPU, without a copy. Not to be kept after `body`.
    package func withBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) throws -> R {
        var start: UnsafeMutableRawPointer?
        try Tensor.check("withBytes", ctorch_pointer(raw, &start))
        return try withExtendedLifetime(handle) {
            try body(UnsafeRawBufferPointer(start: start, count: count * elementType.byteCount))
        }
    }

    /// A digest of the elements' bits and indices, of their own type, from any device.
    ///
    /// For the element with index `i` in row-major order and bit pattern `b`, all of it wrapping:
    ///
    ///     digest = Σ_i mix64(seed ⊕ i·0x9E3779B97F4A7C15 ⊕ (2b + 1)·0xBF58476D1CE4E5B9)
    ///     mix64    splitmix64's finaliser
    ///
    /// Any changed bit and any swap of two unequal elements changes it. Reads each element once, at the speed of
    /// memory.
    package func digest(seed: UInt64) throws(TensorError) -> UInt64 {
        try digest(seed: seed, from: 0, run: Swift.max(count, 1), stride: count)
    }

    /// What a part of a tensor adds to the digest of the whole, whose indices its elements have.
    ///
    /// - Parameters:
    ///   - first: Index of the first element.
    ///   - run: Elements that stand beside each other in the whole, again and again.
    ///   - stride: From the first index of a run to that of the next.
    func digest(seed: UInt64, from first: Int, run: Int, stride: Int) throws(TensorError) -> UInt64 {
        var digest: UInt64 = 0
        try Tensor.check("digest", ctorch_digest(raw, seed, first, run, stride, &digest))
        return digest
    }

    private func read<Element: BitwiseCopyable>(
        _ operation: String, _ type: ElementType, filler: Element
    ) throws(TensorError) -> [Element] {
        var values = [Element](repeating: filler, count: count)
        try Tensor.check(operation, ctorch_read(raw, type.code, &values, values.count))
        return values
    }
}

// Element types, devices and layout.
extension Tensor {
    /// The same values in another element type; the tensor itself when it has that type already. Differentiable.
    package func to(_ type: ElementType) throws(TensorError) -> Tensor {
        try Tensor.make("to(type)") { ctorch_to_type(raw, type.code, $0) }
    }

    /// The same values on another device; the tensor itself when it is there already. Differentiable.
    package func to(_ device: Device) throws(TensorError) -> Tensor {
        try Tensor.make("to(device)") { ctorch_to_device(raw, device.code, $0) }
    }

    /// The same values in row-major order; the tensor itself when it has that layout already. Differentiable.
    package func contiguous() throws(TensorError) -> Tensor {
        try Tensor.make("contiguous") { ctorch_contiguous(raw, $0) }
    }

    /// A copy of its own, in row-major order. Differentiable.
    package func clone() throws(TensorError) -> Tensor {
        try Tensor.make("clone") { ctorch_clone(raw, $0) }
    }
}
