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
