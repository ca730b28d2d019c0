internal import Foundation
internal import Records
internal import Yams

/// A value of a job file with the place it stands in.
package struct JobNode: Sendable, Equatable {
    package indirect enum Content: Sendable, Equatable {
        case null
        /// A scalar as written. Quoted, it is never null; a number in quotes is still one: files written for PyYAML have "1e-6".
        case scalar(String, isQuoted: Bool)
        case list([JobNode])
        case map([(key: String, node: JobNode)])

        package static func == (left: Self, right: Self) -> Bool {
            switch (left, right) {
            case (.null, .null): true
            case (.scalar(let a, let p), .scalar(let b, let q)): a == b && p == q
            case (.list(let a), .list(let b)): a == b
            case (.map(let a), .map(let b)):
                a.count == b.count && zip(a, b).allSatisfy { $0.key == $1.key && $0.node == $1.node }
            default: false
            }
        }
    }

    package var content: Content
    /// `grpo.yaml line 7`, or `the override 'seed=x'`.
    package var place: String

    package init(_ content: Content, place: String) {
        self.content = content
        self.place = place
    }

    /// A problem at this place.
    func problem(_ message: String) -> JobProblem { JobProblem(place: place, message: message) }

    /// The value in words, for messages.
    var found: String {
        switch content {
        case .null: "nothing"
        case .scalar(let text, _): "'\(text)'"
        case .list(let items): "a list of \(items.count)"
        case .map(let entries): "a section with \(entries.map(\.key).joined(separator: ", "))"
        }
    }

    /// The value as JSON, for settings that are handed on: unquoted scalars become numbers, truth values or null where
    /// they read as such.
    var json: JSONValue {
        switch content {
        case .null: .null
        case .scalar(let text, true): .string(text)
        case .scalar(let text, false): Self.plain(text)
        case .list(let items): .array(items.map(\.json))
        case .map(let entries): .object(Dictionary(entries.map { ($0.key, $0.node.json) }) { _, last in last })
        }
    }

    private static func plain(_ text: String) -> JSONValue {
        if let truth = Bool(text.lowercased()) { return .bool(truth) }
        guard let number = Double(text) else { return .string(text) }
        return abs(number) < 0x1p53 ? .number(number) : Int128(text).map(JSONValue.integer) ?? .number(number)
    }
}

extension JobNode {
    /// Reads a YAML text.
    ///
    /// - Parameter name: What messages call the text, usually the file's name.
    /// - Throws: ``JobError`` with the line when it is no YAML, has a key twice, uses a tag, or is no map.
    static func document(_ text: String, name: String) throws(JobError) -> [(key: String, node: JobNode)] {
        let root: Node?
        do {
            root = try Yams.compose(yaml: text)
        } catch {
            throw JobError([JobProblem(yaml: error, in: text, name: name)])
        }
        guard let root else { return [] }
        let node: JobNode
        do {
            node = try read(root, name: name, depth: 0)
        } catch let problem as JobProblem {
            throw JobError([problem])
        } catch {
            throw JobError(place: name, message: "\(error)")
        }
        switch node.content {
        case .map(let entries): return entries
        case .null: return []
        default: throw JobError([node.problem("a job is a list of 'key: value' lines, found \(node.found)")])
        }
    }

    /// Reads the value of a `key=value` override, as YAML would.
    static func override(_ text: String, value: String) throws(JobError) -> JobNode {
        try Self.value(value, place: "the override '\(text)'")
    }

    /// Reads one value as YAML.
    static func value(_ value: String, place: String) throws(JobError) -> JobNode {
        do {
            guard let root = try Yams.compose(yaml: value) else { return JobNode(.null, place: place) }
            return try read(root, name: nil, depth: 0).moved(to: place)
        } catch {
            throw JobError([(error as? JobProblem) ?? JobProblem(yaml: error, in: value, name: place)])
        }
    }

    private func moved(to place: String) -> JobNode {
        switch content {
        case .list(let items): JobNode(.list(items.map { $0.moved(to: place) }), place: place)
        case .map(let entries): JobNode(.map(entries.map { ($0.key, $0.node.moved(to: place)) }), place: place)
        default: JobNode(content, place: place)
        }
    }

    private static func read(_ node: Node, name: String?, depth: Int) throws -> JobNode {
        let place = [name, node.mark.map { "line \($0.line)" }].compactMap(\.self).joined(separator: " ")
        guard depth < 32 else { throw JobProblem(place: place, message: "sections are nested more than 32 deep") }
        switch node {
        case .scalar(let scalar):
            let isQuoted = scalar.style != .plain && scalar.style != .any
            if !isQuoted, ["", "~", "null", "Null", "NULL"].contains(scalar.string) {
                return JobNode(.null, place: place)
            }
            return JobNode(.scalar(scalar.string, isQuoted: isQuoted), place: place)
        case .sequence(let items):
            return JobNode(.list(try items.map { try read($0, name: name, depth: depth + 1) }), place: place)
        case .mapping(let mapping):
            let entries = try mapping.map { key, value in
                guard case .scalar(let scalar) = key else {
                    throw JobProblem(place: place, message: "a key must be a plain name, found a list or a section")
                }
                return (key: scalar.string, node: try read(value, name: name, depth: depth + 1))
            }
            return JobNode(.map(entries), place: place)
        case .alias:
            throw JobProblem(place: place, message: "anchors and aliases are not supported in a job file")
        }
    }
}
