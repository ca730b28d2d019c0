import Foundation
import JSON
import Records
import Runs

/// What tells one reward, with its code and settings, from another one, as far as can be seen from here.
enum SourceIdentity {
    /// A Swift reward: its name and settings, and the executable it is in.
    static func function(_ name: String, _ settings: [String: JSONValue]) -> String {
        var line = JSONLine()
        line.value(.object(sorting: settings))
        return "\(name) \(String(decoding: line.bytes, as: UTF8.self)) \(executable)"
    }

    /// A program: its command line, and the content of every file named there.
    static func command(_ line: String) -> String {
        let files = words(of: line).compactMap { word -> String? in
            let url = URL(fileURLWithPath: (word as NSString).expandingTildeInPath)
            return (try? SHA256.file(url))?.hex  // a word that names no file
        }
        return ([line] + files).joined(separator: "\n")
    }

    /// What may name a file in a line for the shell.
    static func words(of line: String) -> [String] {
        line.split { $0.isWhitespace || "'\"=;|&<>()".contains($0) }.map(String.init)
    }

    /// Size and date of this executable.
    private static let executable: String = {
        let path = Bundle.main.executablePath ?? CommandLine.arguments[0]
        let attributes = try? FileManager.default.attributesOfItem(atPath: path)  // then it counts as unchanged
        let date = (attributes?[.modificationDate] as? Date)?.timeIntervalSince1970 ?? 0
        return "\(attributes?[.size] ?? 0) \(date)"
    }()
}
