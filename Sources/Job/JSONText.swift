internal import Foundation
import JSON
internal import Runs

/// Pieces of JSON written in a fixed order of keys, for results on standard output.
package enum JSONText {
    package static func string(_ text: String) -> String { JSONValue.string(text).serialized }
    package static func number(_ value: Double?) -> String { (value.map(JSONValue.number) ?? .null).serialized }
    package static func object(_ members: [(String, String)]) -> String {
        "{" + members.map { "\(string($0.0)): \($0.1)" }.joined(separator: ", ") + "}"
    }
    package static func array(_ elements: [String]) -> String { "[" + elements.joined(separator: ", ") + "]" }
}
