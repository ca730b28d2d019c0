internal import Foundation
internal import Records

/// Paths that are typed on the command line and count from the working folder, among those of a job that count from its
/// file's folder.
///
/// Where the two folders differ, a typed path of a prompt set or of a Python reward becomes a whole one; so the
/// resolved job says which file is meant. What is neither in the one folder nor in the other stays as it is: it may be
/// a name and no path.
struct TypedPaths {
    private let working: URL
    private let folder: URL

    init(from working: URL, to folder: URL) {
        self.working = Self.resolved(working)
        self.folder = Self.resolved(folder)
    }

    private static func resolved(_ folder: URL) -> URL {
        URL(filePath: folder.path, directoryHint: .isDirectory).standardizedFileURL.resolvingSymlinksInPath()
    }

    /// The value of a key with its paths made whole.
    func placed(_ node: SettingsNode, of key: String) -> SettingsNode {
        guard working.path != folder.path else { return node }
        switch key.prefix(while: { $0 != "." }) {
        case "dataset_name", "placement", "reward_model_name_or_path": return scalars(node, path)
        case "datasets": return member(key, is: "path") ? scalars(node, path, ofMember: "path") : node
        case "eval_guard":
            guard member(key, is: "prompts", "texts", "reward_funcs") else { return node }
            let placed = scalars(node, path, ofMember: "prompts", "texts")
            return scalars(placed, reward, ofMember: "reward_funcs", "path", "name", "model")
        case "reward_funcs":
            return member(key, is: "path", "name", "model")
                ? scalars(node, reward, ofMember: "path", "name", "model") : node
        default: return node
        }
    }

    /// Whether a dotted key is the list, one of its entries, or one of the named members of an entry.
    private func member(_ key: String, is names: String...) -> Bool {
        let parts = key.split(separator: ".")
        return parts.count < 3 || parts.count == 3 && names.contains(String(parts[2]))
    }

    /// Changes a text, each text of a list, and the texts of the named members of a section.
    private func scalars(
        _ node: SettingsNode, _ change: (String) -> String, ofMember names: String...
    ) -> SettingsNode {
        func changed(_ node: SettingsNode) -> SettingsNode {
            var node = node
            switch node.content {
            case .null: break
            case .scalar(let text, let isQuoted): node.content = .scalar(change(text), isQuoted: isQuoted)
            case .list(let items): node.content = .list(items.map(changed))
            case .map(let members):
                node.content = .map(
                    members.map { names.contains($0.key) ? SettingsNode.Member($0.key, changed($0.node)) : $0 })
            }
            return node
        }
        return changed(node)
    }

    private func path(_ text: String) -> String {
        guard !text.isEmpty, !text.hasPrefix("/"), exists(text, in: working) || exists(text, in: folder) else {
            return text
        }
        return URL(filePath: text, relativeTo: working).standardizedFileURL.path
    }

    /// `path/file.py:function`, or the folder of a model.
    private func reward(_ text: String) -> String {
        if let end = text.range(of: ".py:", options: .backwards) {
            return path(String(text[..<end.lowerBound]) + ".py") + text[text.index(before: end.upperBound)...]
        }
        let prefix = "model:"
        if text.hasPrefix(prefix) {
            let name = text.dropFirst(prefix.count).drop { $0 == " " }
            return "\(prefix) \(path(String(name)))"
        }
        return text.contains("/") ? path(text) : text
    }

    private func exists(_ path: String, in folder: URL) -> Bool {
        FileManager.default.fileExists(atPath: folder.appending(path: path).path)
    }
}
