package import Foundation
import JSON

/// The weights of a model folder: one `model.safetensors`, or where there is none shards named by
/// `model.safetensors.index.json`. Beside the one file an index says nothing, as in transformers.
package struct TensorFolder: Sendable {
    /// Every tensor's name, sorted.
    package let names: [String]
    private let files: [String: TensorFile]

    package static let singleFile = "model.safetensors"
    package static let indexFile = "model.safetensors.index.json"

    /// Opens the folder's files and checks their headers and, of shards, that they are what the index says.
    /// - Throws: ``TensorError/file(path:message:)``.
    package init(url: URL) throws(TensorError) {
        let single = url.appendingPathComponent(Self.singleFile)
        let index = url.appendingPathComponent(Self.indexFile)
        func isThere(_ file: URL) -> Bool { FileManager.default.fileExists(atPath: file.path) }
        var files: [String: TensorFile] = [:]
        if !isThere(single), isThere(index) {
            let shards = try Self.shards(in: index)
            for shard in Set(shards.values).sorted() {
                let file = try TensorFile(url: url.appendingPathComponent(shard))
                for name in file.names {
                    guard shards[name] == shard else {
                        throw .file(path: file.path, message: "tensor \(name) is not what \(Self.indexFile) says of it")
                    }
                    files[name] = file
                }
            }
            if let lost = shards.keys.sorted().first(where: { files[$0] == nil }) {
                throw .file(path: index.path, message: "tensor \(lost) is not in \(shards[lost] ?? "its shard")")
            }
        } else {
            let file = try TensorFile(url: single)
            for name in file.names { files[name] = file }
        }
        self.files = files
        names = files.keys.sorted()
    }

    /// Where each tensor is, by the index. A shard is a plain file name: the index must not lead out of the folder.
    private static func shards(in index: URL) throws(TensorError) -> [String: String] {
        let json: JSONValue
        do {
            let mapping = try FileMapping(path: index.path)
            json = try withExtendedLifetime(mapping) { try JSONValue(parsing: mapping.bytes) }
        } catch let error as JSONError {
            throw .file(path: index.path, message: "not readable as JSON: \(error)")
        } catch let error as TensorError {
            throw error
        } catch {
            throw .file(path: index.path, message: "cannot be read: \(error)")
        }
        let shards = json["weight_map"]?.dictionary?.compactMapValues(\.string) ?? [:]
        guard !shards.isEmpty, shards.count == json["weight_map"]?.members?.count else {
            throw .file(path: index.path, message: "weight_map is missing or maps something else than names to files")
        }
        for (name, shard) in shards
        where shard.contains("/") || shard.contains("\0") || shard.hasPrefix(".") || !shard.hasSuffix(".safetensors") {
            throw .file(
                path: index.path, message: "tensor \(name) is said to be in \(shard), expected a file of this folder")
        }
        return shards
    }

    package func shape(of name: String) -> [Int]? { files[name]?.shape(of: name) }
    package func typeName(of name: String) -> String? { files[name]?.typeName(of: name) }

    /// Whether two tensors are the same: of one element type and shape, with the same bytes. Little of them is in memory
    /// at a time.
    package func areEqual(_ one: String, _ other: String) -> Bool {
        guard let first = files[one], let second = files[other] else { return false }
        return first.holds(one, equalTo: other, in: second)
    }

    /// Reads one tensor, in its file's element type.
    package func tensor(named name: String, device: Device = .cpu) throws(TensorError) -> Tensor {
        guard let file = files[name] else {
            throw .file(path: Self.singleFile, message: "no tensor is named \(name)")
        }
        return try file.tensor(named: name, device: device)
    }
    /// Whether a tensor can be read from its file's own pages.
    package func canMap(_ name: String) -> Bool { files[name]?.canMap(name) ?? false }

    /// One tensor over its file's own pages; see ``TensorFile/mappedTensor(named:)``.
    package func mappedTensor(named name: String) throws(TensorError) -> Tensor {
        guard let file = files[name] else {
            throw .file(path: Self.singleFile, message: "no tensor is named \(name)")
        }
        return try file.mappedTensor(named: name)
    }

    /// Gives back the pages of all files; see ``TensorFile/dropPages()``.
    package func dropPages() {
        for file in Dictionary(files.values.map { ($0.path, $0) }, uniquingKeysWith: { $1 }).values { file.dropPages() }
    }
}
