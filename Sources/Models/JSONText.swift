internal import Foundation
internal import Records
internal import Runs

/// Reads and writes the JSON files of a model folder, in the form Python writes them: keys sorted, two spaces, fractions kept.
enum JSONText {
    /// Members whose value is a fraction by nature: `1.0` stays `1.0`, because strict readers refuse an integer there.
    private static let fractions: Set<String> = [
        "attention_dropout", "attention_factor", "beta_fast", "beta_slow", "diversity_penalty", "factor",
        "guidance_scale", "high_freq_factor", "initializer_range", "length_penalty", "low_freq_factor", "min_p",
        "mscale",
        "mscale_all_dim", "repetition_penalty", "rms_norm_eps", "rope_theta", "temperature", "top_p", "typical_p",
    ]

    /// The members of a JSON object.
    static func members(of text: String, path: String) throws(ModelError) -> [String: JSONValue] {
        let value: JSON
        do {
            value = try JSON(parsing: text)
        } catch {
            throw .file(path: path, message: "no valid JSON: \(error)")
        }
        guard let members = value.members else {
            throw .file(path: path, message: "expected a JSON object, found \(value.kind)")
        }
        return dictionary(members)
    }

    private static func dictionary(_ members: [JSON.Member]) -> [String: JSONValue] {
        Dictionary(members.map { ($0.key, converted($0.value)) }) { $1 }
    }

    private static func converted(_ value: JSON) -> JSONValue {
        switch value {
        case .null: .null
        case .bool(let flag): .bool(flag)
        case .number(let number): .number(number)
        case .integer(let number): .integer(number)
        case .string(let text): .string(text)
        case .array(let elements): .array(elements.map(converted))
        case .object(let members): .object(dictionary(members))
        }
    }

    /// The value as text, ending in a line break.
    static func text(_ value: JSONValue) -> String { written(value, key: "", indent: "") + "\n" }

    private static func written(_ value: JSONValue, key: String, indent: String) -> String {
        let inner = indent + "  "
        switch value {
        case .object(let members) where !members.isEmpty:
            let lines = members.sorted { $0.key < $1.key }.map {
                "\(inner)\(quoted($0.key)): \(written($0.value, key: $0.key, indent: inner))"
            }
            return "{\n" + lines.joined(separator: ",\n") + "\n\(indent)}"
        case .object: return "{}"
        case .array(let elements) where !elements.isEmpty:
            let lines = elements.map { inner + written($0, key: key, indent: inner) }
            return "[\n" + lines.joined(separator: ",\n") + "\n\(indent)]"
        case .array: return "[]"
        case .string(let text): return quoted(text)
        case .number(let number): return written(number, isFraction: fractions.contains(key))
        case .integer(let number): return "\(number)"
        case .bool(let flag): return flag ? "true" : "false"
        case .null: return "null"
        }
    }

    private static func written(_ number: Double, isFraction: Bool) -> String {
        guard !isFraction, let whole = Int64(exactly: number), abs(number) < 0x1p53 else { return "\(number)" }
        return "\(whole)"
    }

    private static func quoted(_ text: String) -> String {
        var out = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": out += "\\\""
            case "\\": out += "\\\\"
            case "\n": out += "\\n"
            case "\r": out += "\\r"
            case "\t": out += "\\t"
            case _ where scalar.value < 0x20: out += String(format: "\\u%04x", scalar.value)
            default: out.unicodeScalars.append(scalar)
            }
        }
        return out + "\""
    }
}
