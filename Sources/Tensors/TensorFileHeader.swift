import JSON

/// The header of a safetensors file, checked: every tensor's name, element type, shape and bytes.
///
/// The form: eight bytes, little-endian, with the header's length; the header, a JSON object; the elements. Tensors
/// fill the rest of the file without overlap or gap. Everything a file claims is checked here, before any tensor is
/// made.
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
        (entries, metadata) = try Self.read(text)
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

    /// `{ "__metadata__": {…}, name: {"dtype", "shape", "data_offsets"}, … }`, in the order of the text.
    private static func read(
        _ text: UnsafeRawBufferPointer
    ) throws(HeaderProblem) -> (entries: [Entry], metadata: [String: String]) {
        let json: JSONValue
        do {
            json = try JSONValue(parsing: text, limits: JSONLimits(depth: 3))
        } catch {
            throw HeaderProblem("\(error.message) at \(error.position) of the header")
        }
        guard let members = json.members else { throw HeaderProblem("the header is \(json.kind), expected an object") }
        var entries: [Entry] = []
        var metadata: [String: String] = [:]
        for member in members {
            guard member.key == "__metadata__" else {
                entries.append(try entry(member.key, member.value))
                continue
            }
            guard let pairs = member.value.members, pairs.allSatisfy({ $0.value.string != nil }) else {
                throw HeaderProblem("__metadata__ maps something else than texts to texts")
            }
            metadata = Dictionary(pairs.map { ($0.key, $0.value.string ?? "") }) { $1 }
        }
        return (entries, metadata)
    }

    private static func entry(_ name: String, _ json: JSONValue) throws(HeaderProblem) -> Entry {
        guard let members = json.members else {
            throw HeaderProblem("tensor \(name) is \(json.kind), expected an object")
        }
        if let other = members.first(where: { !["dtype", "shape", "data_offsets"].contains($0.key) }) {
            throw HeaderProblem("tensor \(name) has the unexpected key \(other.key)")
        }
        func sizes(_ key: String) throws(HeaderProblem) -> [Int]? {
            guard let value = json[key] else { return nil }
            let sizes = (value.elements ?? []).compactMap(\.int)
            guard sizes.count == value.elements?.count, sizes.allSatisfy({ $0 >= 0 }) else {
                throw HeaderProblem(
                    "tensor \(name) has \(key) \(value.serialized), expected whole numbers of at least 0")
            }
            return sizes
        }
        guard let type = json["dtype"]?.string, let shape = try sizes("shape"), let offsets = try sizes("data_offsets")
        else { throw HeaderProblem("tensor \(name) lacks dtype, shape or data_offsets") }
        guard offsets.count == 2, offsets[0] <= offsets[1] else {
            throw HeaderProblem("tensor \(name) has data_offsets \(offsets), expected a start and an end")
        }
        guard shape.count <= 64 else { throw HeaderProblem("tensor \(name) has \(shape.count) axes, at most 64") }
        return Entry(name: name, typeName: type, shape: shape, bytes: offsets[0]..<offsets[1])
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
