import Tensors
import Testing

@TensorActor @Suite("Making and reading tensors")
struct MakingAndReadingTests {
    @Test("values come back in row-major order with their shape, type and device")
    func values() throws {
        let tensor = try Tensor([Float(1), 2, 3, 4, 5, 6], shape: [2, 3])
        #expect(tensor.shape == [2, 3])
        #expect(tensor.rank == 2 && tensor.count == 6)
        #expect(try tensor.size(1) == 3 && tensor.size(-2) == 2)
        #expect(tensor.elementType == .float32 && tensor.device == .cpu)
        #expect(try tensor.floats() == [1, 2, 3, 4, 5, 6])
        #expect(tensor.description == "float32 [2, 3] on cpu")
        #expect(try Tensor([0.1]).doubles() == [0.1])
        #expect(try Tensor([1, -2]).integers() == [1, -2])
        #expect(try Tensor([Int32.min, .max]).integers() == [Int(Int32.min), Int(Int32.max)])
        #expect(try Tensor([UInt8(0), 255]).integers() == [0, 255])
        #expect(try Tensor([true, false]).booleans() == [true, false])
        #expect(try Tensor([true, false]).integers() == [1, 0])
    }

    @Test("each element type keeps small whole numbers", arguments: ElementType.allCases)
    func elementTypes(_ type: ElementType) throws {
        let tensor = try Tensor([0, 1, 1]).to(type)
        #expect(tensor.elementType == type)
        #expect(try tensor.doubles() == [0, 1, 1])
        #expect(ElementType(name: type.name) == type)
        try tensor.withBytes { #expect($0.count == 3 * type.byteCount) }
    }

    @Test("an int64 beyond float64's whole numbers survives")
    func wideIntegers() throws {
        #expect(try Tensor([Int.max, Int.min]).integers() == [Int.max, Int.min])
    }

    @Test("filled tensors and ranges")
    func filled() throws {
        #expect(try Tensor.zeros([2, 1]).floats() == [0, 0])
        #expect(try Tensor.ones([2], .int64).integers() == [1, 1])
        #expect(try Tensor.full([], 2.5, .float64).item() == 2.5)
        #expect(try Tensor.arange(4).integers() == [0, 1, 2, 3])
        #expect(try Tensor.arange(0).shape == [0])
    }

    @Test("empty tensors have a shape, no elements, and go through reading and arithmetic")
    func empty() throws {
        let none = try Tensor([Float]())
        #expect(none.shape == [0])
        #expect(try none.floats().isEmpty)
        let wide = try Tensor([Double](), shape: [3, 0, 2])
        #expect(wide.shape == [3, 0, 2] && wide.count == 0)
        #expect(try (wide + wide).sum(axis: 1).doubles() == [Double](repeating: 0, count: 6))
        #expect(try wide.sum().item() == 0)
        #expect(try wide.allFinite())
        #expect(try none.withBytes { $0.count } == 0)
        #expect(throws: TensorError.self) { try wide.max() }
    }

    @Test("a transposed, expanded or narrowed tensor reads in its own row-major order")
    func layouts() throws {
        let tensor = try Tensor([Float(1), 2, 3, 4, 5, 6], shape: [2, 3])
        #expect(try tensor.transposed(0, 1).floats() == [1, 4, 2, 5, 3, 6])
        #expect(try tensor.narrow(axis: 1, start: 1, count: 1).floats() == [2, 5])
        #expect(try Tensor([Float(7)]).expanded([3]).floats() == [7, 7, 7])
        #expect(try tensor.transposed(0, 1).to(.bfloat16).floats() == [1, 4, 2, 5, 3, 6])
    }

    @Test("bfloat16 keeps 8 bits of the fraction, to nearest even")
    func bfloat16() throws {
        // Between 1 and 2 bfloat16 steps by 2⁻⁷.
        let values: [Float] = [1 + 0x1p-8, 1 + 3 * 0x1p-8, 1.001]
        #expect(try Tensor(values).to(.bfloat16).floats() == [1, 1 + 4 * 0x1p-8, 1])
    }

    /// The bits of a number stand above 16 zeros in float32.
    @Test("every bfloat16 comes back from float32, infinities too; what is no number stays none")
    func everyBfloat16() throws {
        let patterns = Array(0...UInt16.max)
        let (wide, back) = try patterns.withUnsafeBytes { bytes -> ([Float], [UInt16]) in
            let wide = try Tensor(bytes: bytes, shape: [patterns.count], elementType: .bfloat16).to(.float32)
            let narrow = try wide.to(.bfloat16)
            return (try wide.floats(), try narrow.withBytes { Array($0.assumingMemoryBound(to: UInt16.self)) })
        }
        let wrong = patterns.filter { pattern in
            let (number, again) = (wide[Int(pattern)], back[Int(pattern)])
            guard pattern & 0x7FFF <= 0x7F80 else { return !number.isNaN || again & 0x7FFF <= 0x7F80 }
            return number.bitPattern != UInt32(pattern) << 16 || again != pattern
        }
        #expect(wrong.isEmpty, "\(wrong.prefix(8))")
    }

    @Test("a shape that the values do not fill is an error, also when its product overflows")
    func wrongShapes() throws {
        for shape in [[2], [2, 2], [-1, -3], [Int.max, 3], [1 << 32, 1 << 32], []] {
            #expect(throws: TensorError.shape(operation: "Tensor", expected: "a shape of 3 elements", got: shape)) {
                try Tensor([1.0, 2, 3], shape: shape)
            }
        }
        #expect(throws: TensorError.self) { try Tensor.zeros([1 << 40, 1 << 40]) }
        #expect(throws: TensorError.self) { try Tensor.zeros([2, -1]) }
        #expect(throws: TensorError.self) { try Tensor.arange(-1) }
    }

    @Test("raw bytes fill a tensor only as whole elements")
    func rawBytes() throws {
        let halves: [UInt16] = [0x3F80, 0xC000]  // bfloat16 1 and −2
        try halves.withUnsafeBytes { bytes in
            let tensor = try Tensor(bytes: bytes, shape: [2], elementType: .bfloat16)
            #expect(try tensor.floats() == [1, -2])
            #expect(throws: TensorError.self) {
                try Tensor(bytes: UnsafeRawBufferPointer(rebasing: bytes[..<3]), shape: [1], elementType: .bfloat16)
            }
            #expect(throws: TensorError.self) { try Tensor(bytes: bytes, shape: [3], elementType: .bfloat16) }
        }
    }

    @Test("item wants one element, integers no fractions, withBytes plain memory")
    func refusals() throws {
        #expect(throws: TensorError.shape(operation: "item", expected: "one element", got: [2])) {
            try Tensor([1.0, 2]).item()
        }
        #expect(try Tensor([4.0], shape: [1, 1]).item() == 4)
        #expect(throws: TensorError.self) { try Tensor([1.5]).integers() }
        let transposed = try Tensor([Float(1), 2, 3, 4], shape: [2, 2]).transposed(0, 1)
        let error = try #require(throws: TensorError.self) { try transposed.withBytes { _ in } }
        #expect(error.description.contains("row-major"))
        #expect(throws: TensorError.self) { try Tensor([1.0]).size(1) }
    }

    @Test("lent memory is the tensor's own")
    func lentMemory() throws {
        let tensor = try Tensor([Float(1), 2])
        try tensor.withBytes { bytes in
            let floats = bytes.assumingMemoryBound(to: Float.self)
            #expect(Array(floats) == [1, 2])
            try tensor.fillInPlace(5)
            #expect(Array(floats) == [5, 5])
        }
    }

    /// The documented sum by a plain loop, over more elements than one task takes, on one thread and on two.
    @Test("a digest is the sum over bits and indices", arguments: [ElementType.float32, .float64, .bfloat16])
    func digest(_ type: ElementType) throws {
        let values = (0..<150_001).map { Double(($0 * 37) % 1001) / 8 - 60 }
        let tensor = try Tensor(values).to(type)
        let bits: [UInt64] = try tensor.withBytes { bytes in
            switch type {
            case .float64: bytes.assumingMemoryBound(to: UInt64.self).map { $0 }
            case .float32: bytes.assumingMemoryBound(to: UInt32.self).map { UInt64($0) }
            default: bytes.assumingMemoryBound(to: UInt16.self).map { UInt64($0) }
            }
        }
        var expected: UInt64 = 0
        for (index, bits) in bits.enumerated() {
            var word =
                7 ^ (UInt64(index) &* 0x9E37_79B9_7F4A_7C15) ^ ((2 &* bits &+ 1) &* 0xBF58_476D_1CE4_E5B9)
            word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
            word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
            expected &+= word ^ (word >> 31)
        }
        let count = TensorEngine.threadCount
        defer { #expect(throws: Never.self) { try TensorEngine.setThreadCount(count) } }
        for threads in [1, 2] {
            try TensorEngine.setThreadCount(threads)
            #expect(try tensor.digest(seed: 7) == expected)
        }
        #expect(try tensor.reshaped([1, 150_001]).transposed(0, 1).digest(seed: 7) == expected)
        #expect(try tensor.digest(seed: 8) != expected)
    }

    @Test("a device this machine does not have is an error", arguments: [Device.cuda(-1), .cuda(100), .cuda(1 << 40)])
    func unknownDevice(_ device: Device) {
        #expect(throws: TensorError.self) { try Tensor([1.0], device: device) }
        #expect(throws: TensorError.self) { try Tensor.zeros([1], device: device) }
        #expect(throws: TensorError.self) { try Tensor([1.0]).to(device) }
    }

    @Test("a clone has its own elements")
    func clone() throws {
        let tensor = try Tensor([1.0, 2])
        let copy = try tensor.clone()
        try tensor.fillInPlace(9)
        #expect(try copy.doubles() == [1, 2])
    }
}
