internal import Coordinator
internal import Credit
internal import Foundation
package import JSON
package import Methods
internal import Models
internal import PromptSets
package import Records
internal import RewardInterface
internal import Runs
internal import Tensors
internal import Tokenization

/// `plumbline pairs make`: samples completions of prompts, scores them, and writes the best and the worst of each
/// prompt as a preference.
///
/// Rows are in TRL's explicit form, as texts or as chats, with the prompt's own columns, `chosen_score` and
/// `rejected_score`. With thinking every prompt is asked twice, with thinking and behind an empty block of it:
/// `variant` says which, `prompt_suffix` and `chat_template_kwargs` make a training run read the prompt as it was read
/// here.
///
/// Draws are addressed by the prompt's row, so that a run that was stopped goes on to the same file. Until the last
/// prompt the rows stand in `OUTPUT.partial`, and how far they go in `OUTPUT.progress.jsonl`; `.OUTPUT.lock` keeps a
/// second start out meanwhile.
package struct PairMaking: Sendable {
    package var prompts: String
    package var split = "train"
    package var columns: [String] = []
    package var rewards: [JobReward] = []
    package var rewardErrorBudget = 0.05
    package var output: String
    /// Completions of a prompt in each form.
    package var samples = 4
    package var limit: Int?
    /// `nil` asks every prompt as it is, once.
    package var thinking: ThinkingSettings?
    package var sampling: SamplingRequest
    /// Prompts between two notes of how far it is.
    package var chunk = 32

    package init(prompts: String, output: String, sampling: SamplingRequest) {
        self.prompts = prompts
        self.output = output
        self.sampling = sampling
    }

    /// Variables of a chat template as the command line has them: a section in braces.
    ///
    /// - Throws: ``JobError`` for what is none.
    package static func templateVariables(argument text: String) throws(JobError) -> [String: JSONValue] {
        let node = try SettingsNode.value(text, place: "the option --empty-variables \(text)")
        guard let named = NamedValues.read(node) else {
            throw JobError([node.problem("found \(node.found); expected variables in braces: {enable_thinking: false}")]
            )
        }
        return Dictionary(named.values.map { ($0.name, $0.value) }) { _, last in last }
    }

    /// What came of the prompts so far, for each form.
    package struct Counts: Sendable, Equatable, Codable {
        package var prompts = 0
        package var pairs = 0
        /// Prompts without a pair, by reason.
        package var without: [String: Int] = [:]
        package var completions = 0
        package var truncated = 0
        /// Completions that should think and never close their block.
        package var unclosed = 0
        /// Completions that should not think and hold a marker of it.
        package var marked = 0
    }

    private var forms: [(variant: PromptVariant, pairing: PreferencePairing)] {
        guard let thinking else { return [(.plain, PreferencePairing())] }
        return [
            (thinking.variants[0], PreferencePairing(thinkEnd: thinking.end)),
            (thinking.variants[1], PreferencePairing(markers: thinking.markers)),
        ]
    }

    /// What would be done, without loading weights.
    package func plan(model name: String) throws -> String {
        let model = try ModelSource(name)
        let set = try promptSet()
        let count = min(limit ?? .max, set.count)
        let length = sampling.hasOwnLength ? sampling.sampling.maxCompletionLength : model.usualCompletionLength
        let encoder = model.encoder(maxPromptLength: try model.promptLimit(asked: nil, completion: length))
        let stride = max(1, count / 256)
        let longest =
            try Swift.stride(from: 0, to: count, by: stride).map {
                try encoder.tokens(of: set.prompt(at: $0)).count
            }.max() ?? 0
        let memory = MemoryEstimate.sampling(
            model.configuration, promptLength: longest, completionLength: length, completionsPerPrompt: samples)
        let lines = forms.map { "\($0.variant.name): \(samples) completions of up to \(length) tokens a prompt" }
        return """
            \(count) prompts of \(set.identity), \(set.detectedForm)
            \(lines.joined(separator: "\n"))
            \(count * forms.count * samples) completions in all
            memory, about \(memory)
            """
    }

    /// Samples, scores and writes; goes on where an earlier start was stopped.
    ///
    /// - Parameter notice: Says how far it is.
    /// - Returns: What came of it.
    /// - Throws: `StopRequested` with everything so far kept; errors of the model, the prompts and the rewards.
    package func run(
        model name: String, stop: StopSignal, notice: @Sendable (String) -> Void
    ) async throws -> PairsReport {
        let set = try promptSet()
        if let note = set.systemNotice() { notice("note: \(note)") }
        let count = min(limit ?? .max, set.count)
        // What cannot be written is refused before the weights are read.
        let log = try PairMakingLog(output: URL(filePath: output), settings: digest(set, name), total: count)
        let generation = try await TextGeneration(model: name, sampling: sampling)
        let encoder = generation.model.encoder(maxPromptLength: try generation.promptLimit)
        let panel = try await RewardAssembly(folder: URL(filePath: "."), timeoutSeconds: 60)
            .panel(rewards, errorRate: rewardErrorBudget)
        do {
            let scorer = PanelScorer(panel)
            if log.prompts > 0 { notice("going on after \(log.prompts) of \(count) prompts") }
            var counts = log.counts
            for start in stride(from: log.prompts, to: count, by: chunk) {
                let rows = start..<min(start + chunk, count)
                let prompts = try rows.map { try set.prompt(at: $0) }
                for prompt in prompts { try scorer.check(prompt) }
                let scored = try await groups(prompts, encoder, generation, scorer, stop)
                try stop.check()
                let made = try lines(prompts, scored, generation.model.tokenizer, &counts)
                try log.append(made, prompts: rows.upperBound, counts)
                notice("\(rows.upperBound) of \(count) prompts, \(counts.values.reduce(0) { $0 + $1.pairs }) pairs")
            }
            let report = PairsReport(
                output: output, forms: forms.map { ($0.variant.name, counts[$0.variant.name] ?? Counts()) },
                overspent: panel.overspent)
            try log.finish()
            await panel.close()
            return report
        } catch {
            await panel.close()
            throw error
        }
    }

    private func promptSet() throws -> PromptSet {
        try PromptSet(
            URL(filePath: prompts), split: TextGeneration.split(of: prompts, wanted: split),
            columns: ColumnMap(arguments: columns))
    }

    /// The scored groups of some prompts, `[prompt][form]`.
    private func groups(
        _ prompts: [Prompt], _ encoder: PromptEncoder, _ generation: TextGeneration, _ scorer: PanelScorer,
        _ stop: StopSignal
    ) async throws -> [[ScoredGroup]] {
        let forms = forms
        let requests = try prompts.flatMap { prompt in
            try forms.indices.map { form in
                RolloutRequest(
                    prompt: try encoder.encode(prompt, as: forms[form].variant), samples: samples, variant: form)
            }
        }
        let judge: any Scoring =
            thinking.map { AnswerScorer(scorer, $0, generation.model.tokenizer) } ?? scorer
        var found: [GroupAddress: ScoredGroup] = [:]
        for group in try await PolicyEvaluation.scored(generation.groups(requests, stop: stop), judge) {
            found[group.group.address] = group
        }
        try stop.check()
        _ = scorer.takeRemarks()
        return try prompts.map { prompt in
            try forms.indices.map { form in
                guard let group = found[GroupAddress(row: prompt.row, variant: form)] else {
                    throw JobError(place: prompt.id, message: "generation ended without its completions")
                }
                return group
            }
        }
    }

    /// The rows of some prompts, a line each.
    private func lines(
        _ prompts: [Prompt], _ groups: [[ScoredGroup]], _ tokenizer: Tokenizer, _ counts: inout [String: Counts]
    ) throws -> [JSONValue] {
        let combination = RewardCombination(names: rewards.map(\.reference))
        var rows: [JSONValue] = []
        for (prompt, scored) in zip(prompts, groups) {
            for (form, group) in zip(forms, scored) {
                let completions = group.group.rollouts.map(\.completion)
                var own = counts[form.variant.name] ?? Counts()
                own.prompts += 1
                own.completions += completions.count
                own.truncated += completions.count(where: \.isTruncated)
                own.unclosed += completions.count { !form.pairing.isClosed($0) }
                own.marked += completions.count { form.pairing.hasMarker($0) }
                let totals = group.scores.map { scores in
                    combination.weights.count == scores.count
                        ? combination.combined(scores)
                        : RewardCombination(names: scores.indices.map(String.init)).combined(scores)
                }
                switch form.pairing.choice(of: group.group.rollouts, rewards: totals) {
                case .none(let reason): own.without[reason.rawValue, default: 0] += 1
                case .pair(let chosen, let rejected):
                    own.pairs += 1
                    func side(_ index: Int) -> (text: String, score: Double?) {
                        (form.pairing.text(of: completions[index], tokenizer), totals[index])
                    }
                    rows.append(row(prompt, form.variant, side(chosen), side(rejected)))
                }
                counts[form.variant.name] = own
            }
        }
        return rows
    }

    private func row(
        _ prompt: Prompt, _ variant: PromptVariant, _ chosen: (text: String, score: Double?),
        _ rejected: (text: String, score: Double?)
    ) -> JSONValue {
        let isChat: Bool
        var members: [JSONValue.Member]
        switch prompt.content {
        case .text(let text):
            isChat = false
            members = [JSONValue.Member("prompt", .string(text))]
        case .messages(let messages):
            isChat = true
            members = [JSONValue.Member("prompt", .array(messages.map(\.json)))]
        }
        func side(_ text: String) -> JSONValue {
            isChat ? .array([ChatMessage(role: "assistant", content: text).json]) : .string(text)
        }
        members += [JSONValue.Member("chosen", side(chosen.text)), JSONValue.Member("rejected", side(rejected.text))]
        if thinking != nil {
            members.append(JSONValue.Member("variant", .string(variant.name)))
            if isChat, !variant.templateVariables.isEmpty {
                members.append(JSONValue.Member("chat_template_kwargs", .object(sorting: variant.templateVariables)))
            }
            if !variant.suffix.isEmpty { members.append(JSONValue.Member("prompt_suffix", .string(variant.suffix))) }
        }
        members += [
            JSONValue.Member("chosen_score", chosen.score.map(JSONValue.number) ?? .null),
            JSONValue.Member("rejected_score", rejected.score.map(JSONValue.number) ?? .null),
        ]
        let taken = Set(members.map(\.key))
        members += prompt.columns.sorted { $0.key < $1.key }.filter { !taken.contains($0.key) }.map {
            JSONValue.Member($0.key, $0.value)
        }
        return .object(members)
    }

    /// Says whether a file that was begun is the one that this start would write.
    private func digest(_ set: PromptSet, _ model: String) throws(RunError) -> String {
        var hash = SHA256()
        let parts = [
            set.identity,
            try set.urls.map { url throws(RunError) in try SHA256.file(url).hex }.joined(separator: " "),
            columns.joined(separator: " "), model,
            "\(samples) \(limit ?? -1) \(sampling.seed)", "\(sampling.sampling)",
            thinking.map { thinking in
                // A dictionary's own order differs from process to process.
                let variables = thinking.emptyVariables.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value.yaml)" }
                return "\(thinking.start) \(thinking.end) \(thinking.emptyBlock) \(variables)"
            } ?? "",
            rewards.map { reward in
                reward.reference
                    + reward.settings.sorted { $0.key < $1.key }.map { " \($0.key): \($0.value.yaml)" }.joined()
            }.joined(separator: "\n"),
        ]
        for part in parts { hash.update(Array("\(part.utf8.count) \(part)\n".utf8)) }
        return hash.hexDigest()
    }
}

extension PreferencePairing {
    /// A completion as a row holds it: without the token that ended it, and with the end of its thinking where that is
    /// a special token.
    fileprivate func text(of completion: Completion, _ tokenizer: Tokenizer) -> String {
        guard let thinkEnd, !completion.text.contains(thinkEnd) else { return completion.text }
        guard completion.finishReason == .stopToken, let last = completion.tokenIDs.last,
            let end = tokenizer.token(of: last), completion.textWithSpecials.hasSuffix(end)
        else { return completion.textWithSpecials }
        return String(completion.textWithSpecials.dropLast(end.count))
    }
}
