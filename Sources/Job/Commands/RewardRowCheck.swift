import JSON
internal import PromptSets
internal import Records
internal import RewardInterface

/// How the rows of a prompt set suit a reward, found out with an empty completion before anything is sampled.
struct RewardRowCheck: Sendable {
    let name: String
    /// Columns that make a difference to the first row's score; `nil` for a reward of another process.
    private(set) var reads: [String]?
    /// Rows that were tried: all for a reward of this process, else the first few.
    private(set) var tried = 0
    private(set) var scored = 0
    private(set) var abstained = 0
    /// Rows the reward refuses: a column is missing or holds something else.
    private(set) var refused = 0
    /// Rows on which the reward itself failed.
    private(set) var failed = 0
    /// The first reasons, with near names.
    private(set) var reasons: [String] = []
    /// What the reward is handed for the first rows, where that is not the columns by name.
    private(set) var arguments: [Int: [(name: String, value: JSONValue)]] = [:]
    private var kinds: Set<String> = []

    /// Rows that are tried with a reward of another process.
    private static let fewRows = 3
    private static let mostReasons = 3

    /// A run would stop at one of these rows.
    var hasProblem: Bool { refused > 0 || failed > 0 }

    /// - Parameters:
    ///   - shown: Rows for which ``arguments`` are kept.
    ///   - encoder: Renders the prompts in them, where the model is known.
    ///   - progress: Is told of the rows that are tried.
    init(
        _ source: any RewardSource, _ name: String, _ rows: any PromptRows, _ usable: [Int], shown: Int,
        encoder: PromptEncoder?, progress: ProgressNote
    ) async throws {
        self.name = name
        for row in usable.prefix(shown) {
            do {
                let prompt = try rows.prompt(at: row)
                arguments[row] = try source.arguments(for: Self.handed(prompt, encoder))
            } catch is RewardError {}  // a row it refuses is told of below
        }
        let index = source.names.firstIndex(of: name) ?? 0
        let isOurs = source is FunctionSource
        let all = isOurs ? usable[...] : usable.prefix(Self.fewRows)
        for row in all {
            try Task.checkCancellation()
            progress("trying \(name)", tried, all.count)
            tried += 1
            let reader = source.readsRenderedPrompts ? encoder : nil
            note(try await Self.outcome(source, index, Self.handed(rows.prompt(at: row), reader)))
        }
        if isOurs, let first = usable.first {
            reads = try await Self.columnsRead(source, index, rows.prompt(at: first))
        }
    }

    private enum Outcome {
        case score(RewardScore)
        case refusal(RewardError)

        /// The same for all rows that have the same fault.
        var kind: String {
            switch self {
            case .score(let score): "\(score)"
            case .refusal(.missingColumn(let wanted, _, _, _)): "no \(wanted)"
            case .refusal(.wrongColumn(let name, _, let expected, _)): "\(name) is not \(expected)"
            case .refusal(let error): "\(error)"
            }
        }
    }

    private mutating func note(_ outcome: Outcome) {
        let reason: String?
        switch outcome {
        case .score(let score) where score.isFailure:
            failed += 1
            reason = score.note ?? "failed without a reason"
        case .score(.abstained(let why)):
            abstained += 1
            reason = why
        case .score:
            scored += 1
            reason = nil
        case .refusal(let why):
            refused += 1
            reason = "\(why)"
        }
        guard let reason, reasons.count < Self.mostReasons, kinds.insert(outcome.kind).inserted else { return }
        reasons.append(reason)
    }

    /// The prompt as a run hands it over, without its token ids; rendered where an encoder is given.
    private static func handed(_ prompt: Prompt, _ encoder: PromptEncoder?) throws -> TokenizedPrompt {
        let rendered = try encoder.flatMap { try $0.rendered(prompt, $0.tokens(of: prompt)) }
        return TokenizedPrompt(prompt: prompt, tokenIDs: [], rendered: rendered)
    }

    private static func outcome(
        _ source: any RewardSource, _ index: Int, _ prompt: TokenizedPrompt, _ completion: String = ""
    ) async throws -> Outcome {
        let rollout = Rollout(
            completion: Completion(text: completion), samplingLogProbabilities: [], policyLogProbabilities: [],
            sample: 0)
        let group = RolloutGroup(
            prompt: prompt, rollouts: [rollout], policyVersion: PolicyVersion(0))
        do {
            return .score(try await source.score(group, at: TrainingProgress()).scores[0][index])
        } catch let error as RewardError {
            return .refusal(error)
        }
    }

    /// A completion that a reward about answers or about thoughts finds something in.
    private static let probe = "<think>\n1\n</think>\n<answer>1</answer> \\boxed{1}"

    /// Columns that change the outcome when they go, or when they alone are there (one of several that would do).
    private static func columnsRead(
        _ source: any RewardSource, _ index: Int, _ prompt: Prompt
    ) async throws -> [String] {
        var read: [String] = []
        for column in prompt.columns.keys.sorted() {
            let (all, none) = (prompt.columns, [:] as [String: JSONValue])
            for (columns, fewer) in [
                (all, all.filter { $0.key != column }), (all.filter { $0.key == column }, none),
            ] {
                for completion in ["", probe] where read.last != column {
                    let before = try await outcome(source, index, handed(with(columns, prompt), nil), completion).kind
                    let after = try await outcome(source, index, handed(with(fewer, prompt), nil), completion).kind
                    if before != after { read.append(column) }
                }
            }
        }
        return read
    }

    private static func with(_ columns: [String: JSONValue], _ prompt: Prompt) -> Prompt {
        var changed = prompt
        changed.columns = columns
        return changed
    }
}

extension RewardRowCheck {
    /// What a person reads.
    var lines: [String] {
        guard tried > 0 else { return ["\(name): not tried, no row can be used"] }
        var parts: [String] = []
        if tried == scored {
            parts.append(reads == nil ? "the first \(tried) rows can be scored" : "every row can be scored")
        }
        for (count, what) in [
            (refused, "cannot be scored"), (failed, "fail"), (abstained, "get no score (the reward abstains)"),
        ] where count > 0 {
            parts.append("\(count) of \(reads == nil ? "the first " : "")\(tried) rows \(what)")
        }
        if let reads, refused == 0 {
            parts.append(reads.isEmpty ? "reads no column" : "reads \(reads.joined(separator: ", "))")
        }
        return ["\(name): \(parts.joined(separator: "; "))"] + reasons.map { "  \($0)" }
    }

    var json: String {
        JSONText.object([
            ("name", JSONText.string(name)), ("reads", reads.map { JSONText.array($0.map(JSONText.string)) } ?? "null"),
            ("tried", String(tried)), ("scored", String(scored)), ("abstained", String(abstained)),
            ("refused", String(refused)), ("failed", String(failed)),
            ("reasons", JSONText.array(reasons.map(JSONText.string))),
        ])
    }
}
