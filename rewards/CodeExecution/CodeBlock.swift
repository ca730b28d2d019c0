/// Fenced code in a text, as Markdown has it.
enum CodeBlock {
    /// The content of the last fenced block that is marked as Python, or of the last that is not marked at all where none
    /// is; `nil` when there is neither. An unmarked one beside Python is as a rule what the code prints.
    ///
    /// A fence is three or more backticks (or tildes) at the start of a line, indented by at most three spaces; it
    /// closes with at least as many. A block that never closes, as in a truncated completion, runs to the end.
    static func last(in text: String) -> String? {
        var found: [Mark: String] = [:]
        var open: (fence: Substring, mark: Mark, lines: [Substring])?
        for line in text.split(omittingEmptySubsequences: false, whereSeparator: { $0 == "\n" || $0 == "\r\n" }) {
            let fence = fence(of: line)
            guard var block = open else {
                if let fence { open = (fence.marks, Mark(fence.word), []) }
                continue
            }
            if let fence, fence.word.isEmpty, fence.marks.first == block.fence.first,
                fence.marks.count >= block.fence.count
            {
                found[block.mark] = block.lines.joined(separator: "\n")
                open = nil
            } else {
                block.lines.append(line)
                open = block
            }
        }
        if let open { found[open.mark] = open.lines.joined(separator: "\n") }
        return found[.python] ?? found[.unmarked]
    }

    /// What the word behind an opening fence says of the block.
    private enum Mark {
        case python, unmarked, other

        init(_ word: Substring) {
            switch word.lowercased() {
            case "python", "python3", "py", "python2": self = .python
            case "": self = .unmarked
            default: self = .other
            }
        }
    }

    private static func fence(of line: Substring) -> (marks: Substring, word: Substring)? {
        let rest = line.drop { $0 == " " }
        guard line.count - rest.count <= 3, let mark = rest.first, mark == "`" || mark == "~" else { return nil }
        let marks = rest.prefix { $0 == mark }
        guard marks.count >= 3 else { return nil }
        let word = rest.dropFirst(marks.count).drop { $0 == " " }
        guard mark == "~" || !word.contains("`") else { return nil }
        return (marks, word.prefix { $0 != " " && $0 != "\t" })
    }
}
