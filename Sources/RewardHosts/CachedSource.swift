import Foundation
package import JSON
package import Records
package import RewardInterface
import Runs

/// Asks a source only for completions it has not scored before.
///
/// For rewards whose score depends on the prompt, its columns and the completion alone: not on the other completions of
/// the group, on the step, or on chance. Failures are asked again. Metrics that the source reports count the
/// completions it was asked for; `rewards/{name}/cache_hit_rate` is the share of a group that it was not.
package final class CachedSource: RewardSource {
    package var names: [String] { source.names }
    package var readsTokenIDs: Bool { source.readsTokenIDs }
    package var readsRenderedPrompts: Bool { source.readsRenderedPrompts }
    package var reportsMetrics: Bool { source.reportsMetrics }
    private let source: any RewardSource
    private let cache: ScoreCache

    package init(_ source: any RewardSource, cache: ScoreCache) {
        self.source = source
        self.cache = cache
    }

    package func score(_ group: RolloutGroup, at progress: TrainingProgress) async throws -> GroupScores {
        // A text that it does not read is no part of the question.
        var prompt = group.prompt
        if !readsRenderedPrompts { prompt.rendered = nil }
        let keys = group.rollouts.map { cache.key(of: $0.completion, for: prompt) }
        let greedyKey = group.greedy.map { cache.key(of: $0.completion, for: prompt) }
        var known: [String: ScoreCache.Entry] = [:]
        for key in keys + [greedyKey].compactMap(\.self) { known[key] = try cache.entry(for: key, scores: names.count) }

        // Each text once.
        var asked: [String: Int] = [:]
        var missing = group
        missing.rollouts = []
        for (key, rollout) in zip(keys, group.rollouts) where known[key] == nil && asked[key] == nil {
            asked[key] = missing.rollouts.count
            missing.rollouts.append(rollout)
        }
        if let key = greedyKey, known[key] != nil || asked[key] != nil { missing.greedy = nil }
        let isAsked = !missing.rollouts.isEmpty || missing.greedy != nil
        let answer = isAsked ? try await source.score(missing, at: progress) : GroupScores(scores: [])

        var whole = GroupScores(scores: [], metrics: answer.metrics)
        for (index, key) in keys.enumerated() {
            let entry = known[key]
            whole.scores.append(entry?.row ?? asked[key].map { answer.scores[$0] } ?? [])
            for (name, value) in entry?.columns ?? asked[key].map(answer.columns) ?? [:] {
                whole.extraColumns[name, default: Array(repeating: .null, count: keys.count)][index] = value
            }
        }
        whole.greedyScores = greedyKey.map { key in
            known[key]?.row ?? asked[key].map { answer.scores[$0] } ?? answer.greedyScores ?? []
        }
        try keep(answer, asked, greedyKey)
        let hits = keys.count - missing.rollouts.count
        for name in names {
            whole.metrics["rewards/\(name)/cache_hit_rate"] = Double(hits) / Double(max(keys.count, 1))
        }
        return whole
    }

    private func keep(_ answer: GroupScores, _ asked: [String: Int], _ greedyKey: String?) throws {
        for (key, index) in asked.sorted(by: { $0.value < $1.value }) {
            guard let entry = ScoreCache.Entry(answer.scores[index], columns: answer.columns(of: index)) else {
                continue
            }
            try cache.keep(entry, for: key)
        }
        if let greedyKey, let row = answer.greedyScores, let entry = ScoreCache.Entry(row, columns: [:]) {
            try cache.keep(entry, for: greedyKey)
        }
    }

    package func answers(in group: RolloutGroup) throws(RewardError) -> [[String?]?] { try source.answers(in: group) }

    package func check(_ prompt: Prompt) throws(RewardError) { try source.check(prompt) }

    package func arguments(for prompt: TokenizedPrompt) throws(RewardError) -> [(name: String, value: JSONValue)]? {
        try source.arguments(for: prompt)
    }

    package func close() async { await source.close() }
}

extension GroupScores {
    /// The extra columns of one completion.
    fileprivate func columns(of index: Int) -> [String: JSONValue] { extraColumns.mapValues { $0[index] } }
}

/// What an entry of `reward_funcs` says of a cache: `cache: true`, or `cache_file: name`.
package struct ScoreCaching: Sendable, Equatable {
    /// The settings' names: they are no part of what a reward's score depends on.
    package static let settings: Set = ["cache", "cache_file"]

    /// Whether there is to be one.
    package let isWanted: Bool
    /// A file to keep it in, relative to the run's folder.
    package let file: String?

    package init(reading values: inout SettingsReader) {
        let path = values.read(
            "cache_file", default: "", "A file that keeps the scores, relative to the run's folder.")
        file = path.isEmpty ? nil : path
        isWanted = values.read("cache", default: file != nil, "Whether scores are kept and reused.")
        values.check(isWanted || file == nil, "cache", "true, or no cache_file")
    }

    /// The source behind a cache, when one is wanted.
    ///
    /// - Parameters:
    ///   - identity: Tells the source's code and settings from others.
    ///   - folder: Where a relative `cache_file` lies.
    /// - Throws: `RunError` when the file cannot be used; the source is closed then.
    package func applied(
        to source: any RewardSource, identity: String, folder: String?
    ) async throws -> any RewardSource {
        guard isWanted else { return source }
        do {
            return CachedSource(source, cache: try ScoreCache(source: identity, file: try url(in: folder)))
        } catch {
            await source.close()
            throw error
        }
    }

    /// Where the file is to be, its folder made.
    private func url(in folder: String?) throws -> URL? {
        guard let file else { return nil }
        let base = URL(filePath: folder ?? FileManager.default.currentDirectoryPath, directoryHint: .isDirectory)
        let url = URL(filePath: file, relativeTo: base).absoluteURL
        guard !RunFolder.ownFiles.contains(where: { base.appending(path: $0).resolvedPath == url.resolvedPath }) else {
            throw RunError.folder(
                path: url.path, message: "is a file that the run writes itself; name another as cache_file")
        }
        try FileOperations.system.createFolder(url.deletingLastPathComponent())
        return url
    }
}
