import Foundation
import JSON
import Records
import RewardHosts
import RewardInterface
import TestSupport
import Testing

/// A home with secrets in it, and a reward that looks for them.
private struct Home {
    let folder: TemporaryFolder
    /// Files of credentials, hidden and not.
    static let secrets = [
        ".kaggle/kaggle.json", ".pgpass", ".env", ".config/rclone/rclone.conf", ".netrc", ".config/wandb/settings",
        ".ssh/id_ed25519", ".aws/credentials", ".cache/huggingface/token", ".bash_history", "passwords.txt",
        "Documents/letter.txt", "project/.env", "project/lib/.secrets/key", "project/.git/config",
    ]
    static let word = "PLUMBLINE-PLANTED"

    init() throws {
        folder = try TemporaryFolder()
        for name in Self.secrets { try put(name, Self.word + "\n") }
    }

    var path: String { folder.url.path }

    func put(_ name: String, _ text: String) throws {
        let file = folder.url.appending(path: name)
        try FileManager.default.createDirectory(
            at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(text.utf8).write(to: file)
    }

    /// What the function below found, by TRL's log_extra.
    static let spy = """
        import glob, os, pathlib, socket
        planted = b"-".join([b"PLUMBLINE", b"PLANTED"])  # not in this file as it is

        def found(path):
            try:
                with open(path, "rb") as file:
                    return file.read()
            except OSError:
                return b""

        def spy(completions, home, parent, log_extra, **columns):
            seen = []
            for root, folders, files in os.walk(home[0]):
                for name in files:
                    if planted in found(os.path.join(root, name)):
                        seen.append(os.path.relpath(os.path.join(root, name), home[0]))
            for path in ["/etc/shadow", "/etc/passwd", f"/proc/{parent[0]}/environ", f"/proc/{parent[0]}/mem"]:
                if found(path):
                    seen.append(path)
            for path in glob.glob("/proc/[0-9]*/environ"):
                if planted in found(path):
                    seen.append("environ of a process")
            for folder in ["/root", "/var", "/srv", "/opt", "/mnt"]:
                names = os.listdir(folder) if os.access(folder, os.R_OK) else []
                seen += [f"{folder}/{name}" for name in names if name != ".pyenv"]
            shown = set((home[0] + os.getcwd()).split("/"))
            if os.listdir(os.path.expanduser("~")) or set(os.listdir("/tmp")) - shown:
                seen.append("a home or /tmp that is not empty")
            for folder in [home[0], "/", "/usr", os.path.dirname(__file__)]:
                try:
                    pathlib.Path(folder, "written").write_text("x")
                    # What stands in for the home may lie in the empty /tmp, which is its own to write: the test looks
                    # at the home itself.
                    if not folder.startswith(home[0]):
                        seen.append(f"wrote {folder}")
                except OSError:
                    pass
            try:
                socket.create_connection(("127.0.0.1", 22), 1)
                seen.append("network")
            except ConnectionRefusedError:
                interfaces = [line.split(":")[0].strip() for line in open("/proc/net/dev").readlines()[2:]]
                seen += ["loopback of the machine"] * any(name != "lo" for name in interfaces)
            except OSError:
                pass
            rights = next(line for line in open("/proc/self/status") if line.startswith("CapEff")).split()[1]
            if os.getuid() == 0 or int(rights, 16):
                seen.append("privileges")
            log_extra("seen", [", ".join(sorted(seen))] * len(completions))
            return [float(not seen)] * len(completions)
        """
}

@Suite(
    "What a reward in the sandbox can see", .serialized,
    .enabled(if: Sandbox.problem == nil, "\(Sandbox.problem ?? "")"))
struct SandboxTests {
    private func seen(
        _ home: Home, _ target: String, folder: String? = nil, policy: SandboxPolicy = .required
    ) async throws -> (score: Double?, seen: String) {
        setenv("PLUMBLINE_PLANTED_VARIABLE", Home.word, 1)
        let former = ProcessInfo.processInfo.environment["HOME"] ?? "/root"
        setenv("HOME", home.path, 1)
        defer { setenv("HOME", former, 1) }
        var settings = PythonRewardSettings(target: target)
        settings.process = ProcessSettings(timeoutSeconds: 60, startSeconds: 60, sandbox: policy, folder: folder)
        let reward = try await PythonReward.start(settings)
        let scores = try await reward.scores(
            ["a"], columns: ["home": .string(home.path), "parent": .number(Int128(getpid()))])
        await reward.close()
        var seen = scores.extraColumns["seen"]?[0].text ?? scores.notes[0]
        for folder in ["", "/project", "/project/lib"]
        where policy == .required && FileManager.default.fileExists(atPath: "\(home.path)\(folder)/written") {
            seen += " wrote ~\(folder)"
        }
        print("| sandbox | \(target.replacing(home.path, with: "~")) in \(folder ?? "the working folder") | \(seen) |")
        return (seen.isEmpty ? scores.values[0] : 0, seen)
    }

    @Test func secretsOfAHomeAreOutOfReach() async throws {
        let home = try Home()
        // In the home itself, in a project of it, in a package of that, and with the whole machine as the working
        // folder.
        try home.put("spy.py", Home.spy)
        try home.put("project/spy.py", Home.spy)
        try home.put("project/lib/__init__.py", "")
        try home.put("project/lib/spy.py", "from . import __name__ as package\n" + Home.spy)
        for script in ["spy.py", "project/spy.py", "project/lib/spy.py"] {
            for folder in [nil, home.path, "/"] {
                let (score, seen) = try await seen(home, "\(home.path)/\(script):spy", folder: folder)
                #expect(score == 1, "\(script) in \(folder ?? "."): \(seen)")
            }
        }
        let module = try await seen(home, "project.spy.spy", folder: home.path)
        #expect(module.score == 1, "\(module.seen)")
        // The check can fail: without a sandbox all of it is found.
        let open = try await seen(home, "\(home.path)/spy.py:spy", policy: .off)
        #expect(open.score == 0)
        for name in Home.secrets { #expect(open.seen.contains(name), "\(name): \(open.seen)") }
        for folder in ["", "/project"] { unlink("\(home.path)\(folder)/written") }
        unlink("/written")
        unlink("/usr/written")
    }

    @Test func aProgramSeesWhatItsLineNames() async throws {
        let home = try Home()
        let program = """
            import json, os, sys
            def read(path):
                try:
                    return open(path).read()
                except OSError:
                    return ""
            found = [n for r, _, names in os.walk(sys.argv[1]) for n in names if read(os.path.join(r, n))]
            for line in sys.stdin:
                print(json.dumps({"scores": [len(found)], "extra": {"found": [",".join(sorted(found))]}}), flush=True)
            """
        try home.put("project/score.py", program)
        try home.put("project/words.txt", "a b")
        var settings = CommandRewardSettings(name: "program", shellLine: "python3 score.py .")
        settings.process = ProcessSettings(
            timeoutSeconds: 60, sandbox: .required, folder: home.folder.url.appending(path: "project").path)
        let reward = try await CommandReward.start(settings)
        let scores = try await reward.scores(["a"])
        await reward.close()
        let found = scores.extraColumns["found"]?[0].text ?? scores.notes[0]
        #expect(found == "score.py,words.txt", "\(found)")
    }

    @Test func whatIsReadableIsSaid() async throws {
        let folder = try TemporaryFolder()
        let words = try TemporaryFolder()
        _ = try words.file("words.txt", "a b c")
        let script = try folder.file(
            "r.py", "def f(completions): return [float(len(open('\(words.url.path)/words.txt').read()))]\n")
        var settings = PythonRewardSettings(target: "\(script.path):f")
        settings.process = ProcessSettings(timeoutSeconds: 60, startSeconds: 60, sandbox: .required)
        let shut = try await PythonReward.start(settings)
        #expect(try await shut.scores(["a"]).notes[0].contains("FileNotFoundError"))
        await shut.close()
        settings.process.readable = [words.url.path]
        let opened = try await PythonReward.start(settings)
        #expect(try await opened.scores(["a"]).values == [5])
        await opened.close()
    }
}

@Suite("What a reward starts does not outlive it", .serialized)
struct DescendantsTests {
    /// A daemon as they are made: two forks, a session of its own, an empty environment, every stream closed. Its
    /// number is told.
    private static let daemon = """
        import os, resource, subprocess, sys, time

        def f(completions, **columns):
            kind = completions[0]
            reader, writer = os.pipe()
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    if "lower" in kind:
                        limit = resource.getrlimit(resource.RLIMIT_RSS)[1]
                        resource.setrlimit(resource.RLIMIT_RSS, (limit // 3, limit // 3))
                    if "exec" in kind:
                        os.write(writer, str(os.getpid()).encode())
                        os.closerange(0, 64)
                        os.execve("/bin/sleep", ["sleep", "600"], {})
                    os.environ.clear()
                    os.write(writer, str(os.getpid()).encode())
                    os.closerange(0, 64)
                    time.sleep(600)
                os._exit(0)
            os.close(writer)
            number = float(os.read(reader, 20))
            if "hang" in kind:
                print(int(number), file=sys.stderr, flush=True)
                time.sleep(600)
            return [number] * len(completions)
        """

    private func isAlive(_ process: pid_t) async throws -> Bool {
        for _ in 0..<20 where kill(process, 0) == 0 { try await Task.sleep(for: .milliseconds(50)) }
        return kill(process, 0) == 0
    }

    @Test(arguments: ["fork", "exec", "fork and lower the mark", "exec and lower the mark"])
    func aDaemonEndsWithIt(_ kind: String) async throws {
        let folder = try TemporaryFolder()
        let script = try folder.file("r.py", Self.daemon)
        let reward = try await PythonReward.start(PythonRewardSettings(target: "\(script.path):f"))
        let number = try #require(try await reward.scores([kind]).values[0])
        // One with another mark belongs to nobody, and may be gone already.
        if !kind.contains("lower") { #expect(kill(pid_t(number), 0) == 0, "the check can fail") }
        await reward.close()
        #expect(try await !isAlive(pid_t(number)), "\(kind)")
    }

    @Test func aDaemonOfACallThatHangsEndsWithTheCall() async throws {
        let folder = try TemporaryFolder()
        let script = try folder.file("r.py", Self.daemon)
        var settings = PythonRewardSettings(target: "\(script.path):f")
        settings.process.timeoutSeconds = 2
        let reward = try await PythonReward.start(settings)
        let scores = try await reward.scores(["exec and hang"])
        #expect(scores.states == ["timedOut"])
        await reward.close()
    }

    /// Nobody but root reads this process's environment once a reward runs.
    @Test func thisProcessIsClosedToItsRewards() async throws {
        let reward = try await zoo("lengths")
        let status = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
        #expect(status.contains("Name:"))
        var state = stat()
        #expect(stat("/proc/self/environ", &state) == 0 && state.st_uid == 0, "it would belong to the user otherwise")
        await reward.close()
    }
}
