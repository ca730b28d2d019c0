import Foundation
import Tensors
import TestSupport
import Testing

@Suite("Ranks that share tensors, against one that has them whole")
struct TensorParallelTests {
    private static let (tokens, vocabulary, width) = (11, 37, 6)

    /// Numbers that every rank makes of itself.
    private struct Numbers: Sendable {
        var hidden, head: [Double]
        let a, b: [Double]
        let targets: [Int]

        init() {
            var random = RandomValues(seed: 9)
            hidden = random.doubles(tokens * width).map { 2 * $0 }
            head = random.doubles(vocabulary * width)
            (a, b) = (random.doubles(tokens), random.doubles(tokens))
            targets = (0..<tokens).map { _ in random.integer(0..<vocabulary) }
        }

        func with(hidden: [Double]? = nil, head: [Double]? = nil) -> Numbers {
            var other = self
            (other.hidden, other.head) = (hidden ?? self.hidden, head ?? self.head)
            return other
        }

        /// Log-probs and entropies by loops over Double.
        func scores(temperature: Double) -> (logProbabilities: [Double], entropies: [Double]) {
            var found: (logProbabilities: [Double], entropies: [Double]) = ([], [])
            for token in 0..<tokens {
                let logits = (0..<vocabulary).map { word in
                    (0..<width).reduce(0) { $0 + hidden[token * width + $1] * head[word * width + $1] } / temperature
                }
                let sum = log(logits.reduce(0) { $0 + exp($1) })
                found.logProbabilities.append(logits[targets[token]] - sum)
                found.entropies.append(logits.reduce(0) { $0 - exp($1 - sum) * ($1 - sum) })
            }
            return found
        }

        /// Σ a·log-prob + b·entropy.
        func loss(temperature: Double) -> Double {
            let scores = scores(temperature: temperature)
            return zip(a, scores.logProbabilities).reduce(0) { $0 + $1.0 * $1.1 }
                + zip(b, scores.entropies).reduce(0) { $0 + $1.0 * $1.1 }
        }
    }

    private struct Found: Sendable {
        var logProbabilities, entropies, byHidden, byHead: [Double]
    }

    /// Each rank's scores and gradients of the loss.
    private func found(ranks: Int, temperature: Double, chunk: Int) throws -> [Found] {
        let numbers = Numbers()
        return try onRanks(ranks) { group in
            let own = group.range(of: Self.vocabulary)
            let hidden = try Tensor(numbers.hidden, shape: [Self.tokens, Self.width]).requiringGradient()
            let part = try Tensor(
                Array(numbers.head[own.lowerBound * Self.width..<own.upperBound * Self.width]),
                shape: [own.count, Self.width]
            ).requiringGradient()
            let scores = try group.tokenScores(
                hidden: hidden, part: part, vocabulary: Self.vocabulary, targets: Tensor(numbers.targets),
                temperature: temperature, chunk: chunk)
            let (a, b) = (try Tensor(numbers.a), try Tensor(numbers.b))
            try ((scores.logProbabilities * a).sum() + (scores.entropies * b).sum()).backward()
            return Found(
                logProbabilities: try scores.logProbabilities.doubles(), entropies: try scores.entropies.doubles(),
                byHidden: try #require(hidden.gradient).doubles(), byHead: try #require(part.gradient).doubles())
        }
    }

    /// Words are divided unevenly; chunks of one row, of some rows, and of all.
    @Test(arguments: [2, 3], [1, 4 * 13, 1 << 20]) func scoresAreThoseOfPlainLoops(_ ranks: Int, _ chunk: Int) throws {
        for temperature in [1.0, 0.7] {
            let expected = Numbers().scores(temperature: temperature)
            let all = try found(ranks: ranks, temperature: temperature, chunk: chunk)
            for one in all {
                #expect(relativeError(one.logProbabilities, expected.logProbabilities) < 1e-12)
                #expect(relativeError(one.entropies, expected.entropies) < 1e-12)
                // What every rank goes on with has the same bits on each.
                #expect(one.logProbabilities == all[0].logProbabilities && one.byHidden == all[0].byHidden)
            }
        }
    }

    @Test(arguments: [2, 3]) func theirGradientsAreCentralDifferences(_ ranks: Int) throws {
        let numbers = Numbers()
        let all = try found(ranks: ranks, temperature: 0.7, chunk: 4 * 13)
        let byHidden = centralDifferences(at: numbers.hidden) { numbers.with(hidden: $0).loss(temperature: 0.7) }
        let byHead = centralDifferences(at: numbers.head) { numbers.with(head: $0).loss(temperature: 0.7) }
        for one in all { #expect(relativeError(one.byHidden, byHidden) < 1e-7) }
        #expect(relativeError(all.flatMap(\.byHead), byHead) < 1e-7)
    }

    @Test @TensorActor func theyAreThoseOfTheWholeHead() throws {
        let numbers = Numbers()
        let hidden = try Tensor(numbers.hidden, shape: [Self.tokens, Self.width]).requiringGradient()
        let head = try Tensor(numbers.head, shape: [Self.vocabulary, Self.width]).requiringGradient()
        let scores = try Tensor.tokenScores(
            hidden: hidden, head: head, targets: Tensor(numbers.targets), temperature: 0.7)
        let (a, b) = (try Tensor(numbers.a), try Tensor(numbers.b))
        try ((scores.logProbabilities * a).sum() + (scores.entropies * b).sum()).backward()
        let all = try found(ranks: 2, temperature: 0.7, chunk: 1 << 20)
        #expect(relativeError(all[1].logProbabilities, try scores.logProbabilities.doubles()) < 1e-13)
        #expect(relativeError(all[1].entropies, try scores.entropies.doubles()) < 1e-13)
        #expect(relativeError(all[1].byHidden, try #require(hidden.gradient).doubles()) < 1e-12)
        #expect(relativeError(all.flatMap(\.byHead), try #require(head.gradient).doubles()) < 1e-12)
    }

    /// Rank r multiplies by r + 1: y = 6·x on three ranks. L = Σ y² gives each rank dL/dy = 12·x, its share
    /// (r + 1)·12·x of dL/dx, and the sum 6·12·x.
    @Test func aSumOfPartsByHand() throws {
        let found = try onRanks(3) { group in
            let x = try Tensor([1.0, -2, 0.5]).requiringGradient()
            let y = try group.summed(group.copied(x) * Double(group.rank + 1))
            try y.square().sum().backward()
            return [try y.doubles(), try #require(x.gradient).doubles()]
        }
        for one in found { #expect(one == [[6, -12, 3], [72, -144, 36]]) }
    }

    /// Rows 0 and 1 of five are the first rank's. Row 3 is asked for twice: its gradient is the sum.
    @Test func rowsOfAllRanksByHand() throws {
        let found = try onRanks(2) { group in
            let own = group.range(of: 5)
            let part = try Tensor(own.flatMap { [Double($0), Double(10 * $0)] }, shape: [own.count, 2])
                .requiringGradient()
            let rows = try group.rows(of: part, count: 5, at: Tensor([3, 1, 3]))
            try (rows * Tensor([1.0, 2, 3, 4, 5, 6], shape: [3, 2])).sum().backward()
            return [try rows.doubles(), try #require(part.gradient).doubles()]
        }
        #expect(found.map { $0[0] } == [[3, 30, 1, 10, 3, 30], [3, 30, 1, 10, 3, 30]])
        #expect(found[0][1] == [0, 0, 3, 4] && found[1][1] == [0, 0, 6, 8, 0, 0])
    }

    @Test func aWordOfNoRankIsRefusedOnEach() throws {
        let messages = try onRanks(2) { group in
            let part = try Tensor.zeros([group.range(of: 5).count, 2], .float64)
            let error = #expect(throws: TensorError.self) {
                try group.tokenScores(
                    hidden: Tensor.zeros([1, 2], .float64), part: part, vocabulary: 5, targets: Tensor([5]))
            }
            #expect(throws: TensorError.self) { try group.rows(of: part, count: 5, at: Tensor([-1])) }
            return "\(error.map { "\($0)" } ?? "")"
        }
        for message in messages { #expect(message.contains("token id 5 is outside the vocabulary of 5")) }
    }

    /// Cut by rows, by columns, unevenly, and not at all; back again to the bit.
    @Test func partsMakeTheWholeAgain() throws {
        let found = try onRanks(3) { group in
            let shards = ParameterShards(
                over: group, cuts: ["rows": .init(axis: 0, count: 4), "columns": .init(axis: 1, count: 5)])
            let whole = try Tensor((0..<20).map { Double($0) / 7 }, shape: [4, 5])
            var shapes: [[Int]] = []
            for name in ["rows", "columns", "norm"] {
                let part = try shards.part(of: whole, named: name)
                shapes.append(part.shape)
                #expect(shards.partShape(of: [4, 5], named: name) == part.shape)
                #expect(shards.wholeShape(of: part.shape, named: name) == [4, 5])
                #expect(try shards.whole(of: part, named: name).doubles() == whole.doubles())
            }
            #expect(try group.sum(Double(group.rank)) == 3)
            return shapes
        }
        #expect(found == [[[1, 5], [4, 1], [4, 5]], [[1, 5], [4, 2], [4, 5]], [[2, 5], [4, 2], [4, 5]]])
    }

    /// Sums over the width for each word of 37, of which 2 or 3 ranks have uneven parts.
    @Test(arguments: [2, 3]) func logitsOfAllWordsAreThoseOfPlainLoops(_ ranks: Int) throws {
        let numbers = Numbers()
        let (tokens, vocabulary, width) = (Self.tokens, Self.vocabulary, Self.width)
        let expected = (0..<tokens * vocabulary).map { index in
            (0..<width).reduce(0) {
                $0 + numbers.hidden[index / vocabulary * width + $1] * numbers.head[index % vocabulary * width + $1]
            }
        }
        let found = try onRanks(ranks) { group in
            let own = group.range(of: vocabulary)
            let hidden = try Tensor(numbers.hidden, shape: [tokens, width])
            let part = try Tensor(
                Array(numbers.head[own.lowerBound * width..<own.upperBound * width]), shape: [own.count, width])
            let logits = try group.logits(hidden.linear(weight: part), vocabulary: vocabulary)
            #expect(logits.shape == [tokens, vocabulary])
            return try logits.doubles()
        }
        for one in found { #expect(relativeError(one, expected) < 1e-12 && one == found[0]) }
    }

    /// Twenty numbers cut by rows, the same by columns, and four of a vector. Each rank copies what it has and sends it
    /// to the others: to one, or to two in a broadcast. What it receives is all 44 but its own, of eight bytes.
    @Test(arguments: [2, 3]) func aWalkPutsPartsTogether(_ ranks: Int) throws {
        let cuts: [String: ParameterShards.Cut] = [
            "rows": .init(axis: 0, count: 4), "columns": .init(axis: 1, count: 5), "bias": .init(axis: 0, count: 4),
        ]
        let whole = (0..<20).map { Double($0) / 7 }
        let found = try onRanks(ranks) { group in
            let shards = ParameterShards(over: group, cuts: cuts)
            func steps(_ name: String, _ region: (Range<Int>) -> TensorTransfer.Region) -> [TensorTransfer.Step] {
                (0..<ranks).flatMap { rank in
                    let regions = [region(group.range(of: cuts[name]!.count, rank: rank))]
                    let others = (0..<ranks).filter { $0 != rank }
                    return [
                        TensorTransfer.Step(sender: rank, receivers: [rank], regions: regions),
                        TensorTransfer.Step(sender: rank, receivers: others, regions: regions),
                    ]
                }
            }
            // Two tensors in one message, one in a round of its own.
            let both = zip(
                steps("rows") { .init(name: "rows", rows: $0, columns: 0..<5) },
                steps("bias") { .init(name: "bias", rows: $0, columns: 0..<1) }
            ).map { TensorTransfer.Step(sender: $0.sender, receivers: $0.receivers, regions: $0.regions + $1.regions) }
            let transfer = TensorTransfer(
                rounds: [both, steps("columns") { .init(name: "columns", rows: 0..<4, columns: $0) }])
            let matrix = try Tensor(whole, shape: [4, 5])
            let sources = ["rows": matrix, "columns": matrix, "bias": try Tensor(Array(whole.prefix(4)))]
            let parts = try Dictionary(
                uniqueKeysWithValues: sources.map { ($0, try shards.part(of: $1, named: $0)) })
            let wholes = try sources.mapValues { try Tensor.zeros($0.shape, .float64) }
            let received = try ParameterReallocation(from: shards, to: nil, over: group, transfer)
                .walk(from: parts, into: wholes)
            #expect(received == 8 * (44 - parts.values.reduce(0) { $0 + $1.count }))
            return try ["rows", "columns", "bias"].map { try wholes[$0]!.doubles() }
        }
        for one in found { #expect(one == [whole, whole, Array(whole.prefix(4))]) }
    }

    /// Of one part a bit is flipped, or its elements change places: then they are not those of the whole.
    @Test(arguments: [2, 3]) func digestsOfPartsAddUp(_ ranks: Int) throws {
        let found = try onRanks(ranks) { group in
            let shards = ParameterShards(
                over: group, cuts: ["rows": .init(axis: 0, count: 5), "columns": .init(axis: 1, count: 7)])
            let whole = try Tensor((0..<35).map { Float($0) / 3 }, shape: [5, 7])
            for name in ["rows", "columns", "norm"] {
                let (part, expected) = (try shards.part(of: whole, named: name), try whole.digest(seed: 9))
                let own = try shards.digest(of: part, named: name, seed: 9)
                #expect(try group.wrappingSums([own, 1]) == [expected, UInt64(ranks)], "\(name)")
                guard name != "norm" else { continue }
                let other = try shards.digest(
                    of: group.rank == 0 ? part.flipped(axis: 0).flipped(axis: 1) : part, named: name, seed: 9)
                #expect(try group.wrappingSums([other]) != [expected], "\(name)")
            }
            return group.rank
        }
        #expect(found == Array(0..<ranks))
    }
}
