/// Bars of a histogram as lines of text: label, bar, count.
package enum TextBars {
    private static let width = 30

    /// - Parameter bars: `note` stands behind the count.
    package static func lines(_ bars: [(label: String, count: Int, note: String)]) -> [String] {
        let most = max(1, bars.map(\.count).max() ?? 1)
        let labelWidth = bars.map(\.label.count).max() ?? 0
        let countWidth = String(most).count
        return bars.map { label, count, note in
            let length = count == 0 ? 0 : max(1, count * width / most)
            let bar = String(repeating: "█", count: length) + String(repeating: " ", count: width - length)
            return "\(right(label, labelWidth))  \(bar)  \(right(String(count), countWidth))\(note)"
        }
    }

    private static func right(_ text: String, _ width: Int) -> String {
        String(repeating: " ", count: width - text.count) + text
    }
}
