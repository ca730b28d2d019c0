/// Finds what somebody probably meant by a name nobody knows.
///
///     nearestNames(to: "learnin_rate", among: ["learning_rate", "seed"])   // ["learning_rate"]
///
/// - Parameters:
///   - name: What was written.
///   - known: What would have been right.
///   - limit: How many to return at most.
/// - Returns: The known names within an edit distance of a third of the length (at least 2), nearest first, ties in the
///   order of `known`.
public func nearestNames(to name: String, among known: [String], limit: Int = 3) -> [String] {
    let written = Array(name.lowercased())
    let farthest = max(2, written.count / 3)
    return known.enumerated()
        // A distance is no less than what the lengths differ by, and takes long to find for a name without end.
        .filter { abs($0.element.count - written.count) <= farthest }
        .map { (index: $0.offset, name: $0.element, distance: editDistance(written, Array($0.element.lowercased()))) }
        .filter { $0.distance <= farthest }
        .sorted { ($0.distance, $0.index) < ($1.distance, $1.index) }
        .prefix(limit)
        .map(\.name)
}

/// Levenshtein's distance: the fewest insertions, deletions and replacements that turn one text into the other.
private func editDistance(_ left: [Character], _ right: [Character]) -> Int {
    guard !left.isEmpty, !right.isEmpty else { return max(left.count, right.count) }
    var row = Array(0...right.count)
    for (i, character) in left.enumerated() {
        var diagonal = row[0]
        row[0] = i + 1
        for (j, other) in right.enumerated() {
            let replaced = diagonal + (character == other ? 0 : 1)
            diagonal = row[j + 1]
            row[j + 1] = min(replaced, row[j] + 1, row[j + 1] + 1)
        }
    }
    return row[right.count]
}
