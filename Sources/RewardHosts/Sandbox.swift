import Foundation
import Records
import RewardInterface
import Synchronization

/// Whether programs are shut into bubblewrap: no network, a read-only file system, processes of their own, no capabilities.
package enum SandboxPolicy: String, SettingsChoice {
    case off
    /// Used where bubblewrap works.
    case whenAvailable = "auto"
    /// Where it does not work the reward is refused.
    case required
}

/// bubblewrap in front of a program.
package enum Sandbox {
    /// Why programs cannot be shut in here; `nil` when they can. Tried once.
    package static let problem: String? = {
        guard let bubblewrap = ProcessSettings.program("bwrap") else {
            return "bwrap is not installed (Debian: apt install bubblewrap)"
        }
        let errors = URL(filePath: NSTemporaryDirectory()).appending(path: "bwrap-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: errors) }  // a leftover there harms nothing
        let trial = asNobody + [bubblewrap] + separation + ["--ro-bind", "/", "/", "--proc", "/proc", "--", "true"]
        let nothing = open("/dev/null", O_RDWR | O_CLOEXEC)
        let written = open(errors.path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        defer { [nothing, written].forEach { _ = Glibc.close($0) } }
        do throws(RewardError) {
            let process = try SpawnedProcess(
                reward: "sandbox", arguments: trial, environment: ["PATH": "/usr/local/bin:/usr/bin:/bin"],
                descriptors: [nothing, nothing, written])
            if case .exited(0)? = process.exitStatus(within: 10_000) { return nil }
            let words = FileManager.default.contents(atPath: errors.path).map { String(decoding: $0, as: UTF8.self) }
            let reason = words.map { $0.trimmingCharacters(in: .whitespacesAndNewlines) } ?? ""
            return "bwrap is installed and cannot shut anything in here: \(reason.isEmpty ? "it did not end" : reason) "
                + "(user namespaces must be allowed: sysctl kernel.unprivileged_userns_clone=1)"
        } catch {
            return "\(error)"
        }
    }()

    /// Whether the policy asks for a sandbox here.
    ///
    /// - Throws: ``RewardError/unusable(reward:problem:)`` when one is required and none is to be had.
    static func isUsed(_ policy: SandboxPolicy, reward: String, otherwise: String) throws(RewardError) -> Bool {
        switch policy {
        case .off: return false
        case .whenAvailable: return problem == nil
        case .required:
            guard let problem else { return true }
            throw .unusable(reward: reward, problem: "a sandbox is required, and \(problem); \(otherwise)")
        }
    }

    /// Namespaces of its own for everything, no capability, no terminal, and an end with ours.
    private static let separation = [
        "--die-with-parent", "--new-session", "--unshare-all", "--cap-drop", "ALL",
    ]

    /// A program that sees the whole file system, read-only, but for `/tmp`, `/run` with its sockets, and usual places of credentials.
    ///
    /// - Parameters:
    ///   - folder: Where the program works.
    ///   - files: Files it needs. Folder and files are seen also where they lie under `/tmp` or `/run`.
    static func readOnlySystem(_ arguments: [String], folder: String, files: [String]) -> [String] {
        let home = ProcessInfo.processInfo.environment["HOME"] ?? "/root"
        let hidden = credentials.map { "\(home)/\($0)" }.flatMap { path -> [String] in
            var isFolder: ObjCBool = false
            guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) else { return [] }
            return isFolder.boolValue ? ["--tmpfs", path] : ["--ro-bind", "/dev/null", path]
        }
        return [ProcessSettings.program("bwrap") ?? "bwrap"] + separation
            + ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--tmpfs", "/run"] + hidden
            + ([folder] + beside(files)).flatMap { ["--ro-bind", $0, $0] } + ["--"] + arguments
    }

    /// What must be shown again of folders that are hidden: the folders of files, for a script reads what lies beside it.
    private static func beside(_ files: [String]) -> [String] {
        let hidden = ["/tmp", "/run"]
        let paths = files.map { URL(fileURLWithPath: ($0 as NSString).expandingTildeInPath).path }.filter { path in
            hidden.contains { path.hasPrefix($0 + "/") } && FileManager.default.fileExists(atPath: path)
        }
        return paths.map { path in
            let folder = URL(fileURLWithPath: path).deletingLastPathComponent().path
            return hidden.contains(folder) ? path : folder
        }
    }

    /// Files in memory count towards no limit of a process: each place for them has its own.
    private static let temporaryBytes = "\(256 << 20)"
    private static let shmBytes = "\(16 << 20)"

    /// A program that sees the system's programs, read-only, an empty `/tmp` of its own, and nothing else.
    ///
    /// - Parameter folders: More of the file system, where programs lie outside the system's folders.
    static func programsOnly(_ arguments: [String], folders: [String]) -> [String] {
        asNobody + [ProcessSettings.program("bwrap") ?? "bwrap"] + separation
            + ["--ro-bind", "/usr", "/usr"] + systemFolders
            + ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]
            + ["--ro-bind-try", "/etc/alternatives", "/etc/alternatives"]
            + folders.flatMap { ["--ro-bind", $0, $0] }
            + ["--dev", "/dev", "--size", shmBytes, "--tmpfs", "/dev/shm", "--remount-ro", "/dev", "--proc", "/proc"]
            + ["--size", temporaryBytes, "--tmpfs", "/tmp", "--remount-ro", "/", "--chdir", "/tmp", "--"]
            + arguments
    }

    /// `/bin` and the like: links into `/usr` on most systems, folders on others.
    private static let systemFolders = ["/bin", "/sbin", "/lib", "/lib32", "/lib64"].flatMap { path -> [String] in
        if let target = try? FileManager.default.destinationOfSymbolicLink(atPath: path) {  // no link is the other case
            return ["--symlink", target, path]
        }
        return ["--ro-bind-try", path, path]
    }

    /// In front of a program that root starts: limits on processes do not hold for root.
    static let asNobody: [String] = {
        guard getuid() == 0, let setpriv = ProcessSettings.program("setpriv") else { return [] }
        return [
            setpriv, "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all", "--no-new-privs",
        ]
    }()

    private static let credentials = [
        ".ssh", ".aws", ".azure", ".gnupg", ".kube", ".docker", ".config/gcloud", ".config/gh", ".netrc",
        ".git-credentials", ".pypirc", ".npmrc", ".cache/huggingface/token", ".cache/huggingface/stored_tokens",
        ".huggingface",
    ]
}
