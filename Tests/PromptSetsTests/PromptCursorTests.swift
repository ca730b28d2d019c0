import Foundation
import PromptSets
import Records
import Runs
import TestSupport
import Testing

@Suite("The order of prompts")
struct PromptCursorTests {
    private let folder: TemporaryFolder
    init() throws { folder = try TemporaryFolder() }

    private func rows(_ count: Int, _ name: String = "rows.jsonl") throws -> PromptSet {
        let rows = (0..<count).map { "{\"prompt\": \"\($0)\", \"completion\": \"c\($0)\"}" }
        return try PromptSet(folder.file(name, rows.joined(separator: "\n")))
    }

    private func next(_ cursor: PromptCursor, _ count: Int) async throws -> [Int] {
        try await cursor.next(count).map(\.row)
    }

    @Test func everyShuffleIsABijection() {
        for count in Array(1...70) + [255, 256, 257, 1000, 4095, 4097, 65_537] {
            for index in [0, 1, 7] as [UInt64] {
                let order = KeyedPermutation(count: count, seed: 42, stream: .epoch, index: index)
                var seen = [Bool](repeating: false, count: count)
                for index in 0..<count { seen[order[index]] = true }
                #expect(seen.allSatisfy { $0 }, "\(count), index \(index)")
            }
        }
    }

    /// χ² with 81 degrees of freedom (10 × 10 table, both margins fixed): mean 81, deviation 12.7; 145 is five
    /// deviations.
    @Test func everyRowComesToEveryPlaceEquallyOften() {
        let shuffles = 20_000
        var counts = [[Int]](repeating: [Int](repeating: 0, count: 10), count: 10)
        for index in 0..<shuffles {
            let order = KeyedPermutation(count: 10, seed: 7, stream: .epoch, index: UInt64(index))
            for index in 0..<10 { counts[index][order[index]] += 1 }
        }
        let expected = Double(shuffles) / 10
        let chiSquared = counts.joined().reduce(0) { $0 + pow(Double($1) - expected, 2) / expected }
        #expect(chiSquared < 145, "χ² = \(chiSquared)")
    }

    /// Neighbours in the file are neighbours in a shuffle of 1,000 no more often than chance: 2 in 1,000 pairs.
    @Test func neighboursAreTornApart() {
        var neighbours = 0
        for index in 0..<100 as Range<UInt64> {
            let order = KeyedPermutation(count: 1000, seed: 1, stream: .epoch, index: index)
            for index in 1..<1000 where abs(order[index] - order[index - 1]) == 1 { neighbours += 1 }
        }
        #expect((130...270).contains(neighbours), "\(neighbours)")
    }

    @Test func seedsAndEpochsHaveOrdersOfTheirOwn() {
        func order(_ seed: UInt64, _ index: UInt64) -> [Int] {
            let order = KeyedPermutation(count: 50, seed: seed, stream: .epoch, index: index)
            return (0..<50).map { order[$0] }
        }
        let orders = [order(1, 0), order(1, 1), order(2, 0)]
        #expect(Set(orders).count == 3)
        #expect(order(1, 0) == orders[0])
    }

    @Test func anEpochGivesEveryRowOnceAndDropsAnIncompleteEnd() async throws {
        let cursor = PromptCursor(try rows(10), seed: 5)
        var epochs: [[Int]] = []
        for _ in 0..<2 {
            var epoch: [Int] = []
            for _ in 0..<3 { epoch += try await next(cursor, 3) }
            #expect(Set(epoch).count == 9)
            epochs.append(epoch)
        }
        #expect(epochs[0] != epochs[1])
        #expect(await cursor.position == PromptPosition(epoch: 1, taken: 9))
        #expect(await cursor.epoch == 1.9)
    }

    @Test func withoutShufflingTheFilesOrderStays() async throws {
        let cursor = PromptCursor(try rows(5), seed: 5, shuffles: false)
        #expect(try await next(cursor, 2) == [0, 1])
        #expect(try await next(cursor, 2) == [2, 3])
        #expect(try await next(cursor, 2) == [0, 1])
    }

    @Test func aStepLargerThanTheSetIsRefused() async throws {
        let cursor = PromptCursor(try rows(5), seed: 5)
        let error = await #expect(throws: PromptSetError.self) { try await cursor.next(6) }
        #expect(
            error?.description.hasPrefix("prompt set rows: a step asks for 6 prompts, the set has 5; lower") == true)
        #expect(try await next(cursor, 5).sorted() == [0, 1, 2, 3, 4])
    }

    @Test func anAbandonedStepComesAgain() async throws {
        let cursor = PromptCursor(try rows(20), seed: 5)
        _ = try await cursor.next(4)
        await cursor.mark()
        let first = try await next(cursor, 4)
        _ = try await cursor.next(4)
        await cursor.rewind()
        #expect(try await next(cursor, 4) == first)
    }

    @Test func demonstrationsFollowTheSameOrder() async throws {
        let set = try rows(8)
        let demonstrations = try await PromptCursor(set, seed: 3).nextDemonstrations(8)
        #expect(demonstrations.map(\.prompt.row) == (try await next(PromptCursor(set, seed: 3), 8)))
        #expect(demonstrations.allSatisfy { $0.completion == "c\($0.prompt.row)" })
    }

    @Test func aBadRowLeavesThePosition() async throws {
        let url = try folder.file("bad.jsonl", "{\"prompt\": \"a\"}\n{\"prompt\": 1}\n{\"prompt\": \"b\"}")
        let cursor = PromptCursor(try PromptSet(url), seed: 5, shuffles: false)
        await #expect(throws: PromptSetError.self) { try await cursor.next(2) }
        #expect(await cursor.position == PromptPosition())
    }

    @Test func aResumedCursorGoesOnExactly() async throws {
        let set = try rows(23)
        let whole = PromptCursor(set, seed: 9)
        var expected: [Int] = []
        for _ in 0..<20 { expected += try await next(whole, 4) }
        for stop in 0..<20 {
            let before = PromptCursor(set, seed: 9)
            var found: [Int] = []
            for _ in 0..<stop { found += try await next(before, 4) }
            let state = folder.url.appending(path: "state-\(stop)")
            try FileOperations.system.createFolder(state)
            try await before.save(to: state)
            let after = PromptCursor(set, seed: 9)
            try await after.restore(from: state)
            for _ in stop..<20 { found += try await next(after, 4) }
            #expect(found == expected, "stopped at \(stop)")
        }
    }

    @Test func aPositionHoldsForItsRowsAndSeedOnly() async throws {
        let set = try rows(10)
        let cursor = PromptCursor(set, seed: 9)
        _ = try await cursor.next(4)
        try await cursor.save(to: folder.url)
        for other in [
            PromptCursor(set, seed: 10), PromptCursor(set, seed: 9, shuffles: false),
            PromptCursor(try rows(11, "more.jsonl"), seed: 9),
        ] {
            let error = await #expect(throws: PromptSetError.self) { try await other.restore(from: folder.url) }
            #expect(error?.description.contains("resume with the same one, or start anew") == true)
            #expect(await other.position == PromptPosition())
        }
        for text in ["{", "{}", "[]"] {
            _ = try folder.file("position.json", text)
            await #expect(throws: (any Error).self) { try await cursor.restore(from: folder.url) }
            #expect(await cursor.position == PromptPosition(epoch: 0, taken: 4))
        }
    }
}
