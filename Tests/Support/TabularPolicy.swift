import Foundation

/// A policy over short sequences that can be enumerated: one row of logits for every prefix.
///
/// Token 0 ends a sequence; a sequence also ends at `length` tokens. All arithmetic is plain Double, so that
/// expectations and gradients are exact to rounding and owe nothing to the code under test.
package struct TabularPolicy {
    package let vocabulary: Int
    package let length: Int
    /// `[context][token]`
    package var logits: [[Double]]
    private let contexts: [[Int]: Int]

    /// A policy with logits drawn between −1 and 1 from a small generator, the same for the same seed.
    package init(vocabulary: Int, length: Int, seed: UInt64) {
        self.vocabulary = vocabulary
        self.length = length
        var prefixes: [[Int]] = [[]]
        var last: [[Int]] = [[]]
        for _ in 1..<max(length, 2) where length > 1 {
            last = last.flatMap { prefix in (1..<vocabulary).map { prefix + [$0] } }
            prefixes += last
        }
        contexts = Dictionary(uniqueKeysWithValues: prefixes.enumerated().map { ($1, $0) })
        var state = seed
        logits = prefixes.map { _ in
            (0..<vocabulary).map { _ in
                state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                return Double(state >> 11) / Double(1 << 52) - 1
            }
        }
    }

    /// Every sequence the policy can write.
    package var sequences: [[Int]] {
        var finished: [[Int]] = []
        var open: [[Int]] = [[]]
        for step in 1...length {
            let next = open.flatMap { prefix in (0..<vocabulary).map { prefix + [$0] } }
            finished += next.filter { $0.last == 0 || step == length }
            open = next.filter { $0.last != 0 }
        }
        return finished
    }

    /// The log-prob of each token of a sequence.
    package func logProbabilities(_ sequence: [Int]) -> [Double] {
        sequence.indices.map { step in
            let row = logits[context(sequence, step)]
            return row[sequence[step]] - log(row.map(exp).reduce(0, +))
        }
    }

    package func probability(_ sequence: [Int]) -> Double { exp(logProbabilities(sequence).reduce(0, +)) }

    /// The sequence of the likeliest token at every step, the lowest id among equals.
    package var greedy: [Int] {
        var sequence: [Int] = []
        while sequence.last != 0, sequence.count < length {
            let row = logits[context(sequence, sequence.count)]
            sequence.append(row.firstIndex(of: row.max()!)!)
        }
        return sequence
    }

    /// Σ_t c_t · ∇ log π(y_t), the gradient over all logits as one list.
    package func scoreGradient(_ sequence: [Int], coefficients: [Double]) -> [Double] {
        var gradient = logits.map { $0.map { _ in 0.0 } }
        for step in sequence.indices {
            let context = context(sequence, step)
            let row = logits[context].map(exp)
            let total = row.reduce(0, +)
            for token in 0..<vocabulary {
                let indicator = token == sequence[step] ? 1.0 : 0.0
                gradient[context][token] += coefficients[step] * (indicator - row[token] / total)
            }
        }
        return gradient.flatMap(\.self)
    }

    /// Σ_y π(y)·f(y)
    package func expectation(_ value: ([Int]) -> Double) -> Double {
        sequences.map { probability($0) * value($0) }.reduce(0, +)
    }

    /// Σ_y π(y)·g(y) for vectors.
    package func expectation(_ vector: ([Int]) -> [Double]) -> [Double] {
        sequences.map { sequence in vector(sequence).map { $0 * probability(sequence) } }.summed()
    }

    /// The gradient of any function of the policy by central differences.
    package func centralDifferences(_ function: (TabularPolicy) -> Double, step: Double = 1e-5) -> [Double] {
        logits.indices.flatMap { row in
            logits[row].indices.map { column in
                var (above, below) = (self, self)
                above.logits[row][column] += step
                below.logits[row][column] -= step
                return (function(above) - function(below)) / (2 * step)
            }
        }
    }

    private func context(_ sequence: [Int], _ step: Int) -> Int { contexts[Array(sequence[..<step])]! }
}

extension [[Double]] {
    /// The sum of vectors of one length.
    package func summed() -> [Double] {
        dropFirst().reduce(first ?? []) { zip($0, $1).map(+) }
    }
}
