import Foundation
import Records
import RewardInterface
import Synchronization

/// Whether programs are shut into bubblewrap: no network, no files but those they need, processes of their own, no
/// capabilities.
package enum SandboxPolicy: String, SettingsChoice {
    case off
    /// Used where bubblewrap works.
    case whenAvailable = "auto"
    /// Where it does not work the reward is refused.
    case required
}

/// bubblewrap in front of a program. What is not named here or by ``SandboxFiles`` is not there for the program.
package enum Sandbox {
    /// Why programs cannot be shut in here; `nil` when they can. Tried once.
    package static let problem: String? = {
        guard let bubblewrap = ProcessSettings.program("bwrap") else {
            return "bwrap is not installed (Debian: apt install bubblewrap)"
        }
        let trial = ["--ro-bind", "/", "/", "--proc", "/proc", "--"]
        // Code of the model is shut in by nobody, functions of the user by root, who is nobody then.
        return failure(of: asNobody + [bubblewrap] + separation + trial + ["true"])
            ?? (asNobody.isEmpty
                ? nil : failure(of: [bubblewrap] + separationByRoot + trial + becomingNobody + ["true"]))
    }()

    private static func failure(of trial: [String]) -> String? {
        let errors = URL(filePath: NSTemporaryDirectory()).appending(path: "bwrap-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: errors) }  // a leftover there harms nothing
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
            return "bwrap is installed but cannot make a sandbox here: \(reason.isEmpty ? "it did not end" : reason) "
                + "(user namespaces must be allowed: sysctl kernel.unprivileged_userns_clone=1)"
        } catch {
            return "\(error)"
        }
    }

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

    /// The same by root without a namespace of users: files that only root may find can be shown, and the program is
    /// nobody to them.
    private static let separationByRoot =
        [
            "--die-with-parent", "--new-session", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts",
            "--unshare-cgroup-try", "--cap-drop", "ALL",
        ] + ["CAP_SETUID", "CAP_SETGID"].flatMap { ["--cap-add", $0] }

    /// A user's program: it sees the system's programs and libraries, the files it needs, read-only, and an empty home
    /// and `/tmp`.
    ///
    /// - Parameter folder: Where the program works; it is empty but for what is shown of it.
    static func filesOnly(_ arguments: [String], folder: String, files: SandboxFiles) -> [String] {
        let isRoot = !asNobody.isEmpty
        let empty = ["/tmp", "/run", home].flatMap { ["--perms", "0777", "--size", temporaryBytes, "--tmpfs", $0] }
        return [ProcessSettings.program("bwrap") ?? "bwrap"] + (isRoot ? separationByRoot : separation)
            + system + ["--ro-bind-try", "/etc/localtime", "/etc/localtime", "--dev", "/dev", "--proc", "/proc"]
            + empty + files.arguments(makingFolder: folder)
            + ["--remount-ro", "/", "--chdir", folder, "--"] + (isRoot ? becomingNobody : []) + arguments
    }

    /// The home of a user's program.
    static let home = "/home/reward"

    /// Files in memory count towards no limit of a process: each folder for them has its own.
    private static let temporaryBytes = "\(256 << 20)"
    private static let shmBytes = "\(16 << 20)"

    /// A program that sees the system's programs, read-only, an empty `/tmp` of its own, and nothing else.
    ///
    /// - Parameter folders: More of the file system, where programs lie outside the system's folders.
    static func programsOnly(_ arguments: [String], folders: [String]) -> [String] {
        asNobody + [ProcessSettings.program("bwrap") ?? "bwrap"] + separation + system
            + folders.flatMap { ["--ro-bind", $0, $0] }
            + ["--dev", "/dev", "--size", shmBytes, "--tmpfs", "/dev/shm", "--remount-ro", "/dev", "--proc", "/proc"]
            + ["--size", temporaryBytes, "--tmpfs", "/tmp", "--remount-ro", "/", "--chdir", "/tmp", "--"]
            + arguments
    }

    /// The system's programs and libraries.
    private static let system =
        ["--ro-bind", "/usr", "/usr"] + systemFolders
        + ["/etc/ld.so.cache", "/etc/alternatives", "/nix/store"].flatMap { ["--ro-bind-try", $0, $0] }

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
        return [setpriv] + nobody
    }()

    private static let becomingNobody = ["setpriv"] + nobody

    private static let nobody = [
        "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all", "--no-new-privs",
    ]
}
