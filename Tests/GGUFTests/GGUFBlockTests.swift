import Foundation
import GGUF
import Testing

/// Blocks with what Python's gguf reads from them, and values with the bytes it writes: Tests/References/gguf_files.py.
struct GGUFBlockReference: Decodable {
    struct Reading: Decodable {
        let blocks: Data
        let values: Data
    }
    struct Writing: Decodable {
        let values: Data
        let bytes: [String: Data]
    }
    let reading: [String: Reading]
    let writing: Writing

    static func load() throws -> GGUFBlockReference {
        let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "gguf_blocks.json")
        return try JSONDecoder().decode(Self.self, from: Data(contentsOf: file))
    }
}

extension Data {
    /// The float32 values that the bytes are.
    fileprivate var floats: [Float] {
        withUnsafeBytes { bytes in
            stride(from: 0, to: bytes.count, by: 4).map { bytes.loadUnaligned(fromByteOffset: $0, as: Float.self) }
        }
    }
}

extension GGUFTensorType {
    fileprivate func values(of blocks: Data) -> [Float] {
        let count = blocks.count / blockByteCount * blockCount
        return [Float](unsafeUninitializedCapacity: count) { target, filled in
            blocks.withUnsafeBytes { dequantize($0, into: UnsafeMutableBufferPointer(rebasing: target[..<count])) }
            filled = count
        }
    }

    /// The bytes of values; `nil` where the type cannot hold them.
    fileprivate func bytes(of values: [Float]) -> Data? {
        let count = byteCount(of: values.count)
        var isSound = false
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { target, filled in
            values.withUnsafeBufferPointer {
                isSound = quantize($0, into: UnsafeMutableBufferPointer(rebasing: target[..<count]))
            }
            filled = count
        }
        return isSound ? Data(bytes) : nil
    }
}

@Suite("GGUF blocks")
struct GGUFBlockTests {
    @Test("values read from blocks have the bits of gguf's", arguments: GGUFTensorType.allCases)
    func reading(_ type: GGUFTensorType) throws {
        let reference = try #require(try GGUFBlockReference.load().reading[type.name])
        let values = type.values(of: reference.blocks)
        #expect(values.count >= 32)
        #expect(values.map(\.bitPattern) == reference.values.floats.map(\.bitPattern))
    }

    @Test("bytes written are those of gguf's quantiser", arguments: GGUFTensorType.written)
    func writing(_ type: GGUFTensorType) throws {
        let reference = try GGUFBlockReference.load().writing
        #expect(type.bytes(of: reference.values.floats) == reference.bytes[type.name])
    }

    /// What was quantised once comes out the same when it is quantised again, but for the ends of the range.
    @Test func plainTypesKeepWhatTheyCanHold() throws {
        let values: [Float] = [0, 1, -0.5, 1.5, 100, -3]
        for type in [GGUFTensorType.f32, .f16, .bf16] {
            #expect(type.values(of: try #require(type.bytes(of: values))) == values)
        }
    }

    @Test(arguments: GGUFTensorType.written)
    func whatIsNotFiniteOrTooLargeIsRefused(_ type: GGUFTensorType) {
        for wrong in [Float.nan, .infinity, -.infinity] + (type == .f32 ? [] : [Float.greatestFiniteMagnitude]) {
            var values = [Float](repeating: 0.5, count: 32)
            values[17] = wrong
            #expect(type.bytes(of: values) == nil, "\(type.name) took \(wrong)")
        }
    }

    /// A block of zeros, and one whose scale has no reciprocal in float32.
    @Test func smallestBlocks() throws {
        for type in [GGUFTensorType.q80, .q40] {
            for value in [Float(0), .leastNonzeroMagnitude] {
                let bytes = try #require(type.bytes(of: [Float](repeating: value, count: 32)))
                #expect(type.values(of: bytes).allSatisfy { $0 == 0 })
            }
        }
    }
}
