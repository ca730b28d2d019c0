package import Runs
internal import Tensors

extension RunError {
    /// Runs `body`; what the system refused of a tensor file becomes the error that every other file of a run has, with
    /// its remedy.
    package static func fromWritingTensors(_ body: () throws -> Void) throws {
        do {
            try body()
        } catch TensorError.system(let action, let path, let code) {
            throw RunError.system(action: action, path: path, code: code)
        }
    }

    /// The same for writing that lets other work through.
    package static func fromWritingTensors(
        isolation: isolated (any Actor)? = #isolation, _ body: () async throws -> Void
    ) async throws {
        do {
            try await body()
        } catch TensorError.system(let action, let path, let code) {
            throw RunError.system(action: action, path: path, code: code)
        }
    }
}
