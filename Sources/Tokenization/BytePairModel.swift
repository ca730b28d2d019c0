/// Byte-pair encoding (Sennrich et al. 2016, arXiv:1508.07909): a piece starts as single symbols, and the pair of the
/// lowest rank merges, leftmost first, until none is left.
struct BytePairModel: Sendable {
    /// What a piece is made of before any merge.
    enum Alphabet: Sendable {
        /// One symbol a byte; −1 where the vocabulary lacks one.
        case bytes([Int32])
        /// One symbol a code point.
        case scalars([UInt32: Int32])
    }

    let alphabet: Alphabet
    let merges: MergeTable
    /// Pieces that are a token as they stand, when merges are not asked first.
    let wholePieces: [ArraySlice<UInt8>: Int32]
    let unknownID: Int32?
    let fusesUnknown: Bool
    /// Ids of `<0x00>` … `<0xFF>`, −1 where one is missing; empty without byte fallback.
    let fallbackIDs: [Int32]

    /// Longer pieces merge through a heap; shorter ones are quicker by looking at every pair.
    private static let longestScanned = 24

    /// Appends the ids of one piece. A symbol that is neither in the vocabulary nor replaceable is left out, as the
    /// `tokenizers` library does.
    func encode(_ bytes: [UInt8], _ piece: Range<Int>, scratch: inout MergeScratch, into ids: inout [Int]) {
        if !wholePieces.isEmpty, let id = wholePieces[bytes[piece]] {
            ids.append(Int(id))
            return
        }
        scratch.symbols.removeAll(keepingCapacity: true)
        appendSymbols(bytes, piece, to: &scratch)
        if scratch.symbols.count <= Self.longestScanned {
            mergeByScanning(&scratch)
            for symbol in scratch.symbols { ids.append(Int(symbol)) }
        } else {
            mergeByHeap(&scratch, into: &ids)
        }
    }

    /// Whether there are texts of which something is left out.
    var leavesOut: Bool {
        guard unknownID == nil else { return false }
        return switch alphabet {
        case .bytes(let table): table.contains { $0 < 0 }
        case .scalars: fallbackIDs.isEmpty || fallbackIDs.contains { $0 < 0 }
        }
    }

    private func appendSymbols(_ bytes: [UInt8], _ piece: Range<Int>, to scratch: inout MergeScratch) {
        var pending: Int32?
        func flush() {
            if let unknown = pending { scratch.symbols.append(unknown) }
            pending = nil
        }
        func addUnknown() {
            guard let unknownID else {
                scratch.hasLeftOut = true
                return
            }
            if !fusesUnknown { flush() }
            pending = unknownID
        }
        switch alphabet {
        case .bytes(let table):
            for byte in bytes[piece] {
                let id = table[Int(byte)]
                if id < 0 {
                    addUnknown()
                } else {
                    flush()
                    scratch.symbols.append(id)
                }
            }
        case .scalars(let table):
            var index = piece.lowerBound
            while index < piece.upperBound {
                let (point, width) = scalar(in: bytes, at: index)
                if let id = table[point] {
                    flush()
                    scratch.symbols.append(id)
                } else if !appendFallback(bytes[index..<index + width], to: &scratch.symbols) {
                    // An unknown still pending stays behind the bytes that follow it: the order the library gives.
                    addUnknown()
                }
                index += width
            }
        }
        flush()
    }

    private func appendFallback(_ bytes: ArraySlice<UInt8>, to symbols: inout [Int32]) -> Bool {
        guard !fallbackIDs.isEmpty, bytes.allSatisfy({ fallbackIDs[Int($0)] >= 0 }) else { return false }
        for byte in bytes { symbols.append(fallbackIDs[Int(byte)]) }
        return true
    }

    private func mergeByScanning(_ scratch: inout MergeScratch) {
        guard scratch.symbols.count > 1 else { return }
        scratch.ranks.removeAll(keepingCapacity: true)
        for i in 0..<scratch.symbols.count - 1 {
            scratch.ranks.append(merges.rank(scratch.symbols[i], scratch.symbols[i + 1]))
        }
        while true {
            var best = MergeTable.none
            var position = 0
            for i in 0..<scratch.ranks.count where scratch.ranks[i] < best {
                best = scratch.ranks[i]
                position = i
            }
            guard best != MergeTable.none else { return }
            scratch.symbols[position] = merges.merged[Int(best)]
            scratch.symbols.remove(at: position + 1)
            scratch.ranks.remove(at: position)
            if position > 0 {
                scratch.ranks[position - 1] = merges.rank(scratch.symbols[position - 1], scratch.symbols[position])
            }
            if position < scratch.ranks.count {
                scratch.ranks[position] = merges.rank(scratch.symbols[position], scratch.symbols[position + 1])
            }
        }
    }

    /// O(n log n): a heap of (rank, position), in which an entry counts only while the pair at its position has
    /// that rank.
    private func mergeByHeap(_ scratch: inout MergeScratch, into ids: inout [Int]) {
        var symbols = scratch.symbols
        let count = symbols.count
        var next = (0..<Int32(count)).map { $0 + 1 }
        var previous = (0..<Int32(count)).map { $0 - 1 }
        var ranks = [UInt32](repeating: MergeTable.none, count: count)
        var heap = MergeHeap()
        for i in 0..<count - 1 {
            ranks[i] = merges.rank(symbols[i], symbols[i + 1])
            if ranks[i] != MergeTable.none { heap.append(rank: ranks[i], position: i) }
        }
        heap.order()
        func refresh(_ position: Int) {
            let right = Int(next[position])
            ranks[position] = right < count ? merges.rank(symbols[position], symbols[right]) : MergeTable.none
            if ranks[position] != MergeTable.none { heap.push(rank: ranks[position], position: position) }
        }
        while let (rank, position) = heap.pop() {
            guard ranks[position] == rank else { continue }
            let gone = Int(next[position])
            symbols[position] = merges.merged[Int(rank)]
            ranks[gone] = MergeTable.none
            next[position] = next[gone]
            if Int(next[gone]) < count { previous[Int(next[gone])] = Int32(position) }
            refresh(position)
            if previous[position] >= 0 { refresh(Int(previous[position])) }
        }
        var position = 0
        while position < count {
            ids.append(Int(symbols[position]))
            position = Int(next[position])
        }
    }
}

/// Room that encoding reuses from piece to piece.
struct MergeScratch {
    var symbols: [Int32] = []
    var ranks: [UInt32] = []
    /// Whether a symbol of any piece was left out.
    var hasLeftOut = false
}

/// A binary heap of rank and position, the lowest rank first, of equal ranks the leftmost.
private struct MergeHeap {
    private var entries: [UInt64] = []

    mutating func append(rank: UInt32, position: Int) { entries.append(UInt64(rank) << 32 | UInt64(position)) }

    /// Orders what was appended.
    mutating func order() {
        for index in stride(from: entries.count / 2 - 1, through: 0, by: -1) { sink(index) }
    }

    mutating func push(rank: UInt32, position: Int) {
        append(rank: rank, position: position)
        var index = entries.count - 1
        let entry = entries[index]
        while index > 0, entries[(index - 1) / 2] > entry {
            entries[index] = entries[(index - 1) / 2]
            index = (index - 1) / 2
        }
        entries[index] = entry
    }

    mutating func pop() -> (rank: UInt32, position: Int)? {
        guard let top = entries.first, let last = entries.popLast() else { return nil }
        if !entries.isEmpty {
            entries[0] = last
            sink(0)
        }
        return (UInt32(top >> 32), Int(top & 0xFFFF_FFFF))
    }

    private mutating func sink(_ start: Int) {
        var index = start
        let entry = entries[index]
        while true {
            var child = 2 * index + 1
            guard child < entries.count else { break }
            if child + 1 < entries.count, entries[child + 1] < entries[child] { child += 1 }
            guard entries[child] < entry else { break }
            entries[index] = entries[child]
            index = child
        }
        entries[index] = entry
    }
}
