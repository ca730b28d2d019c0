/// The header of a GGUF file, checked: metadata, and where each tensor lies.
struct GGUFHeader {
    private(set) var values: [String: GGUFValue] = [:]
    /// In the order of their bytes.
    private(set) var tensors: [GGUFTensor] = []

    static let usualAlignment = 32
    static let alignmentKey = "general.alignment"
    /// ggml has no tensor of more axes.
    private static let mostAxes = 4

    /// - Parameter bytes: The whole file.
    init(_ bytes: UnsafeRawBufferPointer) throws(GGUFProblem) {
        var cursor = GGUFCursor(bytes)
        try Self.readVersion(&cursor)
        let tensorCount = try cursor.number(UInt64.self, "the number of tensors")
        // A key of one letter, its type, and a value of one byte.
        let entryCount = try cursor.count(of: "metadata entries", size: 8 + 1 + 4 + 1)
        for index in 0..<entryCount {
            let key = try cursor.name("the key of metadata entry \(index)")
            guard values.updateValue(try cursor.value(of: key), forKey: key) == nil else {
                throw GGUFProblem("the key \(key) stands twice")
            }
        }
        guard tensorCount <= UInt64(cursor.rest / TensorEntry.smallest) else {
            throw GGUFProblem("claims \(tensorCount) tensors, the file ends \(cursor.rest) bytes behind the metadata")
        }
        var entries: [TensorEntry] = []
        for index in 0..<Int(tensorCount) { entries.append(try TensorEntry(&cursor, index: index)) }
        try add(entries, headerEnd: cursor.offset, byteCount: bytes.count)
    }

    private static func readVersion(_ cursor: inout GGUFCursor) throws(GGUFProblem) {
        for letter in GGUFFile.magic {
            guard try cursor.number(UInt8.self, "its first four bytes") == letter else {
                throw GGUFProblem("does not begin with GGUF; expected a GGUF file, as llama.cpp writes it")
            }
        }
        let version = try cursor.number(UInt32.self, "its version")
        guard version != 0, version & 0xFFFF != 0 else {
            throw GGUFProblem("version \(version): the file is for a big-endian machine; expected a little-endian one")
        }
        guard version == 2 || version == 3 else {
            throw GGUFProblem("is of GGUF version \(version); versions 2 and 3 are read, convert the model anew")
        }
    }

    /// What the header says of a tensor.
    private struct TensorEntry {
        let name: String
        let shape: [Int]
        let type: GGUFTensorType
        let offset: UInt64
        let byteCount: Int

        /// Name of one letter, number of axes, type, offset.
        static let smallest = 8 + 1 + 4 + 4 + 8

        init(_ cursor: inout GGUFCursor, index: Int) throws(GGUFProblem) {
            let name = try cursor.name("the name of tensor \(index)")
            let axes = try cursor.number(UInt32.self, "the axes of \(name)")
            guard axes <= UInt32(mostAxes) else {
                throw GGUFProblem("tensor \(name) has \(axes) axes, at most \(mostAxes)")
            }
            var sizes: [UInt64] = []
            for _ in 0..<axes { sizes.append(try cursor.number(UInt64.self, "the shape of \(name)")) }
            let number = try cursor.number(UInt32.self, "the type of \(name)")
            guard let type = GGUFTensorType(rawValue: number) else {
                let known = GGUFTensorType.otherNames[number].map { "the type \($0), which is not read" }
                throw GGUFProblem(
                    "tensor \(name) has \(known ?? "the unknown type \(number)"); expected one of "
                        + "\(GGUFTensorType.supported): take the model quantised as one of these")
            }
            self.name = name
            self.type = type
            (shape, byteCount) = try Self.measure(name, sizes, type)
            offset = try cursor.number(UInt64.self, "the offset of \(name)")
        }

        private static func measure(
            _ name: String, _ sizes: [UInt64], _ type: GGUFTensorType
        ) throws(GGUFProblem) -> (shape: [Int], byteCount: Int) {
            var bytes = type.blockByteCount
            for (axis, size) in sizes.enumerated() {
                guard axis > 0 || size % UInt64(type.blockCount) == 0 else {
                    throw GGUFProblem(
                        "tensor \(name) has rows of \(size) values; expected a multiple of \(type.blockCount), the "
                            + "block of \(type.name)")
                }
                let units = axis == 0 ? size / UInt64(type.blockCount) : size
                // A size of 0 must not hide that the others are too large to be multiplied.
                let (product, overflows) = bytes.multipliedReportingOverflow(by: max(1, Int(clamping: units)))
                guard !overflows, size <= UInt64(Int.max) else {
                    throw GGUFProblem("tensor \(name) of shape \(Array(sizes.reversed())) is too large")
                }
                bytes = product
            }
            guard !sizes.isEmpty || type.blockCount == 1 else {
                throw GGUFProblem("tensor \(name) has one value of \(type.name); expected whole blocks")
            }
            return (sizes.reversed().map { Int($0) }, sizes.contains(0) ? 0 : bytes)
        }
    }

    /// Checks that the tensors follow one another in the rest of the file, each at the next multiple of the alignment.
    private mutating func add(_ entries: [TensorEntry], headerEnd: Int, byteCount: Int) throws(GGUFProblem) {
        let alignment = try alignment()
        let start = Self.aligned(headerEnd, alignment)
        var names: Set<String> = []
        var end = 0
        for entry in entries.sorted(by: { ($0.offset, $0.byteCount) < ($1.offset, $1.byteCount) }) {
            guard names.insert(entry.name).inserted else { throw GGUFProblem("tensor \(entry.name) stands twice") }
            let expected = Self.aligned(end, alignment)
            guard entry.offset == UInt64(expected) else {
                throw GGUFProblem(
                    "tensor \(entry.name) begins at byte \(entry.offset) of the tensors; expected \(expected), where "
                        + "the one before it ends, at a multiple of \(alignment)")
            }
            let room = byteCount - start - expected
            guard entry.byteCount <= room else {
                throw GGUFProblem(
                    "is cut short: tensor \(entry.name) of \(entry.type.name) \(entry.shape) needs \(entry.byteCount) "
                        + "bytes, the file holds \(max(room, 0)) more; load it again")
            }
            end = expected + entry.byteCount
            let first = start + expected
            tensors.append(
                GGUFTensor(
                    name: entry.name, shape: entry.shape, type: entry.type, bytes: first..<first + entry.byteCount))
        }
    }

    private func alignment() throws(GGUFProblem) -> Int {
        guard let stated = values[Self.alignmentKey] else { return Self.usualAlignment }
        guard case .integer(let alignment) = stated, (1...1 << 20).contains(alignment),
            alignment & (alignment - 1) == 0
        else {
            throw GGUFProblem("\(Self.alignmentKey) is \(stated.kind); expected a power of two, at most \(1 << 20)")
        }
        return alignment
    }

    static func aligned(_ offset: Int, _ alignment: Int) -> Int { (offset + alignment - 1) / alignment * alignment }
}
