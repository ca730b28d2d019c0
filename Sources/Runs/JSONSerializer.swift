extension JSON {
    /// The value as JSON text on one line. A number that is not finite becomes null.
    package var serialized: String { String(decoding: serializedBytes, as: UTF8.self) }

    /// ``serialized`` in UTF-8.
    package var serializedBytes: [UInt8] {
        var output: [UInt8] = []
        append(to: &output)
        return output
    }

    /// The value as indented JSON text with a line break at the end, for files people read.
    package var indented: String {
        var output: [UInt8] = []
        append(to: &output, indentation: 0)
        output.append(0x0a)
        return String(decoding: output, as: UTF8.self)
    }

    /// - Parameter indentation: The depth reached; `nil` writes everything on one line.
    private func append(to output: inout [UInt8], indentation: Int? = nil) {
        switch self {
        case .null: output += "null".utf8
        case .bool(let value): output += (value ? "true" : "false").utf8
        case .number(let value): output += JSON.written(value).utf8
        case .integer(let value): output += String(value).utf8
        case .string(let text): JSON.append(text, to: &output)
        case .array(let elements):
            JSON.appendList("[", elements, "]", to: &output, indentation) { element, inner, output in
                element.append(to: &output, indentation: inner)
            }
        case .object(let members):
            JSON.appendList("{", members, "}", to: &output, indentation) { member, inner, output in
                JSON.append(member.key, to: &output)
                output += ": ".utf8
                member.value.append(to: &output, indentation: inner)
            }
        }
    }

    private static func appendList<Element>(
        _ open: String, _ elements: [Element], _ close: String, to output: inout [UInt8], _ indentation: Int?,
        _ appendElement: (Element, Int?, inout [UInt8]) -> Void
    ) {
        output += open.utf8
        for (index, element) in elements.enumerated() {
            if index > 0 { output += (indentation == nil ? ", " : ",").utf8 }
            appendLineBreak(to: &output, indentation.map { $0 + 1 })
            appendElement(element, indentation.map { $0 + 1 }, &output)
        }
        if !elements.isEmpty { appendLineBreak(to: &output, indentation) }
        output += close.utf8
    }

    private static func appendLineBreak(to output: inout [UInt8], _ indentation: Int?) {
        guard let indentation else { return }
        output.append(0x0a)
        output += [UInt8](repeating: 0x20, count: 2 * indentation)
    }

    private static func written(_ value: Double) -> String {
        if !value.isFinite { return "null" }
        if let whole = Int64(exactly: value), abs(whole) < 1 << 53, !(value == 0 && value.sign == .minus) {
            return String(whole)
        }
        return String(value)  // the shortest text that reads back as the same number
    }

    private static func append(_ text: String, to output: inout [UInt8]) {
        output.append(UInt8(ascii: "\""))
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""): output += "\\\"".utf8
            case UInt8(ascii: "\\"): output += "\\\\".utf8
            case 0x0a: output += "\\n".utf8
            case 0x0d: output += "\\r".utf8
            case 0x09: output += "\\t".utf8
            case 0..<0x20, 0x7f:
                let digits = String(byte, radix: 16)
                output += "\\u\(String(repeating: "0", count: 4 - digits.count))\(digits)".utf8
            default: output.append(byte)
            }
        }
        output.append(UInt8(ascii: "\""))
    }
}
