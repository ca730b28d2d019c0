import Foundation
import GGUF
import TestSupport
import Testing

/// A GGUF file put together by hand, so that its parts can lie.
struct HandmadeFile {
    var magic = Array("GGUF".utf8)
    var version: UInt32 = 3
    var entryCount: UInt64?
    var tensorCount: UInt64?
    var entries: [[UInt8]] = []
    var tensors: [[UInt8]] = []
    var contentCount = 0

    static func number(_ value: some FixedWidthInteger) -> [UInt8] {
        withUnsafeBytes(of: value.littleEndian, Array.init)
    }
    static func text(_ text: String, claiming length: UInt64? = nil) -> [UInt8] {
        number(length ?? UInt64(text.utf8.count)) + Array(text.utf8)
    }
    static func entry(_ key: String, _ type: UInt32, _ value: [UInt8]) -> [UInt8] { text(key) + number(type) + value }
    static func tensor(_ name: String, _ sizes: [UInt64], type: UInt32 = 0, offset: UInt64 = 0) -> [UInt8] {
        text(name) + number(UInt32(sizes.count)) + sizes.flatMap { number($0) } + number(type) + number(offset)
    }

    var bytes: [UInt8] {
        var bytes = magic + Self.number(version) + Self.number(tensorCount ?? UInt64(tensors.count))
        bytes += Self.number(entryCount ?? UInt64(entries.count)) + entries.joined() + tensors.joined()
        bytes += [UInt8](repeating: 0, count: (32 - bytes.count % 32) % 32 + contentCount)
        return bytes
    }
}

@Suite("GGUF files")
struct GGUFFileTests {
    private static let entries: [(key: String, value: GGUFValue)] = [
        ("general.architecture", .string("llama")), ("count", .integer(7)), ("negative", .integer(-7)),
        ("large", .integer(1 << 40)), ("epsilon", .float(1e-5)), ("double", .double(0.1)), ("flag", .bool(true)),
        ("texts", .strings(["a", "", "日本"])), ("numbers", .integers([1, -2, 3])), ("wide", .integers([1 << 40])),
        ("scores", .floats([0.5, -1])), ("flags", .list([.bool(true), .bool(false)])),
        ("nested", .list([.integers([1]), .integers([2, 3])])),
    ]
    private static let tensors: [GGUFLayout.Announcement] = [
        .init(name: "a", shape: [3, 2], type: .f32), .init(name: "b", shape: [2, 32], type: .q80),
        .init(name: "c", shape: [32], type: .f16), .init(name: "none", shape: [0, 4], type: .f32),
        .init(name: "d", shape: [256], type: .q6K),
    ]

    private static func sound() -> [UInt8] {
        let layout = GGUFLayout(metadata: entries, tensors: tensors)
        var bytes = layout.header
        for (index, tensor) in tensors.enumerated() {
            bytes += (0..<tensor.byteCount).map { UInt8(($0 + index) % 60) }
            bytes += [UInt8](repeating: 0, count: GGUFLayout.padding(after: tensor.byteCount))
        }
        precondition(bytes.count == layout.byteCount)
        return bytes
    }

    @Test func whatIsLaidOutIsReadBack() throws {
        let file = try GGUFFile(Data(Self.sound()), path: "x.gguf")
        #expect(file.metadata.keys == Self.entries.map(\.key).sorted())
        for (key, value) in Self.entries { #expect(file.metadata[key] == value, "\(key)") }
        #expect(try file.metadata.number("epsilon") == 1e-5)
        #expect(Set(file.tensors.map(\.name)) == Set(Self.tensors.map(\.name)))
        for (index, tensor) in Self.tensors.enumerated() {
            let found = try #require(file.tensors.first { $0.name == tensor.name })
            #expect(found.shape == tensor.shape && found.type == tensor.type)
            file.withBytes(of: found) { bytes in
                #expect(Array(bytes) == (0..<tensor.byteCount).map { UInt8(($0 + index) % 60) })
            }
        }
    }

    @Test func aValueOfAnotherKindIsNamed() throws {
        let metadata = try GGUFFile(Data(Self.sound()), path: "x.gguf").metadata
        let error = #expect(throws: GGUFError.self) { try metadata.string("count") }
        #expect(error?.description == "x.gguf: count is 7; expected a text")
        #expect(try metadata.string("absent") == nil)
    }

    @Test func everyTruncationIsAnError() {
        let bytes = Self.sound()
        // Behind the last tensor stand only the zeros that fill it up.
        for length in 0..<bytes.count - GGUFLayout.padding(after: GGUFTensorType.q6K.byteCount(of: 256)) {
            #expect(throws: GGUFError.self) { try GGUFFile(Data(bytes[..<length]), path: "x.gguf") }
        }
    }

    struct Lie: Sendable, CustomTestStringConvertible {
        let message: String
        let bytes: [UInt8]
        var testDescription: String { message }

        init(_ message: String, _ change: (inout HandmadeFile) -> Void) {
            var file = HandmadeFile()
            change(&file)
            self.message = message
            bytes = file.bytes
        }
    }

    typealias Make = HandmadeFile
    static let lies: [Lie] = [
        Lie("does not begin with GGUF; expected a GGUF file, as llama.cpp writes it") { $0.magic = Array("GGML".utf8) },
        Lie("is of GGUF version 1; versions 2 and 3 are read, convert the model anew") { $0.version = 1 },
        Lie("version 50331648: the file is for a big-endian machine; expected a little-endian one") {
            $0.version = UInt32(3).byteSwapped
        },
        Lie("claims 18446744073709551615 metadata entries, the file ends 8 bytes later") { $0.entryCount = .max },
        Lie("claims 18446744073709551615 tensors, the file ends 8 bytes behind the metadata") { $0.tensorCount = .max },
        Lie("the key of metadata entry 0 claims 99999999999 bytes, the file ends 32 bytes later") {
            $0.entries = [Make.text("", claiming: 99_999_999_999) + [UInt8](repeating: 0, count: 20)]
        },
        Lie("a claims 1000 bytes, the file ends 19 bytes later") {
            $0.entries = [Make.entry("a", 8, Make.text("x", claiming: 1000))]
        },
        Lie("a has the type 13; expected one from 0 to 12") { $0.entries = [Make.entry("a", 13, [0, 0])] },
        Lie("a is 2; expected a truth value, 0 or 1") { $0.entries = [Make.entry("a", 7, [2])] },
        Lie("a is 18446744073709551615; expected a number below 2^63") {
            $0.entries = [Make.entry("a", 10, Make.number(UInt64.max))]
        },
        Lie("the key a stands twice") {
            $0.entries = [Make.entry("a", 7, [1]), Make.entry("a", 7, [1])]
        },
        Lie("claims 1000000 elements of a, the file ends 15 bytes later") {
            $0.entries = [Make.entry("a", 9, Make.number(UInt32(0)) + Make.number(UInt64(1_000_000)))]
        },
        Lie("a[0][0][0] nests arrays more than 3 deep") {
            let one = Make.number(UInt32(9)) + Make.number(UInt64(1))
            $0.entries = [Make.entry("a", 9, one + one + one + one)]
        },
        Lie("general.alignment is 24; expected a power of two, at most 1048576") {
            $0.entries = [Make.entry("general.alignment", 4, Make.number(UInt32(24)))]
        },
        Lie("tensor t has 5 axes, at most 4") { $0.tensors = [Make.tensor("t", [1, 1, 1, 1, 1])] },
        Lie("tensor t of shape [4611686018427387904, 4] is too large") {
            $0.tensors = [Make.tensor("t", [4, 1 << 62])]
        },
        Lie("tensor t of shape [18446744073709551615] is too large") { $0.tensors = [Make.tensor("t", [.max])] },
        Lie("tensor t has rows of 33 values; expected a multiple of 32, the block of Q8_0") {
            $0.tensors = [Make.tensor("t", [33], type: 8)]
        },
        Lie("tensor t has one value of Q8_0; expected whole blocks") { $0.tensors = [Make.tensor("t", [], type: 8)] },
        Lie("tensor t stands twice") {
            $0.tensors = [Make.tensor("t", [0]), Make.tensor("t", [0])]
        },
        Lie(
            "tensor u begins at byte 0 of the tensors; expected 32, where the one before it ends, at a multiple of 32"
        ) {
            $0.tensors = [Make.tensor("t", [2]), Make.tensor("u", [4])]
            $0.contentCount = 64
        },
        Lie(
            "tensor u begins at byte 8 of the tensors; expected 32, where the one before it ends, at a multiple of 32"
        ) {
            $0.tensors = [Make.tensor("t", [2]), Make.tensor("u", [4], offset: 8)]
            $0.contentCount = 64
        },
        Lie("is cut short: tensor t of F32 [1000] needs 4000 bytes, the file holds 64 more; load it again") {
            $0.tensors = [Make.tensor("t", [1000])]
            $0.contentCount = 64
        },
        Lie("is one of 3 parts of a model; expected a whole one") {
            $0.entries = [Make.entry("split.count", 2, Make.number(UInt16(3)))]
        },
    ]

    @Test(arguments: lies)
    func liesAreNamed(_ lie: Lie) {
        #expect(throws: GGUFError(path: "x.gguf", message: lie.message)) {
            try GGUFFile(Data(lie.bytes), path: "x.gguf")
        }
    }

    @Test func typesThatAreNotReadAreNamed() {
        for (number, name) in [(16, "the type IQ2_XXS, which is not read"), (99, "the unknown type 99")] {
            var file = HandmadeFile()
            file.tensors = [HandmadeFile.tensor("blk.0.ffn_up.weight", [256], type: UInt32(number))]
            let error = #expect(throws: GGUFError.self) { try GGUFFile(Data(file.bytes), path: "x.gguf") }
            #expect(
                error?.message
                    == "tensor blk.0.ffn_up.weight has \(name); expected one of \(GGUFTensorType.supported): "
                    + "take the model quantised as one of these")
        }
    }

    /// A pipe would wait for its writer.
    @Test(.timeLimit(.minutes(1))) func onlyRegularFilesAreOpened() throws {
        let folder = try TemporaryFolder()
        let pipe = folder.url.appending(path: "pipe.gguf")
        #expect(mkfifo(pipe.path, 0o600) == 0)
        #expect(throws: GGUFError(path: pipe.path, message: "not a regular file")) { try GGUFFile(url: pipe) }
        let lost = folder.url.appending(path: "lost.gguf")
        #expect(throws: GGUFError(path: lost.path, message: "no such file")) { try GGUFFile(url: lost) }
        #expect(try !GGUFFile.isOne(lost) && !GGUFFile.isOne(folder.url))
        #expect(try GGUFFile.isOne(folder.file("named-otherwise.bin", Self.sound())))
        #expect(try !GGUFFile.isOne(folder.file("text.txt", "GGU")))
    }

    /// Nobody, not even root, reads address 0 of a process.
    @Test func whatCannotBeReadIsNotTakenForAnotherKindOfFile() {
        let error = #expect(throws: GGUFError.self) { try GGUFFile.isOne(URL(filePath: "/proc/self/mem")) }
        #expect(error?.message.hasPrefix("cannot be read: ") == true, "\(String(describing: error))")
    }

    /// Every mutated file either is refused or is read without leaving its bytes.
    @Test func mutatedFilesNeverCrash() {
        let original = Self.sound()
        let header = GGUFLayout(metadata: Self.entries, tensors: Self.tensors).header.count
        var generator = TestRandom(seed: 15)
        var (refused, accepted) = (0, 0)
        for round in 0..<mutationCount {
            // Most of them in the header, where the claims stand.
            let bytes =
                round % 4 == 0
                ? generator.mutated(original)
                : generator.mutated(Array(original[..<header])) + original[header...]
            guard let file = try? GGUFFile(Data(bytes), path: "x.gguf") else {
                refused += 1
                continue
            }
            accepted += 1
            for tensor in file.tensors {
                let values = [Float](unsafeUninitializedCapacity: tensor.count) { target, count in
                    file.withBytes(of: tensor) {
                        tensor.type.dequantize($0, into: UnsafeMutableBufferPointer(rebasing: target[..<tensor.count]))
                    }
                    count = tensor.count
                }
                #expect(values.count == tensor.shape.reduce(1, *))
            }
        }
        #expect(refused > 1000 && accepted > 50, "\(refused) refused, \(accepted) accepted")
    }
}
