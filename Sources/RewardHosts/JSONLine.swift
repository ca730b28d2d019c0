import Foundation
import Records

/// Writes JSON without spaces, straight into bytes: requests hold whole groups, and encoding them should cost little.
struct JSONLine {
    private(set) var bytes: [UInt8] = []

    init() {}

    /// `{"a":…,"b":…}`, each value written by its closure.
    mutating func object(_ members: [(String, (inout JSONLine) -> Void)]) {
        bytes.append(UInt8(ascii: "{"))
        for (index, (name, write)) in members.enumerated() {
            if index > 0 { bytes.append(UInt8(ascii: ",")) }
            string(name)
            bytes.append(UInt8(ascii: ":"))
            write(&self)
        }
        bytes.append(UInt8(ascii: "}"))
    }

    mutating func array<Elements: Sequence>(_ elements: Elements, _ write: (inout JSONLine, Elements.Element) -> Void) {
        bytes.append(UInt8(ascii: "["))
        for (index, element) in elements.enumerated() {
            if index > 0 { bytes.append(UInt8(ascii: ",")) }
            write(&self, element)
        }
        bytes.append(UInt8(ascii: "]"))
    }

    mutating func value(_ value: JSONValue) {
        switch value {
        case .null: bytes += "null".utf8
        case .bool(let flag): bytes += (flag ? "true" : "false").utf8
        case .number(let number): self.number(number)
        case .integer(let number): bytes += String(number).utf8
        case .string(let text): string(text)
        case .array(let elements): array(elements) { $0.value($1) }
        case .object(let members):
            object(members.sorted { $0.key < $1.key }.map { member in (member.key, { $0.value(member.value) }) })
        }
    }

    /// Whole numbers without a point; what is not finite, which JSON cannot say, as null.
    mutating func number(_ number: Double) {
        if let whole = Int64(exactly: number) {
            bytes += String(whole).utf8
        } else {
            bytes += (number.isFinite ? "\(number)" : "null").utf8
        }
    }

    mutating func integer(_ number: Int) { bytes += String(number).utf8 }

    mutating func string(_ text: String) {
        bytes.append(UInt8(ascii: "\""))
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"): bytes += [UInt8(ascii: "\\"), byte]
            case UInt8(ascii: "\n"): bytes += [UInt8(ascii: "\\"), UInt8(ascii: "n")]
            case 0..<32, 127: bytes += String(format: "\\u%04x", Int(byte)).utf8
            default: bytes.append(byte)
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }

    /// A text, or the messages of a chat as TRL has them.
    mutating func prompt(_ content: PromptContent) {
        switch content {
        case .text(let text): string(text)
        case .messages(let messages):
            array(messages) { line, message in
                line.object([("role", { $0.string(message.role) }), ("content", { $0.string(message.content) })])
            }
        }
    }

    mutating func raw(_ other: [UInt8]) { bytes += other }
}
