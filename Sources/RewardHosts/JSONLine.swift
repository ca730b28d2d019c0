import Foundation
import JSON
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

    mutating func value(_ value: JSONValue) { bytes += value.serializedBytes(.compact) }

    /// Whole numbers without a point; what is not finite, which JSON cannot say, as null.
    mutating func number(_ number: Double) { value(.number(number)) }

    mutating func integer(_ number: Int) { bytes += String(number).utf8 }

    mutating func string(_ text: String) { value(.string(text)) }

    /// A text, or the messages of a chat as TRL has them.
    mutating func prompt(_ content: PromptContent) {
        switch content {
        case .text(let text): string(text)
        case .messages(let messages): array(messages) { line, message in line.value(message.json) }
        }
    }

    mutating func raw(_ other: [UInt8]) { bytes += other }
}
