package import Foundation

/// Finds a model or a data set by folder or by its name in the cache that `hf download` fills.
package enum HuggingFaceCache {
    /// The folder that holds the model, or the GGUF file.
    ///
    /// A folder or a GGUF file wins. Otherwise `org/name` (or `name`) is looked up in the cache, at `HF_HUB_CACHE`,
    /// `HF_HOME/hub`, `XDG_CACHE_HOME/huggingface/hub` or `~/.cache/huggingface/hub`, in the snapshot that `refs/main`
    /// names. A snapshot without `config.json` that has one GGUF file gives that file.
    ///
    /// - Throws: ``ModelError/notFound(name:searched:)``, which names the command that downloads it, or
    ///   ``ModelError/file(path:message:)`` for a file that is no model or cannot be read.
    package static func folder(
        of nameOrPath: String, environment: [String: String] = ProcessInfo.processInfo.environment
    ) throws(ModelError) -> URL {
        let path = (nameOrPath as NSString).expandingTildeInPath
        if isFolder(path) { return URL(fileURLWithPath: path, isDirectory: true) }
        if try ModelFolder.isGGUF(URL(filePath: path)) { return URL(filePath: path) }
        guard !FileManager.default.fileExists(atPath: path) else {
            throw .file(
                path: nameOrPath,
                message: "is a file; expected a folder with config.json and safetensors files, or a GGUF file")
        }
        guard !nameOrPath.lowercased().hasSuffix(".gguf") else {
            throw .file(path: nameOrPath, message: "no such file")
        }
        guard isName(nameOrPath) else {
            throw .file(
                path: nameOrPath, message: "no such folder; expected one with config.json and safetensors files")
        }
        let entry = entry("models", nameOrPath, environment)
        if let snapshot = snapshot(in: entry) {
            let marks = ["config.json", AdapterFolder.configurationFile]
            if marks.contains(where: { isFile(snapshot.appending(path: $0)) }) { return snapshot }
            let files = ModelFolder.ggufFiles(in: snapshot)
            if files.count == 1 { return snapshot.appending(path: files[0]) }
            guard files.isEmpty else {
                let shown = files.prefix(8).joined(separator: ", ") + (files.count > 8 ? ", …" : "")
                throw .file(
                    path: nameOrPath,
                    message:
                        "has several GGUF files (\(shown)); name one of them, in "
                        + "\(snapshot.path(percentEncoded: false))"
                )
            }
        }
        throw .notFound(name: nameOrPath, searched: [path, entry.path(percentEncoded: false)])
    }

    /// The folder of a data set that was downloaded.
    ///
    /// - Parameter name: `org/name`.
    /// - Returns: `nil` for one that was not, or what is no such name.
    package static func dataset(
        _ name: String, environment: [String: String] = ProcessInfo.processInfo.environment
    ) -> URL? {
        guard isName(name) else { return nil }
        return snapshot(in: entry("datasets", name, environment))
    }

    private static func entry(_ kind: String, _ name: String, _ environment: [String: String]) -> URL {
        root(environment).appending(
            path: "\(kind)--" + name.replacingOccurrences(of: "/", with: "--"), directoryHint: .isDirectory)
    }

    /// Where the cache lies.
    static func root(_ environment: [String: String]) -> URL {
        func folder(_ variable: String, _ below: String) -> URL? {
            guard let path = environment[variable], !path.isEmpty else { return nil }
            return URL(fileURLWithPath: (path as NSString).expandingTildeInPath).appending(path: below)
        }
        let home = environment["HOME"] ?? NSHomeDirectory()
        return folder("HF_HUB_CACHE", "") ?? folder("HF_HOME", "hub") ?? folder("XDG_CACHE_HOME", "huggingface/hub")
            ?? URL(fileURLWithPath: home).appending(path: ".cache/huggingface/hub")
    }

    /// The snapshot that `refs/main` names, if it is there.
    private static func snapshot(in entry: URL) -> URL? {
        guard
            let text = FileManager.default.contents(
                atPath: entry.appending(path: "refs/main").path(percentEncoded: false)),
            let revision = String(data: text, encoding: .utf8)?.trimmingCharacters(in: .whitespacesAndNewlines),
            !revision.isEmpty, revision.allSatisfy({ $0.isHexDigit })
        else { return nil }
        let snapshot = entry.appending(path: "snapshots/\(revision)", directoryHint: .isDirectory)
        return isFolder(snapshot.path(percentEncoded: false)) ? snapshot : nil
    }

    private static func isFile(_ url: URL) -> Bool {
        FileManager.default.fileExists(atPath: url.path(percentEncoded: false))
    }

    /// `name` or `org/name`, in the letters the Hub allows.
    package static func isName(_ name: String) -> Bool {
        let parts = name.split(separator: "/", omittingEmptySubsequences: false)
        return parts.count <= 2
            && parts.allSatisfy { part in
                !part.isEmpty && !part.hasPrefix(".") && !part.hasPrefix("-")
                    && part.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "._-".contains($0)) }
            }
    }

    static func isFolder(_ path: String) -> Bool {
        var isFolder: ObjCBool = false
        return FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) && isFolder.boolValue
    }
}
