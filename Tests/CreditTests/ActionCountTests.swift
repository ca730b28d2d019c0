import Credit
import Records
import Testing

@Suite("Credit of completions with tokens that the policy did not choose")
struct ActionCountTests {
    /// Three, one and two actions with numbers of their own; `isForced` puts two tokens behind the first action of the
    /// first completion.
    private func batch(isForced: Bool) -> CreditBatch {
        func numbers(_ phase: Int) -> [[[Float]]] {
            [
                [3, 1, 2].enumerated().map { row, count in
                    (0..<count).map { Float(($0 * 7 + row * 5 + phase) % 11) / 8 }
                }
            ]
        }
        var group = ScoredGroups.group([1, 0, 0.25], greedy: 0.5, lengths: [3, 1, 2])
        if isForced {
            group.group.rollouts[0].completion.tokenIDs = [7, 9, 9, 7, 7]
            group.group.rollouts[0].isAction = [true, false, false, true, true]
        }
        return CreditBatch(
            groups: [group], oldLogProbabilities: numbers(0), referenceLogProbabilities: numbers(4),
            values: CriticValues(numbers(9).map { $0.map { [$0] } }))
    }

    @Test(arguments: try NamedRule.all)
    func advantagesAreThoseOfTheActionsAlone(_ rule: NamedRule) throws {
        let forced = try rule.rule.credit(batch(isForced: true)).update.groups[0].completions
        #expect(try rule.advantages(batch(isForced: true)) == rule.advantages(batch(isForced: false)))
        #expect(forced[0].isAction == [true, false, false, true, true] && forced[0].tokenIDs == [7, 9, 9, 7, 7])
        #expect(forced[1].isAction == nil)
    }

    /// Numbers for every token, where only three are actions.
    @Test func numbersOfTokensThatNobodyChoseAreRefused() throws {
        var batch = batch(isForced: true)
        batch.referenceLogProbabilities?[0][0] = [0, 0, 0, 0, 0]
        let rule = GroupBaseline(rewards: try .single, settings: .init())
        let error = #expect(throws: CreditError.self) { try rule.credit(batch) }
        #expect(error.map { "\($0)" }?.hasSuffix("found 5 numbers of the reference policy, expected 3") == true)
    }
}
