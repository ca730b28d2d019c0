/// The header of a safetensors file, checked: every tensor's name, element type, shape and bytes.
///
/// The form: eight bytes, little-endian, with the header's length; the header, a JSON object; the elements. Tensors fill the rest
/// of the file without overlap or gap. Everything a file claims is checked here, before any tensor is made.
struct TensorFileHeader: Sendable, Equatable {
    struct Entry: Sendable, Equatable {
        var name: String
        /// As the file spells it: `F32`, `BF16`…
        var typeName: String
        var shape: [Int]
        /// Bytes from the end of the header.
        var bytes: Range<Int>
    }

    /// In the order of their bytes.
    var entries: [Entry]
    var metadata: [String: String]

    /// The reference implementation's own limit.
    static let longestHeader = 100_000_000

    /// Bits of one element of every type the form knows, those this engine cannot hold included.
    private static let bits: [String: Int] = [
        "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "I16": 16, "U16": 16, "F16": 16,
        "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64, "C64": 64,
    ]

    /// Reads a header.
    /// - Parameters:
    ///   - text: the JSON, without the eight bytes before it.
    ///   - byteCount: bytes of the file behind the header.
    /// - Throws: ``HeaderProblem`` with what was found and where.
    init(text: UnsafeRawBufferPointer, byteCount: Int) throws(HeaderProblem) {
        var reader = TensorFileHeaderReader(text)
        (entries, metadata) = try reader.header()
        entries.sort { ($0.bytes.lowerBound, $0.bytes.upperBound) < ($1.bytes.lowerBound, $1.bytes.upperBound) }
        var end = 0
        for entry in entries {
            try Self.checkSize(entry)
            guard entry.bytes.lowerBound == end else {
                throw HeaderProblem(
                    "tensor \(entry.name) begins at byte \(entry.bytes.lowerBound) of the elements, the one before it "
                        + "ends at \(end)")
            }
            end = entry.bytes.upperBound
        }
        guard end == byteCount else {
            throw HeaderProblem("the header describes \(end) bytes of elements, the file holds \(byteCount)")
        }
    }

    private static func checkSize(_ entry: Entry) throws(HeaderProblem) {
        guard let bits = bits[entry.typeName] else {
            throw HeaderProblem("tensor \(entry.name) has the unknown element type \(entry.typeName)")
        }
        var count = bits / 8
        for size in entry.shape {
            let (product, overflows) = count.multipliedReportingOverflow(by: size)
            guard !overflows else { throw HeaderProblem("tensor \(entry.name) of shape \(entry.shape) is too large") }
            count = product
        }
        guard count == entry.bytes.count else {
            throw HeaderProblem(
                "tensor \(entry.name) of \(entry.typeName) \(entry.shape) needs \(count) bytes, its offsets hold "
                    + "\(entry.bytes.count)")
        }
    }
}

/// What is wrong with a header; the file's path is added where it is known.
struct HeaderProblem: Error, Equatable {
    var message: String
    init(_ message: String) { self.message = message }
}
