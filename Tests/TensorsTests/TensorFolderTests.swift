import Foundation
import Tensors
import TestSupport
import Testing

@TensorActor @Suite("Folders of tensor files")
struct TensorFolderTests {
    private let folder: TemporaryFolder

    init() throws {
        folder = try TemporaryFolder()
        for (shard, names) in [("model-1.safetensors", ["a", "b"]), ("model-2.safetensors", ["c"])] {
            let writer = try TensorFileWriter(
                url: folder.url.appendingPathComponent(shard),
                announcing: names.map { .init(name: $0, type: .float32, shape: [1]) })
            for name in names {
                try writer.write(Tensor([Float(name.unicodeScalars.first!.value)]), named: name)
            }
            try writer.finish()
        }
    }

    private func index(_ map: String) throws {
        _ = try folder.file("model.safetensors.index.json", #"{"metadata":{},"weight_map":\#(map)}"#)
    }

    @Test func shardsReadAsOne() throws {
        try index(#"{"a":"model-1.safetensors","b":"model-1.safetensors","c":"model-2.safetensors"}"#)
        let weights = try TensorFolder(url: folder.url)
        #expect(weights.names == ["a", "b", "c"])
        #expect(try weights.names.map { try weights.tensor(named: $0).item() } == [97, 98, 99])
        #expect(throws: TensorError.self) { try weights.tensor(named: "d") }
    }

    /// transformers looks for it first.
    @Test func theOneFileIsReadBesideAnIndex() throws {
        try index(#"{"a":"model-1.safetensors","b":"model-1.safetensors","c":"model-2.safetensors"}"#)
        let writer = try TensorFileWriter(
            url: folder.url.appendingPathComponent("model.safetensors"),
            announcing: [.init(name: "a", type: .float32, shape: [1])])
        try writer.write(Tensor([1 as Float]), named: "a")
        try writer.finish()
        let weights = try TensorFolder(url: folder.url)
        #expect(weights.names == ["a"])
        #expect(try weights.tensor(named: "a").item() == 1)
    }

    @Test(arguments: [
        #"{"a":"../model-1.safetensors"}"#, #"{"a":"/etc/model-1.safetensors"}"#, #"{"a":"model-1.bin"}"#,
        #"{"a":".hidden.safetensors"}"#, #"{"a":"model-1.safetensors"}"#, #"{"a":"model-9.safetensors"}"#,
        #"{"a":"model-1.safetensors","b":"model-1.safetensors","x":"model-2.safetensors","c":"model-2.safetensors"}"#,
        #"{"a":1}"#, "{}", "[", "null",
    ])
    func anIndexThatDoesNotFitIsRefused(_ map: String) throws {
        try index(map)
        #expect(throws: TensorError.self) { try TensorFolder(url: folder.url) }
    }

    @Test func aFolderWithoutWeightsIsRefused() throws {
        #expect(throws: TensorError.self) { try TensorFolder(url: folder.url) }
    }
}
