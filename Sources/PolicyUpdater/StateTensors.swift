internal import Foundation
internal import Models
internal import Runs
internal import Tensors

/// Tensors by name in a file of a checkpoint's state.
enum StateTensors {
    /// Writes the tensors by name. Other work of the tensor thread has its turn between two of them: a rank that saves
    /// answers the others.
    ///
    /// - Parameter written: Runs after each of them.
    @TensorActor
    static func write(_ tensors: [String: Tensor], to url: URL, written: () -> Void = {}) async throws {
        let named = tensors.sorted { $0.key < $1.key }
        try await RunError.fromWritingTensors {
            let writer = try TensorFileWriter(
                url: url,
                announcing: named.map { .init(name: $0.key, type: $0.value.elementType, shape: $0.value.shape) })
            for (name, tensor) in named {
                try writer.write(tensor, named: name)
                written()
                await Task.yield()
            }
            try await writer.flush()
            try writer.finish()
        }
    }

    /// Reads a file that must hold exactly these names and shapes.
    static func read(_ url: URL, expecting expected: [String: Tensor]) throws -> [String: Tensor] {
        let file = try TensorFile(url: url)
        let surplus = Set(file.names).subtracting(expected.keys).sorted()
        if let name = surplus.first {
            throw UpdateError.state(message: "\(url.path) has \(name), which this model lacks")
        }
        var tensors: [String: Tensor] = [:]
        for (name, tensor) in expected {
            guard file.names.contains(name) else {
                throw UpdateError.state(message: "\(url.path) lacks \(name)")
            }
            let saved = try file.tensor(named: name)
            guard saved.shape == tensor.shape, saved.elementType == tensor.elementType else {
                throw UpdateError.state(
                    message:
                        "\(name) in \(url.path) is \(saved.elementType) \(saved.shape); this model has "
                        + "\(tensor.elementType) \(tensor.shape)")
            }
            tensors[name] = saved
        }
        return tensors
    }
}
