import Foundation
package import JSON
package import Records
package import RewardInterface
import Synchronization

/// A reward behind an HTTP address, in OpenRLHF's form.
package struct HTTPRewardSettings: Sendable {
    package var name: String
    /// `http://host:port/path`.
    package var url: String
    /// The time limit of one call with all its tries, from the moment it is sent.
    package var timeoutSeconds: Double = 60
    /// Calls under way at once.
    package var concurrency = 8
    /// Tries of one call before it fails.
    package var tries = 5
    /// How long calls wait for a server from the moment it has gone away, whatever the number of tries; 0 for no longer
    /// than those.
    package var outageSeconds: Double = 300
    /// The column with the reference (`labels`); the usual ones by default, null where the row has none.
    package var referenceColumn: String?

    package init(name: String, url: String) {
        self.name = name
        self.url = url
    }
}

/// An HTTP endpoint as a ``RewardSource``: one POST per group.
///
///     out   {"query":[prompt + completion…],"prompts":[…],"labels":[…]}
///     back  {"rewards":[…],"scores":[…]?,"extra_logs":{…}?}
///
/// A dropped connection and the answers 408, 425, 429, 500, 502, 503 and 504 are tried again, after a pause drawn
/// between 0 and 0.25 s · 2^try (at most 8 s). Any other answer but 200 fails at once. A server that refuses or drops
/// connections, or has 502, 503 or 504 said for it, is away: a restart must not end a run, so that calls wait for it
/// beyond their tries and their time limit. One that finds it away again after it answered others has that counted as a
/// try: the request itself may be what it cannot bear. `scores` and lists of `extra_logs` with a value for each
/// completion become columns of the completions file, numbers of `extra_logs` become metrics.
package final class HTTPReward: RewardSource {
    package let names: [String]
    package var readsRenderedPrompts: Bool { true }
    private let exchange: HTTPExchange
    private let settings: HTTPRewardSettings
    private let slots: Slots<Void>
    private let note: @Sendable (String) -> Void
    /// That the server is away, which all calls find out; `nil` while it answers.
    private let outage = Mutex<Outage?>(nil)

    private struct Outage {
        let since: ContinuousClock.Instant
        var isSaid = false
    }

    /// - Parameter note: Is told, once an outage, when calls wait for the server beyond their tries.
    /// - Throws: ``RewardError`` for an address that is none or a host that is unknown. Whether the server runs shows
    ///   later.
    package init(
        _ settings: HTTPRewardSettings, note: @escaping @Sendable (String) -> Void = { _ in }
    ) throws(RewardError) {
        func require(_ holds: Bool, _ name: String, _ found: Any, _ expected: String) throws(RewardError) {
            guard !holds else { return }
            throw .wrongSetting(reward: settings.name, name: name, found: "\(found)", expected: expected)
        }
        let seconds = settings.timeoutSeconds
        try require(seconds > 0 && seconds < 1e6, "timeout", seconds, "seconds above 0")
        try require((1...256).contains(settings.concurrency), "concurrency", settings.concurrency, "between 1 and 256")
        try require((1...100).contains(settings.tries), "tries", settings.tries, "between 1 and 100")
        let wait = settings.outageSeconds
        try require(wait >= 0 && wait < 1e6, "outage_seconds", wait, "seconds, 0 for no waiting")
        exchange = try HTTPExchange(settings.url, reward: settings.name, concurrency: settings.concurrency)
        names = [settings.name]
        self.settings = settings
        self.note = note
        slots = Slots(Array(repeating: (), count: settings.concurrency))
    }

    package func check(_ prompt: Prompt) throws(RewardError) {
        _ = try PythonRequests.labels(of: prompt, column: settings.referenceColumn)
    }

    package func arguments(for prompt: TokenizedPrompt) throws(RewardError) -> [(name: String, value: JSONValue)]? {
        PythonRequests.openRLHFArguments(
            prompt, try PythonRequests.labels(of: prompt.prompt, column: settings.referenceColumn))
    }

    package func score(_ group: RolloutGroup, at progress: TrainingProgress) async throws -> GroupScores {
        let prompt = group.prompt
        let reference = try PythonRequests.labels(of: prompt.prompt, column: settings.referenceColumn)
        let answer = try await ask(group.rollouts.map(\.completion), prompt, reference)
        var greedy: [RewardScore]?
        if let rollout = group.greedy { greedy = try await ask([rollout.completion], prompt, reference).scores }
        return GroupScores(
            scores: answer.scores.map { [$0] }, greedyScores: greedy, extraColumns: answer.extraColumns,
            metrics: answer.metrics)
    }

    private func ask(
        _ completions: [Completion], _ prompt: TokenizedPrompt, _ reference: JSONValue
    ) async throws -> HostAnswer {
        guard !completions.isEmpty else { return HostAnswer([]) }
        var line = JSONLine()
        let members = PythonRequests.openRLHF(completions[...], prompt, reference, queriesName: "query")
        line.object(members.filter { $0.0 != "completions" })
        let body = line.bytes
        return try await slots.lend { try await tried(body, completions.count).visible }
    }

    // MARK: Tries

    private static let transientStatuses: Set = [408, 425, 429, 500]
    /// Said by what stands before a server that is not there.
    private static let awayStatuses: Set = [502, 503, 504]

    private func tried(_ body: [UInt8], _ count: Int) async throws -> HostAnswer {
        var deadline = ContinuousClock.now + .seconds(settings.timeoutSeconds)
        /// Until when the call waits for a server that is away, however often that goes.
        var patience: ContinuousClock.Instant?
        /// When the outage began that the call met last.
        var met: ContinuousClock.Instant?
        /// All tries, and those that count: not the ones to which nobody was there.
        var (attempts, counted) = (0, 0)
        while true {
            let sent = ContinuousClock.now
            let problem: HTTPExchange.Problem
            do {
                let answer = try await once(body, count, deadline)
                hasAnswered(sent)
                return answer
            } catch let error as HTTPExchange.Problem {
                problem = error
            }
            attempts += 1
            var waits = false
            switch problem.kind {
            case .late: return HostAnswer(repeating: .timedOut(seconds: settings.timeoutSeconds), count: count)
            case .lasting:
                hasAnswered(sent)
                return HostAnswer(repeating: .failed(message: problem.text), count: count)
            case .transient:
                hasAnswered(sent)
                met = nil
                counted += 1
            case .away:
                let since = findAway()
                let end = since + .seconds(settings.outageSeconds)
                let until = min(patience ?? end, end)
                let isAnother = met != nil && met != since
                (patience, met) = (until, since)
                if ContinuousClock.now >= until {
                    counted = attempts
                } else if isAnother {
                    counted += 1
                } else {
                    waits = true
                }
            }
            guard counted < settings.tries else {
                return HostAnswer(repeating: .failed(message: "\(problem.text) (\(attempts) tries)"), count: count)
            }
            let longest = min(8, 0.25 * pow(2, Double((waits ? attempts : counted) - 1)))
            let pause = Double.random(in: 0...longest)
            if waits {
                if attempts >= settings.tries, isNews() {
                    let most = String(format: "%g", settings.outageSeconds)
                    note(
                        "reward \(settings.name): \(problem.text.visible); calls wait up to \(most) s for it "
                            + "(outage_seconds)")
                }
                // The time limit is the server's to answer in, not to come back.
                deadline = .now + .seconds(pause + settings.timeoutSeconds)
            }
            guard ContinuousClock.now + .seconds(pause) < deadline else {
                return HostAnswer(repeating: .timedOut(seconds: settings.timeoutSeconds), count: count)
            }
            try await Task.sleep(for: .seconds(pause))
        }
    }

    /// Ends the outage, unless the call was sent before it: one that stops may still answer what it has begun.
    private func hasAnswered(_ sent: ContinuousClock.Instant) {
        outage.withLock { outage in
            guard let since = outage?.since, since <= sent else { return }
            outage = nil
        }
    }

    /// Begins an outage where there is none.
    ///
    /// - Returns: Since when the server is away.
    private func findAway() -> ContinuousClock.Instant {
        outage.withLock { outage in
            let known = outage ?? Outage(since: .now)
            outage = known
            return known.since
        }
    }

    /// Whether the outage is there and nothing was said of it; it counts as said from then on.
    private func isNews() -> Bool {
        outage.withLock { outage in
            guard outage?.isSaid == false else { return false }
            outage?.isSaid = true
            return true
        }
    }

    private func once(
        _ body: [UInt8], _ count: Int, _ deadline: ContinuousClock.Instant
    ) async throws -> HostAnswer {
        let answer = try await exchange.post(body, by: deadline)
        let start = String(decoding: answer.body.prefix(300), as: UTF8.self)
        guard answer.status == 200 else {
            let kind: HTTPExchange.Problem.Kind =
                Self.awayStatuses.contains(answer.status)
                ? .away : Self.transientStatuses.contains(answer.status) ? .transient : .lasting
            let moved = answer.location.map { "it has moved to \($0); give that address. It says: " } ?? ""
            throw HTTPExchange.Problem(kind: kind, text: "\(settings.url) answered \(answer.status): \(moved)\(start)")
        }
        do {
            return try JSONDecoder().decode(EndpointReply.self, from: answer.body).answer(count: count)
        } catch {
            throw HTTPExchange.Problem(
                kind: .lasting, text: "\(settings.url) answered '\(start)' instead of a JSON object with 'rewards'")
        }
    }
}

/// What an endpoint in OpenRLHF's form answers.
private struct EndpointReply: Decodable {
    let rewards: [HostReply.LooseNumber]
    let scores: [JSONValue]?
    let extra_logs: [String: JSONValue]?

    func answer(count: Int) -> HostAnswer {
        // One value a completion is a column, one of all a metric: as the host does with a function's.
        var extra = (extra_logs ?? [:]).compactMapValues(\.elements)
        if let scores { extra["scores"] = scores }
        let reply = HostReply(
            id: nil, scores: rewards, states: nil, errors: nil, extra: extra, metrics: extra_logs)
        return reply.answer(count: count)
    }
}
