import Tensors
import Testing

@Suite("Packed layouts")
struct SequenceLayoutTests {
    @Test func positionsAndPredictionsOfTwoGroups() throws {
        // Packed: p0 p1 p2 | a0 a1 | (empty) | b0 || q0
        let layout = try SequenceLayout(groups: [(3, [2, 0, 1]), (1, [])])
        #expect(layout.tokenCount == 7)
        #expect(layout.positions == [0, 1, 2, 3, 4, 3, 0])
        #expect(layout.groups[0].prompt == 0..<3)
        #expect(layout.groups[0].completions == [3..<5, 5..<5, 5..<6])
        #expect(layout.groups[1].tokens == 6..<7)
        #expect(layout.completionTokenIndices == [3, 4, 5])
        #expect(layout.predictionIndices == [2, 3, 2])
    }

    /// Packed: p0 p1 p2 | a0 a1 | (empty) | b0 || q0 q1 | c0 || r0
    @Test func aPartHasWhatItsStatesDependOn() throws {
        let layout = try SequenceLayout(groups: [(3, [2, 0, 1]), (2, [1]), (1, [])])
        // The first completion's first token, with all of its prompt.
        let first = try #require(try layout.part(for: [3, 2, 3]))
        #expect(first.tokens == [0, 1, 2, 3] && first.indices == [3, 2, 3])
        #expect(first.layout == (try SequenceLayout(groups: [(3, [1, 0, 0])])))
        // A prompt's beginning, where no completion needs the rest of it.
        let beginning = try #require(try layout.part(for: [9, 6]))
        #expect(beginning.tokens == [6, 9] && beginning.indices == [1, 0])
        #expect(beginning.layout == (try SequenceLayout(groups: [(1, [0]), (1, [])])))
        // All of it, and nothing.
        #expect(try layout.part(for: [4, 5, 8, 9]) == nil && layout.part(for: []) == nil)
        for index in [-1, 10] {
            #expect(throws: TensorError.layout("token \(index) is outside the layout; expected 0 to 9")) {
                try layout.part(for: [0, index])
            }
        }
    }

    @Test func whatDoesNotFitIsRefused() {
        #expect(throws: TensorError.layout("a layout needs at least one group")) { try SequenceLayout(groups: []) }
        #expect(throws: TensorError.layout("group 1 has a prompt of 0 tokens, at least 1 is needed")) {
            try SequenceLayout(groups: [(1, []), (0, [2])])
        }
        #expect(throws: TensorError.layout("group 0 has a completion of -1 tokens, at least 0 is needed")) {
            try SequenceLayout(groups: [(1, [-1])])
        }
    }
}
