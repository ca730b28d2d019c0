import Records

import Evaluation

/// A group of completions with one reward: text, score and the answer found in each.
func group(
    row: Int, source: String = "set", prompt: String = "1 + 1 =", _ completions: [(String, RewardScore, String?)],
    truncated: Set<Int> = [], readsAnswers: Bool = true
) -> EvaluatedGroup {
    let rollouts = completions.enumerated().map { index, completion in
        Rollout(
            completion: Completion(
                text: completion.0, tokenIDs: [1, 2], finishReason: truncated.contains(index) ? .length : .stopToken),
            samplingLogProbabilities: [], policyLogProbabilities: [], sample: index)
    }
    let prompt = TokenizedPrompt(prompt: Prompt(row: row, source: source, content: .text(prompt)), tokenIDs: [0])
    return EvaluatedGroup(
        ScoredGroup(
            group: RolloutGroup(prompt: prompt, rollouts: rollouts, policyVersion: PolicyVersion(0)),
            scores: completions.map { [$0.1] }), answers: [readsAnswers ? completions.map(\.2) : nil])
}

/// Two sources of two prompts, four completions each.
///
///     source a, row 0: right, right, wrong, wrong (answers 2 2 3 –)     row 1: wrong, wrong, right, failed (5 5 2 –)
///     source b, row 2: all wrong without an answer                      row 3: all right (2 2 2 2)
let twoSources = [
    group(
        row: 0, source: "a",
        [("2", .value(1), "2"), ("2", .value(1), "2"), ("3", .value(0), "3"), ("?", .value(0), nil)]),
    group(
        row: 1, source: "a",
        [("5", .value(0), "5"), ("5", .value(0), "5"), ("2", .value(1), "2"), ("", .failed(message: "broke"), nil)]),
    group(
        row: 2, source: "b", [(String, RewardScore, String?)](repeating: ("hm", .value(0), nil), count: 4),
        truncated: [0, 1]),
    group(row: 3, source: "b", [(String, RewardScore, String?)](repeating: ("2", .value(1), "2"), count: 4)),
]
