import Foundation

/// What a user's program sees of the file system beside the system's folders: an allow-list.
///
/// A folder is shown without its hidden entries (`.env`, `.git`, `.kaggle`), wherever below it they lie. A home, what
/// holds one, and folders of the system's data are never shown whole: of them the Python files and packages that lie in
/// them directly, and no more.
struct SandboxFiles: Sendable, Equatable {
    /// Shown read-only.
    private(set) var shown: [String] = []
    /// Shown read-only with what is hidden in them: an interpreter and its packages.
    private(set) var whole: [String] = []

    /// Shows a file or a folder.
    mutating func show(_ path: String, from base: String = FileManager.default.currentDirectoryPath) {
        let path = Self.absolute(path, base)
        guard Self.isTooMuch(path) else { return add(path) }
        for name in (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? [] {  // unreadable: nothing to show
            let isPackage = FileManager.default.fileExists(atPath: "\(path)/\(name)/__init__.py")
            if !name.hasPrefix("."), isPackage || name.hasSuffix(".py") { add("\(path)/\(name)") }
        }
    }

    /// Shows a script with its package, or with what lies beside it.
    mutating func showScript(_ path: String, from base: String) {
        let script = Self.absolute(path, base)
        add(script)
        var folder = (script as NSString).deletingLastPathComponent
        let beside = folder
        var package: String?
        while folder != "/", FileManager.default.fileExists(atPath: "\(folder)/__init__.py") {
            package = folder
            folder = (folder as NSString).deletingLastPathComponent
        }
        show(package ?? beside)
    }

    /// Shows the Python file or package of a module's first name in a folder, where there is one.
    mutating func showModule(_ module: String, in folder: String) {
        let first = String(module.prefix { $0 != "." })
        for name in [first, first + ".py"] where FileManager.default.fileExists(atPath: "\(folder)/\(name)") {
            show(name, from: folder)
        }
    }

    /// Shows folders with all they hold.
    mutating func showWhole(_ paths: [String]) {
        for path in paths where path.hasPrefix("/") && !Self.isTooMuch(path) && !whole.contains(path) {
            whole.append(path)
        }
    }

    private mutating func add(_ path: String) { if !shown.contains(path) { shown.append(path) } }

    /// For bubblewrap: what holds another comes before it, and covers come behind what they cover.
    ///
    /// - Parameter folder: Made where nothing shows it.
    func arguments(makingFolder folder: String) -> [String] {
        let shown = shown.filter { FileManager.default.fileExists(atPath: $0) }.sorted { $0.count < $1.count }
        // bubblewrap would make them for its own user alone.
        let above = Set((shown + whole + [folder + "/."]).flatMap(Self.above)).sorted { $0.count < $1.count }
        return above.flatMap { ["--perms", "0755", "--dir", $0] } + shown.flatMap { ["--ro-bind", $0, $0] }
            + shown.flatMap(Self.covers)
            + whole.sorted { $0.count < $1.count }.flatMap { ["--ro-bind-try", $0, $0] }
    }

    /// The folders above a path.
    private static func above(_ path: String) -> [String] {
        let parts = path.split(separator: "/").dropLast()
        return parts.indices.map { "/" + parts[...$0].joined(separator: "/") }
    }

    /// Covers of the hidden entries below a folder. What a link names is not there, or shown in its own right.
    private static func covers(in folder: String) -> [String] {
        guard isFolder(folder), let names = FileManager.default.enumerator(atPath: folder) else { return [] }
        var covers: [String] = []
        while let name = names.nextObject() as? String {
            guard (name as NSString).lastPathComponent.hasPrefix(".") else { continue }
            names.skipDescendants()
            let path = "\(folder)/\(name)"
            // A link is passed over: what it leads to is covered where it lies.
            if (try? FileManager.default.destinationOfSymbolicLink(atPath: path)) != nil { continue }
            covers += isFolder(path) ? ["--tmpfs", path] : ["--ro-bind", "/dev/null", path]
        }
        return covers
    }

    /// A home, what holds one, and folders that are more than a program's own.
    private static func isTooMuch(_ folder: String) -> Bool {
        let home = absolute(ProcessInfo.processInfo.environment["HOME"] ?? NSHomeDirectory(), "/")
        let others = [
            "/root", "/etc", "/var", "/tmp", "/run", "/proc", "/sys", "/dev", "/mnt", "/media", "/srv", "/opt",
        ]
        return folder == "/" || folder == home || home.hasPrefix(folder + "/") || others.contains(folder)
            || folder == "/home" || (folder as NSString).deletingLastPathComponent == "/home"
    }

    private static func absolute(_ path: String, _ base: String) -> String {
        let expanded = (path as NSString).expandingTildeInPath
        return URL(filePath: expanded.hasPrefix("/") ? expanded : "\(base)/\(expanded)").standardizedFileURL.path
    }

    static func isFolder(_ path: String) -> Bool {
        var isFolder: ObjCBool = false
        return FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) && isFolder.boolValue
    }
}

/// What a Python interpreter needs to run: it is asked.
struct PythonInstallation: Decodable, Sendable {
    /// Not the link or script that it was called by.
    let executable: String
    /// Its own folders and those of its packages.
    let whole: [String]
    /// Others on its path: `PYTHONPATH`, packages that are installed from where they are worked on.
    let others: [String]

    static let question = """
        import json, os, sys
        paths = [os.path.abspath(path) for path in sys.path if path]
        for finder in sys.meta_path:  # editable installs of setuptools
            paths += getattr(sys.modules.get(getattr(finder, "__module__", "")), "MAPPING", {}).values()
        beside = os.path.dirname(os.path.realpath(sys.executable))
        prefixes = sorted({sys.prefix, sys.base_prefix, sys.exec_prefix, beside})
        own = [path for path in paths if "-packages" in path or any(path.startswith(p + os.sep) for p in prefixes)]
        print(json.dumps({
            "executable": sys.executable, "whole": prefixes + own, "others": [p for p in paths if p not in own]}))
        """
}
