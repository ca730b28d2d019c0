import Tensors
import TestSupport
import Testing

@TensorActor @Suite("Shapes")
struct ShapeTests {
    /// [[0, 1, 2], [3, 4, 5]]
    private func grid() throws -> Tensor { try Tensor([0.0, 1, 2, 3, 4, 5], shape: [2, 3]) }

    @Test("the same elements under another shape")
    func reshaped() throws {
        #expect(try grid().reshaped([3, -1]).shape == [3, 2])
        #expect(try grid().transposed(0, 1).reshaped([6]).doubles() == [0, 3, 1, 4, 2, 5])
    }

    @Test("sizes that do not hold the elements are refused in libtorch's words")
    func reshapeRefused() throws {
        let error = try #require(throws: TensorError.self) { try grid().reshaped([4]) }
        #expect(error.description == "reshaped: shape '[4]' is invalid for input of size 6")
        #expect(throws: TensorError.self) { try Tensor.zeros([0]).reshaped([-1, 0]) }
        #expect(try Tensor.zeros([0]).reshaped([0, 5]).shape == [0, 5])
    }

    @Test("axes exchanged, reordered, added and taken away")
    func axes() throws {
        #expect(try grid().transposed(0, 1).doubles() == [0, 3, 1, 4, 2, 5])
        #expect(try grid().reshaped([1, 2, 3]).permuted([2, 0, 1]).shape == [3, 1, 2])
        #expect(try grid().unsqueezed(-1).shape == [2, 3, 1])
        #expect(try grid().unsqueezed(0).squeezed(0).shape == [2, 3])
        #expect(throws: TensorError.self) { try grid().squeezed(0) }
        #expect(throws: TensorError.self) { try grid().permuted([0, 0]) }
        #expect(throws: TensorError.self) { try grid().transposed(0, 2) }
    }

    @Test("views share elements; copies do not")
    func views() throws {
        let tensor = try grid()
        let row = try tensor.narrow(axis: 0, start: 1, count: 1)
        let column = try tensor.selected(axis: 1, at: 0)
        let copy = try tensor.flipped(axis: 1)
        try tensor.fillInPlace(9)
        #expect(try row.doubles() == [9, 9, 9])
        #expect(try column.doubles() == [9, 9])
        #expect(try copy.doubles() == [2, 1, 0, 5, 4, 3])
    }

    @Test("a stretch outside the axis is refused")
    func narrowRefused() throws {
        #expect(try grid().narrow(axis: 1, start: 3, count: 0).shape == [2, 0])
        for (start, count) in [(2, 2), (4, 0), (0, -1), (Int.max, 1)] {
            #expect(throws: TensorError.self) { try grid().narrow(axis: 1, start: start, count: count) }
        }
        #expect(throws: TensorError.self) { try grid().selected(axis: 1, at: 3) }
    }

    @Test("repeating by view")
    func repeating() throws {
        #expect(try grid().unsqueezed(0).expanded([2, -1, -1]).shape == [2, 2, 3])
        #expect(try Tensor([1.0, 2], shape: [2, 1]).expanded([2, 2]).doubles() == [1, 1, 2, 2])
        #expect(throws: TensorError.self) { try grid().expanded([4, 3]) }
    }

    @Test("side by side, and apart again")
    func joining() throws {
        let (a, b) = (try grid(), try grid() + 10)
        #expect(try Tensor.concatenated([a, b]).shape == [4, 3])
        #expect(try Tensor.concatenated([a, b], axis: 1).doubles() == [0, 1, 2, 10, 11, 12, 3, 4, 5, 13, 14, 15])
        let parts = try a.split([1, 0, 2], axis: 1)
        #expect(parts.map(\.shape) == [[2, 1], [2, 0], [2, 2]])
        #expect(try parts[2].doubles() == [1, 2, 4, 5])
        #expect(throws: TensorError.self) { try a.split([1, 1], axis: 1) }
        #expect(throws: TensorError.self) { try Tensor.concatenated([]) }
    }

    @Test("gradients go back to where the elements came from")
    func gradients() throws {
        let values = [0.3, 1, -2, 3, 0.4, 5]
        let error = try gradientError(at: [(values, [2, 3]), (values, [2, 3])]) { leaves in
            let (a, b) = (leaves[0], leaves[1])
            let joined = try Tensor.concatenated([a.transposed(0, 1), b.flipped(axis: 1).reshaped([3, 2])], axis: 1)
            let parts = try joined.square().split([1, 3], axis: 1)
            let spread = try parts[0].expanded([3, 3]) * parts[1].permuted([0, 1])
            return try Tensor.concatenated([spread, spread * 2]).narrow(axis: 1, start: 1, count: 2)
        }
        #expect(error < 1e-6)
    }
}
