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

    /// Turns a failed status into an error and frees its message.
    static func check(_ operation: String, _ status: ctorch_status) throws(TensorError) {
        guard let message = status.message else { return }
        defer { ctorch_status_free(status) }
        throw .engine(operation: operation, message: String(cString: message))
    }
}
