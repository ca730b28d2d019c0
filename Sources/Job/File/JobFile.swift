package import Foundation
package import Records
import Runs

/// A job as its file and its overrides say it, not yet understood.
package struct JobFile: Sendable {
    /// Reads what the file and the overrides give.
    package let reader: SettingsReader
    /// Relative paths of the file start here.
    package let folder: URL

    /// Reads a job file.
    ///
    /// - Parameters:
    ///   - url: A YAML file with TRL's names.
    ///   - overrides: `key=value`, after the file; the last one wins. Their relative paths count from the working
    ///     folder.
    /// - Throws: ``JobError`` for a text that is no job.
    package init(url: URL, overrides: [String] = []) throws(JobError) {
        var isFolder: ObjCBool = false
        guard FileManager.default.fileExists(atPath: url.path, isDirectory: &isFolder) else {
            throw JobError(place: url.path, message: "there is no such file")
        }
        guard !isFolder.boolValue else {
            throw JobError(place: url.path, message: "is a folder; a job is a YAML file")
        }
        let text: String?
        do throws(RunError) {
            let bytes = try PosixFile.contents(of: url, atMost: 1 << 22)
            let mark: [UInt8] = [0xEF, 0xBB, 0xBF]
            text = String(validating: bytes.starts(with: mark) ? bytes.dropFirst(3) : bytes[...], as: UTF8.self)
        } catch {
            throw JobError(place: "the job file", message: "\(error)")
        }
        guard let text else {
            throw JobError(place: url.path, message: "cannot be read as UTF-8 text; a job is a YAML file")
        }
        try self.init(
            text: text, name: url.lastPathComponent, folder: url.deletingLastPathComponent(), overrides: overrides)
    }

    /// Reads a job from a text; `name` is what messages call it.
    ///
    /// - Parameter workingFolder: Relative paths of the overrides start here.
    package init(
        text: String, name: String, folder: URL, overrides: [String] = [],
        workingFolder: URL = URL(filePath: FileManager.default.currentDirectoryPath)
    ) throws(JobError) {
        self.folder = folder
        let typed = TypedPaths(from: workingFolder, to: folder)
        let members = try SettingsNode.document(text, name: name)
        var reader = SettingsReader("the job", members.filter { !$0.key.contains(".") })
        // A resolved job has its sections' members as the command line does, a dotted line each.
        for member in members where member.key.contains(".") { reader.override(member.key, member.node) }
        for override in overrides { Self.take(override, typed, &reader) }
        for (old, key) in JobKnownKeys.otherNames { reader.rename(old, to: key) }
        self.reader = reader
    }

    /// Puts `key=value` over the file; what is wrong with it is told with everything else.
    private static func take(_ override: String, _ typed: TypedPaths, _ reader: inout SettingsReader) {
        guard let sign = override.firstIndex(of: "="), sign != override.startIndex else {
            reader.note(SettingsProblem(place: "the override '\(override)'", message: "expected key=value"))
            return
        }
        let key = String(override[..<sign])
        do throws(JobError) {
            let value = String(override[override.index(after: sign)...])
            let node = try SettingsNode.value(value, place: "the override '\(override)'")
            reader.override(key, typed.placed(node, of: key))
        } catch {
            for problem in error.problems { reader.note(problem) }
        }
    }
}
