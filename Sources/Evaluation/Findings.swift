package import Records

/// All that one evaluation found: what every form of its report is written from.
package struct Findings: Sendable, Equatable {
    /// One reward on one prompt set against another policy.
    package struct Comparison: Sendable, Equatable {
        package var promptSet: String
        package var reward: String
        /// The other policy's model, or the file its result was read from.
        package var other: String
        package var paired: PairedComparison

        package init(promptSet: String, reward: String, other: String, paired: PairedComparison) {
            self.promptSet = promptSet
            self.reward = reward
            self.other = other
            self.paired = paired
        }
    }

    /// One completion with what the rewards said of it.
    package struct Sample: Sendable, Equatable {
        package var promptSet: String
        package var source: String
        /// From 0; people are shown it from 1.
        package var row: Int
        package var prompt: String
        package var completion: String
        package var length: Int
        package var isTruncated: Bool
        /// In the order of the rewards' names.
        package var scores: [RewardScore]
        /// Whether a reward looked for an answer and found none.
        package var lacksAnswer: Bool
    }

    package var model: String
    package var rewardNames: [String]
    package var results: [EvaluationResult]
    package var comparisons: [Comparison]
    package var samples: [Sample]
    /// How the results' pass@k is estimated.
    package var passAtK: PassAtK.Estimator
    /// What there is of an evaluation that was stopped: `37 of 200 prompts of eval.jsonl`; `nil` for a whole one.
    package var unfinished: String?

    package init(
        model: String, rewardNames: [String], results: [EvaluationResult], comparisons: [Comparison] = [],
        samples: [Sample] = [], passAtK: PassAtK.Estimator = .unbiased
    ) {
        self.passAtK = passAtK
        self.model = model
        self.rewardNames = rewardNames
        self.results = results
        self.comparisons = comparisons
        self.samples = samples
    }
}

extension Findings {
    /// What every form of a report says of an evaluation that was stopped, in its first line.
    package var partialNotice: String? {
        unfinished.map { "PARTIAL: stopped after \($0). The numbers are those of the prompts that were done." }
    }
}

extension Findings.Sample {
    /// Every completion of a group.
    package static func all(of group: EvaluatedGroup, in promptSet: String) -> [Self] {
        let prompt = group.scored.group.prompt.prompt
        return group.completions.enumerated().map { index, completion in
            Findings.Sample(
                promptSet: promptSet, source: prompt.source, row: prompt.row, prompt: prompt.text,
                completion: completion.text, length: completion.tokenIDs.count, isTruncated: completion.isTruncated,
                scores: group.scored.scores[index],
                lacksAnswer: group.answers.contains { answers in answers.map { $0[index] == nil } ?? false })
        }
    }
}
