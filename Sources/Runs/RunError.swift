package import JSON

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// What can go wrong with the files of a run. The description says what was tried, where, and what to do next.
package enum RunError: Error, Equatable, CustomStringConvertible {
    /// The operating system refused. `code` is its `errno`.
    case system(action: String, path: String, code: Int32)
    /// Another process holds the run folder, or the file to write.
    case locked(path: String, process: Int?)
    /// A file holds text that is no JSON, or JSON of another shape.
    case json(path: String, JSONError)
    /// A line of a text file cannot be read.
    case line(path: String, line: Int, message: String)
    /// A checkpoint, run folder or saved state is not what it should be.
    case folder(path: String, message: String)

    package var description: String {
        switch self {
        case .system(let action, let path, let code):
            "cannot \(action) \(path): \(String(cString: strerror(code)))\(RunError.remedy(action, code))"
        case .locked(let path, let process):
            "\(path) is in use by another run\(process.map { " (process \($0))" } ?? ""); "
                + "wait for it, stop it, or write to another place"
        case .json(let path, let error):
            "\(path): \(error)"
        case .line(let path, let line, let message):
            "\(path), line \(line): \(message)"
        case .folder(let path, let message):
            "\(path): \(message)"
        }
    }

    /// Whether the disk, or the user's share of it, is full.
    package var isDiskFull: Bool {
        if case .system(_, _, let code) = self { code == ENOSPC || code == EDQUOT } else { false }
    }

    /// What ``FileOperations/writeOutput(_:to:)`` does: there is no checkpoint to keep or to leave out.
    static let writingResult = "write the result to"

    private static func remedy(_ action: String, _ code: Int32) -> String {
        switch code {
        case ENOSPC, EDQUOT:
            action == writingResult
                ? "; make room, or name a file on another disk"
                : "; make room or lower save_total_limit, the last complete checkpoint is untouched"
        case EACCES where ["read", "list"].contains(action): "; this user may not read it, see its permissions (ls -l)"
        case EROFS, EACCES, EPERM: "; choose a folder this user may write to"
        case EMFILE, ENFILE: "; too many files are open, raise `ulimit -n`"
        default: ""
        }
    }
}
