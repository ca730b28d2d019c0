import Foundation
package import JSON
import Records
package import RewardInterface

/// One entry of a job's `reward_funcs` becomes a ``RewardSource``.
///
/// | reference | source |
/// | --- | --- |
/// | a name of the catalogue | the Swift function, or ``ProgramSource`` for a reward that runs programs |
/// | `path/file.py:function`, `package.module.function` | ``PythonReward`` |
/// | `command: line` | ``CommandReward``, the line given to the shell |
/// | `url: http://…`, `http://…` | ``HTTPReward`` |
package enum RewardOpening {
    /// What a reference names.
    package enum Kind: Equatable, Sendable {
        case function(String)
        case python(String)
        case command(String)
        case url(String)
    }

    /// - Parameter folder: Where a relative Python file is looked for first.
    /// - Throws: ``RewardError/unknownReward(name:known:)`` for a name nobody has,
    ///   ``RewardError/unusable(reward:problem:)`` for a Python file without a function.
    package static func kind(
        of reference: String, in catalogue: RewardCatalogue, folder: String? = nil
    ) throws(RewardError) -> Kind {
        func rest(after prefix: String) -> String? {
            guard reference.hasPrefix(prefix) else { return nil }
            return reference.dropFirst(prefix.count).trimmingCharacters(in: .whitespaces)
        }
        if let line = rest(after: "command:") { return .command(line) }
        if let address = rest(after: "url:") { return .url(address) }
        if reference.hasPrefix("http://") || reference.hasPrefix("https://") { return .url(reference) }
        if reference.contains(".py:") { return .python(reference) }
        if reference.hasSuffix(".py") {
            throw .unusable(reward: reference, problem: withoutFunction(reference, folder))
        }
        if catalogue.names.contains(reference) { return .function(reference) }
        let isDotted = reference.split(separator: ".", omittingEmptySubsequences: false).allSatisfy { part in
            part.first.map { $0.isLetter || $0 == "_" } == true
                && part.allSatisfy { $0.isLetter || $0.isNumber || $0 == "_" }
        }
        guard reference.contains("."), isDotted else {
            throw .unknownReward(name: reference, known: catalogue.names)
        }
        return .python(reference)
    }

    /// What is said of a Python file without a function: the functions it has, read without running it.
    private static func withoutFunction(_ file: String, _ folder: String?) -> String {
        let path = String(placed(file + ":", in: folder).dropLast())
        let text = try? String(contentsOfFile: (path as NSString).expandingTildeInPath, encoding: .utf8)  // said below
        let names = (text ?? "").split(separator: "\n").compactMap { line -> String? in
            let words = line.split(separator: " ").drop { $0 == "async" }
            guard !line.hasPrefix(" "), words.first == "def", let name = words.dropFirst().first else { return nil }
            return name.hasPrefix("_") ? nil : String(name.prefix { $0 != "(" })
        }
        let known = names.isEmpty ? "" : "; it has \(names.joined(separator: ", "))"
        return "this names a Python file and no function in it\(known). Write \(file):\(names.first ?? "function")"
    }

    /// Opens the reward: makes the function, or starts its process.
    ///
    /// - Parameters:
    ///   - settings: The rest of the entry. An unknown one is an error.
    ///   - baseFolder: Where a relative Python file is looked for first: the job file's folder.
    ///   - cacheFolder: Where a relative `cache_file` lies: the run's folder.
    ///   - timeoutSeconds: The time limit of a call where the entry sets none.
    ///   - waitsForServers: Whether a call waits for a server that is away, where the entry does not say.
    ///   - log: Where it goes what the reward's process writes to stderr.
    ///   - note: Takes what the user should know of a reward that works.
    /// - Throws: ``RewardError`` for a reward that is unknown, has wrong settings, or cannot start.
    package static func open(
        _ reference: String, settings: [String: JSONValue] = [:], catalogue: RewardCatalogue,
        baseFolder: String? = nil, cacheFolder: String? = nil, timeoutSeconds: Double = 30,
        waitsForServers: Bool = true, log: RewardLog = .none,
        note: @escaping @Sendable (String) -> Void = { _ in }
    ) async throws -> any RewardSource {
        var values = SettingsReader("reward \(reference)", values: settings)
        let caching = ScoreCaching(reading: &values)
        let source: any RewardSource
        let identity: String
        switch try kind(of: reference, in: catalogue, folder: baseFolder) {
        case .function(let name):
            source = try await function(name, settings, catalogue)
            let unscored = ScoreCaching.settings.union([nameSetting])
            identity = SourceIdentity.function(name, settings.filter { !unscored.contains($0.key) })
        case .python(let target):
            var python = pythonSettings(placed(target, in: baseFolder), &values, timeoutSeconds)
            python.process.log = log
            try values.finishReward()
            let reward = try await PythonReward.start(python, note: note)
            source = reward
            identity = "\(reward.sourceHash) \(reward.style) \(python.referenceColumn ?? "")"
        case .command(let line):
            var command = CommandRewardSettings(name: name(&values) ?? stem(of: line), shellLine: line)
            command.process = processSettings(&values, timeoutSeconds)
            command.process.log = log
            try values.finishReward()
            source = try await CommandReward.start(command)
            identity = SourceIdentity.command(line)
        case .url(let address):
            let remote = try remoteSettings(address, &values, timeoutSeconds, waitsForServers: waitsForServers)
            source = try HTTPReward(remote, note: note)
            identity = "\(address) \(remote.referenceColumn ?? "")"
        }
        return try await caching.applied(to: source, identity: identity, folder: cacheFolder)
    }

    /// Checks an entry as far as that starts nothing: its name, the settings of a reward of the catalogue, and that a
    /// Python file is there.
    ///
    /// - Throws: ``RewardError`` for a reward that is unknown, has wrong settings or no file.
    package static func check(
        _ reference: String, settings: [String: JSONValue], catalogue: RewardCatalogue, baseFolder: String? = nil
    ) throws(RewardError) {
        switch try kind(of: reference, in: catalogue, folder: baseFolder) {
        case .function(let name): _ = try made(name, settings, catalogue)
        case .python(let target): try requireFile(of: placed(target, in: baseFolder), reward: reference)
        case .command, .url: break
        }
    }

    /// Refuses a Python file that is not there, as its host would.
    private static func requireFile(of target: String, reward: String) throws(RewardError) {
        guard let colon = target.lastIndex(of: ":") else { return }  // a module, which only an interpreter finds
        let file = URL(fileURLWithPath: String(target[..<colon])).standardizedFileURL.path
        var isFolder: ObjCBool = false
        guard FileManager.default.fileExists(atPath: file, isDirectory: &isFolder), !isFolder.boolValue else {
            throw .unusable(reward: reward, problem: "there is no file \(file)")
        }
    }

    /// What metrics will call the reward, as far as that is known before it is open; `nil` for a Python function that
    /// nothing names, which says so itself, and for a reward that nobody has.
    package static func name(
        of reference: String, settings: [String: JSONValue], in catalogue: RewardCatalogue
    ) -> String? {
        if let name = settings[nameSetting]?.string, !name.isEmpty { return name }
        guard let kind = try? kind(of: reference, in: catalogue) else { return nil }  // opening it says why
        return switch kind {
        case .function(let name): name
        case .python: nil
        case .command(let line): stem(of: line)
        case .url(let address): host(of: address)
        }
    }

    /// The reward of a name in the catalogue, its settings all read, and the name that they give it.
    private static func made(
        _ name: String, _ settings: [String: JSONValue], _ catalogue: RewardCatalogue
    ) throws(RewardError) -> (reward: any Reward, limits: ProgramSettings, metricName: String?) {
        var values = SettingsReader("reward \(name)", values: settings)
        let type = try catalogue.type(named: name)
        let reward = try catalogue.reward(named: name, settings: &values)
        let limits = reward is any ProgramReward ? ProgramSettings(reading: &values) : ProgramSettings()
        let metricName = Self.name(&values)
        var caching = values
        let isWanted = ScoreCaching(reading: &caching).isWanted
        if type.isDeterministic {
            values = caching
        } else if isWanted {
            values.refuse("cache", "cache is set; expected nothing: \(type) does not declare that it is deterministic")
            do throws(SettingsError) { try values.finish() } catch { throw .settings(error) }
        }
        try values.finishReward()
        return (reward, limits, metricName)
    }

    /// The source of a name in the catalogue.
    private static func function(
        _ name: String, _ settings: [String: JSONValue], _ catalogue: RewardCatalogue
    ) async throws -> any RewardSource {
        let (reward, limits, metricName) = try made(name, settings, catalogue)
        switch reward {
        case let function as any RewardFunction: return FunctionSource(function, name: metricName)
        case let programs as any ProgramReward:
            return try await ProgramSource.start(programs, limits, name: metricName)
        default: throw RewardError.unusable(reward: name, problem: "it is neither a function nor runs programs")
        }
    }

    private static func remoteSettings(
        _ address: String, _ values: inout SettingsReader, _ timeoutSeconds: Double, waitsForServers: Bool
    ) throws(RewardError) -> HTTPRewardSettings {
        var remote = HTTPRewardSettings(name: name(&values) ?? host(of: address), url: address)
        remote.timeoutSeconds = values.read(
            "timeout", default: timeoutSeconds, .from(0.001, to: 1e6), "Seconds a call may take.")
        remote.concurrency = values.read(
            "concurrency", default: remote.concurrency, .from(1, to: 256), "Calls at a time.")
        remote.tries = values.read("tries", default: remote.tries, .from(1, to: 100), "Attempts before a score fails.")
        remote.outageSeconds = values.read(
            "outage_seconds", default: waitsForServers ? remote.outageSeconds : 0, .from(0, to: 1e6),
            "Seconds a call waits for a server that refuses or drops connections, or is answered for with 502, 503 or "
                + "504; 0 for no longer than its tries.")
        remote.referenceColumn = referenceColumn(&values)
        try values.finishReward()
        return remote
    }

    private static func pythonSettings(_ target: String, _ values: inout SettingsReader, _ timeoutSeconds: Double)
        -> PythonRewardSettings
    {
        var python = PythonRewardSettings(target: target)
        python.name = name(&values)
        let styles = ["auto"] + PythonRewardStyle.allCases.map(\.rawValue)
        let style = values.read(
            "style", default: "auto", .oneOf(styles),
            "How the function is called: as TRL, verl, OpenRLHF or verifiers do; auto finds out.")
        python.style = PythonRewardStyle(rawValue: style)
        python.settings = values.read("settings", default: Section(), "Keyword arguments for the function.").members
        python.python = values.read("python", default: python.python, "The interpreter.")
        python.process = processSettings(&values, timeoutSeconds)
        python.referenceColumn = referenceColumn(&values)
        return python
    }

    private static func processSettings(_ values: inout SettingsReader, _ timeoutSeconds: Double) -> ProcessSettings {
        var process = ProcessSettings()
        process.timeoutSeconds = values.read(
            "timeout", default: timeoutSeconds, .from(0.001, to: 1e6), "Seconds a call may take.")
        process.startSeconds = values.read(
            "start_timeout", default: process.startSeconds, .from(0.001, to: 1e6), "Seconds to start.")
        process.workers = values.read("workers", default: process.workers, .from(1, to: 256), "Parallel processes.")
        let gigabytes = values.read(
            "memory_gb", default: Double(process.memoryBytes) / 1e9, .from(0.02, to: 1_000_000),
            "Memory of a process, in GB.")
        process.memoryBytes = Int(gigabytes * 1e9)
        let seconds = values.read(
            "cpu_seconds", default: 0, .from(0, to: 1_000_000_000), "Processor time of a process; 0 for no limit.")
        process.cpuSeconds = seconds == 0 ? nil : seconds
        process.sandbox = values.read("sandbox", default: .off, "required: inside bubblewrap. off: not.")
        process.passedVariables = values.read(
            "pass_environment", default: [String](), "Environment variables that it sees.")
        process.readable = values.read(
            "readable", default: [String](), "Files and folders visible in a sandbox besides its own.")
        return process
    }

    /// What every entry may set, to be told from others.
    package static let nameSetting = "metric_name"

    private static func name(_ values: inout SettingsReader) -> String? {
        optionalText(nameSetting, "The name in metrics.", &values)
    }

    private static func referenceColumn(_ values: inout SettingsReader) -> String? {
        optionalText("reference_column", "The column with the reference answer.", &values)
    }

    private static func optionalText(_ name: String, _ meaning: String, _ values: inout SettingsReader) -> String? {
        let text = values.read(name, default: "", meaning)
        return text.isEmpty ? nil : text
    }

    /// A relative Python file as it lies beside the job file, when it does.
    private static func placed(_ target: String, in folder: String?) -> String {
        guard let folder, !target.hasPrefix("/"), let colon = target.lastIndex(of: ":") else { return target }
        let path = URL(fileURLWithPath: folder).appendingPathComponent(String(target[..<colon])).path
        return FileManager.default.fileExists(atPath: path) ? path + target[colon...] : target
    }

    private static func host(of address: String) -> String { URLComponents(string: address)?.host ?? address }

    /// `python3 tools/brevity.py --fast` is called `brevity`.
    private static func stem(of line: String) -> String {
        let words = line.split(separator: " ").filter { !$0.hasPrefix("-") }
        let word = words.first { $0.contains("/") || $0.contains(".") } ?? words.first ?? "command"
        let file = word.split(separator: "/").last ?? word
        return String(file.split(separator: ".").first ?? file)
    }
}

/// A section whose members are handed on as they are.
private struct Section: SettingsValue {
    var members: [String: JSONValue] = [:]

    static var expectation: String { "a section of 'name: value' lines" }

    static func read(_ node: SettingsNode) -> Section? {
        node.json.dictionary.map { Section(members: $0) }
    }

    var yaml: String { JSONValue.object(sorting: members).yaml }
}
