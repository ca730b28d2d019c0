import JSON
import Records
import RewardInterface

/// Requests as each style of Python function reads them.
struct PythonRequests: Sendable {
    let style: PythonRewardStyle
    let referenceColumn: String?

    static let usualReferences = ["ground_truth", "label", "answer", "solution"]

    /// - Throws: ``RewardError`` when the style needs a reference and the row has none.
    func call(
        _ completions: [Completion], for prompt: TokenizedPrompt, at progress: TrainingProgress
    ) throws(RewardError) -> HostCall {
        switch style {
        case .trl: return trl(completions, prompt.prompt, progress)
        case .verl, .verlBatch:
            let reference = try Self.reference(of: prompt.prompt, column: referenceColumn)
            return verl(completions, prompt.prompt, reference)
        case .verifiers:
            return verifiers(
                completions, prompt.prompt, try Self.labels(of: prompt.prompt, column: referenceColumn))
        case .openrlhf:
            let reference = try Self.labels(of: prompt.prompt, column: referenceColumn)
            return HostCall(count: completions.count, answersSingly: false) { first in
                Self.members(Self.openRLHF(completions[first...], prompt, reference, queriesName: "queries"))
            }
        }
    }

    /// The reference answer: the column asked for, `reward_model.ground_truth`, or the first of the usual columns.
    static func reference(of prompt: Prompt, column: String?) throws(RewardError) -> JSONValue {
        if let column {
            guard let value = prompt.columns[column] else { throw .missingColumn(column, in: prompt) }
            return value
        }
        let found =
            [prompt.columns["reward_model"]?["ground_truth"]].compactMap(\.self)
            + usualReferences.compactMap { prompt.columns[$0] }
        // A row of a mixture has null in the columns of the other sets.
        guard let value = found.first(where: { $0 != .null }) ?? found.first else {
            throw .missingColumn(wanted: usualReferences, found: prompt.columns.keys.sorted(), prompt: prompt.id)
        }
        return value
    }

    /// The reference where there is one, for functions that need none; a column asked for must be there.
    static func labels(of prompt: Prompt, column: String?) throws(RewardError) -> JSONValue {
        do throws(RewardError) {
            return try reference(of: prompt, column: column)
        } catch {
            guard column == nil, case .missingColumn = error else { throw error }
            return .null
        }
    }

    typealias Members = [(String, (inout JSONLine) -> Void)]

    /// `"a":…,"b":…`: the object without its braces, to stand behind an id.
    static func members(_ members: Members) -> [UInt8] {
        var line = JSONLine()
        line.object(members)
        return Array(line.bytes.dropFirst().dropLast())
    }

    // MARK: TRL

    /// Text prompts and completions are strings; of a chat, both are lists of messages. Every column comes once a
    /// completion.
    private func trl(_ completions: [Completion], _ prompt: Prompt, _ progress: TrainingProgress) -> HostCall {
        HostCall(count: completions.count, answersSingly: false) { first in
            let completions = completions[first...]
            let own: Set = ["prompt", "completion", "completion_ids", "prompts", "completions"]
            let columns = prompt.columns.filter { !own.contains($0.key) }.sorted { $0.key < $1.key }
            return Self.members([
                ("prompts", { $0.array(completions) { line, _ in line.prompt(prompt.content) } }),
                ("completions", { $0.array(completions) { Self.write($1, after: prompt.content, &$0) } }),
                (
                    "completion_ids",
                    { $0.array(completions) { line, one in line.array(one.tokenIDs) { $0.integer($1) } } }
                ),
                (
                    "columns",
                    { line in
                        line.object(
                            columns.map { name, value in
                                (name, { $0.array(completions) { line, _ in line.value(value) } })
                            })
                    }
                ),
                (
                    "trainer_state",
                    {
                        $0.object([
                            ("global_step", { $0.integer(progress.step) }),
                            ("max_steps", { $0.integer(progress.maxSteps) }),
                            ("epoch", { $0.number(progress.epoch) }),
                        ])
                    }
                ),
            ])
        }
    }

    private static func write(_ completion: Completion, after content: PromptContent, _ line: inout JSONLine) {
        guard case .messages = content else { return line.string(completion.text) }
        line.prompt(.messages([ChatMessage(role: "assistant", content: completion.text)]))
    }

    // MARK: verifiers, verl and OpenRLHF

    /// A text is the one message of a user, as verifiers makes it of a question.
    private func verifiers(_ completions: [Completion], _ prompt: Prompt, _ reference: JSONValue) -> HostCall {
        let arguments = Self.verifiersArguments(prompt, reference)
        var chat = prompt.content
        if case .text(let text) = chat { chat = .messages([ChatMessage(role: "user", content: text)]) }
        return HostCall(count: completions.count, answersSingly: style.isSingle) { [chat] first in
            let own: Members = [
                ("prompt", { $0.prompt(chat) }),
                ("completions", { $0.array(completions[first...]) { Self.write($1, after: chat, &$0) } }),
            ]
            return Self.members(own + arguments.map { name, value in (name, { $0.value(value) }) })
        }
    }

    /// What a function in verifiers' form is handed of a row.
    static func verifiersArguments(_ prompt: Prompt, _ reference: JSONValue) -> [(name: String, value: JSONValue)] {
        func given(_ name: String) -> JSONValue? { prompt.columns[name].flatMap { $0 == .null ? nil : $0 } }
        return [
            ("answer", reference == .null ? .string("") : reference), ("task", given("task") ?? .string("default")),
            ("info", given("info") ?? .object([:])),
        ]
    }

    private func verl(_ completions: [Completion], _ prompt: Prompt, _ reference: JSONValue) -> HostCall {
        let arguments = Self.verlArguments(prompt, reference)
        return HostCall(count: completions.count, answersSingly: style.isSingle) { first in
            Self.members(
                [("completions", { $0.array(completions[first...]) { $0.string($1.text) } })]
                    + arguments.map { name, value in (name, { $0.value(value) }) })
        }
    }

    /// What a function in verl's form is handed of a row.
    static func verlArguments(_ prompt: Prompt, _ reference: JSONValue) -> [(name: String, value: JSONValue)] {
        func given(_ name: String) -> JSONValue? { prompt.columns[name].flatMap { $0 == .null ? nil : $0 } }
        return [
            ("data_source", given("data_source") ?? .string(prompt.source)), ("ground_truth", reference),
            ("extra_info", completed(given("extra_info") ?? .object([:]))),
        ]
    }

    /// A row's `extra_info` with what verl adds to it unless the row says otherwise: of one turn, `num_turns` is 2, the
    /// user's and the policy's, and nothing was rewarded within the rollout.
    private static func completed(_ extraInfo: JSONValue) -> JSONValue {
        guard case .object(let members) = extraInfo else { return extraInfo }
        let added: [JSONValue.Member] = [
            JSONValue.Member("num_turns", .number(2)), JSONValue.Member("rollout_reward_scores", .object([:])),
        ]
        return .object(members + added.filter { extraInfo[$0.key] == nil })
    }

    /// What a function or server in OpenRLHF's form is handed of a row, once a completion: a chat in its template.
    static func openRLHFArguments(
        _ prompt: TokenizedPrompt, _ reference: JSONValue
    ) -> [(name: String, value: JSONValue)] {
        [("prompts", .string(prompt.text)), ("labels", reference)]
    }

    /// Queries are prompt and completion in one text, the completion with its special tokens.
    static func openRLHF(
        _ completions: ArraySlice<Completion>, _ prompt: TokenizedPrompt, _ reference: JSONValue, queriesName: String
    ) -> Members {
        [
            (queriesName, { $0.array(completions) { $0.string(prompt.text + $1.textWithSpecials) } }),
            ("completions", { $0.array(completions) { $0.string($1.text) } }),
        ]
            + openRLHFArguments(prompt, reference).map { name, value in
                (name, { $0.array(completions) { line, _ in line.value(value) } })
            }
    }
}
