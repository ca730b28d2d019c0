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
        let first = bytes[start] == UInt8(ascii: " ") && next < end ? next : start
        if isOther(at(first).class) {
            var index = endOfRun(first, while: isOther)
            while index < end, isLineEnd(index) { index += 1 }
            return index
        }
        return endOfSpace(start, cutsAtLineEnds: true)
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
