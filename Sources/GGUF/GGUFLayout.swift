/// How a GGUF file of given metadata and tensors is laid out, for writing it from front to back.
///
/// Whole numbers are written in the widths llama.cpp asks for: 32 bits where they fit, arrays of them signed.
package struct GGUFLayout: Sendable {
    /// What will be written, the outermost axis first.
    package struct Announcement: Sendable, Equatable {
        package var name: String
        package var shape: [Int]
        package var type: GGUFTensorType

        package init(name: String, shape: [Int], type: GGUFTensorType) {
            self.name = name
            self.shape = shape
            self.type = type
        }

        package var byteCount: Int { type.byteCount(of: shape.reduce(1, *)) }
    }

    /// Everything before the first tensor, filled up to the alignment.
    package let header: [UInt8]
    /// Bytes of the whole file.
    package let byteCount: Int

    /// - Parameters:
    ///   - metadata: In the order in which it is written; `general.architecture` comes first by custom.
    ///   - tensors: In the order in which their bytes follow, each filled up to a multiple of 32 (``padding(after:)``).
    package init(metadata: [(key: String, value: GGUFValue)], tensors: [Announcement]) {
        var bytes = GGUFFile.magic
        Self.append(UInt32(3), to: &bytes)
        Self.append(UInt64(tensors.count), to: &bytes)
        Self.append(UInt64(metadata.count), to: &bytes)
        for (key, value) in metadata {
            Self.append(key, to: &bytes)
            Self.append(value, to: &bytes)
        }
        var offset = 0
        for tensor in tensors {
            Self.append(tensor.name, to: &bytes)
            Self.append(UInt32(tensor.shape.count), to: &bytes)
            for size in tensor.shape.reversed() { Self.append(UInt64(size), to: &bytes) }
            Self.append(tensor.type.rawValue, to: &bytes)
            Self.append(UInt64(offset), to: &bytes)
            offset += tensor.byteCount + Self.padding(after: tensor.byteCount)
        }
        header = bytes + [UInt8](repeating: 0, count: Self.padding(after: bytes.count))
        byteCount = header.count + offset
    }

    /// Zeros that follow `count` bytes of a tensor.
    package static func padding(after count: Int) -> Int {
        GGUFHeader.aligned(count, GGUFHeader.usualAlignment) - count
    }

    private static func append(_ value: some FixedWidthInteger, to bytes: inout [UInt8]) {
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }

    private static func append(_ text: String, to bytes: inout [UInt8]) {
        append(UInt64(text.utf8.count), to: &bytes)
        bytes.append(contentsOf: text.utf8)
    }

    private static func append(_ value: GGUFValue, to bytes: inout [UInt8]) {
        append(type(of: value), to: &bytes)
        appendContent(of: value, to: &bytes)
    }

    /// The number of a value's type in the file.
    private static func type(of value: GGUFValue) -> UInt32 {
        switch value {
        case .integer(let value): UInt32(exactly: value) != nil ? 4 : Int32(exactly: value) != nil ? 5 : 11
        case .float: 6
        case .bool: 7
        case .string: 8
        case .strings, .integers, .floats, .list: 9
        case .double: 12
        }
    }

    private static func appendContent(of value: GGUFValue, to bytes: inout [UInt8]) {
        switch value {
        case .integer(let value):
            if let short = UInt32(exactly: value) {
                append(short, to: &bytes)
            } else if let short = Int32(exactly: value) {
                append(short, to: &bytes)
            } else {
                append(Int64(value), to: &bytes)
            }
        case .float(let value): append(value.bitPattern, to: &bytes)
        case .double(let value): append(value.bitPattern, to: &bytes)
        case .bool(let value): bytes.append(value ? 1 : 0)
        case .string(let text): append(text, to: &bytes)
        case .strings(let texts): appendArray(8, texts, to: &bytes) { append($0, to: &$1) }
        case .integers(let values):
            let isShort = values.allSatisfy { Int32(exactly: $0) != nil }
            appendArray(isShort ? 5 : 11, values, to: &bytes) { value, bytes in
                if isShort { append(Int32(value), to: &bytes) } else { append(Int64(value), to: &bytes) }
            }
        case .floats(let values): appendArray(6, values, to: &bytes) { append($0.bitPattern, to: &$1) }
        case .list(let values):
            precondition(Set(values.map(type(of:))).count <= 1, "an array has elements of one type")
            appendArray(values.first.map(type(of:)) ?? 4, values, to: &bytes) { appendContent(of: $0, to: &$1) }
        }
    }

    private static func appendArray<Element>(
        _ type: UInt32, _ elements: [Element], to bytes: inout [UInt8], _ write: (Element, inout [UInt8]) -> Void
    ) {
        append(type, to: &bytes)
        append(UInt64(elements.count), to: &bytes)
        for element in elements { write(element, &bytes) }
    }
}
