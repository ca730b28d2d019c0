public import JSON

/// A value as a settings file has it, with the place where a person finds it.
public struct SettingsNode: Sendable, Equatable {
    public indirect enum Content: Sendable, Equatable {
        case null
        /// A scalar as written. Quoted, it is never null; a number in quotes is still one: files written for PyYAML
        /// have "1e-6".
        case scalar(String, isQuoted: Bool)
        case list([SettingsNode])
        case map([Member])
    }

    /// One line of a section.
    public struct Member: Sendable, Equatable {
        public var key: String
        public var node: SettingsNode

        public init(_ key: String, _ node: SettingsNode) {
            self.key = key
            self.node = node
        }
    }

    public var content: Content
    /// `grpo.yaml line 7`, or `the override 'seed=x'`.
    public var place: String

    public init(_ content: Content, place: String) {
        self.content = content
        self.place = place
    }

    /// A value that was read elsewhere, its lists and sections with it.
    public init(json value: JSONValue, place: String) {
        self.place = place
        switch value {
        case .null: content = .null
        case .string(let text): content = .scalar(text, isQuoted: true)
        case .array(let elements): content = .list(elements.map { SettingsNode(json: $0, place: place) })
        case .object(let members):
            content = .map(members.map { Member($0.key, SettingsNode(json: $0.value, place: place)) })
        default: content = .scalar(value.text ?? "", isQuoted: false)
        }
    }

    /// A problem at this place.
    public func problem(_ message: String) -> SettingsProblem { SettingsProblem(place: place, message: message) }

    /// A number that is part of a larger value; `nil` for what is none.
    ///
    /// - Throws: ``SettingsProblem`` where it is not ``SettingsValue/isInReach``.
    package func number(of what: String) throws(SettingsProblem) -> Double? {
        guard let number = Double.read(self) else { return nil }
        guard number.isInReach else { throw beyondReach(what, Double.expectation) }
        return number
    }

    /// The problem of a value that is not ``SettingsValue/isInReach``.
    package func beyondReach(_ what: String, _ expectation: String) -> SettingsProblem {
        problem("\(what) is \(found); expected \(expectation), of a size from 1e-15 to 1e15")
    }

    /// The value in words, for messages.
    public var found: String {
        switch content {
        case .null: "nothing"
        case .scalar(let text, _): "'\(Self.shortened(text))'"
        case .list(let items): "a list of \(items.count)"
        case .map(let members): "a section with \(Self.shortened(members.map(\.key).joined(separator: ", ")))"
        }
    }

    /// What fits a message: a file may hold a line of megabytes.
    private static func shortened(_ text: String) -> String {
        text.count <= 400 ? text : "\(text.prefix(100))… (\(text.count) characters)"
    }

    /// Whether it is a whole number that no `Int` holds.
    var isBeyondInt: Bool {
        guard case .scalar(let text, _) = content, let number = Double(text) else { return false }
        return number == number.rounded() && Int(exactly: number) == nil && number.isFinite && number > 0
    }

    /// The value as JSON, for settings that are handed on: unquoted scalars become numbers or truth values where they
    /// read as such.
    public var json: JSONValue {
        switch content {
        case .null: .null
        case .scalar(let text, true): .string(text)
        case .scalar(let text, false): Bool(text.lowercased()).map(JSONValue.bool) ?? Self.number(text) ?? .string(text)
        case .list(let items): .array(items.map(\.json))
        case .map(let members): .object(sorting: Dictionary(members.map { ($0.key, $0.node.json) }) { _, last in last })
        }
    }

    private static func number(_ text: String) -> JSONValue? {
        guard let number = Double(text), number.isFinite else { return nil }
        return Int128(text).map { .number($0) } ?? .number(number)
    }

    /// The member under a dotted path, such as `top_k` or `0.fraction`; `nil` when there is none.
    func member(_ path: some StringProtocol) -> SettingsNode? {
        let (first, rest) = path.splitAtDot
        let found: SettingsNode? =
            switch content {
            case .map(let members): members.last { $0.key == first }?.node
            case .list(let items): Int(first).flatMap { items.indices.contains($0) ? items[$0] : nil }
            case .null, .scalar: nil
            }
        return rest.map { found?.member($0) } ?? found
    }

    /// Puts a value under a dotted path, making sections on the way.
    ///
    /// - Parameter name: Of this node, for messages; empty for a whole file.
    /// - Throws: ``SettingsProblem`` at the value's place when something on the way has no members.
    mutating func set(_ path: String, _ node: SettingsNode, in name: String = "") throws(SettingsProblem) {
        let (first, rest) = path.splitAtDot
        let inner = name.isEmpty ? first : "\(name).\(first)"
        switch content {
        case .null: content = .map([Member(first, try Self.nested(rest, node, in: inner))])
        case .map(var members):
            if let index = members.lastIndex(where: { $0.key == first }) {
                if let rest {
                    try members[index].node.set(rest, node, in: inner)
                } else {
                    members[index].node = node
                }
            } else {
                members.append(Member(first, try Self.nested(rest, node, in: inner)))
            }
            content = .map(members)
        case .list(var items):
            guard let index = Int(first), items.indices.contains(index), let rest else {
                let known = items.isEmpty ? "it has no entries" : "it has the entries 0 to \(items.count - 1)"
                throw node.problem(
                    "\(name) has no member '\(path)'; \(known), and \(name).0.KEY=VALUE changes the first")
            }
            try items[index].set(rest, node, in: inner)
            content = .list(items)
        case .scalar: throw node.problem("\(name) has no members, found '\(name).\(path)'")
        }
    }

    private static func nested(
        _ path: String?, _ node: SettingsNode, in name: String
    ) throws(SettingsProblem) -> SettingsNode {
        guard let path else { return node }
        var section = SettingsNode(.map([]), place: node.place)
        try section.set(path, node, in: name)
        return section
    }
}

extension StringProtocol {
    /// What stands before the first dot, and what behind it; `nil` without a dot.
    fileprivate var splitAtDot: (first: String, rest: String?) {
        guard let dot = firstIndex(of: ".") else { return (String(self), nil) }
        return (String(self[..<dot]), String(self[index(after: dot)...]))
    }
}
