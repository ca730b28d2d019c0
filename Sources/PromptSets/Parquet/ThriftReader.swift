/// Reads Thrift's compact protocol (thrift/doc/specs/thrift-compact-protocol.md), which Parquet's metadata is written
/// in.
///
/// Only what is asked for is kept; everything else is skipped without allocating, and nested at most ``maximumDepth``
/// deep.
struct ThriftReader {
    private var input: ByteReader

    private static let maximumDepth = 32

    init(_ input: ByteReader) { self.input = input }

    /// Where the next byte is read, in the bytes the reader was made of.
    var position: Int { input.position }

    /// The types of values, as the protocol numbers them; a truth value stands in its type.
    enum Wire: UInt8 {
        case stop = 0
        case yes, no, byte, i16, i32, i64, double, binary, list, set, map, structure, uuid
    }

    /// One field of a structure, its value not yet read.
    struct Field {
        let number: Int
        let wire: Wire

        fileprivate func require(_ wires: Wire...) throws {
            guard wires.contains(wire) else { throw FormatFault("field \(number) of its metadata has another type") }
        }
    }

    /// Goes through the fields of a structure.
    ///
    /// - Parameter read: Reads the field's value and returns true, or reads nothing and returns false.
    mutating func structure(_ read: (inout ThriftReader, Field) throws -> Bool) throws {
        var number = 0
        while true {
            let head = try input.byte()
            let wire = try Self.wire(head & 15)
            if wire == .stop { return }
            number = head >> 4 == 0 ? Int(truncatingIfNeeded: try input.zigzag()) : number + Int(head >> 4)
            guard (0...Int(Int16.max)).contains(number) else {
                throw FormatFault("its metadata numbers a field \(number)")
            }
            let field = Field(number: number, wire: wire)
            if try !read(&self, field) { try skip(wire, depth: 0) }
        }
    }

    /// Reads a list element by element.
    mutating func list<Element>(_ field: Field, _ read: (inout ThriftReader) throws -> Element) throws -> [Element] {
        try field.require(.list, .set)
        let (count, wire) = try listHead()
        guard wire == .structure || wire == .binary || wire == .i32 else {
            throw FormatFault("a list of its metadata holds values of another type")
        }
        var elements: [Element] = []
        for _ in 0..<count { elements.append(try read(&self)) }
        return elements
    }

    /// A whole number of any width.
    mutating func integer(_ field: Field) throws -> Int {
        if field.wire == .byte { return Int(Int8(bitPattern: try input.byte())) }
        try field.require(.i16, .i32, .i64)
        return Int(try input.zigzag())
    }

    /// A whole number that counts something or says where it begins.
    mutating func count(_ field: Field) throws -> Int {
        let value = try integer(field)
        guard value >= 0 else { throw FormatFault("its metadata has the negative number \(value)") }
        return value
    }

    func truth(_ field: Field) throws -> Bool {
        try field.require(.yes, .no)
        return field.wire == .yes
    }

    mutating func text(_ field: Field) throws -> String {
        try field.require(.binary)
        return try text()
    }

    /// A text that is an element of a list.
    mutating func text() throws -> String {
        let count = try input.varint()
        let bytes = try input.bytes(Int(clamping: count))
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw FormatFault("its metadata holds a name that is not UTF-8")
        }
        return text
    }

    // MARK: - Skipping

    private static func wire(_ code: UInt8) throws -> Wire {
        guard let wire = Wire(rawValue: code) else {
            throw FormatFault("its metadata has a type \(code), which is none")
        }
        return wire
    }

    /// Every element takes at least one byte, so a count beyond the bytes left is damage.
    private mutating func listHead() throws -> (count: Int, wire: Wire) {
        let head = try input.byte()
        let count = head >> 4 == 15 ? Int(clamping: try input.varint()) : Int(head >> 4)
        guard count <= input.remaining else { throw FormatFault("a list of its metadata is longer than the metadata") }
        return (count, try Self.wire(head & 15))
    }

    /// - Parameter isElement: Elements of a collection have their truth values in a byte of their own.
    private mutating func skip(_ wire: Wire, depth: Int, isElement: Bool = false) throws {
        guard depth < Self.maximumDepth else { throw FormatFault("its metadata is nested too deep") }
        switch wire {
        case .yes, .no: if isElement { _ = try input.byte() }
        case .byte: _ = try input.byte()
        case .i16, .i32, .i64: _ = try input.varint()
        case .double: _ = try input.bytes(8)
        case .uuid: _ = try input.bytes(16)
        case .binary: _ = try input.bytes(Int(clamping: input.varint()))
        case .list, .set:
            let (count, element) = try listHead()
            for _ in 0..<count { try skip(element, depth: depth + 1, isElement: true) }
        case .map:
            let count = Int(clamping: try input.varint())
            if count == 0 { return }
            guard count <= input.remaining else {
                throw FormatFault("a map of its metadata is longer than the metadata")
            }
            let types = try input.byte()
            let (key, value) = (try Self.wire(types >> 4), try Self.wire(types & 15))
            for _ in 0..<count {
                try skip(key, depth: depth + 1, isElement: true)
                try skip(value, depth: depth + 1, isElement: true)
            }
        case .structure:
            while true {
                let head = try input.byte()
                let inner = try Self.wire(head & 15)
                if inner == .stop { return }
                if head >> 4 == 0 { _ = try input.varint() }
                try skip(inner, depth: depth + 1)
            }
        case .stop: throw FormatFault("its metadata ends a structure where there is none")
        }
    }
}
