package import Foundation
import Records
import Runs

/// Which file a prompt set is read from, or which files where it is kept in parts.
package struct PromptFile: Sendable {
    /// At least one; parts in their order.
    package let urls: [URL]
    /// What the set is called: by its folder where the file has the name of a split.
    package let setName: String

    /// - Parameters:
    ///   - url: A file, or a folder that holds one for each split.
    ///   - split: The split wanted of a folder: `SPLIT.jsonl`, or all parts from `SPLIT-00000-of-00002.parquet` on.
    /// - Throws: ``PromptSetError/file(path:message:)`` when there is none, with near names, and for parts of which some
    ///   are missing.
    package init(_ url: URL, split: String) throws {
        guard let entry = try FolderEntry(url) else { throw try Self.missing(url) }
        if entry.kind == .folder {
            guard let found = try Self.files(of: split, in: url) else { throw try Self.missing(split, in: url) }
            urls = try found.whole()
            setName = Self.name(ofFolder: url)
        } else {
            urls = [url]
            setName = Self.name(ofFile: url)
        }
    }

    /// Whether a folder holds a file of the split, or some of its parts.
    package static func holds(_ split: String, in folder: URL) throws -> Bool {
        try FolderEntry(folder)?.kind == .folder && files(of: split, in: folder) != nil
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

    /// The split's file in the folder, or in its folder `data`, else its parts there.
    private static func files(of split: String, in folder: URL) throws -> PromptParts? {
        for spelling in spellings(split) {
            for source in [folder, folder.appending(path: "data")] where try FolderEntry(source)?.kind == .folder {
                for ending in endings {
                    let candidate = source.appending(path: "\(spelling).\(ending)")
                    if try FolderEntry(candidate)?.kind == .file { return PromptParts(candidate) }
                }
                for ending in endings {
                    if let parts = try PromptParts(of: spelling, ending: ending, in: source) { return parts }
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
            try $0.kind == .folder && $0.url.lastPathComponent != "data" && files(of: split, in: $0.url) != nil
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
        return .file(
            path: folder.path,
            message: "no file of the split \"\(split)\" (\(wanted)); "
                + (names.isEmpty
                    ? "the folder holds no prompt file" : "the folder holds \(names.joined(separator: ", "))"))
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

/// The files that a split is cut into: `train-00000-of-00002.parquet` and `train-00001-of-00002.parquet`, in some
/// published sets with a digest behind the numbers.
private struct PromptParts {
    private let folder: URL
    /// By the number of the part, from 0; more than one where a number is there twice.
    private var urls: [Int: [URL]]
    /// How many the names say there are; more than one number where two divisions lie in one folder.
    private var totals: Set<Int>
    /// Of the numbers, as they are written.
    private var digits = 5
    private let stem: String
    private let ending: String

    /// A file that is a whole split.
    init(_ url: URL) {
        folder = url.deletingLastPathComponent()
        (urls, totals, stem, ending) = ([0: [url]], [1], "", "")
    }

    /// - Returns: `nil` where there is no part of the split with that ending.
    init?(of split: String, ending: String, in folder: URL) throws {
        (self.folder, urls, totals, stem, self.ending) = (folder, [:], [], split, ending)
        for entry in try FolderEntry.list(folder) {
            let name = entry.url.lastPathComponent
            // An entry of a list is the link, not what it leads to.
            guard let match = name.wholeMatch(of: #/(.+)-(\d+)-of-(\d+)(?:-[0-9a-f]{8,})?\.(.+)/#),
                match.1 == split, match.4 == ending, let index = Int(match.2), let total = Int(match.3),
                index < total, total <= Self.most, try FolderEntry(entry.url)?.kind == .file
            else { continue }
            urls[index, default: []].append(entry.url)
            totals.insert(total)
            digits = match.3.count
        }
        if urls.isEmpty { return nil }
    }

    private static let most = 100_000
    private static let mostNamed = 5

    /// All parts in their order.
    func whole() throws(PromptSetError) -> [URL] {
        guard totals.count == 1, let total = totals.first else {
            let found = totals.sorted().map { "parts \"of \($0)\"" }.joined(separator: " and ")
            throw .file(
                path: folder.path,
                message: "the split \"\(stem)\" has \(found) in this folder; keep only one of these sets")
        }
        if let twice = urls.values.first(where: { $0.count > 1 }) {
            throw .file(
                path: folder.path,
                message: "one part of the split \"\(stem)\" is there twice: "
                    + "\(twice.map(\.lastPathComponent).joined(separator: ", ")); leave one of them in the folder")
        }
        let missing = (0..<total).filter { urls[$0] == nil }
        guard missing.isEmpty else {
            let names = missing.prefix(Self.mostNamed).map { "\(stem)-\(padded($0))-of-\(padded(total)).\(ending)" }
            throw .file(
                path: folder.path,
                message: "\(missing.count) of the \(total) parts of the split \"\(stem)\" are missing: "
                    + names.joined(separator: ", ") + (missing.count > names.count ? " …" : "")
                    + "; download them too, or name the parts to read one by one under datasets:")
        }
        return (0..<total).flatMap { urls[$0] ?? [] }
    }

    private func padded(_ number: Int) -> String {
        let text = String(number)
        return String(repeating: "0", count: max(0, digits - text.count)) + text
    }
}
