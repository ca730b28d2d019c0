package import Foundation
internal import Records

/// A job as its file and its overrides say it, checked key by key.
package struct JobFile: Sendable, Equatable {
    package var settings: JobSettings
    /// Things the user should know that stop nothing.
    package var notices: [String]
    /// Where each key that was given stands.
    package var places: [String: String]
    /// Relative paths of the file start here.
    package var folder: URL

    /// Reads a job file.
    ///
    /// - Parameters:
    ///   - url: A YAML file with TRL's names.
    ///   - overrides: `key=value`, after the file; the last one wins.
    /// - Throws: ``JobError`` with every problem of the file at once.
    package init(url: URL, overrides: [String] = []) throws(JobError) {
        let text: String
        do {
            text = try String(contentsOf: url, encoding: .utf8)
        } catch {
            var isFolder: ObjCBool = false
            let exists = FileManager.default.fileExists(atPath: url.path, isDirectory: &isFolder)
            let reason =
                !exists
                ? "there is no such file"
                : isFolder.boolValue
                    ? "is a folder; a job is a YAML file" : "cannot be read as UTF-8 text; a job is a YAML file"
            throw JobError(place: url.path, message: reason)
        }
        try self.init(
            text: text, name: url.lastPathComponent, folder: url.deletingLastPathComponent(), overrides: overrides)
    }

    /// Reads a job from a text; `name` is what messages call it.
    package init(text: String, name: String, folder: URL, overrides: [String] = []) throws(JobError) {
        settings = JobSettings()
        notices = []
        places = [:]
        self.folder = folder
        var problems: [JobProblem] = []
        var entries = try JobNode.document(text, name: name)
        for override in overrides {
            do {
                entries.append(try Self.entry(of: override))
            } catch {
                problems += error.problems
            }
        }
        var withoutEffect: [String] = []
        var presets: [(name: String, preset: JobPresets.Preset)] = []
        for (key, node) in entries.flatMap(Self.members) {
            do throws(JobProblem) {
                if let preset = try preset(key, node) {
                    presets.removeAll { $0.name.hasPrefix(key) }  // the last one wins
                    presets.append(("\(key): \(String.read(node) ?? "")", preset))
                    if key == "algorithm" { settings.algorithm = preset.algorithm }
                    places[key] = node.place
                    continue
                }
                if key == "algorithm" { presets.removeAll { $0.name.hasPrefix(key) } }
                if try !apply(key, node) { withoutEffect.append(key) }
            } catch {
                problems.append(error)
            }
        }
        for (name, preset) in presets {
            do throws(JobProblem) {
                if places["algorithm"] == nil { settings.algorithm = preset.algorithm }
                guard settings.algorithm == preset.algorithm else {
                    throw JobProblem(
                        place: places["preset"] ?? "the job",
                        message: "\(name) is for algorithm \(preset.algorithm.rawValue), the job has "
                            + settings.algorithm.rawValue)
                }
                try fill(in: preset, named: name)
            } catch {
                problems.append(error)
            }
        }
        if !withoutEffect.isEmpty {
            notices.append("without effect here: " + withoutEffect.joined(separator: ", "))
        }
        guard problems.isEmpty else { throw JobError(problems) }
    }

    /// The members of a section whose members are keys of their own; any other entry as it is.
    private static func members(_ entry: (key: String, node: JobNode)) -> [(key: String, node: JobNode)] {
        guard JobFields.sections.contains(entry.key), case .map(let members) = entry.node.content else {
            return [entry]
        }
        return members.map { ("\(entry.key).\($0.key)", $0.node) }
    }

    private static func entry(of override: String) throws(JobError) -> (key: String, node: JobNode) {
        guard let sign = override.firstIndex(of: "="), sign != override.startIndex else {
            throw JobError(place: "the override '\(override)'", message: "expected key=value")
        }
        var key = String(override[..<sign])
        while key.hasPrefix("-") { key.removeFirst() }  // --learning_rate=1e-5 is understood too
        return (key, try JobNode.override(override, value: String(override[override.index(after: sign)...])))
    }

    /// Takes one key. Returns false when it is known and without effect.
    private mutating func apply(_ key: String, _ node: JobNode) throws(JobProblem) -> Bool {
        if let field = JobFields.byName[key] {
            try field.read(node, &settings)
            places[key] = node.place
            return true
        }
        if JobFields.sections.contains(key) {
            guard node.content == .null else {
                throw node.problem("\(key) is \(node.found); expected a section of 'name: value' lines")
            }
            return true
        }
        if let section = key.firstIndex(of: "."), let field = JobFields.byName[String(key[..<section])] {
            return try applyMember(of: field, String(key[key.index(after: section)...]), node)
        }
        if let conditional = JobKnownKeys.conditional[key] {
            guard !conditional.isHarmless(node) else { return false }
            switch conditional.otherwise {
            case .refuse(let instead): throw node.problem("\(key): \(node.found) is not supported: \(instead)")
            case .notice(let instead): notices.append("\(key): \(node.found) is not taken: \(instead)")
            }
            return true
        }
        if JobKnownKeys.withoutEffect.contains(key) || JobKnownKeys.prefixesWithoutEffect.contains(where: key.hasPrefix)
        {
            return false
        }
        if let instead = JobKnownKeys.notBuilt[key] {
            if node.content == .null || Bool.read(node) == false { return false }  // switched off: nothing is missing
            throw node.problem("\(key) is not supported: \(instead)")
        }
        throw node.problem(Self.unknown(key))
    }

    /// `column_map.prompt=question`: one member of a section.
    private mutating func applyMember(of field: JobField, _ member: String, _ node: JobNode) throws(JobProblem) -> Bool
    {
        if field.name == "datasets" {
            try settings.datasets.set(member, node)
            places[field.name] = node.place
            return true
        }
        guard field.name == "column_map" || field.name == "chat_template_kwargs" else {
            throw node.problem("\(field.name) has no members, found '\(field.name).\(member)'")
        }
        let path: WritableKeyPath<JobSettings, [JobColumn]> =
            field.name == "column_map" ? \.columnMap : \.chatTemplateVariables
        settings[keyPath: path].removeAll { $0.name == member }
        settings[keyPath: path].append(JobColumn(name: member, value: node.json))
        places[field.name] = node.place
        return true
    }

    private static func unknown(_ key: String) -> String {
        let near = nearestNames(to: key, among: JobFields.supported.map(\.name))
        return "unknown key '\(key)'" + (near.isEmpty ? "" : "; did you mean \(near.joined(separator: ", "))?")
    }
}
