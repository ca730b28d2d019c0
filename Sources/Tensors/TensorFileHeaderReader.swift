/// Reads the JSON of a safetensors header, and only that form of JSON: no value nests deeper than the form asks for, so that a
/// hostile header can neither exhaust the stack nor say one thing twice.
struct TensorFileHeaderReader {
    private let bytes: UnsafeRawBufferPointer
    private var place = 0

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    /// The whole header: `{ "__metadata__": {…}, name: {"dtype", "shape", "data_offsets"}, … }`, then nothing but spaces.
    mutating func header() throws(HeaderProblem) -> (entries: [TensorFileHeader.Entry], metadata: [String: String]) {
        var entries: [TensorFileHeader.Entry] = []
        var metadata: [String: String]?
        var names: Set<String> = []
        try object { (reader, name) throws(HeaderProblem) in
            guard names.insert(name).inserted else { throw HeaderProblem("\(name) stands twice in the header") }
            if name == "__metadata__" {
                metadata = try reader.stringTable()
            } else {
                entries.append(try reader.entry(named: name))
            }
        }
        skipSpaces()
        guard place == bytes.count else { throw problem("something follows the header's object") }
        return (entries, metadata ?? [:])
    }

    private mutating func entry(named name: String) throws(HeaderProblem) -> TensorFileHeader.Entry {
        var type: String?
        var shape: [Int]?
        var offsets: [Int]?
        try object { (reader, key) throws(HeaderProblem) in
            switch key {
            case "dtype" where type == nil: type = try reader.string()
            case "shape" where shape == nil: shape = try reader.integers()
            case "data_offsets" where offsets == nil: offsets = try reader.integers()
            default: throw HeaderProblem("tensor \(name) has the unexpected or repeated key \(key)")
            }
        }
        guard let type, let shape, let offsets else {
            throw HeaderProblem("tensor \(name) lacks dtype, shape or data_offsets")
        }
        guard offsets.count == 2, offsets[0] <= offsets[1] else {
            throw HeaderProblem("tensor \(name) has data_offsets \(offsets), expected a start and an end")
        }
        guard shape.count <= 64 else { throw HeaderProblem("tensor \(name) has \(shape.count) axes, at most 64") }
        return .init(name: name, typeName: type, shape: shape, bytes: offsets[0]..<offsets[1])
    }

    private mutating func stringTable() throws(HeaderProblem) -> [String: String] {
        var table: [String: String] = [:]
        try object { (reader, key) throws(HeaderProblem) in
            guard table.updateValue(try reader.string(), forKey: key) == nil else {
                throw HeaderProblem("__metadata__ has \(key) twice")
            }
        }
        return table
    }

    private mutating func object(
        _ member: (inout Self, String) throws(HeaderProblem) -> Void
    ) throws(HeaderProblem) {
        try expect("{")
        if accept("}") { return }
        repeat {
            let key = try string()
            try expect(":")
            try member(&self, key)
        } while accept(",")
        try expect("}")
    }

    private mutating func integers() throws(HeaderProblem) -> [Int] {
        try expect("[")
        if accept("]") { return [] }
        var values: [Int] = []
        repeat { values.append(try integer()) } while accept(",")
        try expect("]")
        return values
    }

    private mutating func integer() throws(HeaderProblem) -> Int {
        skipSpaces()
        let start = place
        var value = 0
        while place < bytes.count, case let digit = bytes[place], digit >= 0x30, digit <= 0x39 {
            let (tens, first) = value.multipliedReportingOverflow(by: 10)
            let (sum, second) = tens.addingReportingOverflow(Int(digit - 0x30))
            guard !first, !second else { throw problem("a number is too large") }
            value = sum
            place += 1
        }
        guard place > start, bytes[start] != 0x30 || place == start + 1 else {
            throw problem("expected a whole number of at least 0")
        }
        return value
    }

    private mutating func string() throws(HeaderProblem) -> String {
        try expect("\"")
        var text: [UInt8] = []
        while place < bytes.count {
            let byte = bytes[place]
            place += 1
            switch byte {
            case UInt8(ascii: "\""):
                guard let string = String(validating: text, as: UTF8.self) else {
                    throw problem("a string is not UTF-8")
                }
                return string
            case UInt8(ascii: "\\"): text += Array(String(try escape()).utf8)
            case 0..<0x20: throw problem("a control character stands in a string")
            default: text.append(byte)
            }
        }
        throw problem("a string does not end")
    }

    private mutating func escape() throws(HeaderProblem) -> Unicode.Scalar {
        guard place < bytes.count else { throw problem("a string does not end") }
        let byte = bytes[place]
        place += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return Unicode.Scalar(byte)
        case UInt8(ascii: "b"): return "\u{8}"
        case UInt8(ascii: "f"): return "\u{c}"
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "u"):
            var code = UInt32(try hexadecimal())
            if code & 0xFC00 == 0xD800, place + 1 < bytes.count, bytes[place] == UInt8(ascii: "\\"),
                bytes[place + 1] == UInt8(ascii: "u")
            {
                place += 2
                let low = UInt32(try hexadecimal())
                guard low & 0xFC00 == 0xDC00 else { throw problem("half a surrogate pair stands in a string") }
                code = 0x10000 + (code & 0x3FF) << 10 + (low & 0x3FF)
            }
            guard let scalar = Unicode.Scalar(code) else { throw problem("half a surrogate pair stands in a string") }
            return scalar
        default: throw problem("an unknown escape stands in a string")
        }
    }

    private mutating func hexadecimal() throws(HeaderProblem) -> UInt16 {
        guard place + 4 <= bytes.count else { throw problem("a string does not end") }
        var value: UInt16 = 0
        for byte in bytes[place..<place + 4] {
            guard let digit = Character(Unicode.Scalar(byte)).hexDigitValue, byte < 0x80 else {
                throw problem("\\u needs four hexadecimal digits")
            }
            value = value << 4 | UInt16(digit)
        }
        place += 4
        return value
    }

    private mutating func expect(_ character: Unicode.Scalar) throws(HeaderProblem) {
        guard accept(character) else { throw problem("expected \(character)") }
    }

    private mutating func accept(_ character: Unicode.Scalar) -> Bool {
        skipSpaces()
        guard place < bytes.count, bytes[place] == UInt8(ascii: character) else { return false }
        place += 1
        return true
    }

    private mutating func skipSpaces() {
        while place < bytes.count, [0x20, 0x09, 0x0A, 0x0D].contains(bytes[place]) { place += 1 }
    }

    private func problem(_ message: String) -> HeaderProblem {
        HeaderProblem("\(message) at byte \(place) of the header")
    }
}
