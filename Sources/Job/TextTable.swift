/// Columns lined up, for people.
package struct TextTable {
    private let rows: [[String]]

    /// - Parameter rows: The first is the heading. A row may be shorter than the others.
    package init(_ rows: [[String]]) { self.rows = rows }

    /// The first column flush left, the others flush right, as numbers are read.
    package var text: String { lines { $0 == 0 } }

    /// Every column flush left, as words are read.
    package var leftText: String { lines { _ in true } }

    private func lines(isLeft: (Int) -> Bool) -> String {
        let count = rows.map(\.count).max() ?? 0
        let widths = (0..<count).map { column in rows.map { $0.count > column ? $0[column].count : 0 }.max() ?? 0 }
        return rows.map { row in
            var line = "  "
            for (column, cell) in row.enumerated() {
                let padding = String(repeating: " ", count: widths[column] - cell.count)
                line += (column == 0 ? "" : "  ") + (isLeft(column) ? cell + padding : padding + cell)
            }
            // Nothing but spaces stands behind the last word.
            while line.hasSuffix(" ") { line.removeLast() }
            return line
        }.joined(separator: "\n")
    }
}
