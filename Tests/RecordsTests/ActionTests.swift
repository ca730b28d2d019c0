import Foundation
import Records
import Testing

@Suite("Actions and payloads of a completion")
struct ActionTests {
    @Test func numbersPerActionFindTheirTokens() {
        let row = UpdateCompletion(tokenIDs: [7, 8, 9, 6], isAction: [true, false, false, true])
        #expect(row.actionCount == 2 && row.actionPositions == [0, 3])
        #expect(row.perToken([0.5, 0.25]) == [0.5, nil, nil, 0.25])
        let all = UpdateCompletion(tokenIDs: [7, 8])
        #expect(all.actionCount == 2 && all.actionPositions == [0, 1] && all.perToken([1, 2]) == [1, 2])
    }

    @Test func countsOfABatchAreOfActions() {
        let batch = UpdateBatch(groups: [
            UpdateGroup(
                promptTokenIDs: [1],
                completions: [
                    UpdateCompletion(tokenIDs: [1, 2, 3], isAction: [true, false, true]),
                    UpdateCompletion(tokenIDs: [1, 2], isAction: [false, true], isMasked: true),
                    UpdateCompletion(tokenIDs: [4]),
                ])
        ])
        #expect(batch.actionTokenCount == 3 && batch.completionCount == 3)
    }

    private func record(_ value: Float) -> SoftTokens {
        var record = SoftTokens()
        record.append(ids: [3, 5], values: [value, -1], parameters: [-0.5, -1], entropy: 0.5, largestWeight: 0.75)
        record.endThinking(entersAsWord: true)
        record.appendOrdinary()
        return record
    }

    @Test func aPayloadIsComparedAsWhatItIs() {
        let row = UpdateCompletion(tokenIDs: [3, 4], payload: record(0.25))
        #expect(row == UpdateCompletion(tokenIDs: [3, 4], payload: record(0.25)))
        #expect(row != UpdateCompletion(tokenIDs: [3, 4], payload: record(0.5)))
        #expect(row != UpdateCompletion(tokenIDs: [3, 4]) && UpdateCompletion(tokenIDs: [3, 4]) != row)
    }

    /// As the replay buffer's file has it. A row without payload and mask is written as one before there were any, and
    /// such a file is read.
    @Test func rowsSurviveAFile() throws {
        let rows = [
            UpdateCompletion(tokenIDs: [3, 4], advantages: [[0.5, -1]], payload: record(0.25)),
            UpdateCompletion(tokenIDs: [3, 4, 5], isAction: [true, false, true]), UpdateCompletion(tokenIDs: [9]),
        ]
        let file = try JSONEncoder().encode(rows)
        #expect(try JSONDecoder().decode([UpdateCompletion].self, from: file) == rows)
        let plain = try #require(
            JSONSerialization.jsonObject(with: JSONEncoder().encode(rows[2])) as? [String: Any])
        #expect(plain["payload"] == nil && plain["isAction"] == nil && plain["tokenIDs"] != nil)
        let unknown = String(decoding: file, as: UTF8.self).replacing("soft tokens", with: "spoken tokens")
        #expect(throws: DecodingError.self) {
            try JSONDecoder().decode([UpdateCompletion].self, from: Data(unknown.utf8))
        }
    }

    @Test func aRoleKeepsItsOwnNumbers() {
        var kept = record(0.25)
        kept.keep([1, 2], of: .oldPolicy)
        kept.keep([3, 4], of: .reference)
        #expect(kept.oldParameters == [1, 2] && kept.referenceParameters == [3, 4])
        kept.keepSamplersScores()
        #expect(kept.oldParameters == [-0.5, -1])
    }
}
