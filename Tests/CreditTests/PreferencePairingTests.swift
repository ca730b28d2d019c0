import Credit
import Records
import Testing

@Suite("Pairs of the best and the worst")
struct PreferencePairingTests {
    private func rollout(_ text: String, tokens: [Int]? = nil, truncated: Bool = false) -> Rollout {
        let ids = tokens ?? text.utf8.map(Int.init)
        return Rollout(
            completion: Completion(text: text, tokenIDs: ids, finishReason: truncated ? .length : .stopToken),
            samplingLogProbabilities: ids.map { _ in -1 }, policyLogProbabilities: ids.map { _ in -1 }, sample: 0)
    }

    @Test func theEarliestOfEqualsIsTaken() {
        let rollouts = ["a", "b", "c", "d", "e"].map { rollout($0) }
        let pairing = PreferencePairing()
        #expect(pairing.choice(of: rollouts, rewards: [0.5, 2, 0, 2, 0]) == .pair(chosen: 1, rejected: 2))
        #expect(pairing.choice(of: rollouts, rewards: [nil, 1, nil, nil, 0.5]) == .pair(chosen: 1, rejected: 4))
    }

    @Test func whatCannotBeComparedIsNoSide() {
        let pairing = PreferencePairing(thinkEnd: "</t>")
        let rollouts = [
            rollout("<t>open"), rollout("<t>a</t>1"), rollout("<t>b</t>2", truncated: true), rollout("<t>c</t>3"),
            rollout("", tokens: []),
        ]
        #expect(pairing.choice(of: rollouts, rewards: [9, 1, 8, 0, -5]) == .pair(chosen: 1, rejected: 3))
        #expect(pairing.choice(of: rollouts, rewards: [9, 1, 8, nil, -5]) == .none(.tooFew))
        #expect(pairing.choice(of: rollouts, rewards: [9, 1, 8, 1, -5]) == .none(.tie))
        #expect(pairing.choice(of: rollouts, rewards: [9, 1, 8, .nan, -5]) == .none(.tooFew))
        // A reward that changes its mind of the same text.
        let same = [rollout("<t>a</t>1"), rollout("<t>a</t>1")]
        #expect(pairing.choice(of: same, rewards: [1, 0]) == .none(.sameText))
    }

    /// The best, 2, may not be chosen: 0.5 is the best of the others. A completion that may not be chosen is rejected
    /// where it is the worst.
    @Test func whatIsBarredIsNeverChosen() {
        let rollouts = ["a", "b", "c", "d"].map { rollout($0) }
        let pairing = PreferencePairing()
        #expect(
            pairing.choice(of: rollouts, rewards: [0, 2, 0.5, 1], barred: [1, 3]) == .pair(chosen: 2, rejected: 0))
        #expect(pairing.choice(of: rollouts, rewards: [0, 2, 0.5, 1], barred: [0]) == .pair(chosen: 1, rejected: 0))
        #expect(pairing.choice(of: rollouts, rewards: [0, 2, 0.5, 1], barred: [1, 2, 3]) == .none(.tie))
        #expect(pairing.choice(of: rollouts, rewards: [0, 2, 0.5, 1], barred: [0, 1, 2, 3]) == .none(.beyondLimits))
    }

    /// Limits are judged by each completion's own score, and one that the reward gave none keeps them: of the scores of
    /// r that are paired the lengths 3, none, 9 and 2 stand under "at most 4".
    @Test func limitsAreKeptCompletionByCompletion() throws {
        let rule = PairsOfGroups(
            rewards: RewardCombination(names: ["r", "length"], weights: [1, 0]),
            limits: [Constraint("length", limit: 4, kind: .atMost)], forms: [("plain", PreferencePairing())])
        func group(_ row: Int, _ scores: [[RewardScore]]) -> ScoredGroup {
            ScoredGroup(
                group: RolloutGroup(
                    prompt: TokenizedPrompt(
                        prompt: Prompt(row: row, source: "s", content: .text("p")), tokenIDs: [row + 1]),
                    rollouts: scores.indices.map { rollout("t\($0)") }, policyVersion: PolicyVersion(0), variant: 0),
                scores: scores)
        }
        let credited = try rule.credit(
            CreditBatch(groups: [
                group(
                    0,
                    [
                        [.value(1), .value(3)], [.value(2), .abstained(reason: "no words")], [.value(5), .value(9)],
                        [.value(0), .value(2)],
                    ]),
                group(1, [[.value(1), .value(5)], [.value(0), .value(6)]]),
            ]))
        let sides = credited.update.parts[0].groups.map { $0.completions.map(\.tokenIDs) }
        #expect(sides[0] == ["t1", "t3"].map { $0.utf8.map(Int.init) })
        #expect(credited.update.parts[0].groups[1].completions.map(\.isMasked) == [true, true])
        #expect(credited.metrics["pairs/plain/kept"] == 0.5 && credited.metrics["pairs/plain/beyond_limits"] == 0.5)
        #expect(credited.metrics["constraints/length/violations"] == 0.5)  // 3 of 6
    }

    /// Two prompts in two forms: the first has both pairs, the second one only.
    @Test func aStepHasAPartForEachForm() throws {
        let rule = PairsOfGroups(
            rewards: RewardCombination(names: ["r"]),
            forms: [
                ("thinking", PreferencePairing(thinkEnd: "</t>")),
                ("empty", PreferencePairing(markers: ["<t>", "</t>"])),
            ])
        func group(_ row: Int, _ variant: Int, _ texts: [String], _ scores: [Double]) -> ScoredGroup {
            ScoredGroup(
                group: RolloutGroup(
                    prompt: TokenizedPrompt(
                        prompt: Prompt(row: row, source: "s", content: .text("p")), tokenIDs: [row + 1, variant]),
                    rollouts: texts.map { rollout($0) }, policyVersion: PolicyVersion(0), variant: variant),
                scores: scores.map { [.value($0)] })
        }
        let credited = try rule.credit(
            CreditBatch(groups: [
                group(0, 0, ["x</t>1", "y</t>2"], [0, 1]), group(0, 1, ["3", "4"], [1, 0]),
                group(1, 0, ["x", "y</t>2"], [0, 1]), group(1, 1, ["<t>3", "4"], [0, 1]),
            ]))
        let parts = credited.update.parts
        #expect(parts.map(\.kind) == [.pairs, .pairs] && parts.map(\.groups.count) == [2, 2])
        #expect(parts[0].groups[0].promptTokenIDs == [1, 0] && parts[1].groups[0].promptTokenIDs == [1, 1])
        #expect(parts[0].groups[0].completions.map(\.tokenIDs) == ["y</t>2", "x</t>1"].map { $0.utf8.map(Int.init) })
        #expect(parts[1].groups[0].completions.map(\.tokenIDs) == ["3", "4"].map { $0.utf8.map(Int.init) })
        // A prompt without a pair stands masked, so that it counts where the loss is divided.
        #expect(parts[0].groups[1].completions.map(\.isMasked) == [true, true])
        #expect(parts[1].groups[1].completions.map(\.isMasked) == [false, false])
        let metrics = credited.metrics
        #expect(metrics["pairs/thinking/kept"] == 0.5 && metrics["pairs/empty/kept"] == 1)
        #expect(metrics["pairs/thinking/too_few"] == 0.5 && metrics["pairs/thinking/unclosed"] == 0.25)
        #expect(metrics["pairs/empty/marker"] == 0.25 && metrics["pairs/thinking/marker"] == nil)
        #expect(credited.credits.map { $0.map(\.reward) } == [[0, 1], [1, 0], [0, 1], [0, 1]])
    }
}
