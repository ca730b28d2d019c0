import Foundation
import JSON
import Records
import RewardInterface

/// One piece of work for a reward's process: some completions of one prompt.
struct HostCall: Sendable {
    /// How many completions.
    let count: Int
    /// Whether the program answers each completion with a line of its own, in order; then each has its own time limit.
    let answersSingly: Bool
    /// The request for the completions from `first` on, without braces and id.
    let body: @Sendable (_ first: Int) -> [UInt8]
}

/// What a program answered for one call.
struct HostAnswer: Sendable, Equatable {
    /// One per completion.
    var scores: [RewardScore]
    var extraColumns: [String: [JSONValue]] = [:]
    var metrics: [String: Double] = [:]

    init(_ scores: [RewardScore]) { self.scores = scores }

    init(repeating score: RewardScore, count: Int) { scores = Array(repeating: score, count: count) }

    /// The answer with notes that may be shown on a terminal.
    var visible: HostAnswer {
        var answer = self
        answer.scores = scores.map { score in
            switch score {
            case .failed(let message): .failed(message: message.visible)
            case .abstained(let reason): .abstained(reason: reason.visible)
            case .scored, .timedOut: score
            }
        }
        return answer
    }
}

/// One answer line: `{"id":1,"scores":[…],"states":[…],"errors":[…],"extra":{…},"metrics":{…}}`. Only `scores` is
/// required.
///
/// A score of null means "not scored". `states` is `ok`, `na`, `error` or `timeout` per completion.
struct HostReply: Decodable {
    let id: Int?
    let scores: [LooseNumber]
    let states: [String]?
    let errors: [String?]?
    let extra: [String: [JSONValue]]?
    let metrics: [String: JSONValue]?

    /// A number, null, or what was found instead.
    enum LooseNumber: Decodable {
        case number(Double)
        case null
        case other(String)

        init(from decoder: any Decoder) throws {
            let container = try decoder.singleValueContainer()
            if container.decodeNil() {
                self = .null
            } else if let number = try? container.decode(Double.self) {  // a mismatch is what this type is for
                self = .number(number)
            } else if let flag = try? container.decode(Bool.self) {  // as above
                self = .number(flag ? 1 : 0)
            } else {
                self = .other((try? container.decode(String.self)).map { "\"\($0)\"" } ?? "no number")  // as above
            }
        }
    }

    /// The scores of `count` completions, or why the line holds none.
    func answer(count: Int) -> HostAnswer {
        guard scores.count == count else {
            return HostAnswer(
                repeating: .failed(message: "the reward returned \(scores.count) scores for \(count) completions"),
                count: count)
        }
        var answer = HostAnswer(scores.indices.map(score))
        answer.extraColumns = (extra ?? [:]).filter { $0.value.count == count }
        answer.metrics = (metrics ?? [:]).compactMapValues(\.number)
        return answer
    }

    private func score(_ index: Int) -> RewardScore {
        let error = errors.flatMap { $0.indices.contains(index) ? $0[index] : nil }
        let state = states.flatMap { $0.indices.contains(index) ? $0[index] : nil }
        if state == "error" || state == "timeout" {
            return .failed(message: error ?? "the reward reported a \(state!)")
        }
        switch scores[index] {
        case .number(let number): return .value(number)
        case .null: return .abstained(reason: error ?? "the reward gave no score")
        case .other(let found): return .failed(message: "the reward returned \(found.shortened(to: 80)), not a number")
        }
    }
}
