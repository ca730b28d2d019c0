package import Foundation
internal import Records
internal import RewardHosts
package import RewardInterface
internal import RewardModels
internal import ShippedRewards

/// Turns the entries of `reward_funcs` into sources of scores.
package struct RewardAssembly {
    /// Relative paths of entries start here.
    private let folder: URL
    /// Relative files of caches lie here.
    private let cacheFolder: URL
    private let timeoutSeconds: Double
    private let waitsForServers: Bool
    private let log: RewardLog
    private let note: @Sendable (String) -> Void

    /// - Parameters:
    ///   - runFolder: Where relative files of caches lie, and `reward_logs`; without a run `folder`, and standard
    ///     error.
    ///   - waitsForServers: Whether a call waits for a server that is away; else, as where a reward is only tried, it fails
    ///     after its tries, unless the entry says otherwise.
    ///   - note: Takes what the user should know of a reward that works; by default standard error.
    package init(
        folder: URL, runFolder: URL? = nil, timeoutSeconds: Double, waitsForServers: Bool = true,
        note: @escaping @Sendable (String) -> Void = Self.sayOnStandardError
    ) {
        self.folder = folder
        cacheFolder = runFolder ?? folder
        log = runFolder.map { .folder($0.appending(path: "reward_logs").path) } ?? .standardError
        self.timeoutSeconds = timeoutSeconds
        self.waitsForServers = waitsForServers
        self.note = note
    }

    /// Beside what the rewards print there themselves.
    @Sendable package static func sayOnStandardError(_ text: String) {
        // Where nobody reads it nobody is told.
        try? FileHandle.standardError.write(contentsOf: Data("note: \(text)\n".utf8))
    }

    /// - Throws: `RewardError` for an entry that is unknown, has wrong settings, or cannot start.
    package func source(of entry: JobReward) async throws -> any RewardSource {
        if let model = entry.modelReference {
            var values = SettingsReader("reward \(entry.reference)", values: entry.settings)
            let caching = ScoreCaching(reading: &values)
            let settings = try RewardModelSettings(model, reading: &values, base: folder)
            try values.finishReward()
            let reward = try await ModelReward.open(settings)
            return try await caching.applied(to: reward, identity: reward.identity, folder: cacheFolder.path)
        }
        return try await RewardOpening.open(
            entry.reference, settings: entry.settings, catalogue: ShippedRewards.catalogue, baseFolder: folder.path,
            cacheFolder: cacheFolder.path, timeoutSeconds: timeoutSeconds, waitsForServers: waitsForServers, log: log,
            note: note)
    }

    /// Checks the entries as far as that starts nothing: names, settings of rewards of this process, and Python files.
    ///
    /// - Parameter folder: Relative paths of entries start here.
    /// - Throws: `RewardError` for an entry that is unknown, has wrong settings or no file.
    static func check(_ entries: [JobReward], folder: URL) throws(RewardError) {
        for entry in entries where entry.modelReference == nil {
            try RewardOpening.check(
                entry.reference, settings: entry.settings, catalogue: ShippedRewards.catalogue, baseFolder: folder.path)
        }
    }

    /// Every entry's source behind one panel. What was opened is closed again when a later entry cannot be.
    package func panel(_ entries: [JobReward], errorRate: Double) async throws -> RewardPanel {
        var sources: [any RewardSource] = []
        do {
            for entry in entries { sources.append(try await source(of: entry)) }
            if sources.allSatisfy({ $0.names.count == 1 }),
                let problem = entries.sharedName(sources.map { $0.names[0] })
            {
                throw JobError(place: "the rewards", message: problem)
            }
            return try RewardPanel(sources, errorRate: errorRate)
        } catch {
            for source in sources { await source.close() }
            throw error
        }
    }
}
