internal import CTorch

/// Owns one libtorch handle.
final class TensorHandle {
    let raw: OpaquePointer

    init(_ raw: OpaquePointer) { self.raw = raw }

    deinit { ctorch_release(raw) }
}

/// An n-dimensional array of libtorch, by reference: copies of the struct are the same tensor.
///
/// Not `Sendable`: a tensor stays on the thread of ``TensorActor``.
package struct Tensor {
    let handle: TensorHandle

    var raw: OpaquePointer { handle.raw }

    /// Runs one engine call that yields a tensor; its refusal becomes a ``TensorError/engine(operation:message:)``.
    static func make(
        _ operation: String, _ call: (UnsafeMutablePointer<OpaquePointer?>) -> ctorch_status
    ) throws(TensorError) -> Tensor {
        var out: OpaquePointer?
        try check(operation, call(&out))
        guard let out else { throw .engine(operation: operation, message: "the engine returned no tensor") }
        return Tensor(handle: TensorHandle(out))
    }

    /// The same of an operation that makes several tensors.
    static func make(
        _ operation: String, count: Int, _ call: (UnsafeMutablePointer<OpaquePointer?>) -> ctorch_status
    ) throws(TensorError) -> [Tensor] {
        var outs = [OpaquePointer?](repeating: nil, count: count)
        try check(operation, call(&outs))
        let made = outs.compactMap { $0.map { Tensor(handle: TensorHandle($0)) } }
        guard made.count == count else { throw .engine(operation: operation, message: "the engine returned no tensor") }
        return made
    }

    /// Turns a failed status into an error and frees its message.
    static func check(_ operation: String, _ status: ctorch_status) throws(TensorError) {
        guard status.failed else { return }
        defer { ctorch_status_free(status) }
        let message = status.message.map { String(cString: $0) }
        throw .engine(operation: operation, message: message ?? "failed, and no memory was left to say why")
    }
}

// What a tensor is.
extension Tensor {
    /// Sizes of the axes; empty for a single number.
    package var shape: [Int] { (0..<rank).map { ctorch_size(raw, $0) } }

    /// Number of axes.
    package var rank: Int { ctorch_rank(raw) }

    /// Number of elements.
    package var count: Int { ctorch_count(raw) }

    /// Size of one axis, without making an array of all.
    package func size(_ axis: Int) throws(TensorError) -> Int {
        let rank = rank
        let index = axis < 0 ? axis + rank : axis
        guard (0..<rank).contains(index) else {
            throw .shape(operation: "size", expected: "an axis \(axis)", got: shape)
        }
        return ctorch_size(raw, index)
    }

    package var elementType: ElementType {
        var code = CTORCH_FLOAT32
        let status = ctorch_type_of(raw, &code)
        precondition(!status.failed, "an operation made a tensor of an element type this room does not have")
        return ElementType(code: code)
    }

    package var device: Device { Device(code: ctorch_device_of(raw)) }

    /// The memory that the elements lie in, which tensors may share: an identity of it as long as it lives, and its
    /// bytes.
    package var storage: (identity: UInt, bytes: Int) {
        var (identity, bytes): (UnsafeRawPointer?, Int) = (nil, 0)
        let status = ctorch_storage(raw, &identity, &bytes)
        precondition(!status.failed, "a tensor of this room has storage")
        return (UInt(bitPattern: identity), bytes)
    }
}

extension Tensor: CustomStringConvertible {
    /// Type, shape and device; never the elements.
    package var description: String { "\(elementType) \(shape) on \(device)" }
}

// Checks that operations state in their documentation.
extension Tensor {
    /// - Throws: ``TensorError/shape(operation:expected:got:)`` when the shape is another.
    func requireShape(_ expected: [Int], in operation: String) throws(TensorError) {
        let shape = shape
        guard shape == expected else { throw .shape(operation: operation, expected: "\(expected)", got: shape) }
    }

    /// - Throws: ``TensorError/shape(operation:expected:got:)`` when the number of axes is another.
    func requireRank(_ expected: Int, in operation: String) throws(TensorError) {
        guard rank == expected else {
            throw .shape(operation: operation, expected: "\(expected) axes", got: shape)
        }
    }

    /// - Throws: ``TensorError/elementType(operation:expected:got:)`` when the element type is another.
    func requireType(_ expected: ElementType, in operation: String) throws(TensorError) {
        let type = elementType
        guard type == expected else {
            throw .elementType(operation: operation, expected: "\(expected)", got: type)
        }
    }
}

// Lists.
extension Tensor {
    /// Handles for one engine call; the tensors must outlive it (`withExtendedLifetime`).
    static func handles(of tensors: [Tensor]) -> [OpaquePointer?] { tensors.map { $0.raw } }

    /// Takes over the handles an engine call wrote.
    static func adopt(_ handles: [OpaquePointer?], from operation: String) throws(TensorError) -> [Tensor] {
        var tensors: [Tensor] = []
        tensors.reserveCapacity(handles.count)
        for handle in handles {
            guard let handle else { throw .engine(operation: operation, message: "the engine returned no tensor") }
            tensors.append(Tensor(handle: TensorHandle(handle)))
        }
        return tensors
    }
}
