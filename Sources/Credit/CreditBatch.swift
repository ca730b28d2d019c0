package import Records

/// What a credit rule reads: the scored groups of one step, and the log-probs that its KL term needs.
package struct CreditBatch: Sendable, Equatable {
    package var groups: [ScoredGroup]
    /// Another's completion of each group's prompt, `[group]`; `nil` where a prompt has none, empty where the method
    /// takes none.
    package var demonstrations: [ScoredDemonstration?] = []
    /// The policy's log-probs when the step began, `[group][completion][token]`, in nats. `nil` takes the sampler's
    /// own, ``Records/Rollout/policyLogProbabilities``.
    package var oldLogProbabilities: [[[Float]]]?
    /// The reference policy's log-probs in the same shape; `nil` without a reference.
    package var referenceLogProbabilities: [[[Float]]]?
    /// The critic's; `nil` without one.
    package var values: CriticValues?
    /// What controllers make of the weights of rewards and streams: β has the name ``AdvantageStream/penaltyName``.
    package var weights: StreamWeights
    package init(
        groups: [ScoredGroup], oldLogProbabilities: [[[Float]]]? = nil, referenceLogProbabilities: [[[Float]]]? = nil,
        values: CriticValues? = nil, weights: StreamWeights = [:]
    ) {
        self.values = values
        self.weights = weights
        self.groups = groups
        self.oldLogProbabilities = oldLogProbabilities
        self.referenceLogProbabilities = referenceLogProbabilities
    }

    /// The old policy's log-probs of one completion, scored again where that was done.
    func oldLogProbabilities(group: Int, completion: Int) -> [Float] {
        oldLogProbabilities?[group][completion] ?? groups[group].group.rollouts[completion].policyLogProbabilities
    }
}

/// A demonstration with every reward's word on it.
package struct ScoredDemonstration: Sendable, Equatable {
    package var completion: Completion
    /// One per reward.
    package var scores: [RewardScore]

    package init(completion: Completion, scores: [RewardScore]) {
        self.completion = completion
        self.scores = scores
    }
}

/// What a credit rule makes of a batch.
package struct CreditedBatch: Sendable, Equatable {
    /// The groups to learn from, in the order of the input. A dropped prompt is not among them.
    package var update: UpdateBatch
    /// The objectives' names, in the order of the streams of advantages.
    package var streams: [String]
    /// `[group][completion]` of the input, dropped prompts included: for files and displays.
    package var credits: [[CompletionCredit]]
    /// The step's reward numbers, by TRL's names where TRL has them.
    package var metrics: Metrics
}

/// What one completion got.
package struct CompletionCredit: Sendable, Equatable {
    /// The weighted sum of its scores; `nil` when no reward scored it.
    package var reward: Double?
    /// Its advantage, the streams added up, averaged over its tokens; `nil` when it is not learned from.
    package var advantage: Double?

    package init(reward: Double?, advantage: Double?) {
        self.reward = reward
        self.advantage = advantage
    }
}

/// A batch that a credit rule cannot work with.
package enum CreditError: Error, Sendable, Equatable, CustomStringConvertible {
    /// A completion has fewer or more scores than the job has rewards, or a group fewer or more than completions.
    case scoreCount(prompt: String, what: String, expected: Int, found: Int)
    /// An array of log-probs does not have one element per token, completion or group.
    case logProbabilityCount(prompt: String, whose: String, expected: Int, found: Int)
    /// The rule has a KL term and the batch brings no log-probs of the reference policy.
    case missingReference(rule: String)
    /// The rule needs a critic's values.
    case missingValues(rule: String)
    /// The critic has another number of heads than the rule has streams; one head alone values their sum.
    case valueStreams(expected: Int, found: Int)
    /// The rule normalizes the sum of the rewards itself, and the job wants them kept apart.
    case oneStream(rule: String)
    /// A reward that is kept apart has the name of the KL penalty's stream.
    case streamName(String)

    package var description: String {
        switch self {
        case .scoreCount(let prompt, let what, let expected, let found):
            "\(prompt): found \(found) \(what), expected \(expected)"
        case .logProbabilityCount(let prompt, let whose, let expected, let found):
            "\(prompt): found \(found) numbers of the \(whose), expected \(expected)"
        case .missingReference(let rule):
            "\(rule) has a KL term in its reward, but nothing scored the completions under the reference policy"
        case .missingValues(let rule): "\(rule) needs a critic's values, and the step brought none"
        case .valueStreams(let expected, let found):
            "the critic has \(found) heads, expected \(expected), one for each stream of advantages"
        case .oneStream(let rule):
            "\(rule) normalizes the sum of the rewards, so there is one stream of advantages; the rewards cannot be "
                + "kept apart"
        case .streamName(let name): "a reward is named '\(name)', which is the name of the KL penalty; give it another"
        }
    }
}

extension CreditBatch {
    /// Checks that every array has the length that the groups ask for.
    ///
    /// - Throws: ``CreditError`` for the first one that has not.
    func requireShapes(rewardCount: Int) throws(CreditError) {
        for scored in groups {
            try requireScores(of: scored, rewardCount: rewardCount)
        }
        let samplers = groups.map { $0.group.rollouts.map(\.policyLogProbabilities) }
        let needsOld = referenceLogProbabilities != nil  // a KL term compares the two
        try requireLogProbabilities(oldLogProbabilities ?? (needsOld ? samplers : nil), of: "old policy")
        try requireLogProbabilities(referenceLogProbabilities, of: "reference policy")
        guard let values else { return }
        let heads = values.tokens.first?.first?.count ?? 1
        for head in 0..<heads {
            try requireLogProbabilities(
                values.tokens.map { $0.map { $0.indices.contains(head) ? $0[head] : [] } }, of: "critic")
        }
        for (scored, own) in zip(groups, values.ends) {
            let prompt = scored.group.prompt.prompt.id
            guard own.count == scored.group.rollouts.count else {
                throw .logProbabilityCount(
                    prompt: "\(prompt) (counting completions)", whose: "critic, after the end",
                    expected: scored.group.rollouts.count, found: own.count)
            }
            if let wrong = own.first(where: { $0.count != heads }) {
                throw .logProbabilityCount(
                    prompt: "\(prompt) (counting heads)", whose: "critic, after the end", expected: heads,
                    found: wrong.count)
            }
        }
    }

    private func requireScores(of scored: ScoredGroup, rewardCount: Int) throws(CreditError) {
        let prompt = scored.group.prompt.prompt.id
        let completions = scored.group.rollouts.count
        guard scored.scores.count == completions else {
            throw .scoreCount(
                prompt: prompt, what: "rows of scores", expected: completions, found: scored.scores.count)
        }
        for scores in scored.scores + [scored.greedyScores].compactMap(\.self) where scores.count != rewardCount {
            throw .scoreCount(prompt: prompt, what: "scores", expected: rewardCount, found: scores.count)
        }
    }

    private func requireLogProbabilities(_ all: [[[Float]]]?, of whose: String) throws(CreditError) {
        guard let all else { return }
        guard all.count == groups.count else {
            throw .logProbabilityCount(
                prompt: "the batch (counting groups)", whose: whose, expected: groups.count, found: all.count)
        }
        for (scored, group) in zip(groups, all) {
            let prompt = scored.group.prompt.prompt.id
            let rollouts = scored.group.rollouts
            guard group.count == rollouts.count else {
                throw .logProbabilityCount(
                    prompt: "\(prompt) (counting completions)", whose: whose, expected: rollouts.count,
                    found: group.count)
            }
            for (rollout, values) in zip(rollouts, group) where values.count != rollout.actionCount {
                throw .logProbabilityCount(
                    prompt: "\(prompt), sample \(rollout.sample)", whose: whose,
                    expected: rollout.actionCount, found: values.count)
            }
        }
    }
}
