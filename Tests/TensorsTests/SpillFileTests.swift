import Foundation
import Tensors
import TestSupport
import Testing

@TensorActor @Suite("Tensors over a file without a name")
struct SpillFileTests {
    /// 3 numbers take 64 bytes, a matrix of 512 × 512 begins behind them.
    @Test func whatIsDroppedIsInTheFile() throws {
        let folder = try TemporaryFolder()
        let mapping = folder.url.appending(path: ".spill-")
        #expect(SpillFile.room(for: 12) == 64 && SpillFile.room(for: 64) == 64)
        var file: SpillFile? = try SpillFile(in: folder.url, byteCount: 64 + (1 << 20))
        #expect(try folder.names() == [])
        let small = try #require(try file?.tensor([3], .float32))
        let matrix = try #require(try file?.tensor([512, 512], .float32))
        #expect(try small.floats() == [0, 0, 0] && matrix.shape == [512, 512])
        #expect(try matrix.floats().allSatisfy { $0 == 0 })
        let values = (0..<512 * 512).map { Float($0) }
        try matrix.copy(from: Tensor(values, shape: [512, 512]))
        try small.copy(from: Tensor([1, 2, 3] as [Float]))
        #expect(try residentBytes(ofMapping: mapping) >= 1 << 20)
        for drops in [true, false] {
            if drops { file?.drop() } else { try file?.write() }
            #expect(try residentBytes(ofMapping: mapping) == 0)
            #expect(try small.floats() == [1, 2, 3] && matrix.floats() == values)
        }
        #expect(throws: TensorError.self) { _ = try file?.tensor([1], .float32) }
        // Tensors keep the file that they lie over.
        file = nil
        #expect(try matrix.floats() == values)
        #expect(try residentBytes(ofMapping: mapping) >= 1 << 20)
    }

    @Test func theFileGoesWithItsTensors() throws {
        let folder = try TemporaryFolder()
        let mapping = folder.url.appending(path: ".spill-")
        try {
            let tensor = try SpillFile(in: folder.url, byteCount: 1 << 16).tensor([1 << 14], .float32)
            try tensor.addInPlace(Tensor.ones([1 << 14]), scaledBy: 2)
            #expect(try tensor.floats().allSatisfy { $0 == 2 })
            #expect(try residentBytes(ofMapping: mapping) >= 1 << 16)
        }()
        #expect(try residentBytes(ofMapping: mapping) == 0)
    }
}
