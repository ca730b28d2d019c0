import Foundation
package import Records
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

    /// - Throws: ``RewardError/unknownReward(name:known:)`` for a name nobody has.
    package static func kind(of reference: String, in catalogue: RewardCatalogue) throws(RewardError) -> Kind {
        func rest(after prefix: String) -> String? {
            guard reference.hasPrefix(prefix) else { return nil }
            return reference.dropFirst(prefix.count).trimmingCharacters(in: .whitespaces)
        }
        if let line = rest(after: "command:") { return .command(line) }
        if let address = rest(after: "url:") { return .url(address) }
        if reference.hasPrefix("http://") || reference.hasPrefix("https://") { return .url(reference) }
        if reference.contains(".py:") { return .python(reference) }
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

    /// Opens the reward: makes the function, or starts its process.
    ///
    /// - Parameters:
    ///   - settings: The rest of the entry. An unknown one is an error.
    ///   - baseFolder: Where a relative Python file is looked for first: the job file's folder.
    ///   - cacheFolder: Where a relative `cache_file` lies: the run's folder.
    ///   - timeoutSeconds: The time limit of a call where the entry sets none.
    ///   - log: Where it goes what the reward's process writes to stderr.
    /// - Throws: ``RewardError`` for a reward that is unknown, has wrong settings, or cannot start.
    package static func open(
        _ reference: String, settings: [String: JSONValue] = [:], catalogue: RewardCatalogue,
        baseFolder: String? = nil, cacheFolder: String? = nil, timeoutSeconds: Double = 30, log: RewardLog = .none
    ) async throws -> any RewardSource {
        var values = RewardSettings(reward: reference, values: settings)
        let caching = try ScoreCaching(&values)
        let source: any RewardSource
        let identity: String
        switch try kind(of: reference, in: catalogue) {
        case .function(let name):
            try requireDeterminism(of: catalogue.type(named: name), caching, values)
            source = try await function(name, settings, catalogue)
            identity = SourceIdentity.function(name, settings.filter { !ScoreCaching.settings.contains($0.key) })
        case .python(let target):
            var python = try pythonSettings(placed(target, in: baseFolder), &values, timeoutSeconds)
            python.process.log = log
            try values.refuseUnasked()
            let reward = try await PythonReward.start(python)
            source = reward
            identity = "\(reward.sourceHash) \(reward.style) \(python.referenceColumn ?? "")"
        case .command(let line):
            var command = CommandRewardSettings(name: try name(&values, or: stem(of: line)), shellLine: line)
            command.process = try processSettings(&values, timeoutSeconds)
            command.process.log = log
            try values.refuseUnasked()
            source = try await CommandReward.start(command)
            identity = SourceIdentity.command(line)
        case .url(let address):
            let remote = try remoteSettings(address, &values, timeoutSeconds)
            source = try HTTPReward(remote)
            identity = "\(address) \(remote.referenceColumn ?? "")"
        }
        return try await caching.applied(to: source, identity: identity, folder: cacheFolder)
    }

    /// Checks an entry as far as that starts nothing: its name, and the settings of a reward of the catalogue.
    ///
    /// - Throws: ``RewardError`` for a reward that is unknown or has wrong settings.
    package static func check(
        _ reference: String, settings: [String: JSONValue], catalogue: RewardCatalogue
    ) throws(RewardError) {
        guard case .function(let name) = try kind(of: reference, in: catalogue) else { return }
        _ = try made(name, settings, catalogue)
    }

    /// The reward of a name in the catalogue, its settings all read.
    private static func made(
        _ name: String, _ settings: [String: JSONValue], _ catalogue: RewardCatalogue
    ) throws(RewardError) -> (any Reward, ProgramSettings) {
        var values = RewardSettings(reward: name, values: settings)
        let reward = try catalogue.reward(named: name, settings: &values)
        let limits = reward is any ProgramReward ? try ProgramSettings(&values) : ProgramSettings()
        if try catalogue.type(named: name).isDeterministic { _ = try ScoreCaching(&values) }
        try values.refuseUnasked()
        return (reward, limits)
    }

    /// The source of a name in the catalogue.
    private static func function(
        _ name: String, _ settings: [String: JSONValue], _ catalogue: RewardCatalogue
    ) async throws(RewardError) -> any RewardSource {
        let (reward, limits) = try made(name, settings, catalogue)
        switch reward {
        case let function as any RewardFunction: return FunctionSource(function)
        case let programs as any ProgramReward: return try await ProgramSource.start(programs, limits)
        default: throw .unusable(reward: name, problem: "it is neither a function nor runs programs")
        }
    }

    private static func requireDeterminism(
        of type: any Reward.Type, _ caching: ScoreCaching, _ values: RewardSettings
    ) throws(RewardError) {
        guard caching.isWanted, !type.isDeterministic else { return }
        throw values.wrong("cache", expected: "nothing: \(type) does not declare that it is deterministic")
    }

    private static func remoteSettings(
        _ address: String, _ values: inout RewardSettings, _ timeoutSeconds: Double
    ) throws(RewardError) -> HTTPRewardSettings {
        let host = URLComponents(string: address)?.host ?? address
        var remote = HTTPRewardSettings(name: try name(&values, or: host), url: address)
        remote.timeoutSeconds = try values.number("timeout", default: timeoutSeconds, in: 0.001...1e6)
        remote.concurrency = try values.integer("concurrency", default: remote.concurrency, in: 1...256)
        remote.tries = try values.integer("tries", default: remote.tries, in: 1...100)
        remote.referenceColumn = try optionalText("reference_column", &values)
        try values.refuseUnasked()
        return remote
    }

    private static func pythonSettings(
        _ target: String, _ values: inout RewardSettings, _ timeoutSeconds: Double
    ) throws(RewardError) -> PythonRewardSettings {
        var python = PythonRewardSettings(target: target)
        python.name = try optionalText("metric_name", &values)
        let style = try values.choice(
            "style", of: ["auto"] + PythonRewardStyle.allCases.map(\.rawValue), default: "auto")
        python.style = PythonRewardStyle(rawValue: style)
        python.settings = try values.section("settings")
        python.python = try values.text("python", default: python.python)
        python.process = try processSettings(&values, timeoutSeconds)
        python.referenceColumn = try optionalText("reference_column", &values)
        return python
    }

    private static func processSettings(
        _ values: inout RewardSettings, _ timeoutSeconds: Double
    ) throws(RewardError) -> ProcessSettings {
        var process = ProcessSettings()
        process.timeoutSeconds = try values.number("timeout", default: timeoutSeconds, in: 0.001...1e6)
        process.startSeconds = try values.number("start_timeout", default: process.startSeconds, in: 0.001...1e6)
        process.workers = try values.integer("workers", default: process.workers, in: 1...256)
        let gigabytes = try values.number(
            "memory_gb", default: Double(process.memoryBytes) / 1e9, in: 0.02...1_000_000)
        process.memoryBytes = Int(gigabytes * 1e9)
        let seconds = try values.integer("cpu_seconds", default: 0, in: 0...1_000_000_000)
        process.cpuSeconds = seconds == 0 ? nil : seconds
        let sandbox = try values.choice(
            "sandbox", of: SandboxPolicy.allCases.map(\.rawValue), default: SandboxPolicy.off.rawValue)
        process.sandbox = SandboxPolicy(rawValue: sandbox) ?? .off
        process.passedVariables = try values.texts("pass_environment", default: [])
        return process
    }

    private static func name(_ values: inout RewardSettings, or fallback: String) throws(RewardError) -> String {
        try optionalText("metric_name", &values) ?? fallback
    }

    private static func optionalText(_ name: String, _ values: inout RewardSettings) throws(RewardError) -> String? {
        let text = try values.text(name, default: "")
        return text.isEmpty ? nil : text
    }

    /// A relative Python file as it lies beside the job file, when it does.
    private static func placed(_ target: String, in folder: String?) -> String {
        guard let folder, !target.hasPrefix("/"), let colon = target.lastIndex(of: ":") else { return target }
        let path = URL(fileURLWithPath: folder).appendingPathComponent(String(target[..<colon])).path
        return FileManager.default.fileExists(atPath: path) ? path + target[colon...] : target
    }

    /// `python3 tools/brevity.py --fast` is called `brevity`.
    private static func stem(of line: String) -> String {
        let words = line.split(separator: " ").filter { !$0.hasPrefix("-") }
        let word = words.first { $0.contains("/") || $0.contains(".") } ?? words.first ?? "command"
        let file = word.split(separator: "/").last ?? word
        return String(file.split(separator: ".").first ?? file)
    }
}
