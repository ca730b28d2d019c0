package import JSON
import Runs

/// Text from outside as it may stand in an HTML page.
package enum HTMLText {
    /// As the content of an element or of a quoted attribute.
    package static func escaped(_ text: String) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "\"": result += "&quot;"
            case "'": result += "&#39;"
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }

    /// A value as the content of a script element: no `<` is left that could end the element or open a comment in it.
    package static func script(_ value: JSONValue) -> String {
        value.serialized.replacing("<", with: "\\u003c")
    }
}
