/// The regular expressions that byte-level tokenizers split text with, each as a scanner written by hand.
///
/// A scanner gives the same pieces as the expression. Every expression here matches at any position of any text, so the
/// pieces cover it.
package enum SplitPattern: String, Sendable, CaseIterable {
    /// The expression inside the `ByteLevel` pre-tokenizer.
    case gpt2 = #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#
    /// Numbers in threes, a letter run takes one other character before it, line ends close a run of others.
    case llama3 =
        #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
    /// As ``llama3`` with numbers one by one.
    case qwen2 =
        #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#

    /// Mistral's Tekken: words begin anew at a capital, numbers one by one, and line ends and slashes close a run of
    /// others.
    case tekken =
        #"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
    /// GPT-4o's: as ``tekken`` with numbers in threes, and a contraction stays with its word.
    case gpt4o =
        #"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"#

    /// The expression as a tokenizer file writes it.
    package var expression: String { rawValue }

    /// Splits one range of a text and appends the pieces in order.
    func split(_ bytes: [UInt8], _ range: Range<Int>, into pieces: inout [Range<Int>]) {
        let scanner = SplitScanner(bytes: bytes, end: range.upperBound)
        var start = range.lowerBound
        while start < range.upperBound {
            let end =
                switch self {
                case .gpt2: scanner.endOfGPT2Piece(start)
                case .llama3: scanner.endOfLlama3Piece(start, digits: 3)
                case .qwen2: scanner.endOfLlama3Piece(start, digits: 1)
                case .tekken: scanner.endOfCasedPiece(start, digits: 1, takesContractions: false)
                case .gpt4o: scanner.endOfCasedPiece(start, digits: 3, takesContractions: true)
                }
            pieces.append(start..<end)
            start = end
        }
    }
}

/// Finds where the piece that starts at a position ends.
private struct SplitScanner {
    let bytes: [UInt8]
    let end: Int
    let classes = UnicodeClasses.shared

    @inline(__always)
    private func at(_ index: Int) -> (class: CharacterClass, next: Int) {
        let (point, width) = scalar(in: bytes, at: index)
        return (classes[point], index + width)
    }

    @inline(__always)
    private func endOfRun(_ start: Int, while accepts: (CharacterClass) -> Bool) -> Int {
        var index = start
        while index < end {
            let (kind, next) = at(index)
            guard accepts(kind) else { break }
            index = next
        }
        return index
    }

    @inline(__always)
    private func isOther(_ kind: CharacterClass) -> Bool { kind.isDisjoint(with: .notOther) }

    func endOfGPT2Piece(_ start: Int) -> Int {
        if let contraction = endOfContraction(start, foldsCase: false) { return contraction }
        let first = bytes[start] == UInt8(ascii: " ") && start + 1 < end ? start + 1 : start
        let kind = at(first).class
        if kind.contains(.letter) { return endOfRun(first) { $0.contains(.letter) } }
        if kind.contains(.number) { return endOfRun(first) { $0.contains(.number) } }
        if isOther(kind) { return endOfRun(first, while: isOther) }
        return endOfSpace(start, cutsAtLineEnds: false)
    }

    func endOfLlama3Piece(_ start: Int, digits: Int) -> Int {
        if let contraction = endOfContraction(start, foldsCase: true) { return contraction }
        let (kind, next) = at(start)
        if kind.contains(.letter) { return endOfRun(next) { $0.contains(.letter) } }
        if kind.contains(.number) { return endOfNumber(next, more: digits - 1) }
        if !isLineEnd(start), next < end, at(next).class.contains(.letter) {
            return endOfRun(next) { $0.contains(.letter) }
        }
        return endOfOthers(start) { isLineEnd($0) } ?? endOfSpace(start, cutsAtLineEnds: true)
    }

    func endOfCasedPiece(_ start: Int, digits: Int, takesContractions: Bool) -> Int {
        if let word = endOfCasedWord(start) {
            return takesContractions && word < end ? endOfContraction(word, foldsCase: true) ?? word : word
        }
        let (kind, next) = at(start)
        if kind.contains(.number) { return endOfNumber(next, more: digits - 1) }
        return endOfOthers(start) { isLineEnd($0) || bytes[$0] == UInt8(ascii: "/") }
            ?? endOfSpace(start, cutsAtLineEnds: true)
    }

    /// `[^\r\n\p{L}\p{N}]?` head`*` tail`+`, or else the same with head`+` tail`*`.
    private func endOfCasedWord(_ start: Int) -> Int? {
        let (kind, next) = at(start)
        let mayStandBefore = kind.isDisjoint(with: .letterOrNumber) && !isLineEnd(start)
        let starts = mayStandBefore ? [next, start] : [start]
        for first in starts {
            var index = first
            // Where the last one of the heads ends that is a tail, too: the heads give back what is behind it.
            var lastTail: Int?
            while index < end {
                let (kind, next) = at(index)
                guard kind.contains(.head) else { break }
                index = next
                if kind.contains(.tail) { lastTail = index }
            }
            let ended = endOfRun(index) { $0.contains(.tail) }
            if ended > index { return ended }
            if let lastTail { return lastTail }
        }
        for first in starts {
            let ended = endOfRun(first) { $0.contains(.head) }
            if ended > first { return ended }
        }
        return nil
    }

    /// ` ?[^\s\p{L}\p{N}]+` and what closes it.
    private func endOfOthers(_ start: Int, closes: (Int) -> Bool) -> Int? {
        let next = at(start).next
        let first = bytes[start] == UInt8(ascii: " ") && next < end ? next : start
        guard isOther(at(first).class) else { return nil }
        var index = endOfRun(first, while: isOther)
        while index < end, closes(index) { index += 1 }
        return index
    }

    private func isLineEnd(_ index: Int) -> Bool {
        bytes[index] == UInt8(ascii: "\n") || bytes[index] == UInt8(ascii: "\r")
    }

    private func endOfNumber(_ start: Int, more: Int) -> Int {
        var index = start
        for _ in 0..<more where index < end {
            let (kind, next) = at(index)
            guard kind.contains(.number) else { break }
            index = next
        }
        return index
    }

    /// `'s 't 'm 'd 're 've 'll`; with folded case also the long s, which folds to s.
    private func endOfContraction(_ start: Int, foldsCase: Bool) -> Int? {
        guard bytes[start] == UInt8(ascii: "'"), start + 1 < end else { return nil }
        let fold: UInt8 = foldsCase ? 0x20 : 0
        if foldsCase, bytes[start + 1] == 0xC5, bytes[start + 2] == 0xBF { return start + 3 }
        let first = asciiLetter(bytes[start + 1], fold)
        switch first {
        case UInt8(ascii: "s"), UInt8(ascii: "t"), UInt8(ascii: "m"), UInt8(ascii: "d"): return start + 2
        case UInt8(ascii: "r"), UInt8(ascii: "v"), UInt8(ascii: "l"):
            guard start + 2 < end else { return nil }
            let wanted = first == UInt8(ascii: "l") ? UInt8(ascii: "l") : UInt8(ascii: "e")
            return asciiLetter(bytes[start + 2], fold) == wanted ? start + 3 : nil
        default: return nil
        }
    }

    private func asciiLetter(_ byte: UInt8, _ fold: UInt8) -> UInt8 {
        (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) ? byte | fold : byte
    }

    /// A run of white space: up to its last line end where the pattern has `\s*[\r\n]+`, else without its last
    /// character when text follows and more than one is there.
    private func endOfSpace(_ start: Int, cutsAtLineEnds: Bool) -> Int {
        var index = start
        var lastStart = start
        var afterLineEnd: Int?
        while index < end {
            let (kind, next) = at(index)
            guard kind.contains(.space) else { break }
            if isLineEnd(index) { afterLineEnd = next }
            lastStart = index
            index = next
        }
        if cutsAtLineEnds, let afterLineEnd { return afterLineEnd }
        return index == end || lastStart == start ? index : lastStart
    }
}
