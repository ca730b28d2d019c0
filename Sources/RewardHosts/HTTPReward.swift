import Foundation
package import JSON
package import Records
package import RewardInterface

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
/// between 0 and 0.25 s · 2^try (at most 8 s). Any other answer but 200 fails at once. `scores` becomes a column of the
/// completions file, numbers of `extra_logs` become metrics.
package final class HTTPReward: RewardSource {
    package let names: [String]
    private let exchange: HTTPExchange
    private let settings: HTTPRewardSettings
    private let slots: Slots<Void>

    /// - Throws: ``RewardError`` for an address that is none or a host that is unknown. Whether the server runs shows
    ///   later.
    package init(_ settings: HTTPRewardSettings) throws(RewardError) {
        func require(_ holds: Bool, _ name: String, _ found: Any, _ expected: String) throws(RewardError) {
            guard !holds else { return }
            throw .wrongSetting(reward: settings.name, name: name, found: "\(found)", expected: expected)
        }
        let seconds = settings.timeoutSeconds
        try require(seconds > 0 && seconds < 1e6, "timeout", seconds, "seconds above 0")
        try require((1...256).contains(settings.concurrency), "concurrency", settings.concurrency, "between 1 and 256")
        try require((1...100).contains(settings.tries), "tries", settings.tries, "between 1 and 100")
        exchange = try HTTPExchange(settings.url, reward: settings.name, concurrency: settings.concurrency)
        names = [settings.name]
        self.settings = settings
        slots = Slots(Array(repeating: (), count: settings.concurrency))
    }

    package func check(_ prompt: Prompt) throws(RewardError) {
        _ = try PythonRequests.labels(of: prompt, column: settings.referenceColumn)
    }

    package func arguments(for prompt: Prompt) throws(RewardError) -> [(name: String, value: JSONValue)]? {
        PythonRequests.openRLHFArguments(
            prompt, try PythonRequests.labels(of: prompt, column: settings.referenceColumn))
    }

    package func score(_ group: RolloutGroup, at progress: TrainingProgress) async throws -> GroupScores {
        let prompt = group.prompt.prompt
        let reference = try PythonRequests.labels(of: prompt, column: settings.referenceColumn)
        let answer = try await ask(group.rollouts.map(\.completion), prompt, reference)
        var greedy: [RewardScore]?
        if let rollout = group.greedy { greedy = try await ask([rollout.completion], prompt, reference).scores }
        return GroupScores(
            scores: answer.scores.map { [$0] }, greedyScores: greedy, extraColumns: answer.extraColumns,
            metrics: answer.metrics)
    }

    private func ask(
        _ completions: [Completion], _ prompt: Prompt, _ reference: JSONValue
    ) async throws -> HostAnswer {
        guard !completions.isEmpty else { return HostAnswer([]) }
        var line = JSONLine()
        let members = PythonRequests.openRLHF(completions[...], prompt, reference, queriesName: "query")
        line.object(members.filter { $0.0 != "completions" })
        let body = line.bytes
        return try await slots.lend { try await tried(body, completions.count).visible }
    }

    // MARK: Tries

    private static let transientStatuses: Set = [408, 425, 429, 500, 502, 503, 504]

    private func tried(_ body: [UInt8], _ count: Int) async throws -> HostAnswer {
        let deadline = ContinuousClock.now + .seconds(settings.timeoutSeconds)
        var reason = ""
        for attempt in 0..<settings.tries {
            do {
                return try await once(body, count, deadline)
            } catch let error as HTTPExchange.Problem {
                switch error.kind {
                case .late: return HostAnswer(repeating: .timedOut(seconds: settings.timeoutSeconds), count: count)
                case .lasting: return HostAnswer(repeating: .failed(message: error.text), count: count)
                case .transient: reason = error.text
                }
            }
            guard attempt + 1 < settings.tries else { break }
            let pause = Double.random(in: 0...min(8, 0.25 * pow(2, Double(attempt))))
            guard ContinuousClock.now + .seconds(pause) < deadline else {
                return HostAnswer(repeating: .timedOut(seconds: settings.timeoutSeconds), count: count)
            }
            try await Task.sleep(for: .seconds(pause))
        }
        return HostAnswer(repeating: .failed(message: "\(reason) (\(settings.tries) tries)"), count: count)
    }

    private func once(
        _ body: [UInt8], _ count: Int, _ deadline: ContinuousClock.Instant
    ) async throws -> HostAnswer {
        let answer = try await exchange.post(body, by: deadline)
        let start = String(decoding: answer.body.prefix(300), as: UTF8.self)
        guard answer.status == 200 else {
            let kind: HTTPExchange.Problem.Kind = Self.transientStatuses.contains(answer.status) ? .transient : .lasting
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
        let extra = scores.map { ["scores": $0] }
        let reply = HostReply(
            id: nil, scores: rewards, states: nil, errors: nil, extra: extra,
            metrics: extra_logs?.compactMapValues { value in value.number.map { JSONValue.number($0) } })
        return reply.answer(count: count)
    }
}
