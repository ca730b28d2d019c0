package import Foundation
package import GGUF
internal import Runs
internal import Tensors

/// Writes a model as one GGUF file, which llama.cpp and what is built on it run.
///
/// Matrices are stored in the type asked for; norms and biases as float32, as llama.cpp has them. With 4 bits the
/// embedding and the head are stored with 8, since they suffer most; a matrix whose rows are no whole blocks is stored
/// as float16.
package struct GGUFSaving {
    private let configuration: ModelConfiguration
    private let type: GGUFTensorType
    private let metadata: [(key: String, value: GGUFValue)]
    /// Where llama.cpp's computation can differ from the model's.
    package let notices: [String]

    /// - Parameters:
    ///   - name: What the model is called in the file.
    ///   - type: One of ``GGUFTensorType/written``.
    ///   - tokenizer: The entries of the tokenizer.
    ///   - path: Where the model comes from, for messages.
    /// - Throws: ``ModelError/configuration(path:problems:)`` for mathematics that llama.cpp does not have.
    package init(
        _ configuration: ModelConfiguration, name: String, type: GGUFTensorType,
        tokenizer: [(key: String, value: GGUFValue)], path: String
    ) throws(ModelError) {
        precondition(GGUFTensorType.written.contains(type), "\(type.name) is read only")
        self.configuration = configuration
        self.type = type
        let stated = GGUFModelMetadata(configuration)
        guard stated.problems.isEmpty else { throw .configuration(path: path, problems: stated.problems) }
        notices = stated.notices
        var entries: [(key: String, value: GGUFValue)] = [
            ("general.architecture", .string(configuration.family.ggufName)), ("general.type", .string("model")),
            ("general.name", .string(name)), ("general.file_type", .integer(Self.fileType(type))),
        ]
        if type.isQuantized { entries.append(("general.quantization_version", .integer(2))) }
        metadata = entries + stated.entries + tokenizer
    }

    /// How llama.cpp numbers what most of a file's tensors are.
    private static func fileType(_ type: GGUFTensorType) -> Int {
        switch type {
        case .f16: 1
        case .q40: 2
        case .q80: 7
        case .bf16: 32
        default: 0
        }
    }

    /// One tensor of the file.
    private struct Part {
        /// `nil` for the rotary factors, which are no parameter.
        let parameter: String?
        let announcement: GGUFLayout.Announcement
    }

    private var parts: [Part] {
        let parameters = configuration.parameterShapes.map { parameter in
            Part(
                parameter: parameter.name,
                announcement: .init(
                    name: GGUFParameterName.gguf(parameter.name), shape: parameter.shape, type: stored(parameter)))
        }
        guard case .llama3 = configuration.ropeScaling else { return parameters }
        let factors = Part(
            parameter: nil,
            announcement: .init(
                name: GGUFParameterName.rotaryFactors, shape: [configuration.headSize / 2], type: .f32))
        return [factors] + parameters
    }

    private func stored(_ parameter: ParameterShape) -> GGUFTensorType {
        guard parameter.role == .weight, let width = parameter.shape.last else { return .f32 }
        guard type.isQuantized else { return type }
        guard width % type.blockCount == 0 else { return .f16 }
        let isOuter = [ParameterName.embedding, ParameterName.head].contains(parameter.name)
        return isOuter ? .q80 : type
    }

    /// Bytes the file will have.
    package var byteCount: Int { layout.byteCount }

    private var layout: GGUFLayout { GGUFLayout(metadata: metadata, tensors: parts.map(\.announcement)) }

    /// Writes the file under another name, flushes and renames it; one tensor is in memory at a time.
    ///
    /// - Throws: ``ModelError`` for values that the type cannot hold, `RunError` when the disk refuses.
    package func write(_ weights: any ModelWeights, to url: URL) throws {
        let partial = url.deletingLastPathComponent().appending(path: ".\(url.lastPathComponent).partial-\(getpid())")
        do {
            let file = try PosixFile.creating(partial)
            try file.write(layout.header)
            for part in parts {
                let bytes = try bytes(of: part, weights, url)
                try file.write(bytes)
                try file.write([UInt8](repeating: 0, count: GGUFLayout.padding(after: bytes.count)))
            }
            try file.synchronize()
            try FileOperations.system.rename(partial, url)
        } catch {
            do { try FileOperations.system.remove(partial) } catch { /* the first failure is the one to report */  }
            throw error
        }
        try FileOperations.system.synchronize(url.deletingLastPathComponent())
    }

    private func bytes(of part: Part, _ weights: any ModelWeights, _ url: URL) throws -> [UInt8] {
        let announced = part.announcement
        let values: [Float]
        if let name = part.parameter {
            let read = try weights.tensor(named: name).floats()
            values = GGUFRowOrder(of: name, rows: announced.shape[0], in: configuration)?.permuted(read) ?? read
        } else {
            values = Llama3Factors.values(of: configuration)
        }
        var isSound = true
        let bytes = [UInt8](unsafeUninitializedCapacity: announced.byteCount) { target, count in
            values.withUnsafeBufferPointer { source in
                isSound = announced.type.quantize(
                    source, into: UnsafeMutableBufferPointer(rebasing: target[..<announced.byteCount]))
            }
            count = announced.byteCount
        }
        guard isSound else {
            throw ModelError.file(
                path: url.path(percentEncoded: false),
                message: "\(part.parameter ?? announced.name) holds values that \(announced.type.name) cannot: NaN, "
                    + "infinity or too large a number")
        }
        return bytes
    }
}
