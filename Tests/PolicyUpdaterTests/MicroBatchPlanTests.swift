import PolicyUpdater
import Records
import Testing

@Suite("The cut of a batch into micro-batches")
struct MicroBatchPlanTests {
    /// A batch of groups given as prompt length and completion lengths; a negative length is masked.
    static func batch(_ groups: [(prompt: Int, completions: [Int])]) -> UpdateBatch {
        UpdateBatch(
            groups: groups.map { prompt, completions in
                UpdateGroup(
                    promptTokenIDs: Array(repeating: 1, count: prompt),
                    completions: completions.map {
                        UpdateCompletion(tokenIDs: Array(repeating: 2, count: abs($0)), isMasked: $0 < 0)
                    })
            })
    }

    static let mixed = batch([
        (3, [5, 2, 7]), (10, [1]), (1, [40, 3, 3, -9, 0]), (4, []), (2, [6, 6, 6, 6, 6]), (2, [-4]),
    ])

    @Test(arguments: [1, 8, 13, 20, 33, 64, 1000])
    func everyTrainedCompletionStandsInExactlyOnePiece(_ limit: Int) {
        var seen: [String: Int] = [:]
        for piece in MicroBatchPlan(Self.mixed, maxTokens: limit).microBatches.flatMap({ $0 }) {
            for completion in piece.completions { seen["\(piece.group)/\(completion)", default: 0] += 1 }
        }
        let expected = [
            "0/0", "0/1", "0/2", "1/0", "2/0", "2/1", "2/2", "4/0", "4/1", "4/2", "4/3", "4/4",
        ]
        #expect(seen == Dictionary(uniqueKeysWithValues: expected.map { ($0, 1) }))
    }

    @Test(arguments: [1, 8, 13, 20, 33, 64, 1000])
    func noPassIsAboveTheLimitUnlessOneCompletionAloneIs(_ limit: Int) {
        for pieces in MicroBatchPlan(Self.mixed, maxTokens: limit).microBatches {
            for piece in pieces {
                let group = Self.mixed.groups[piece.group]
                let counted =
                    group.promptTokenIDs.count
                    + piece.completions.reduce(0) { $0 + group.completions[$1].tokenIDs.count }
                #expect(piece.tokenCount == counted)
            }
            let tokens = pieces.reduce(0) { $0 + $1.tokenCount }
            #expect(tokens <= limit || (pieces.count == 1 && pieces[0].completions.count == 1))
        }
    }

    @Test func aGroupThatFitsStaysWholeAndOneThatDoesNotIsSplitByLength() {
        let plan = MicroBatchPlan(Self.batch([(2, [3, 9, 4, 8]), (2, [3, 3])]), maxTokens: 19)
        // group 0 has 26 tokens: 2+9+8 = 19, then 2+4+3 = 9 beside group 1 with 8
        #expect(
            plan.microBatches.map { $0.map { "\($0.group): \($0.completions)" } } == [
                ["0: [1, 3]"], ["0: [0, 2]", "1: [0, 1]"],
            ])
    }

    @Test(arguments: [1, 2, 3, 5], [8, nil] as [Int?])
    func ranksDivideThePassesAndEachIsSomebodys(_ ranks: Int, _ limit: Int?) {
        let plan = MicroBatchPlan(Self.mixed, maxTokens: limit, ranks: ranks)
        let shares = (0..<ranks).map { plan.microBatches(of: $0) }
        let pieces = { (passes: [[MicroBatchPlan.Piece]]) in
            passes.joined().flatMap { piece in piece.completions.map { "\(piece.group)/\($0)" } }.sorted()
        }
        #expect(pieces(shares.flatMap(\.self)) == pieces(MicroBatchPlan(Self.mixed, maxTokens: nil).microBatches))
        #expect(shares.allSatisfy { !$0.isEmpty })
        // Nobody has more than his even share and one pass.
        let loads = shares.map { $0.joined().reduce(0) { $0 + $1.tokenCount } }
        let longest = plan.microBatches.map { $0.reduce(0) { $0 + $1.tokenCount } }.max() ?? 0
        #expect(loads.max()! <= loads.reduce(0, +) / ranks + longest)
    }

    @Test func withoutALimitEverythingIsOnePass() {
        let plan = MicroBatchPlan(Self.mixed, maxTokens: nil)
        #expect(plan.microBatches.count == 1)
        #expect(plan.microBatches[0].map(\.group) == [2, 4, 0, 1])  // 47, 32, 17 and 11 tokens
    }

    @Test func aBatchThatTrainsNothingHasNoPass() {
        #expect(MicroBatchPlan(Self.batch([(3, [-2]), (1, []), (1, [0])]), maxTokens: 10).microBatches.isEmpty)
    }
}
