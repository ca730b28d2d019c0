/// Rows of texts under a heading, as every form of output writes them: aligned text, markdown, HTML.
package struct Table: Sendable {
    package let heading: [String]
    package let rows: [[String]]
    /// How many columns from the left hold texts, flush left; the others hold numbers, flush right.
    private let textColumns: Int

    /// - Parameters:
    ///   - heading: Empty for a table without one.
    ///   - rows: A row may be shorter than the others.
    package init(_ heading: [String], _ rows: [[String]], textColumns: Int = 1) {
        self.heading = heading
        self.rows = rows
        self.textColumns = textColumns
    }

    private var lines: [[String]] { (heading.isEmpty ? [] : [heading]) + rows }

    /// Columns lined up, two spaces apart and indented by two.
    package var text: String {
        let count = lines.map(\.count).max() ?? 0
        let widths = (0..<count).map { column in lines.map { $0.count > column ? $0[column].count : 0 }.max() ?? 0 }
        return lines.map { row in
            var line = "  "
            for (column, cell) in row.enumerated() {
                let padding = String(repeating: " ", count: widths[column] - cell.count)
                line += (column == 0 ? "" : "  ") + (column < textColumns ? cell + padding : padding + cell)
            }
            while line.hasSuffix(" ") { line.removeLast() }
            return line
        }.joined(separator: "\n")
    }

    /// A table of a markdown document. Nothing in a cell shapes the table or is read as markup.
    package var markdown: String {
        let rule = heading.indices.map { $0 < textColumns ? "---" : "---:" }
        return ([heading.map(MarkdownReport.escaped), rule] + rows.map { $0.map(MarkdownReport.escaped) })
            .map { "| " + $0.joined(separator: " | ") + " |" }.joined(separator: "\n")
    }

    /// A table element.
    package var html: String {
        func cells(_ row: [String], _ element: String) -> String {
            row.enumerated().map { column, cell in
                "<\(element)\(column < textColumns ? "" : " class=\"number\"")>\(HTMLText.escaped(cell))</\(element)>"
            }.joined()
        }
        let body = rows.map { "<tr>\(cells($0, "td"))</tr>" }.joined(separator: "\n")
        return """
            <div class="wide"><table><thead><tr>\(cells(heading, "th"))</tr></thead><tbody>
            \(body)
            </tbody></table></div>
            """
    }
}
