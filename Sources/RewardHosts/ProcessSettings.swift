import Foundation
import RewardInterface

/// What a reward's process may use and see.
package struct ProcessSettings: Sendable, Equatable {
    /// The time limit of one call, from the moment work on it starts.
    package var timeoutSeconds: Double
    /// The time limit for starting: a Python reward may import torch.
    package var startSeconds: Double
    /// How many processes work side by side.
    package var workers: Int
    /// Data the process may allocate; half of the machine's memory by default.
    package var memoryBytes: Int
    /// Processor time over the life of the process; `nil` for no limit.
    package var cpuSeconds: Int?
    package var sandbox: SandboxPolicy
    /// Environment variables let through beyond the usual ones, by name.
    package var passedVariables: [String]
    /// Files and folders that it sees in a sandbox beside its own.
    package var readable: [String] = []
    /// The working folder; the run's own by default.
    package var folder: String?
    /// Where it goes what the process writes to stderr.
    package var log = RewardLog.none

    package init(
        timeoutSeconds: Double = 30, startSeconds: Double = 120, workers: Int = 1, memoryBytes: Int? = nil,
        cpuSeconds: Int? = nil, sandbox: SandboxPolicy = .off, passedVariables: [String] = [], folder: String? = nil
    ) {
        self.timeoutSeconds = timeoutSeconds
        self.startSeconds = startSeconds
        self.workers = workers
        self.memoryBytes = memoryBytes ?? Int(ProcessInfo.processInfo.physicalMemory / 2)
        self.cpuSeconds = cpuSeconds
        self.sandbox = sandbox
        self.passedVariables = passedVariables
        self.folder = folder
    }

    /// - Throws: ``RewardError/wrongSetting(reward:name:found:expected:)`` for a number out of bounds.
    func check(reward: String) throws(RewardError) {
        func require(_ holds: Bool, _ name: String, _ found: Any, _ expected: String) throws(RewardError) {
            guard holds else { throw .wrongSetting(reward: reward, name: name, found: "\(found)", expected: expected) }
        }
        try require(timeoutSeconds > 0 && timeoutSeconds < 1e6, "timeout", timeoutSeconds, "seconds above 0")
        try require(startSeconds > 0 && startSeconds < 1e6, "start_timeout", startSeconds, "seconds above 0")
        try require((1...256).contains(workers), "workers", workers, "between 1 and 256")
        try require(memoryBytes >= 16 << 20, "memory", memoryBytes, "at least 16 MiB, in bytes")
        try require(cpuSeconds ?? 1 > 0, "cpu_seconds", cpuSeconds ?? 0, "above 0")
    }

    /// The environment of the process: what programs need to run, and nothing that could be a secret. Where there is a
    /// network, the way to it too: a proxy whose address holds a user's name and password is a secret.
    func environment(isInSandbox: Bool) -> [String: String] {
        let allowed = Self.usualVariables.union(passedVariables)
        let usual = ProcessInfo.processInfo.environment.filter { name, value in
            allowed.contains(name)
                || !isInSandbox && Self.proxyVariables.contains(name.lowercased()) && !value.contains("@")
        }
        guard isInSandbox else { return usual }
        return usual.merging(["HOME": Sandbox.home, "TMPDIR": "/tmp"]) { _, own in own }
    }

    private static let usualVariables: Set = [
        "PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR", "TERM", "PYTHONPATH", "PYTHONHOME", "PYTHONHASHSEED",
        "VIRTUAL_ENV", "CONDA_PREFIX", "PYENV_ROOT", "PYENV_VERSION", "LD_LIBRARY_PATH", "OMP_NUM_THREADS",
        "CUDA_VISIBLE_DEVICES", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE",
        "TRANSFORMERS_OFFLINE", "TOKENIZERS_PARALLELISM", "SSL_CERT_FILE", "SSL_CERT_DIR", "LC_ALL", "LC_CTYPE",
        "LC_COLLATE", "LC_MESSAGES", "LC_NUMERIC", "LC_TIME",
    ]

    private static let proxyVariables: Set = ["http_proxy", "https_proxy", "no_proxy"]

    /// Where the process works.
    var workingFolder: String { folder ?? FileManager.default.currentDirectoryPath }

    /// Whether the process is shut in.
    ///
    /// - Throws: ``RewardError/unusable(reward:problem:)`` when the sandbox is required and does not work here.
    func isInSandbox(reward: String) throws(RewardError) -> Bool {
        try Sandbox.isUsed(sandbox, reward: reward, otherwise: "sandbox: off runs it without one")
    }

    /// `arguments` with the limits in front, within the sandbox that shows `files` when there is to be one.
    func confined(_ arguments: [String], showing files: SandboxFiles?) -> [String] {
        let seconds = cpuSeconds.map { "ulimit -t \($0); " } ?? ""
        let limits = "cd -- \"$0\" || exit 1; ulimit -c 0; ulimit -d \(memoryBytes / 1024); \(seconds)exec \"$@\""
        let limited = ["/bin/sh", "-c", limits, workingFolder] + arguments
        guard var files else { return limited }
        for path in readable { files.show(path, from: workingFolder) }
        return Sandbox.filesOnly(limited, folder: workingFolder, files: files)
    }

    /// Where `PATH` has a program of this name.
    package static func program(_ name: String) -> String? {
        let folders = (ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin").split(separator: ":")
        return folders.map { "\($0)/\(name)" }.first { FileManager.default.isExecutableFile(atPath: $0) }
    }
}
