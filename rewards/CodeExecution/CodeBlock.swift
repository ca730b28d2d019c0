/// Fenced code in a text, as Markdown has it.
enum CodeBlock {
    /// The content of the last fenced block that is marked as Python or not marked at all; `nil` when there is none.
    ///
    /// A fence is three or more backticks (or tildes) at the start of a line, indented by at most three spaces; it
    /// closes with at least as many. A block that never closes, as in a truncated completion, runs to the end.
    static func last(in text: String) -> String? {
        var found: String?
        var open: (fence: Substring, isPython: Bool, lines: [Substring])?
        for line in text.split(omittingEmptySubsequences: false, whereSeparator: { $0 == "\n" || $0 == "\r\n" }) {
            let fence = fence(of: line)
            guard var block = open else {
                if let fence { open = (fence.marks, isPython(fence.word), []) }
                continue
            }
            if let fence, fence.word.isEmpty, fence.marks.first == block.fence.first,
                fence.marks.count >= block.fence.count
            {
                if block.isPython { found = block.lines.joined(separator: "\n") }
                open = nil
            } else {
                block.lines.append(line)
                open = block
            }
        }
        if let open, open.isPython { found = open.lines.joined(separator: "\n") }
        return found
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

    private static func isPython(_ word: Substring) -> Bool {
        ["", "python", "python3", "py", "python2"].contains(word.lowercased())
    }
}
