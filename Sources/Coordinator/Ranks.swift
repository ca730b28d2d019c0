internal import Foundation
package import Records

/// Several processes that take the same steps, and this one's rank among them.
///
/// Each runs the same coordinator on the same job: it samples and scores its share of a step's prompts, then all have
/// the groups of all, give the same credit and take the same step. The updater divides its passes in the same way. The
/// first rank alone evaluates and saves. Where some ranks sample alone, these divide the sampling and the others the
/// rest (``RankTeam/Side``).
package protocol Ranks: Sendable {
    var rank: Int { get }
    var size: Int { get }
    /// What a call waits for the others.
    var timeout: Duration { get }
    /// Every rank's value, in the order of ranks: returns when each has made the same call.
    func exchange<Value: Codable & Sendable>(_ value: Value) async throws -> [Value]
}

extension Ranks {
    /// Whether this process speaks for all: it evaluates, saves and shows.
    package var isFirst: Bool { rank == 0 }

    /// What this rank does of work that is divided.
    func share<Element>(of all: [Element]) -> [Element] {
        all.enumerated().filter { $0.offset % size == rank }.map(\.element)
    }
}

/// What came of one rank's part of the work that all wait for.
private enum RankOutcome<Value: Codable & Sendable>: Codable, Sendable {
    case done(Value)
    case stopped
    case notFinite(NotFinite)
    case failed(String)
}

/// The ranks of a run, and how they stop together.
///
/// A stop is asked of one process; the others learn of it in the next exchange, and then all leave the step in the same
/// place: a rank that left alone would keep the others waiting.
package struct RankTeam: Sendable {
    /// What of a step a rank does.
    package enum Side: Sendable, Equatable {
        /// All of it.
        case whole
        /// It learns, and samples nothing.
        case training
        /// It samples and scores the next batch meanwhile.
        case sampling
    }

    package let ranks: any Ranks
    /// Ranks that divide this rank's side of a step, itself among them; `nil` where it does it alone.
    package let peers: (any Ranks)?
    package let side: Side
    /// Ranks that compute each layer of a training pass together with this rank, each with a part of it; `nil` where it
    /// has whole layers.
    package let tensorPeers: (any Ranks)?
    /// Ranks that decode together with this rank, each with a part of the layers; `nil` where it decodes alone.
    package let decodingPeers: (any Ranks)?
    /// Ranks between which weights move from the parts that are trained to those that ``decodingPeers`` sample with, this
    /// one's groups of both among them; `nil` where it decodes alone.
    package let reallocatingPeers: (any Ranks)?
    /// Ranks that train the same parts of the layers as this rank, and divide the passes; `nil` where it does so alone,
    /// or has whole layers and ``peers`` are they.
    package let replicas: (any Ranks)?
    /// Ranks of the run on this machine, which share its processors.
    package let localSize: Int
    /// Whether somebody asked this process to stop.
    package let asked: StopSignal

    /// A team in which every rank does everything, with others that share its layers where it has `tensorPeers` or
    /// `decodingPeers`: neighbours, of which each group has as many.
    package init(
        _ ranks: any Ranks, tensorPeers: (any Ranks)? = nil, decodingPeers: (any Ranks)? = nil,
        reallocatingPeers: (any Ranks)? = nil, replicas: (any Ranks)? = nil, localSize: Int, asked: StopSignal
    ) {
        self.init(
            ranks, peers: ranks, side: .whole, tensorPeers: tensorPeers, decodingPeers: decodingPeers,
            reallocatingPeers: reallocatingPeers, replicas: replicas, localSize: localSize, asked: asked)
    }

    /// A team of two sides: the first ranks train, the others sample.
    ///
    /// - Parameter peers: Those of this rank's side; `nil` for one alone.
    package init(_ ranks: any Ranks, peers: (any Ranks)?, side: Side, localSize: Int, asked: StopSignal) {
        self.init(
            ranks, peers: peers, side: side, tensorPeers: nil, decodingPeers: nil, reallocatingPeers: nil,
            replicas: nil, localSize: localSize, asked: asked)
    }

    private init(
        _ ranks: any Ranks, peers: (any Ranks)?, side: Side, tensorPeers: (any Ranks)?,
        decodingPeers: (any Ranks)?, reallocatingPeers: (any Ranks)?, replicas: (any Ranks)?, localSize: Int,
        asked: StopSignal
    ) {
        self.tensorPeers = tensorPeers
        self.decodingPeers = decodingPeers
        self.reallocatingPeers = reallocatingPeers
        self.replicas = replicas
        self.ranks = ranks
        self.peers = peers
        self.side = side
        self.localSize = localSize
        self.asked = asked
    }

    /// Whether some ranks train while others sample.
    package var isSplit: Bool { side != .whole }

    /// What this rank does of work that its side divides.
    func share<Element>(of all: [Element]) -> [Element] { peers?.share(of: all) ?? all }

    /// What this rank decodes of work that its side divides: its own share, and those of the ranks that decode together
    /// with it, all in the order of the whole.
    func decodedShare<Element>(of all: [Element]) -> [Element] {
        guard let peers, let decodingPeers else { return share(of: all) }
        let first = peers.rank - decodingPeers.rank
        let together = first..<first + decodingPeers.size
        return all.enumerated().filter { together.contains($0.offset % peers.size) }.map(\.element)
    }

    /// Every rank's part of some work, in the order of ranks.
    ///
    /// - Parameters:
    ///   - stop: Set on every rank when one of them was asked to stop.
    ///   - work: This rank's part.
    /// - Throws: On every rank when the work failed on one: `NotFinite` where one found that, else this rank's own error as
    ///   ``RankFailure/told(_:)``, `StopRequested`, or ``CoordinatorError/rank(_:message:)``. At once, and on this rank
    ///   alone, what broke in it as ``RankFailure/untold(_:)``.
    package func together<Value: Codable & Sendable>(
        _ stop: StopSignal, isolation: isolated (any Actor)? = #isolation, _ work: () async throws -> Value
    ) async throws -> [Value] {
        let values = try await outcomes(stop, over: ranks, of: work)
        try stop.check()
        return values
    }

    /// Every peer's part of some work, in the order of ranks; as ``together(_:isolation:_:)``.
    ///
    /// - Parameter stop: `nil` for work that a stop does not keep from its end.
    func amongPeers<Value: Codable & Sendable>(
        _ stop: StopSignal?, isolation: isolated (any Actor)? = #isolation, _ work: () async throws -> Value
    ) async throws -> [Value] {
        guard let peers else { return [try await work()] }
        let values = try await outcomes(stop, over: peers, of: work)
        try stop?.check()
        return values
    }

    /// Every rank's part of work that a stop does not keep from its end.
    func untilDone<Value: Codable & Sendable>(
        isolation: isolated (any Actor)? = #isolation, _ work: () async throws -> Value
    ) async throws -> [Value] {
        try await outcomes(nil, over: ranks, of: work)
    }

    /// Does what this rank does by itself, while the others do the same or wait: as long as it takes, for at every turn
    /// all tell each other that they are still there. No other call of all is made meanwhile.
    ///
    /// - Throws: What the work throws, once it has ended on all; at once where another rank is gone.
    package func patiently<Value: Sendable>(
        _ work: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        let task = Task { try await work() }
        defer { task.cancel() }  // of a rank that others have left
        var isOver = false
        while !isOver {
            let hasOwnEnded = await hasEnded(task, within: ranks.timeout / 8)
            isOver = try await !ranks.exchange(hasOwnEnded).contains(false)
        }
        return try await task.value
    }

    /// Does what is the first rank's alone, while the others wait: as long as it takes, and to its end also where another
    /// rank is gone meanwhile.
    ///
    /// - Throws: On every rank when it fails: the first one's own error there, ``CoordinatorError/rank(_:message:)`` on the
    ///   others, `NotFinite` on all.
    package func byFirst(_ work: @escaping @Sendable () async throws -> Void) async throws {
        let isFirst = ranks.isFirst
        let own = Task { if isFirst { try await work() } }
        do {
            _ = try await untilDone {
                do {
                    try await patiently { try await own.value }
                } catch {
                    _ = await own.result  // what is being written is not left half done
                    throw error
                }
                return true
            }
        } catch let failure as RankFailure {
            throw failure.error
        }
    }

    /// - Throws: ``CoordinatorError/rank(_:message:)`` where another rank would learn from something else, as rewards
    ///   that answer differently when they are asked twice would make it.
    func requireSame(_ batch: UpdateBatch) async throws {
        guard let peers else { return }
        let digests = try await peers.exchange(batch.digest)
        guard let other = digests.indices.first(where: { digests[$0] != digests[0] }) else { return }
        throw CoordinatorError.rank(other, message: "its batch differs from that of rank 0; a reward answers at random")
    }

    private func outcomes<Value: Codable & Sendable>(
        _ stop: StopSignal?, over ranks: any Ranks, isolation: isolated (any Actor)? = #isolation,
        of work: () async throws -> Value
    ) async throws -> [Value] {
        // The sampling ranks are the last of all.
        let first = side == .sampling ? self.ranks.size - ranks.size : 0
        var outcome: RankOutcome<Value>
        var failure: (any Error)?
        do {
            outcome = .done(try await work())
        } catch is StopRequested {
            outcome = .stopped
        } catch RankFailure.untold(let error) {  // whoever waits there does not come here
            throw RankFailure.untold(error)
        } catch let found as NotFinite {
            outcome = .notFinite(found)
            failure = found
        } catch {
            (outcome, failure) = (.failed("\(error)"), error)
        }
        if let stop, asked.isRequested || stop.isRequested, failure == nil { outcome = .stopped }
        let all = try await ranks.exchange(outcome)
        for case .stopped in all { stop?.request() }  // also where one broke meanwhile: all of them stop, or none
        for case .notFinite(let found) in all { throw found }  // on all of them: none comes to save
        if let failure { throw RankFailure.isEverybodys(failure) ? failure : RankFailure.told(failure) }
        var values: [Value] = []
        for (rank, outcome) in all.enumerated() {
            switch outcome {
            case .done(let value): values.append(value)
            case .stopped, .notFinite: break
            case .failed(let message): throw CoordinatorError.rank(first + rank, message: message)
            }
        }
        return values
    }
}

/// What a rank brings of a step's groups, what rewards remarked on them, and how long it decoded.
struct SampledShare: Codable, Sendable {
    let groups: [SharedGroup]
    let remarks: Data
    let seconds: Double
}

/// What one rank's side of a split step came to.
struct StepSide: Codable, Sendable {
    /// How long it worked.
    var seconds = 0.0
    /// Of a rank that trains: where the run is now, also after a failure, and what it measured.
    var progress: RunProgress?
    var metrics = Metrics()
    /// Of a rank that samples: the next batch, of which each of them has the whole, and how long it decoded and then
    /// waited for scores.
    var batch: AheadBatch?
    var decoding = 0.0
    var scoring = 0.0
    /// Why it did not come to its end.
    var failure: String?
    /// The numbers that were not finite, where that was why.
    var notFinite: NotFinite?

    mutating func fail(_ error: any Error) {
        failure = "\(error)"
        notFinite = error as? NotFinite
    }
}

/// A scored group on its way to the other ranks, or to the step that learns from it: both know its prompt.
struct SharedGroup: Codable, Sendable {
    private let rollouts: [Rollout]
    private let greedy: Rollout?
    private let version: PolicyVersion
    private let scores: [[RewardScore]]
    private let greedyScores: [RewardScore]?
    private let demonstrationScores: [RewardScore]?
    private let row: Int
    private let variant: Int

    init(_ scored: ScoredGroup) {
        let group = scored.group
        (rollouts, greedy, version) = (group.rollouts, group.greedy, group.policyVersion)
        (scores, greedyScores) = (scored.scores, scored.greedyScores)
        demonstrationScores = scored.demonstrationScores
        (row, variant) = (group.address.row, group.address.variant)
    }

    var address: GroupAddress { GroupAddress(row: row, variant: variant) }

    /// - Parameter prompt: The one with its ``address``.
    func group(of prompt: TokenizedPrompt) -> ScoredGroup {
        ScoredGroup(
            group: RolloutGroup(
                prompt: prompt, rollouts: rollouts, greedy: greedy, policyVersion: version, variant: variant),
            scores: scores, greedyScores: greedyScores, demonstrationScores: demonstrationScores)
    }
}

extension UpdateBatch {
    /// A digest of everything that is learned from; equal batches have equal digests on every machine.
    fileprivate var digest: [UInt64] {
        parts.map { part in
            var digest = mix64(part.weight.bitPattern)
            func add(_ bits: UInt64) { digest = mix64(digest ^ bits) }
            part.streamWeights.forEach { add($0.bitPattern) }
            for completion in part.groups.lazy.flatMap(\.completions) {
                add(UInt64(completion.tokenIDs.count) << 1 | (completion.isMasked ? 1 : 0))
                completion.tokenIDs.forEach { add(UInt64(bitPattern: Int64($0))) }
                completion.advantages.joined().forEach { add($0.bitPattern) }
                completion.oldLogProbabilities.forEach { add(UInt64($0.bitPattern)) }
            }
            return digest
        }
    }
}
