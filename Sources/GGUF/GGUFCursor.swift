/// Reads the header of a GGUF file from front to back; nothing a file claims is believed before the bytes are there.
struct GGUFCursor {
    let bytes: UnsafeRawBufferPointer
    private(set) var offset = 0
    /// Elements of all arrays so far: a value in memory is larger than one in the file.
    private var elements = 0

    /// The largest vocabularies have about half a million tokens and merges.
    private static let mostElements = 1 << 24
    /// Arrays in arrays; no key of a model has any.
    private static let deepest = 3
    private static let longestName = 1 << 16

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    var rest: Int { bytes.count - offset }

    /// A number of fixed width.
    ///
    /// - Parameter what: What the number is, for messages.
    mutating func number<Value: FixedWidthInteger>(
        _ type: Value.Type, _ what: @autoclosure () -> String
    ) throws(GGUFProblem) -> Value {
        let size = MemoryLayout<Value>.size
        guard rest >= size else { throw GGUFProblem("ends after \(bytes.count) bytes, within \(what())") }
        defer { offset += size }
        return Value(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: Value.self))
    }

    /// A count of things that take at least `size` bytes each.
    mutating func count(of what: @autoclosure () -> String, size: Int) throws(GGUFProblem) -> Int {
        let count = try number(UInt64.self, "the number of \(what())")
        guard count <= UInt64(rest / size) else {
            throw GGUFProblem("claims \(count) \(what()), the file ends \(rest) bytes later")
        }
        return Int(count)
    }

    mutating func string(_ what: @autoclosure () -> String) throws(GGUFProblem) -> String {
        let length = try number(UInt64.self, "the length of \(what())")
        guard length <= UInt64(rest) else {
            throw GGUFProblem("\(what()) claims \(length) bytes, the file ends \(rest) bytes later")
        }
        let part = UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + Int(length)])
        guard let text = String(validating: part, as: UTF8.self) else {
            throw GGUFProblem("\(what()) is no UTF-8 text")
        }
        offset += Int(length)
        return text
    }

    /// A key or a tensor's name.
    mutating func name(_ what: @autoclosure () -> String) throws(GGUFProblem) -> String {
        let name = try string(what())
        guard !name.isEmpty, name.utf8.count < Self.longestName else {
            throw GGUFProblem("\(what()) has \(name.utf8.count) bytes; expected 1 to \(Self.longestName - 1)")
        }
        return name
    }

    /// A value of the metadata, behind its type.
    mutating func value(of key: String) throws(GGUFProblem) -> GGUFValue {
        try value(number(UInt32.self, "the type of \(key)"), key, depth: 0)
    }

    private mutating func value(_ type: UInt32, _ key: String, depth: Int) throws(GGUFProblem) -> GGUFValue {
        switch type {
        case 0...5, 10, 11: return .integer(try integer(type, key))
        case 6: return .float(Float(bitPattern: try number(UInt32.self, key)))
        case 7:
            let byte = try number(UInt8.self, key)
            guard byte < 2 else { throw GGUFProblem("\(key) is \(byte); expected a truth value, 0 or 1") }
            return .bool(byte == 1)
        case 8: return .string(try string(key))
        case 9: return try array(key, depth: depth)
        case 12: return .double(Double(bitPattern: try number(UInt64.self, key)))
        default: throw GGUFProblem("\(key) has the type \(type); expected one from 0 to 12")
        }
    }

    private mutating func integer(_ type: UInt32, _ key: String) throws(GGUFProblem) -> Int {
        switch type {
        case 0: return Int(try number(UInt8.self, key))
        case 1: return Int(try number(Int8.self, key))
        case 2: return Int(try number(UInt16.self, key))
        case 3: return Int(try number(Int16.self, key))
        case 4: return Int(try number(UInt32.self, key))
        case 5: return Int(try number(Int32.self, key))
        case 11: return Int(try number(Int64.self, key))
        default:
            let value = try number(UInt64.self, key)
            guard let whole = Int(exactly: value) else {
                throw GGUFProblem("\(key) is \(value); expected a number below 2^63")
            }
            return whole
        }
    }

    private mutating func array(_ key: String, depth: Int) throws(GGUFProblem) -> GGUFValue {
        guard depth < Self.deepest else { throw GGUFProblem("\(key) nests arrays more than \(Self.deepest) deep") }
        let type = try number(UInt32.self, "the element type of \(key)")
        let smallest = [1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8]
        guard type < smallest.count else {
            throw GGUFProblem("\(key) has elements of the type \(type); expected one from 0 to 12")
        }
        let count = try count(of: "elements of \(key)", size: smallest[Int(type)])
        elements += count
        guard elements <= Self.mostElements else {
            throw GGUFProblem("\(key) brings the arrays to \(elements) elements; at most \(Self.mostElements) are read")
        }
        switch type {
        case 0...5, 10, 11:
            var values: [Int] = []
            values.reserveCapacity(count)
            for _ in 0..<count { values.append(try integer(type, key)) }
            return .integers(values)
        case 6:
            var values: [Float] = []
            values.reserveCapacity(count)
            for _ in 0..<count { values.append(Float(bitPattern: try number(UInt32.self, key))) }
            return .floats(values)
        case 8:
            var values: [String] = []
            values.reserveCapacity(count)
            for index in 0..<count { values.append(try string("\(key)[\(index)]")) }
            return .strings(values)
        default:
            var values: [GGUFValue] = []
            values.reserveCapacity(count)
            for index in 0..<count { values.append(try value(type, "\(key)[\(index)]", depth: depth + 1)) }
            return .list(values)
        }
    }
}

/// What is wrong with a header; the file's path is added where it is known.
struct GGUFProblem: Error, Equatable {
    var message: String
    init(_ message: String) { self.message = message }
}
