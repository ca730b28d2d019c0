internal import Foundation
internal import Records
internal import Yams

extension SettingsNode {
    /// Reads a YAML text.
    ///
    /// - Parameter name: What messages call the text, usually the file's name.
    /// - Throws: ``JobError`` with the line when it is no YAML, has a key twice, uses a tag, or is no map.
    static func document(_ text: String, name: String) throws(JobError) -> [SettingsNode.Member] {
        let root: Node?
        do {
            root = try Yams.compose(yaml: text)
        } catch {
            throw JobError([SettingsProblem(yaml: error, in: text, name: name)])
        }
        guard let root else { return [] }
        let node: SettingsNode
        do {
            var budget = mostValues
            node = try read(root, name: name, depth: 0, &budget)
        } catch let problem as SettingsProblem {
            throw JobError([problem])
        } catch {
            throw JobError(place: name, message: "\(error)")
        }
        switch node.content {
        case .map(let members): return members
        case .null: return []
        default: throw JobError([node.problem("a job is a list of 'key: value' lines, found \(node.found)")])
        }
    }

    /// Reads one value as YAML.
    static func value(_ value: String, place: String) throws(JobError) -> SettingsNode {
        do {
            guard let root = try Yams.compose(yaml: value) else { return SettingsNode(.null, place: place) }
            var budget = mostValues
            return try read(root, name: nil, depth: 0, &budget).moved(to: place)
        } catch {
            throw JobError([(error as? SettingsProblem) ?? SettingsProblem(yaml: error, in: value, name: place)])
        }
    }

    private func moved(to place: String) -> SettingsNode {
        switch content {
        case .list(let items): SettingsNode(.list(items.map { $0.moved(to: place) }), place: place)
        case .map(let members):
            SettingsNode(.map(members.map { Member($0.key, $0.node.moved(to: place)) }), place: place)
        default: SettingsNode(content, place: place)
        }
    }

    /// Values of a text, those that aliases repeat counted each time: nine lines of nine aliases stand for 400 million.
    private static let mostValues = 50_000

    /// - Parameter key: Where the value's key stands, which is where a person finds it: a section begins a line below,
    ///   and an alias's value stands at its anchor.
    private static func read(
        _ node: Node, at key: Mark? = nil, name: String?, depth: Int, _ budget: inout Int
    ) throws -> SettingsNode {
        let place = [name, (key ?? node.mark).map { "line \($0.line)" }].compactMap(\.self).joined(separator: " ")
        guard depth < 32 else { throw SettingsProblem(place: place, message: "sections are nested more than 32 deep") }
        budget -= 1
        guard budget >= 0 else {
            throw SettingsProblem(
                place: place, message: "more than \(mostValues) values, aliases counted where they stand")
        }
        switch node {
        case .scalar(let scalar):
            let isQuoted = scalar.style != .plain && scalar.style != .any
            if !isQuoted, ["", "~", "null", "Null", "NULL"].contains(scalar.string) {
                return SettingsNode(.null, place: place)
            }
            return SettingsNode(.scalar(scalar.string, isQuoted: isQuoted), place: place)
        case .sequence(let items):
            return SettingsNode(
                .list(try items.map { try read($0, name: name, depth: depth + 1, &budget) }), place: place)
        case .mapping(let mapping):
            let entries = try mapping.map { key, value in
                guard case .scalar(let scalar) = key else {
                    throw SettingsProblem(
                        place: place, message: "a key must be a plain name, found a list or a section")
                }
                return Member(
                    scalar.string, try read(value, at: key.mark, name: name, depth: depth + 1, &budget))
            }
            return SettingsNode(.map(entries), place: place)
        case .alias:
            throw SettingsProblem(place: place, message: "anchors and aliases are not supported in a job file")
        }
    }
}
