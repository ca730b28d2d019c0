package import Foundation
import Records
import Runs

/// Which file a prompt set is read from.
package struct PromptFile: Sendable {
    package let url: URL
    /// What the set is called: by its folder where the file has the name of a split.
    package let setName: String

    /// - Parameters:
    ///   - url: A file, or a folder that holds one for each split.
    ///   - split: The split wanted of a folder.
    /// - Throws: ``PromptSetError/file(path:message:)`` when there is none, with near names.
    package init(_ url: URL, split: String) throws {
        guard let entry = try FolderEntry(url) else { throw try Self.missing(url) }
        if entry.kind == .folder {
            guard let found = try Self.file(of: split, in: url) else { throw try Self.missing(split, in: url) }
            self.url = found
            setName = Self.name(ofFolder: url)
        } else {
            self.url = url
            setName = Self.name(ofFile: url)
        }
    }

    /// Whether a folder holds a file of the split.
    package static func holds(_ split: String, in folder: URL) throws -> Bool {
        try FolderEntry(folder)?.kind == .folder && file(of: split, in: folder) != nil
    }

    /// Whether a file's name says that it holds rows.
    package static func isPromptFile(_ url: URL) -> Bool {
        endings.contains { url.lastPathComponent.hasSuffix(".\($0)") }
    }

    /// Endings of prompt files; each but the last also with `.gz`.
    private static let extensions = ["jsonl", "json", "ndjson", "csv", "tsv", "parquet"]
    private static let endings = extensions + extensions.dropLast().map { "\($0).gz" }
    private static let splits = ["train", "eval", "test", "validation", "valid"]

    private static func spellings(_ split: String) -> [String] {
        split == "eval" ? ["eval", "test", "validation", "valid"] : [split]
    }

    /// The split's file in the folder, or in its folder `data`, also under the name that published data sets have for a
    /// single part.
    private static func file(of split: String, in folder: URL) throws -> URL? {
        for spelling in spellings(split) {
            for source in [folder, folder.appending(path: "data")] {
                for stem in [spelling, "\(spelling)-00000-of-00001"] {
                    for ending in endings {
                        let candidate = source.appending(path: "\(stem).\(ending)")
                        if try FolderEntry(candidate)?.kind == .file { return candidate }
                    }
                }
            }
        }
        return nil
    }

    private static func missing(_ url: URL) throws -> PromptSetError {
        let parent = url.deletingLastPathComponent()
        let names =
            try FolderEntry(parent)?.kind == .folder ? FolderEntry.list(parent).map(\.url.lastPathComponent) : []
        let near = nearestNames(to: url.lastPathComponent, among: names)
        let hint = near.isEmpty ? "" : "; did you mean \(near.joined(separator: " or "))?"
        return .file(path: url.path, message: "no such prompt file or folder\(hint)")
    }

    private static func missing(_ split: String, in folder: URL) throws -> PromptSetError {
        var names: [String] = []
        for (source, prefix) in [(folder, ""), (folder.appending(path: "data"), "data/")]
        where try FolderEntry(source)?.kind == .folder {
            names += try FolderEntry.list(source).filter { $0.kind == .file }.map(\.url.lastPathComponent)
                .filter { name in endings.contains { name.hasSuffix(".\($0)") } }.map { prefix + $0 }
        }
        let wanted = spellings(split).map { "\($0).jsonl" }.joined(separator: ", ")
        let folders = try FolderEntry.list(folder).filter {
            try $0.kind == .folder && $0.url.lastPathComponent != "data" && file(of: split, in: $0.url) != nil
        }
        .map(\.url.lastPathComponent).sorted()
        if names.isEmpty, !folders.isEmpty {
            return .file(
                path: folder.path,
                message:
                    "no file of the split \"\(split)\" (\(wanted)), but a folder for each configuration of the set "
                    + "that has one: name "
                    + "\(folders.map { "\(folder.lastPathComponent)/\($0)" }.joined(separator: " or "))"
            )
        }
        let isSharded = names.contains { $0.contains("\(split)-00000-of-") }
        return .file(
            path: folder.path,
            message: "no file of the split \"\(split)\" (\(wanted)); "
                + (names.isEmpty
                    ? "the folder holds no prompt file" : "the folder holds \(names.joined(separator: ", "))")
                + (isSharded ? "; name the parts of the split one by one under datasets:" : ""))
    }

    private static func name(ofFile url: URL) -> String {
        let ending = endings.filter { url.lastPathComponent.hasSuffix(".\($0)") }.max { $0.count < $1.count }
        let stem =
            ending.map { String(url.lastPathComponent.dropLast($0.count + 1)) }
            ?? url.deletingPathExtension().lastPathComponent
        guard splits.contains(stem) else { return stem }
        return name(ofFolder: url.deletingLastPathComponent())
    }

    /// A folder of the Hugging Face cache is called as the Hub calls the set: `datasets--org--name/snapshots/REVISION`.
    private static func name(ofFolder url: URL) -> String {
        let url = url.standardizedFileURL
        let parent = url.deletingLastPathComponent()
        let entry = parent.deletingLastPathComponent().lastPathComponent
        guard parent.lastPathComponent == "snapshots", entry.hasPrefix("datasets--") else {
            return url.lastPathComponent
        }
        return String(entry.dropFirst("datasets--".count)).replacing("--", with: "/")
    }
}
