import Records
import RewardInterface
import Synchronization

/// Answers by what was asked: the hash of the reward's source, and the whole request (prompt, columns, completions).
///
/// Only answers without failures are kept. Bounded: when the younger half is full, the older half is forgotten.
final class ScoreCache: Sendable {
    private struct Halves {
        var young: [Key: HostAnswer] = [:]
        var old: [Key: HostAnswer] = [:]
        var youngBytes = 0
        var hits = 0
    }

    private struct Key: Hashable {
        let source: String
        let request: [UInt8]
    }

    private let halves = Mutex(Halves())
    private let source: String
    private let byteLimit: Int

    /// - Parameter byteLimit: Roughly what both halves may hold, in bytes of requests.
    init(source: String, byteLimit: Int = 256 << 20) {
        self.source = source
        self.byteLimit = byteLimit
    }

    /// How many requests were answered from here.
    var hits: Int { halves.withLock { $0.hits } }

    func answer(to request: [UInt8]) -> HostAnswer? {
        let key = Key(source: source, request: request)
        return halves.withLock { halves in
            guard let answer = halves.young[key] ?? halves.old[key] else { return nil }
            halves.hits += 1
            return answer
        }
    }

    func keep(_ answer: HostAnswer, for request: [UInt8]) {
        guard !answer.scores.contains(where: \.isFailure) else { return }
        let key = Key(source: source, request: request)
        halves.withLock { halves in
            if halves.youngBytes + request.count > byteLimit / 2 {
                (halves.old, halves.young, halves.youngBytes) = (halves.young, [:], 0)
            }
            if halves.young.updateValue(answer, forKey: key) == nil { halves.youngBytes += request.count }
        }
    }
}
