internal import Foundation

/// What can go wrong with a tensor: always the caller's input or the engine's refusal, never a crash.
package enum TensorError: Error, Sendable, Equatable, CustomStringConvertible {
    /// libtorch refused; the message is its own.
    case engine(operation: String, message: String)
    /// Sizes do not fit the operation.
    case shape(operation: String, expected: String, got: [Int])
    /// The element type does not fit the operation.
    case elementType(operation: String, expected: String, got: ElementType)
    /// A tensor file is damaged, hostile or not of the expected form.
    case file(path: String, message: String)
    /// The operating system refused to write a tensor file. `code` is its `errno`.
    case system(action: String, path: String, code: Int32)
    /// Prompts and completions cannot be packed as asked.
    case layout(String)
    /// A device that this libtorch or this machine does not have.
    case device(String)

    package var description: String {
        switch self {
        case .engine(let operation, let message): "\(operation): \(message)"
        case .shape(let operation, let expected, let got): "\(operation): shape \(got), expected \(expected)"
        case .elementType(let operation, let expected, let got):
            "\(operation): element type \(got), expected \(expected)"
        case .file(let path, let message): "\(path): \(message)"
        case .system(let action, let path, let code): "cannot \(action) \(path): \(String(cString: strerror(code)))"
        case .layout(let message), .device(let message): message
        }
    }
}
