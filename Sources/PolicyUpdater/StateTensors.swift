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

    /// Opens a file that must hold exactly these names, shapes and types. Its header says so: no tensor is read.
    static func open(_ url: URL, expecting expected: [String: Tensor]) throws -> TensorFile {
        let file = try TensorFile(url: url)
        let surplus = Set(file.names).subtracting(expected.keys).sorted()
        if let name = surplus.first {
            throw UpdateError.state(message: "\(url.path) has \(name), which this model lacks")
        }
        for (name, tensor) in expected.sorted(by: { $0.key < $1.key }) {
            guard let shape = file.shape(of: name), let type = file.typeName(of: name) else {
                throw UpdateError.state(message: "\(url.path) lacks \(name)")
            }
            guard shape == tensor.shape, type == tensor.elementType.name else {
                throw UpdateError.state(
                    message:
                        "\(name) in \(url.path) is \(type) \(shape); this model has "
                        + "\(tensor.elementType.name) \(tensor.shape)")
            }
        }
        return file
    }

    /// Copies what a file was opened for, one tensor after the other: no more than one is there twice.
    static func copy(_ file: TensorFile, into tensors: [String: Tensor]) throws {
        for (name, tensor) in tensors { try tensor.copy(from: file.tensor(named: name)) }
    }
}
