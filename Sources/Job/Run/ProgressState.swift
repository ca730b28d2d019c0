package import Coordinator
package import Foundation
internal import PolicyUpdater
internal import Runs
internal import Synchronization

/// The run's own numbers in a checkpoint: steps taken, tokens read, the best step, the thread count.
package final class ProgressState: Checkpointable {
    package let stateName = "run"
    private let content: Mutex<Content>
    private let ranking: Ranking?
    private let restoreNotices = Mutex<[String]>([])

    /// What makes one checkpoint better than another.
    package struct Ranking: Sendable, Equatable, Codable {
        let metric: String
        let isGreater: Bool

        package init(metric: String, isGreater: Bool) {
            self.metric = metric
            self.isGreater = isGreater
        }

        fileprivate var words: String { "\(metric), where \(isGreater ? "more" : "less") is better" }
    }

    private struct Content: Codable {
        var progress = RunProgress()
        var bestStep: Int?
        var bestValue: Double?
        /// What the best step is best in; `nil` where there is none, and in checkpoints from before this was kept.
        var bestBy: Ranking?
        /// Sums are formed in an order that depends on it: another count gives another run, to rounding.
        var threads: Int

        /// What no run can have written: counting on from there would overflow, or begin in the middle of nowhere.
        var problem: String? {
            let counts = [
                ("step", progress.step), ("rolloutStep", progress.rolloutStep), ("tokens", progress.tokens),
                ("threads", threads), ("bestStep", bestStep ?? 0), ("unconcludedSince", progress.unconcludedSince ?? 0),
                ("newestSince", progress.newestSince ?? 0),
            ]
            if let (name, count) = counts.first(where: { !OptimizerCounters.plausible.contains($0.1) }) {
                return "\(name) is \(count); this is no saved progress"
            }
            let beginnings = [
                ("unconcludedSince", progress.unconcludedSince), ("newestSince", progress.newestSince),
            ]
            guard let (name, since) = beginnings.first(where: { $0.1 ?? 0 > progress.step }) else { return nil }
            return "\(name) is \(since ?? 0), beyond step \(progress.step); this is no saved progress"
        }
    }

    /// - Parameter ranking: How this start ranks its checkpoints; `nil` where it does not.
    package init(threads: Int, ranking: Ranking? = nil) {
        content = Mutex(Content(threads: threads))
        self.ranking = ranking
    }

    /// What a person should read of what was restored.
    package var notices: [String] { restoreNotices.withLock { $0 } }

    package var progress: RunProgress { content.withLock(\.progress) }
    package var threads: Int { content.withLock(\.threads) }
    package var best: (step: Int, value: Double)? {
        content.withLock { content in
            guard let step = content.bestStep, let value = content.bestValue else { return nil }
            return (step, value)
        }
    }

    /// Takes the numbers of the save that follows.
    func take(_ progress: RunProgress, best: (step: Int, value: Double)?) {
        content.withLock { content in
            content.progress = progress
            content.bestStep = best?.step
            content.bestValue = best?.value
            // A start that ranks nothing keeps the best that it was given, and what that is best in.
            if let ranking { content.bestBy = best == nil ? nil : ranking }
        }
    }

    /// Takes no step for the best one any more.
    func forgetBest() { content.withLock { ($0.bestStep, $0.bestValue) = (nil, nil) } }

    /// Uses another number of threads from here on.
    func use(threads: Int) { content.withLock { $0.threads = threads } }

    package func save(to folder: URL) async throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys  // equal states are equal files
        let data = try encoder.encode(content.withLock { $0 })
        try FileOperations.system.writeFile(Array(data), folder.appending(path: "progress.json"))
    }

    package func restore(from folder: URL) async throws {
        let file = folder.appending(path: "progress.json")
        do {
            var restored = try JSONDecoder().decode(Content.self, from: try Data(contentsOf: file))
            if let problem = restored.problem { throw JobError(place: file.path, message: problem) }
            if let ranking, let earlier = restored.bestBy, earlier != ranking {
                (restored.bestStep, restored.bestValue, restored.bestBy) = (nil, nil, nil)
                restoreNotices.withLock {
                    $0.append(
                        "note: the checkpoint's run ranked by \(earlier.words), this start ranks by \(ranking.words): "
                            + "ranking begins anew")
                }
            }
            let taken = restored
            content.withLock { $0 = taken }
        } catch let error as JobError {
            throw error
        } catch {
            throw JobError(place: file.path, message: "this is no saved progress: \(error)")
        }
    }
}
