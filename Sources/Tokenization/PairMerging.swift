/// Pieces as symbols, with the counts of all pairs kept as merges change them.
struct PairMerging {
    private struct Pair: Hashable {
        let left: Int32
        let right: Int32
    }

    private let firstByteID: Int
    private var words: [(symbols: [Int32], count: Int)] = []
    private var pairCounts: [Pair: Int] = [:]
    private var wordsOfPair: [Pair: Set<Int32>] = [:]
    private var heap: [(count: Int, pair: Pair)] = []
    /// The bytes of each token from `firstByteID` on.
    private(set) var tokens: [[UInt8]] = (0...255).map { [$0] }
    /// Merges in rank, as the bytes of both sides.
    private(set) var merges: [(left: [UInt8], right: [UInt8])] = []
    private var known: Set<[UInt8]>

    var vocabularySize: Int { firstByteID + tokens.count }

    /// - Parameters:
    ///   - pieces: pieces of two bytes and more with how often each occurs.
    ///   - firstByteID: how many ids come before those of the bytes.
    ///   - reserved: texts that no merge may make, those of the special tokens.
    init(pieces: [[UInt8]: Int], firstByteID: Int, reserved: [[UInt8]]) {
        self.firstByteID = firstByteID
        known = Set(tokens + reserved)
        for (piece, count) in pieces.sorted(by: { $0.key.lexicographicallyPrecedes($1.key) }) {
            words.append((piece.map { Int32($0) }, count))
        }
        for (index, word) in words.enumerated() {
            for i in 0..<word.symbols.count - 1 {
                let pair = Pair(left: word.symbols[i], right: word.symbols[i + 1])
                pairCounts[pair, default: 0] += word.count
                wordsOfPair[pair, default: []].insert(Int32(index))
            }
        }
        for (pair, count) in pairCounts { push(count, pair) }
    }

    /// Merges the most frequent pair everywhere; false when none is frequent enough.
    mutating func mergeBest(atLeast minimum: Int) -> Bool {
        while let (count, pair) = pop() {
            guard pairCounts[pair] == count else { continue }
            guard count >= minimum else { return false }
            let bytes = tokens[Int(pair.left)] + tokens[Int(pair.right)]
            // Two ways to the same text would be one token with two merges; the first way keeps it.
            guard known.insert(bytes).inserted else { continue }
            merges.append((tokens[Int(pair.left)], tokens[Int(pair.right)]))
            tokens.append(bytes)
            replace(pair, by: Int32(tokens.count - 1))
            return true
        }
        return false
    }

    private mutating func replace(_ pair: Pair, by symbol: Int32) {
        var changed: Set<Pair> = []
        for index in wordsOfPair.removeValue(forKey: pair) ?? [] {
            let (symbols, count) = words[Int(index)]
            for i in 0..<symbols.count - 1 {
                pairCounts[Pair(left: symbols[i], right: symbols[i + 1]), default: 0] -= count
                changed.insert(Pair(left: symbols[i], right: symbols[i + 1]))
            }
            let merged = Self.merged(symbols, pair, symbol)
            for i in 0..<merged.count - 1 {
                let new = Pair(left: merged[i], right: merged[i + 1])
                pairCounts[new, default: 0] += count
                wordsOfPair[new, default: []].insert(index)
                changed.insert(new)
            }
            words[Int(index)].symbols = merged
        }
        for pair in changed {
            guard let count = pairCounts[pair], count > 0 else {
                pairCounts[pair] = nil
                continue
            }
            push(count, pair)
        }
    }

    private static func merged(_ symbols: [Int32], _ pair: Pair, _ symbol: Int32) -> [Int32] {
        var merged: [Int32] = []
        var i = 0
        while i < symbols.count {
            if i + 1 < symbols.count, symbols[i] == pair.left, symbols[i + 1] == pair.right {
                merged.append(symbol)
                i += 2
            } else {
                merged.append(symbols[i])
                i += 1
            }
        }
        return merged
    }

    // A heap of counts as they were when pushed; an entry whose count has changed since is skipped.

    private static func precedes(_ a: (count: Int, pair: Pair), _ b: (count: Int, pair: Pair)) -> Bool {
        (-a.count, a.pair.left, a.pair.right) < (-b.count, b.pair.left, b.pair.right)
    }

    private mutating func push(_ count: Int, _ pair: Pair) {
        heap.append((count, pair))
        var child = heap.count - 1
        while child > 0, Self.precedes(heap[child], heap[(child - 1) / 2]) {
            heap.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    private mutating func pop() -> (count: Int, pair: Pair)? {
        guard let top = heap.first else { return nil }
        heap.swapAt(0, heap.count - 1)
        heap.removeLast()
        var parent = 0
        while true {
            var child = 2 * parent + 1
            guard child < heap.count else { break }
            if child + 1 < heap.count, Self.precedes(heap[child + 1], heap[child]) { child += 1 }
            guard Self.precedes(heap[child], heap[parent]) else { break }
            heap.swapAt(parent, child)
            parent = child
        }
        return top
    }
}
