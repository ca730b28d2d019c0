import PromptSets
import Records
import TestSupport
import Testing

@Suite("Mixtures of prompt sets")
struct PromptMixtureTests {
    private let folder: TemporaryFolder
    init() throws { folder = try TemporaryFolder() }

    private func set(_ name: String, _ count: Int, column: String = "answer") throws -> PromptSet {
        let rows = (0..<count).map {
            "{\"prompt\": \"\(name) \($0)\", \"completion\": \"c\($0)\", \"\(column)\": \($0)}"
        }
        return try PromptSet(folder.file("\(name).jsonl", rows.joined(separator: "\n")))
    }

    /// The counts that TRL 1.16's `get_dataset` keeps: `round(weight * min(len / weight))`, computed with Python 3.11.
    @Test(
        arguments: [
            ([10, 40], [nil, nil], [10, 40]), ([10, 40], [0.5, 0.5], [10, 10]), ([10, 40], [0.25, 0.75], [10, 30]),
            ([10, 40], [2, 1], [10, 5]), ([100, 30, 7], [0.7, 0.2, 0.1], [49, 14, 7]), ([7, 5], [0.5, 0.5], [5, 5]),
            ([3, 1000], [1, 0.01], [3, 0]), ([9, 9, 9], [1, 2, 4], [2, 4, 9]),
        ] as [([Int], [Double?], [Int])])
    func countsAreTRLs(_ sizes: [Int], _ fractions: [Double?], _ counts: [Int]) throws {
        let parts = try sizes.enumerated().map { index, size in
            PromptMixture.Part(try set("s\(index)", size), fraction: fractions[index])
        }
        guard !counts.contains(0) else {
            let error = #expect(throws: PromptSetError.self) { try PromptMixture(parts) }
            #expect(
                error?.description.hasPrefix("prompt set s1: its fraction comes to no row of a mixture of 3;") == true)
            return
        }
        let mixture = try PromptMixture(parts)
        #expect(mixture.counts == counts && mixture.count == counts.reduce(0, +))
    }

    @Test func rowsAreNumberedThroughAndSeeEveryColumn() throws {
        let mixture = try PromptMixture([
            .init(try set("a", 4), fraction: 1), .init(try set("b", 9, column: "target"), fraction: 1),
        ])
        let prompts = try (0..<mixture.count).map { try mixture.prompt(at: $0) }
        #expect(prompts.map(\.row) == Array(0..<8))
        #expect(prompts.map(\.text) == ["a 0", "a 1", "a 2", "a 3", "b 0", "b 1", "b 2", "b 3"])
        #expect(prompts[2].columns == ["answer": .number(2), "target": .null])
        #expect(prompts[6].columns == ["answer": .null, "target": .number(2)] && prompts[6].source == "b")
        let demonstration = try mixture.demonstration(at: 5)
        #expect(demonstration.completion == "c1" && demonstration.prompt == prompts[5])
    }

    @Test func sharesThatCannotBeAreRefused() throws {
        let (first, second) = (try set("a", 4), try set("b", 4))
        for parts in [
            [], [PromptMixture.Part(first, fraction: 0)], [.init(first, fraction: -1)], [.init(first, fraction: .nan)],
            [.init(first, fraction: 1), .init(second)],
        ] {
            #expect(throws: PromptSetError.self) { try PromptMixture(parts) }
        }
    }

    @Test func anotherMixtureIsAnotherSet() throws {
        let (first, second) = (try set("a", 4), try set("b", 8))
        let halves = try PromptMixture([.init(first, fraction: 0.5), .init(second, fraction: 0.5)])
        let all = try PromptMixture([.init(first), .init(second)])
        #expect(halves.identity != all.identity)
        #expect(all.identity.hasPrefix("4 rows of a.jsonl: 4 rows") && all.name == "a + b")
    }
}
