import Foundation
package import Records
import RewardInterface

/// What the programs of a ``ProgramReward`` may use.
package struct ProgramSettings: Sendable, Equatable {
    /// The time limit of one program.
    package var timeoutSeconds = 6.0
    /// Memory one process may have.
    package var memoryBytes = 1 << 30
    /// Processes and threads of one program.
    package var processes = 16
    /// What a program may write to its standard output.
    package var outputBytes = 4 << 20
    /// How many programs run side by side.
    package var workers: Int
    package var sandbox = SandboxPolicy.required

    package init() { workers = max(1, min(8, ProcessInfo.processInfo.activeProcessorCount)) }

    /// Reads the settings every such reward has.
    package init(reading values: inout SettingsReader) {
        self.init()
        timeoutSeconds = values.read(
            "timeout", default: timeoutSeconds, .from(0.01, to: 1e5), "Seconds a program may run.")
        memoryBytes = Int(
            values.read("memory_gb", default: 1.0, .from(0.05, to: 100_000), "Memory of one process, in GB.") * 1e9)
        processes = values.read(
            "max_processes", default: processes, .from(1, to: 100_000), "Processes and threads per program.")
        workers = values.read("workers", default: workers, .from(1, to: 256), "Programs run at the same time.")
        sandbox = values.read(
            "sandbox", default: .required, SettingsBound("except auto") { $0 != .whenAvailable },
            "required: inside bubblewrap. off: not.")
    }

    /// The environment of a program: nothing of ours.
    static let environment = [
        "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/tmp", "TMPDIR": "/tmp", "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1", "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
    ]

    /// `arguments` behind the limits of one process and, where there is a sandbox, within it.
    func confined(_ arguments: [String], folders: [String], isInSandbox: Bool) -> [String] {
        // Within a sandbox processes are counted in it; without one, all of the user's are.
        let count = processes + (isInSandbox ? 2 : Self.processesOfUser())
        let kilobytes = memoryBytes / 1024
        let limits = """
            ulimit -c 0; ulimit -d \(kilobytes); ulimit -v \(kilobytes * 2); ulimit -n 256; ulimit -f 131072; \
            ulimit -t \(Int(timeoutSeconds.rounded(.up)) + 1); ulimit -u \(count) 2>/dev/null || ulimit -p \(count); \
            exec "$@"
            """
        let limited = ["/bin/sh", "-c", limits, "sh"] + arguments
        return isInSandbox ? Sandbox.programsOnly(limited, folders: folders) : Sandbox.asNobody + limited
    }

    /// Processes and threads that run now as the user programs run as.
    private static func processesOfUser() -> Int {
        let user = Sandbox.asNobody.isEmpty ? getuid() : 65534
        // No /proc: none known.
        let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        return names.filter { Int($0) != nil }.reduce(0) { count, name in
            var state = stat()
            guard stat("/proc/\(name)", &state) == 0, state.st_uid == user else { return count }
            // Gone in the meantime: none.
            return count + ((try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(name)/task").count) ?? 0)
        }
    }
}

/// Where a program lies, and what of the file system it needs.
struct ProgramFile: Equatable {
    let path: String
    /// Folders outside the system's own.
    let folders: [String]

    /// Looks for a program: system folders before `PATH`, for wrappers in a home folder cannot be seen in a sandbox.
    ///
    /// - Throws: ``RewardError/unusable(reward:problem:)`` when there is none.
    init(_ name: String, reward: String) throws(RewardError) {
        let isPath = name.contains("/")
        let usual = isPath ? [(name as NSString).expandingTildeInPath] : ["/usr/bin/\(name)", "/bin/\(name)"]
        let isThere = { FileManager.default.isExecutableFile(atPath: $0) }
        guard let found = usual.first(where: isThere) ?? (isPath ? nil : ProcessSettings.program(name)) else {
            throw .unusable(reward: reward, problem: "there is no program '\(name)'\(isPath ? "" : " in PATH")")
        }
        path = URL(fileURLWithPath: found).path
        folders = Self.folders(of: path)
    }

    /// The folder above `bin` of the program and of every link on the way to it (`/venv`, `/opt/python3.12`).
    private static func folders(of path: String) -> [String] {
        var folders: [String] = []
        var file = path
        for _ in 0..<16 {
            let prefix = URL(fileURLWithPath: file).deletingLastPathComponent().deletingLastPathComponent().path
            let isSystem = ["/usr", "/bin", "/sbin", "/lib"].contains { file.hasPrefix($0 + "/") }
            // Never a whole home or root: then the program alone.
            let isTooMuch = ["/", "/home", NSHomeDirectory()].contains(prefix)
            if !isSystem { folders.append(isTooMuch ? file : prefix) }
            // No link: the end of the way.
            guard let target = try? FileManager.default.destinationOfSymbolicLink(atPath: file) else { break }
            file =
                target.hasPrefix("/")
                ? target : URL(fileURLWithPath: file).deletingLastPathComponent().appendingPathComponent(target).path
        }
        return folders.reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
    }
}
