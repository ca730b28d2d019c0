import Foundation
import GGUF
import TestSupport
import Testing

/// Parts are put together here as llama-gguf-split writes them: everything the model states is in the first, and each
/// has `split.no` (from 0), `split.count` and `split.tensors.count`.
@Suite("GGUF models in parts")
struct GGUFPartTests {
    /// What one part states and holds: F32 vectors by name, the n-th of n + 1 elements.
    fileprivate struct Part: Sendable {
        var number: Int?
        var count: Int? = 3
        var total: Int? = 3
        var names: [String]
        var others: [(key: String, value: GGUFValue)] = []

        var bytes: [UInt8] {
            let split: [(key: String, value: Int?)] = [
                ("split.no", number), ("split.count", count), ("split.tensors.count", total),
            ]
            let stated: [(key: String, value: GGUFValue)] = split.compactMap { entry in
                entry.value.map { (key: entry.key, value: GGUFValue.integer($0)) }
            }
            let tensors = names.enumerated().map { index, name in
                GGUFLayout.Announcement(name: name, shape: [index + 1], type: .f32)
            }
            var bytes = GGUFLayout(
                metadata: others + stated,
                tensors: tensors
            ).header
            for tensor in tensors {
                // Each number is the first letter of the name.
                let value = Float(tensor.name.utf8.first ?? 0)
                for _ in 0..<tensor.shape[0] { withUnsafeBytes(of: value.bitPattern.littleEndian) { bytes += $0 } }
                bytes += [UInt8](repeating: 0, count: GGUFLayout.padding(after: tensor.byteCount))
            }
            return bytes
        }
    }

    private static let model: [(key: String, value: GGUFValue)] = [
        ("general.architecture", .string("llama")), ("general.name", .string("small")),
    ]
    private static let whole = [
        Part(number: 0, names: ["a"], others: model), Part(number: 1, names: ["b"]), Part(number: 2, names: ["c"]),
    ]

    /// Writes parts under their names; `nil` leaves one out.
    private func write(_ parts: [Part?], to folder: TemporaryFolder) throws {
        for (index, part) in parts.enumerated() {
            if let part { _ = try folder.file("small-0000\(index + 1)-of-0000\(parts.count).gguf", part.bytes) }
        }
    }

    @Test func theFirstOpensAllOfThem() throws {
        let folder = try TemporaryFolder()
        try write(Self.whole, to: folder)
        let file = try GGUFFile(url: folder.url.appending(path: "small-00001-of-00003.gguf"))
        #expect(file.tensors.map(\.name) == ["a", "b", "c"] && file.tensors.map(\.part) == [0, 1, 2])
        #expect(try file.metadata.string("general.name") == "small")
        for tensor in file.tensors {
            let value = file.withBytes(of: tensor) { $0.loadUnaligned(as: Float.self) }
            #expect(value == Float(tensor.name.utf8.first ?? 0))
        }
    }

    /// A first part may hold the metadata alone.
    @Test func aFirstPartMayHaveNoTensors() throws {
        let folder = try TemporaryFolder()
        var parts = Self.whole
        (parts[0].names, parts[1].names) = ([], ["a", "b"])
        try write(parts, to: folder)
        let file = try GGUFFile(url: folder.url.appending(path: "small-00001-of-00003.gguf"))
        #expect(file.tensors.map(\.name) == ["a", "b", "c"])
    }

    struct Lie: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let message: String
        fileprivate let change: @Sendable (inout [Part?]) -> Void
    }

    private static let lies = [
        Lie(testDescription: "missing", message: "part 2 is missing: expected small-00002-of-00003.gguf beside it") {
            $0[1] = nil
        },
        Lie(testDescription: "another place", message: "split.no is 2; expected 1, as its name says") {
            $0[1]?.number = 2
        },
        Lie(testDescription: "no place", message: "split.no is not there; expected 1") { $0[1]?.number = nil },
        Lie(testDescription: "another count", message: "split.count is 4, in ") { $0[2]?.count = 4 },
        Lie(testDescription: "no count", message: "split.count is not there, in ") { $0[2]?.count = nil },
        Lie(testDescription: "another model's tensors", message: "tensor a stands in an earlier part, too") {
            $0[2]?.names = ["a"]
        },
        Lie(testDescription: "another model's number", message: "split.tensors.count is 9, in ") { $0[1]?.total = 9 },
        Lie(testDescription: "another model's name", message: "general.name is \"large\", in ") {
            $0[1]?.others = [("general.name", .string("large"))]
        },
        Lie(testDescription: "tensors left out", message: "split.tensors.count is 4, and its 3 parts hold 3 tensors") {
            for index in 0..<3 { $0[index]?.total = 4 }
        },
        Lie(testDescription: "the first is another", message: "split.no is 1; expected 0, as its name says") {
            $0[0]?.number = 1
        },
        Lie(testDescription: "a count beyond its name", message: "expected one that ends in -00001-of-00004.gguf") {
            $0[0]?.count = 4
        },
        Lie(testDescription: "a count beyond all", message: "split.count is 100000; expected at most 99999") {
            $0[0]?.count = 100_000
        },
    ]

    @Test(arguments: lies) private func whatDoesNotBelongTogetherIsRefused(_ lie: Lie) throws {
        let folder = try TemporaryFolder()
        var parts: [Part?] = Self.whole
        lie.change(&parts)
        try write(parts, to: folder)
        let error = try #require(throws: GGUFError.self) {
            try GGUFFile(url: folder.url.appending(path: "small-00001-of-00003.gguf"))
        }
        #expect(error.message.contains(lie.message), "\(error)")
    }

    @Test func anotherThanTheFirstIsRefusedWithItsName() throws {
        let folder = try TemporaryFolder()
        try write(Self.whole, to: folder)
        let second = try #require(throws: GGUFError.self) {
            try GGUFFile(url: folder.url.appending(path: "small-00002-of-00003.gguf"))
        }
        #expect(second.message == "is part 2 of 3 of a model; name the first, small-00001-of-00003.gguf")
        let renamed = try #require(throws: GGUFError.self) {
            try GGUFFile(url: folder.file("renamed.gguf", Self.whole[0].bytes))
        }
        #expect(renamed.message.contains("expected one that ends in -00001-of-00003.gguf"), "\(renamed)")
    }

    @Test func namesOfParts() {
        let name = GGUFPartName("Qwen-Q4_K-00002-of-00010.gguf")
        #expect(name?.prefix == "Qwen-Q4_K" && name?.number == 2 && name?.count == 10)
        #expect(name?.file(10) == "Qwen-Q4_K-00010-of-00010.gguf")
        for other in [
            "a-00000-of-00002.gguf", "a-00003-of-00002.gguf", "a-1-of-2.gguf", "a.gguf", "-00001-of-00002.gguf",
        ] {
            #expect(GGUFPartName(other) == nil, "\(other)")
        }
    }
}
