/// A type a job field can hold.
package protocol JobScalar: Sendable, Equatable {
    /// What a right value is, in words: `a whole number`.
    static var expectation: String { get }
    /// The same with what it must be beyond its type: `a whole number of at least 1`.
    static func expectation(that requirement: String) -> String
    /// The value of a node, or `nil` when it is of another form.
    static func read(_ node: JobNode) -> Self?
    /// The value as YAML on one line.
    var yaml: String { get }
}

extension JobScalar {
    package static func expectation(that requirement: String) -> String { "\(expectation) \(requirement)" }
}

extension Int: JobScalar {
    package static var expectation: String { "a whole number" }

    package static func read(_ node: JobNode) -> Int? {
        guard case .scalar(let text, _) = node.content else { return nil }
        if let whole = Int(text.replacing("_", with: "")) { return whole }
        return Double(text).flatMap(Int.init(exactly:))  // 1e3
    }

    package var yaml: String { String(self) }
}

extension Double: JobScalar {
    package static var expectation: String { "a finite number" }

    package static func read(_ node: JobNode) -> Double? {
        guard case .scalar(let text, _) = node.content, let value = Double(text), value.isFinite else { return nil }
        return value
    }

    package var yaml: String {
        self == rounded() && abs(self) < 1e15 ? String(format(self)) : String(self)
    }

    private func format(_ value: Double) -> String { "\(Int64(value)).0" }
}

extension Bool: JobScalar {
    package static var expectation: String { "true or false" }

    package static func read(_ node: JobNode) -> Bool? {
        guard case .scalar(let text, _) = node.content else { return nil }
        return switch text.lowercased() {
        case "true", "yes", "on": true
        case "false", "no", "off": false
        default: nil
        }
    }

    package var yaml: String { self ? "true" : "false" }
}

extension String: JobScalar {
    package static var expectation: String { "a text" }

    package static func read(_ node: JobNode) -> String? {
        if case .scalar(let text, _) = node.content { text } else { nil }
    }

    /// In double quotes unless it can only be read as this text.
    package var yaml: String {
        let isPlain =
            !isEmpty && first?.isLetter == true
            && allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "_-./".contains($0)) }
            && !["true", "false", "yes", "no", "on", "off", "null", "nan", "inf", "infinity"].contains(lowercased())
        return isPlain ? self : quoted
    }

    private var quoted: String {
        var text = "\""
        for scalar in unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case "\t": text += "\\t"
            case "\r": text += "\\r"
            case _ where scalar.value < 0x20:
                text += "\\x" + (scalar.value < 16 ? "0" : "") + String(scalar.value, radix: 16)
            default: text.unicodeScalars.append(scalar)
            }
        }
        return text + "\""
    }
}

/// An absent value is written `null`.
extension Optional: JobScalar where Wrapped: JobScalar {
    package static var expectation: String { "\(Wrapped.expectation), or nothing" }

    package static func expectation(that requirement: String) -> String {
        "\(Wrapped.expectation(that: requirement)), or nothing"
    }

    package static func read(_ node: JobNode) -> Wrapped?? {
        if node.content == .null { return .some(nil) }
        return Wrapped.read(node).map(Optional.some)
    }

    package var yaml: String { self?.yaml ?? "null" }
}

/// A single value counts as a list of one.
extension Array: JobScalar where Element: JobScalar {
    package static var expectation: String { "a list, each \(Element.expectation)" }

    package static func read(_ node: JobNode) -> [Element]? {
        guard case .list(let items) = node.content else { return Element.read(node).map { [$0] } }
        let values = items.compactMap(Element.read)
        return values.count == items.count ? values : nil
    }

    package var yaml: String { "[" + map(\.yaml).joined(separator: ", ") + "]" }
}

/// A choice between words; the raw value is the word.
package protocol JobChoice: JobScalar, CaseIterable, RawRepresentable where RawValue == String {}

extension JobChoice {
    package static var expectation: String { "one of " + allCases.map(\.rawValue).joined(separator: ", ") }

    package static func read(_ node: JobNode) -> Self? {
        guard case .scalar(let text, _) = node.content else { return nil }
        return Self(rawValue: text)
    }

    package var yaml: String { rawValue.yaml }
}
