package import Records

/// Forced rethinking (VL-Rethinker, Wang et al. 2025, arXiv:2504.08837, §3.2, its text form): a completion that has
/// ended is made to go on with a doubt, and takes the place of the one without it when that leads to a right answer.
///
/// The words of the doubt are no actions: nobody chose them. What the policy wrote before and behind them is trained
/// like any completion, and the kept ones are imitated, too. Departs from the paper's code in that the doubt is not
/// trained, and in going on at the temperature of the job, since log-probs are taken at one.
///
/// Constraints and other controllers see what the policy wrote and scored by itself: only right continuations are kept,
/// and a moved score is no reward's own.
package struct ForcedRethinking: Sendable, Equatable {
    /// How probable it is that an eligible completion goes on with a doubt.
    package let probability: Double
    /// The reward that says what is right, and from which score on; `nil` is the only reward.
    package let reward: String?
    package let rightFrom: Double
    /// Whether a completion is cut back to before its answer, how often.
    package let cutProbability: Double
    /// What an answer begins with.
    package let answerMarkers: [String]
    /// Tokens that a continuation has at least and at most.
    package let tokens: ClosedRange<Int>
    /// Most words of doubt in a whole completion.
    package let mostDoubts: Int
    /// Most completions of a prompt that are replaced.
    package let perPrompt: Int
    /// In a group with a larger share of right completions wrong ones are left alone.
    package let easyShare: Double
    /// What imitating the kept ones counts.
    package let imitationWeight: Double

    /// What a right completion earns that doubts once or twice by itself.
    package let naturalBonus: Double
    /// What each word of doubt costs a completion that does not earn it.
    package let naturalPenalty: Double
    /// What a completion without an answer earns at most; `nil` leaves it what the reward says.
    package let noAnswerReward: Double?

    /// `nil` where nothing is forced, natural doubt earns and costs nothing, and so does a missing answer.
    package init?(reading job: inout SettingsReader, maxCompletionLength: Int) {
        probability = job.read(
            "forced_rethinking.probability", default: 0.0, .from(0, to: 1),
            "How often a finished completion is made to go on with a doubt (the paper: 0.65); 0 is off. The continuation replaces it if its answer is right (arXiv:2504.08837)."
        )
        reward = job.read(
            "forced_rethinking.reward", optional: nil,
            "The reward that decides what is right; the only reward unless set."
        )
        rightFrom = job.read(
            "forced_rethinking.right_from", default: 1.0, .from(-1e9, to: 1e9), "The lowest score of a right answer.")
        cutProbability = job.read(
            "forced_rethinking.cut_probability", default: 0.5, .from(0, to: 1),
            "How often the completion is first cut back to before its answer.")
        answerMarkers = job.read(
            "forced_rethinking.answer_markers", default: ["\\boxed", "<answer>", "####"],
            "How an answer begins; a completion is cut at the last occurrence of any of these. One without any gives no answer."
        )
        let least = job.read(
            "forced_rethinking.min_tokens", default: 31, .from(1, to: 1_000_000),
            "Fewest tokens of a kept continuation."
        )
        let most = job.read(
            "forced_rethinking.max_tokens", default: 1023, .from(1, to: 1_000_000),
            "Most tokens of a kept continuation, and the room that a completion must have left to be eligible; a doubt that would leave less than min_tokens is not added."
        )
        tokens = least...max(least, most)
        mostDoubts = job.read(
            "forced_rethinking.max_waits", default: 4, .from(0, to: 1_000), "Most times a kept completion says wait.")
        perPrompt = job.read(
            "forced_rethinking.per_prompt", default: 2, .from(1, to: 65_535),
            "Most completions replaced per prompt.")
        easyShare = job.read(
            "forced_rethinking.easy_share", default: 0.7, .from(0, to: 1),
            "If more than this share of a group is right, its wrong ones are left alone.")
        imitationWeight = job.read(
            "forced_rethinking.sft_coef", default: 0.05, .atLeast(0),
            "Weight of the loss that imitates the kept continuations, added to the method's own.")
        naturalBonus = job.read(
            "forced_rethinking.natural_bonus", default: 0.0, .from(0, to: 1e9),
            "Reward bonus for a right completion that says wait once or twice without being made to (the paper: 0.1)."
        )
        naturalPenalty = job.read(
            "forced_rethinking.natural_penalty", default: 0.0, .from(0, to: 1e9),
            "Penalty per wait that was not forced in any other completion (the paper: 0.2), down to a reward of -0.1.")
        noAnswerReward = job.read(
            "forced_rethinking.no_answer_reward", optional: nil, .from(-1e9, to: 1e9),
            "The most that a completion without any of answer_markers, so in the wrong format, can earn (the paper: -0.1); unset keeps its reward."
        )
        let movesScores = naturalBonus > 0 || naturalPenalty > 0 || noAnswerReward != nil
        guard probability > 0 else {
            job.ignore(
                "forced_rethinking.cut_probability", "forced_rethinking.min_tokens", "forced_rethinking.max_tokens",
                "forced_rethinking.max_waits", "forced_rethinking.per_prompt", "forced_rethinking.easy_share",
                "forced_rethinking.sft_coef")
            job.ignore("forced_rethinking.answer_markers", when: noAnswerReward == nil)
            if !movesScores {
                job.ignore("forced_rethinking.reward", "forced_rethinking.right_from")
                return nil
            }
            return
        }
        job.check(most >= least, "forced_rethinking.max_tokens", "at least forced_rethinking.min_tokens, \(least)")
        job.check(
            most < maxCompletionLength, "forced_rethinking.max_tokens",
            "below max_completion_length \(maxCompletionLength): no completion would have the room")
    }
}
