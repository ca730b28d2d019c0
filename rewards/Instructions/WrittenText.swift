/// A completion as instructions count in it: without the white space around it.
struct WrittenText {
    let text: String

    init(_ text: String) { self.text = String(text.trimmed) }

    /// Whether there is a letter or a digit in it.
    var saysSomething: Bool { text.contains { $0.isWordPart } }

    /// Its length in characters, white space within it included.
    var characterCount: Int { text.count }

    /// The runs between white space that have a letter or a digit.
    var wordCount: Int { text.split(whereSeparator: \.isWhitespace).count { $0.contains { $0.isWordPart } } }

    /// The lines that have a letter or a digit.
    var lines: [Substring] { text.split(whereSeparator: \.isNewline).filter { $0.contains { $0.isWordPart } } }

    /// The pieces that have a letter. A piece ends with a run of `.`, `!`, `?` and `…` and the quotation marks and
    /// brackets that close behind it, where white space or the end of the text follows; the last needs no such end.
    var sentenceCount: Int {
        var count = 0
        var hasLetter = false
        var rest = text[...]
        while let character = rest.popFirst() {
            hasLetter = hasLetter || character.isLetter
            guard Self.ends.contains(character) else { continue }
            rest = rest.drop(while: Self.ends.contains).drop(while: Self.closings.contains)
            guard rest.first?.isWhitespace ?? true else { continue }
            count += hasLetter ? 1 : 0
            hasLetter = false
        }
        return count + (hasLetter ? 1 : 0)
    }

    private static let ends: Set<Character> = [".", "!", "?", "…"]
    private static let closings: Set<Character> = ["\"", "'", "”", "’", "»", ")", "]"]

    /// How often a word or phrase stands in it, in either case, with no letter or digit on either side.
    func count(of phrase: String) -> Int {
        let characters = Array(text.lowercased())
        let wanted = Array(phrase.lowercased())
        var count = 0
        var start = 0
        while start + wanted.count <= characters.count {
            let end = start + wanted.count
            let stands =
                characters[start..<end].elementsEqual(wanted) && (start == 0 || !characters[start - 1].isWordPart)
                && (end == characters.count || !characters[end].isWordPart)
            count += stands ? 1 : 0
            start = stands ? end : start + 1
        }
        return count
    }

    /// Whether it begins with a text, letter for letter, and not in the middle of a word.
    func begins(with start: String) -> Bool {
        guard text.hasPrefix(start) else { return false }
        return !(start.last?.isWordPart ?? false) || !(text.dropFirst(start.count).first?.isWordPart ?? false)
    }

    /// Whether it ends with a text, letter for letter, and not in the middle of a word.
    func ends(with end: String) -> Bool {
        guard text.hasSuffix(end) else { return false }
        return !(end.first?.isWordPart ?? false) || !(text.dropLast(end.count).last?.isWordPart ?? false)
    }

    /// What stands in the one code fence that is all of it; the text itself without one.
    var unfenced: String {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        guard lines.count > 2, lines[0].hasPrefix("```"), lines[lines.count - 1] == "```" else { return text }
        return lines[1..<lines.count - 1].joined(separator: "\n")
    }
}

extension Character {
    /// Whether it is part of a word: a letter or a digit.
    var isWordPart: Bool { isLetter || isNumber }
}

extension StringProtocol {
    /// Without white space around it.
    var trimmed: SubSequence {
        guard let first = firstIndex(where: { !$0.isWhitespace }), let last = lastIndex(where: { !$0.isWhitespace })
        else { return self[startIndex..<startIndex] }
        return self[first...last]
    }

    /// Whether a letter from a to z is in it, in either case, also under an accent.
    func holds(_ letter: Unicode.Scalar) -> Bool {
        let letter = String(letter).uppercased()
        return unicodeScalars.contains { scalar in
            guard let name = scalar.properties.name else { return false }
            return ["SMALL", "CAPITAL"].contains { size in
                let base = "LATIN \(size) LETTER \(letter)"
                return name == base || name.hasPrefix(base + " WITH ")
            }
        }
    }
}
