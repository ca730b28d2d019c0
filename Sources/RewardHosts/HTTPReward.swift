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
    /// How long a call waits for a server that has gone away, whatever the number of tries; 0 for no longer than those.
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
/// connections, or has 502, 503 or 504 said for it, is away: a restart must not end a run, so that the call waits for
/// it beyond its tries and its time limit. `scores` and lists of `extra_logs` with a value for each completion become
/// columns of the completions file, numbers of `extra_logs` become metrics.
package final class HTTPReward: RewardSource {
    package let names: [String]
    private let exchange: HTTPExchange
    private let settings: HTTPRewardSettings
    private let slots: Slots<Void>
    private let note: @Sendable (String) -> Void
    /// Whether the server was away when it was last asked: all calls find that out, and it is said once.
    private let isAway = Mutex(false)

    /// - Parameter note: Is told when calls begin to wait for the server.
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
        let outage = settings.outageSeconds
        try require(outage >= 0 && outage < 1e6, "outage_seconds", outage, "seconds, 0 for no waiting")
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
        /// Until when the call waits for a server that is away.
        var patience: ContinuousClock.Instant?
        var attempt = 0
        while true {
            let problem: HTTPExchange.Problem
            do {
                let answer = try await once(body, count, deadline)
                isAway.withLock { $0 = false }
                return answer
            } catch let error as HTTPExchange.Problem {
                problem = error
                if error.kind != .away { isAway.withLock { $0 = false } }
            }
            switch problem.kind {
            case .late: return HostAnswer(repeating: .timedOut(seconds: settings.timeoutSeconds), count: count)
            case .lasting: return HostAnswer(repeating: .failed(message: problem.text), count: count)
            case .transient: patience = nil
            case .away: patience = patience ?? ContinuousClock.now + .seconds(settings.outageSeconds)
            }
            attempt += 1
            let left: Duration = patience.map { $0 - ContinuousClock.now } ?? .zero
            guard left > .zero || attempt < settings.tries else {
                return HostAnswer(repeating: .failed(message: "\(problem.text) (\(attempt) tries)"), count: count)
            }
            let pause = Double.random(in: 0...min(8, 0.25 * pow(2, Double(attempt - 1))))
            if left > .zero {
                let isNews = isAway.withLock { isAway in
                    defer { isAway = true }
                    return !isAway
                }
                if isNews {
                    let most = String(format: "%g", settings.outageSeconds)
                    note(
                        "reward \(settings.name): \(problem.text.visible); a call waits up to \(most) s for it "
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
