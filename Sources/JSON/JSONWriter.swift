/// How a value is laid out as text.
public struct JSONStyle: Sendable {
    var itemSeparator = ", "
    var keySeparator = ": "
    /// Spaces a level; `nil` writes everything on one line.
    var indentation: Int?
    var sortsKeys = false
    /// Whether what a terminal, YAML or an old reader takes for something else is escaped: DEL, the control characters
    /// from U+0080 to U+009F, U+2028, U+2029, U+FEFF, U+FFFE and U+FFFF.
    var escapesUnprintable = true

    /// `{"a": 1, "b": [2, 3]}`, as Python writes it.
    public static let line = JSONStyle()
    /// `{"a":1,"b":[2,3]}`, for messages between programs.
    public static let compact = JSONStyle(itemSeparator: ",", keySeparator: ":")
    /// Two spaces a level, for files that people read.
    public static let indented = JSONStyle(itemSeparator: ",", indentation: 2)
    /// Two spaces a level and sorted keys, as transformers writes its files.
    public static let sorted = JSONStyle(itemSeparator: ",", indentation: 2, sortsKeys: true)

    /// Python's `json.dumps` with `ensure_ascii=False` and the rest as given.
    package static func python(
        indentation: Int?, itemSeparator: String, keySeparator: String, sortsKeys: Bool
    ) -> JSONStyle {
        JSONStyle(
            itemSeparator: itemSeparator, keySeparator: keySeparator, indentation: indentation, sortsKeys: sortsKeys,
            escapesUnprintable: false)
    }
}

extension JSONValue {
    /// The value as JSON text on one line.
    public var serialized: String { serialized(.line) }

    /// The value as indented JSON text with a line break at the end, for files that people read.
    public var indented: String { serialized(.indented) + "\n" }

    /// The value as JSON text, without a line break at the end.
    public func serialized(_ style: JSONStyle) -> String { String(decoding: serializedBytes(style), as: UTF8.self) }

    /// ``serialized`` in UTF-8.
    public var serializedBytes: [UInt8] { serializedBytes(.line) }

    /// ``serialized(_:)`` in UTF-8.
    public func serializedBytes(_ style: JSONStyle) -> [UInt8] {
        var writer = JSONWriter(style: style)
        writer.write(self, level: 0)
        return writer.output
    }
}

private struct JSONWriter {
    let style: JSONStyle
    var output: [UInt8] = []

    init(style: JSONStyle) { self.style = style }

    mutating func write(_ value: JSONValue, level: Int) {
        switch value {
        case .null: output += "null".utf8
        case .bool(let flag): output += (flag ? "true" : "false").utf8
        case .number(let number): output += number.text.utf8
        case .string(let text): write(text)
        case .array(let elements):
            list("[", elements, "]", level) { writer, element in writer.write(element, level: level + 1) }
        case .object(let members):
            let ordered =
                style.sortsKeys ? members.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) } : members
            list("{", ordered, "}", level) { writer, member in
                writer.write(member.key)
                writer.output += writer.style.keySeparator.utf8
                writer.write(member.value, level: level + 1)
            }
        }
    }

    private mutating func list<Element>(
        _ open: Unicode.Scalar, _ elements: [Element], _ close: Unicode.Scalar, _ level: Int,
        _ writeElement: (inout JSONWriter, Element) -> Void
    ) {
        output.append(UInt8(ascii: open))
        for (index, element) in elements.enumerated() {
            if index > 0 { output += style.itemSeparator.utf8 }
            breakLine(level + 1)
            writeElement(&self, element)
        }
        if !elements.isEmpty { breakLine(level) }
        output.append(UInt8(ascii: close))
    }

    private mutating func breakLine(_ level: Int) {
        guard let indentation = style.indentation else { return }
        output.append(0x0a)
        output += repeatElement(0x20, count: indentation * level)
    }

    private mutating func write(_ text: String) {
        output.append(UInt8(ascii: "\""))
        var text = text
        text.withUTF8 { bytes in
            var start = 0
            var position = 0
            while position < bytes.count {
                let byte = bytes[position]
                let length =
                    byte >= 0x20 && byte < 0x7f && byte != 0x22 && byte != 0x5c ? 0 : escapedLength(bytes, position)
                if length > 0 {
                    output.append(contentsOf: bytes[start..<position])
                    escape(bytes[position..<position + length])
                    start = position + length
                }
                position += max(1, length)
            }
            output.append(contentsOf: bytes[start...])
        }
        output.append(UInt8(ascii: "\""))
    }

    /// Bytes of the character at `position` when it has to be escaped, else 0.
    private func escapedLength(_ bytes: UnsafeBufferPointer<UInt8>, _ position: Int) -> Int {
        switch bytes[position] {
        case 0..<0x20, UInt8(ascii: "\""), UInt8(ascii: "\\"): 1
        case 0x7f: style.escapesUnprintable ? 1 : 0
        case 0xc2: style.escapesUnprintable && bytes[position + 1] < 0xa0 ? 2 : 0
        case 0xe2:
            style.escapesUnprintable && bytes[position + 1] == 0x80 && bytes[position + 2] & 0xfe == 0xa8 ? 3 : 0
        case 0xef:
            switch (bytes[position + 1], bytes[position + 2]) {
            case (0xbb, 0xbf), (0xbf, 0xbe), (0xbf, 0xbf): style.escapesUnprintable ? 3 : 0
            default: 0
            }
        default: 0
        }
    }

    private mutating func escape(_ character: Slice<UnsafeBufferPointer<UInt8>>) {
        let scalar = String(decoding: character, as: UTF8.self).unicodeScalars.first?.value ?? 0
        switch scalar {
        case 0x22, 0x5c: output += [0x5c, UInt8(scalar)]
        case 0x08: output += "\\b".utf8
        case 0x09: output += "\\t".utf8
        case 0x0a: output += "\\n".utf8
        case 0x0c: output += "\\f".utf8
        case 0x0d: output += "\\r".utf8
        default:
            let digits = String(scalar, radix: 16)
            output += "\\u\(String(repeating: "0", count: 4 - digits.count))\(digits)".utf8
        }
    }
}
