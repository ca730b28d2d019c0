import Foundation
import Tensors
import TestSupport
import Testing

/// A safetensors file from a header's text and its elements.
func tensorFile(_ header: String, elements: Int = 0, claiming length: UInt64? = nil) -> Data {
    var bytes = withUnsafeBytes(of: (length ?? UInt64(header.utf8.count)).littleEndian) { Data($0) }
    bytes.append(contentsOf: header.utf8)
    bytes.append(Data(count: elements))
    return bytes
}

@TensorActor @Suite("Tensor files")
struct TensorFileTests {
    private func write(_ tensors: [(String, Tensor)], to url: URL) throws {
        let writer = try TensorFileWriter(
            url: url, announcing: tensors.map { .init(name: $0.0, type: $0.1.elementType, shape: $0.1.shape) })
        for (name, tensor) in tensors { try writer.write(tensor, named: name) }
        try writer.finish()
    }

    @Test func whatIsWrittenIsReadBack() throws {
        let folder = try TemporaryFolder()
        let url = folder.url.appendingPathComponent("model.safetensors")
        var random = RandomValues(seed: 1)
        var tensors: [(String, Tensor)] = []
        for type in ElementType.allCases {
            tensors.append(("layer.\(type.name)", try (random.tensor([3, 2]) * 9).to(type)))
        }
        tensors.append(("empty", try Tensor.zeros([0, 4])))
        tensors.append(("scalar \"quoted\" ü\n", try Tensor.full([], 2.5)))
        tensors.append(("turned", try random.tensor([2, 5], .float32).transposed(0, 1)))
        try write(tensors, to: url)
        let file = try TensorFile(url: url)
        #expect(file.metadata == ["format": "pt"])
        #expect(Set(file.names) == Set(tensors.map(\.0)))
        for (name, tensor) in tensors {
            let read = try file.tensor(named: name)
            #expect(read.shape == tensor.shape && read.elementType == tensor.elementType)
            #expect(file.shape(of: name) == tensor.shape)
            #expect(try read.doubles() == tensor.doubles())
        }
        let announced = tensors.map {
            TensorFileWriter.Announcement(name: $0.0, type: $0.1.elementType, shape: $0.1.shape)
        }
        let size = try FileManager.default.attributesOfItem(atPath: url.path)[.size] as? Int
        #expect(size == TensorFileWriter.byteCount(of: announced))
    }

    /// A tensor over a file's pages has its numbers and none of its own memory, and outlives who opened the file.
    @Test func aMappedTensorIsTheFilesPages() throws {
        let folder = try TemporaryFolder()
        let url = folder.url.appending(path: "model.safetensors")
        var random = RandomValues(seed: 2)
        let matrix = try random.tensor([512, 1024], .float32)
        try write([("odd", Tensor([1, 2, 3] as [Float])), ("matrix", matrix)], to: url)
        #expect(try residentBytes(ofMapping: url) == 0)
        var file: TensorFile? = try TensorFile(url: url)
        #expect(file?.canMap("matrix") == true && file?.canMap("nothing") == false)
        let mapped = try #require(try file?.mappedTensor(named: "matrix"))
        #expect(mapped.shape == [512, 1024] && mapped.elementType == .float32)
        #expect(try mapped.floats() == matrix.floats())
        #expect(try residentBytes(ofMapping: url) >= 2 << 20)
        file?.dropPages()
        #expect(try residentBytes(ofMapping: url) == 0)
        // One with memory of its own leaves none of its pages, but for what the system reads around them.
        #expect(try file?.tensor(named: "matrix").floats() == matrix.floats())
        #expect(try residentBytes(ofMapping: url) < 1 << 17)
        file = nil
        #expect(try mapped.floats() == matrix.floats())
    }

    /// Elements stand as aligned as in memory of libtorch's own, 64 bytes: a header of any length is filled up.
    @Test(arguments: 1...9) func elementsBeginAtAMultipleOf64(_ length: Int) throws {
        let folder = try TemporaryFolder()
        let url = folder.url.appending(path: "one.safetensors")
        try write([(String(repeating: "n", count: length * 7), Tensor([1] as [Float]))], to: url)
        let bytes = try Data(contentsOf: url)
        #expect((bytes.count - 4).isMultiple(of: 64))
        #expect(try TensorFile(url: url).tensor(named: String(repeating: "n", count: length * 7)).floats() == [1])
    }

    /// One space more before the elements, and the processor may not read them where they are.
    @Test func whatIsNotAlignedIsRead() throws {
        let folder = try TemporaryFolder()
        let url = folder.url.appending(path: "one.safetensors")
        let header = #"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}"#
        for spaces in 0..<4 {
            let text = header + String(repeating: " ", count: spaces)
            try tensorFile(text, elements: 8).write(to: url)
            let file = try TensorFile(url: url)
            let isAligned = (8 + text.utf8.count).isMultiple(of: 4)
            #expect(file.canMap("a") == isAligned)
            #expect(try file.tensor(named: "a").floats() == [0, 0])
            if isAligned {
                #expect(try file.mappedTensor(named: "a").floats() == [0, 0])
            } else {
                let error = #expect(throws: TensorError.self) { try file.mappedTensor(named: "a") }
                #expect("\(error!)".contains("is not aligned to its elements"))
            }
        }
    }

    /// The files were written by Python's safetensors: Tests/References/tensor_files.py.
    @Test func filesOfTheReferenceImplementation() throws {
        let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        let file = try TensorFile(url: folder.appendingPathComponent("reference.safetensors"))
        #expect(file.metadata == ["format": "pt", "note": "quotes \" and ü"])
        #expect(try file.tensor(named: "f32").floats() == [0, 0.5, -1.5, 3e38, 1e-30, 2])
        #expect(file.shape(of: "f32") == [2, 3])
        #expect(try file.tensor(named: "f64").doubles() == [0.1, -2])
        #expect(try file.tensor(named: "bf16").floats() == [1, -0.15625, 256])
        #expect(try file.tensor(named: "f16").floats() == [1, -0.25, 65504])
        #expect(try file.tensor(named: "i64").integers() == [Int.min, -1, Int.max])
        #expect(try file.tensor(named: "i32").integers() == [-5, 7])
        #expect(try file.tensor(named: "u8").integers() == [0, 255])
        #expect(try file.tensor(named: "bool").booleans() == [true, false])
        #expect(throws: TensorError.self) { try file.tensor(named: "i16") }
    }

    @Test func writerRefusesOtherTensorsThanAnnounced() throws {
        let folder = try TemporaryFolder()
        let url = folder.url.appendingPathComponent("a.safetensors")
        let announced = [TensorFileWriter.Announcement(name: "a", type: .float32, shape: [2])]
        let writer = try TensorFileWriter(url: url, announcing: announced)
        #expect(throws: TensorError.self) { try writer.finish() }
        #expect(throws: TensorError.self) { try writer.write(Tensor.zeros([2]), named: "b") }
        #expect(throws: TensorError.self) { try writer.write(Tensor.zeros([3]), named: "a") }
        try writer.write(Tensor.zeros([2]), named: "a")
        #expect(throws: TensorError.self) { try writer.write(Tensor.zeros([2]), named: "a") }
        try writer.finish()
        #expect(throws: TensorError.self) { try TensorFileWriter(url: url, announcing: announced + announced) }
        let lost = folder.url.appendingPathComponent("nowhere/a.safetensors")
        #expect(throws: TensorError.self) { try TensorFileWriter(url: lost, announcing: announced) }
    }

    @Test(arguments: [
        (Data(), "0 bytes, a safetensors file has at least 8"),
        (Data(count: 7), "7 bytes, a safetensors file has at least 8"),
        (tensorFile("{}", claiming: 3), "its header should have 3 bytes, the file ends after 2"),
        (
            tensorFile("{}", claiming: 100_000_001),
            "its first 8 bytes claim a header of 100000001 bytes, at most 100000000"
        ),
        (
            tensorFile("{}", claiming: .max),
            "its first 8 bytes claim a header of 18446744073709551615 bytes, at most 100000000"
        ),
        (tensorFile("{}", elements: 1), "the header describes 0 bytes of elements, the file holds 1"),
        (tensorFile("[]"), "the header is an array, expected an object"),
        (tensorFile("{} x"), "found \"x\" after the end of the value at line 1, column 4 of the header"),
        (
            tensorFile(
                #"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
                elements: 4),
            "the key \"a\" stands twice in one object at line 1, column 55 of the header"
        ),
        (
            tensorFile(#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, elements: 4),
            "tensor a of F32 [2] needs 8 bytes, its offsets hold 4"
        ),
        (
            tensorFile(#"{"a":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}}"#, elements: 4),
            "tensor a has the unknown element type F31"
        ),
        (
            tensorFile(#"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,4]}}"#, elements: 4),
            "tensor a of shape [4611686018427387904, 4] is too large"
        ),
        (
            tensorFile(#"{"a":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,4]}}"#, elements: 4),
            "tensor a has shape [99999999999999999999], expected whole numbers of at least 0"
        ),
        (
            tensorFile(#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#, elements: 4),
            "tensor a has shape [-1], expected whole numbers of at least 0"
        ),
        (
            tensorFile(#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#, elements: 4),
            "tensor a has data_offsets [4, 0], expected a start and an end"
        ),
        (
            tensorFile(
                #"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}"#,
                elements: 6), "tensor b begins at byte 2 of the elements, the one before it ends at 4"
        ),
        (
            tensorFile(
                #"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}"#,
                elements: 12), "tensor b begins at byte 8 of the elements, the one before it ends at 4"
        ),
        (
            tensorFile(#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}}"#, elements: 4),
            "tensor a has the unexpected key x"
        ),
        (tensorFile(#"{"a":{"dtype":"F32","shape":[1]}}"#), "tensor a lacks dtype, shape or data_offsets"),
        (
            tensorFile(#"{"\ud800":{}}"#),
            "\\ud800 is half of a surrogate pair without its other half at line 1, column 3 of the header"
        ),
    ])
    func damagedFilesAreRefused(_ content: Data, _ message: String) throws {
        let folder = try TemporaryFolder()
        let url = try folder.file("bad.safetensors", [UInt8](content))
        #expect(throws: TensorError.file(path: url.path, message: message)) { try TensorFile(url: url) }
    }

    @Test func namesThatAreNotUnicodeAreRefused() throws {
        let folder = try TemporaryFolder()
        var content = tensorFile(#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, elements: 4)
        content[10] = 0xFF
        let url = try folder.file("bad.safetensors", [UInt8](content))
        #expect(throws: TensorError.self) { try TensorFile(url: url) }
        #expect(throws: TensorError.self) { try TensorFile(url: folder.url) }
        #expect(throws: TensorError.self) { try TensorFile(url: folder.url.appendingPathComponent("none")) }
    }

    /// Every mutated file either is refused or is read without leaving its bytes: each of its tensors has the size it
    /// claims.
    @Test func mutatedFilesNeverCrash() throws {
        let folder = try TemporaryFolder()
        let sound = folder.url.appendingPathComponent("sound.safetensors")
        var random = RandomValues(seed: 77)
        try write(
            [
                ("model.embed", try random.tensor([4, 3], .float32)), ("a", try random.tensor([5], .bfloat16)),
                ("counts", try Tensor([1, 2, 3])),
            ], to: sound)
        let original = [UInt8](try Data(contentsOf: sound))
        var generator = TestRandom(seed: 5)
        var refused = 0
        var accepted = 0
        for _ in 0..<mutationCount {
            let url = try folder.file("mutated.safetensors", generator.mutated(original))
            do {
                let file = try TensorFile(url: url)
                for name in file.names where file.typeName(of: name).flatMap({ ElementType(name: $0) }) != nil {
                    let tensor = try file.tensor(named: name)
                    #expect(try tensor.doubles().count == file.shape(of: name)?.reduce(1, *))
                }
                accepted += 1
            } catch { refused += 1 }
        }
        // A flip among the elements is a sound file; most flips of the header are not.
        #expect(refused > 1000 && accepted > 50)
    }
}
