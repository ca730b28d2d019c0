package import Coordinator
internal import Foundation
package import Methods
package import Records
package import Tokenization

/// Makes ended completions go on with a doubt, and keeps what comes to a right answer; see
/// ``Methods/ForcedRethinking``.
///
/// Every choice is addressed by the seed, the step, the prompt's row and the sample: the order in which groups end
/// changes none.
package struct Rethinker: Rethinking {
    private let settings: ForcedRethinking
    private let generator: any Generating
    private let score: @Sendable (RolloutGroup) async throws -> ScoredGroup
    private let tokenizer: Tokenizer
    /// The index among the rewards of the one that says what is right.
    private let reward: Int
    private let maxCompletionLength: Int
    private let contextLength: Int
    private let seed: UInt64

    /// - Parameters:
    ///   - score: Scores a group that is no part of the step's record.
    ///   - rewardNames: In the order of the scores.
    ///   - contextLength: Tokens that the model reads, of prompt and completion.
    /// - Throws: ``JobError`` where no reward says what is right.
    package init(
        _ settings: ForcedRethinking, generator: any Generating,
        score: @escaping @Sendable (RolloutGroup) async throws -> ScoredGroup, tokenizer: Tokenizer,
        rewardNames: [String], maxCompletionLength: Int, contextLength: Int, seed: UInt64
    ) throws(JobError) {
        let name = settings.reward ?? (rewardNames.count == 1 ? rewardNames[0] : nil)
        guard let index = rewardNames.firstIndex(where: { $0 == name }) else {
            throw JobError(
                place: "forced_rethinking.reward",
                message:
                    "it must name the reward that says what is right, one of \(rewardNames.joined(separator: ", "))")
        }
        self.settings = settings
        self.generator = generator
        self.score = score
        self.tokenizer = tokenizer
        reward = index
        self.maxCompletionLength = maxCompletionLength
        self.contextLength = contextLength
        self.seed = seed
    }

    /// What a choice is about; its number is part of its address.
    private enum Choice: UInt64 { case rethinks = 1, cuts, trigger }

    private func uniform(_ choice: Choice, step: Int, row: Int, sample: Int) -> Double {
        var key = mix64(seed ^ 0x7E7813)
        for part in [UInt64(step), UInt64(row), UInt64(sample), choice.rawValue] { key = mix64(key ^ part) }
        return Double(key >> 11) * 0x1p-53
    }

    private func isRight(_ scores: [RewardScore]) -> Bool {
        scores[reward].score.map { $0 >= settings.rightFrom } ?? false
    }

    /// A completion on its way: what it keeps, and the doubt behind it.
    private struct Draft {
        let group: Int
        let rollout: Int
        /// What the policy wrote and keeps.
        let kept: Int
        let trigger: [Int]
    }

    package func rethink(
        _ groups: [ScoredGroup], step: Int, stop: StopSignal
    ) async throws -> RethoughtGroups {
        let drafts = try groups.indices.flatMap { try begun(in: groups[$0], at: $0, step: step) }
        var result = RethoughtGroups(groups: groups)
        if !drafts.isEmpty { try await force(drafts, into: &result, step: step, stop: stop) }
        result.metrics["rethinking/forced"] = Double(drafts.count)
        result.metrics["rethinking/kept"] = Double(result.kept.count)
        moveScores(in: &result)
        return result
    }

    /// Lets the drafts go on, and puts those that come to a right answer in place of their beginnings.
    private func force(
        _ drafts: [Draft], into result: inout RethoughtGroups, step: Int, stop: StopSignal
    ) async throws {
        let groups = result.groups
        var written: [GroupAddress: Rollout] = [:]
        let requests = drafts.map { request($0, groups[$0.group].group) }
        for try await group in generator.generate(requests, step: step, stop: stop) {
            written[group.address] = group.rollouts.first
        }
        try stop.check()
        var candidates: [Int: [(draft: Draft, rollout: Rollout)]] = [:]
        for (draft, request) in zip(drafts, requests) {
            guard let more = written[request.address] else { continue }
            if let rollout = try joined(draft, more, groups[draft.group].group.rollouts[draft.rollout]) {
                candidates[draft.group, default: []].append((draft, rollout))
            }
        }
        for (slot, found) in candidates.sorted(by: { $0.key < $1.key }) {
            var group = groups[slot].group
            group.rollouts = found.map(\.rollout)
            let scored = try await score(group)
            let right = found.indices.filter { isRight(scored.scores[$0]) }.prefix(settings.perPrompt)
            for index in right {
                let (draft, rollout) = found[index]
                result.groups[slot].group.rollouts[draft.rollout] = rollout
                result.groups[slot].scores[draft.rollout] = scored.scores[index]
                result.kept.append(
                    UpdateGroup(
                        promptTokenIDs: group.prompt.tokenIDs,
                        completions: [
                            UpdateCompletion(tokenIDs: rollout.completion.tokenIDs, isAction: rollout.isAction)
                        ]))
            }
        }
    }

    private static func doubts(in text: String) -> Int { text.lowercased().components(separatedBy: "wait").count - 1 }

    /// Moves the scores of completions that give no answer, and of the others that doubt by themselves; a doubt that was
    /// forced earns and costs nothing.
    ///
    /// `rethinking/no_answer` and `rethinking/natural` are the shares of completions of which that is so.
    private func moveScores(in result: inout RethoughtGroups) {
        let rewardsDoubt = settings.naturalBonus > 0 || settings.naturalPenalty > 0
        guard rewardsDoubt || settings.noAnswerReward != nil else { return }
        var (all, silent, doubting) = (0, 0, 0)
        for group in result.groups.indices {
            for (slot, rollout) in result.groups[group].group.rollouts.enumerated() {
                all += 1
                let text = rollout.completion.text
                let scores = result.groups[group].scores[slot]
                guard case .scored(let score, let note) = scores[reward] else { continue }
                var moved = score
                let doubts = rewardsDoubt && rollout.isAction == nil ? Self.doubts(in: text) : 0
                if let most = settings.noAnswerReward, !settings.answerMarkers.contains(where: text.contains) {
                    silent += 1
                    moved = min(score, most)
                } else if doubts > 0 {
                    moved =
                        isRight(scores) && doubts <= 2
                        ? score + settings.naturalBonus
                        : max(min(score, -0.1), score - settings.naturalPenalty * Double(doubts))
                }
                doubting += doubts > 0 ? 1 : 0
                result.groups[group].scores[slot][reward] = .value(moved, note: note)
            }
        }
        if rewardsDoubt { result.metrics["rethinking/natural"] = Double(doubting) / Double(max(all, 1)) }
        if settings.noAnswerReward != nil {
            result.metrics["rethinking/no_answer"] = Double(silent) / Double(max(all, 1))
        }
    }

    /// Which completions of a group go on, and with what.
    private func begun(in scored: ScoredGroup, at slot: Int, step: Int) throws -> [Draft] {
        let rights = scored.scores.map(isRight)
        let isEasy = Double(rights.count(where: \.self)) > settings.easyShare * Double(rights.count)
        let row = scored.group.prompt.prompt.row
        return try scored.group.rollouts.indices.compactMap { index in
            let rollout = scored.group.rollouts[index]
            let tokens = rollout.completion.tokenIDs
            guard rollout.completion.finishReason == .stopToken, rollout.isAction == nil, rollout.payload == nil,
                tokens.count > 1, rights[index] || !isEasy,
                maxCompletionLength - tokens.count >= settings.tokens.upperBound,
                uniform(.rethinks, step: step, row: row, sample: rollout.sample) < settings.probability
            else { return nil }
            var kept = tokens.count - 1  // without the token that ended it
            if uniform(.cuts, step: step, row: row, sample: rollout.sample) < settings.cutProbability {
                kept = try answerStart(Array(tokens.prefix(kept))) ?? kept
            }
            guard kept > 0 else { return nil }
            let trigger = tokenizer.encode(
                Self.trigger(
                    uniform(.trigger, step: step, row: row, sample: rollout.sample), isRight: rights[index]))
            // The doubt takes its room before what follows it.
            let limit = min(maxCompletionLength, contextLength - scored.group.prompt.tokenIDs.count)
            guard limit - kept - trigger.count >= max(1, settings.tokens.lowerBound) else { return nil }
            return Draft(group: slot, rollout: index, kept: kept, trigger: trigger)
        }
    }

    /// A bare word in a fifth of the cases, a question in three tenths, else what fits the answer.
    package static func trigger(_ uniform: Double, isRight: Bool) -> String {
        if uniform < 0.2 { return "\n\nWait" }
        if uniform < 0.5 { return "\n\nWait, is every step of this sound?" }
        return isRight
            ? "\n\nWait, let me check this once more." : "\n\nWait, something in this may be wrong. Let me look again."
    }

    /// Tokens before the last answer's beginning; `nil` where no marker stands in the text.
    private func answerStart(_ tokens: [Int]) throws -> Int? {
        func occurrences(_ count: Int) throws -> Int {
            let text = try tokenizer.decode(Array(tokens.prefix(count)))
            return settings.answerMarkers.reduce(0) { $0 + text.components(separatedBy: $1).count - 1 }
        }
        let all = try occurrences(tokens.count)
        guard all > 0, let last = try tokens.indices.first(where: { try occurrences($0 + 1) == all }) else {
            return nil
        }
        // Back over the tokens that the marker itself is made of.
        let marker = settings.answerMarkers.map(\.count).max() ?? 0
        for count in stride(from: last, through: max(0, last - marker), by: -1) {
            let text = try tokenizer.decode(Array(tokens.prefix(count)))
            let hasBegun = settings.answerMarkers.contains { marker in
                (1..<marker.count).contains { text.hasSuffix(marker.prefix($0)) }
            }
            if !hasBegun { return count }
        }
        return nil
    }

    private func request(_ draft: Draft, _ group: RolloutGroup) -> RolloutRequest {
        let rollout = group.rollouts[draft.rollout]
        let tokens = group.prompt.tokenIDs + rollout.completion.tokenIDs.prefix(draft.kept) + draft.trigger
        // A variant of its own for each sample: its draws are no others'.
        return RolloutRequest(
            prompt: TokenizedPrompt(prompt: group.prompt.prompt, tokenIDs: tokens), samples: 1,
            variant: 0x1_0000 * (group.variant + 1) + rollout.sample)
    }

    /// The whole completion; `nil` where its continuation has too few or too many tokens, or doubts too often.
    private func joined(_ draft: Draft, _ more: Rollout, _ first: Rollout) throws -> Rollout? {
        let continuation = more.completion.tokenIDs
        let tokens = first.completion.tokenIDs.prefix(draft.kept) + draft.trigger + continuation
        guard settings.tokens.contains(continuation.count), tokens.count <= maxCompletionLength,
            !more.completion.isTruncated
        else { return nil }
        let text = try tokenizer.decode(Array(tokens), skipSpecialTokens: true)
        guard Self.doubts(in: text) <= settings.mostDoubts else { return nil }
        var rollout = first
        rollout.completion = Completion(
            text: text, textWithSpecials: try tokenizer.decode(Array(tokens)), tokenIDs: Array(tokens),
            finishReason: more.completion.finishReason)
        rollout.isAction =
            [Bool](repeating: true, count: draft.kept) + draft.trigger.map { _ in false }
            + continuation.map { _ in true }
        rollout.samplingLogProbabilities =
            first.samplingLogProbabilities.prefix(draft.kept) + more.samplingLogProbabilities
        rollout.policyLogProbabilities = first.policyLogProbabilities.prefix(draft.kept) + more.policyLogProbabilities
        return rollout
    }
}
