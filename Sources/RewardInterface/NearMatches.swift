/// Names close to one that is unknown, for error messages.
package enum NearMatches {
    /// At most three of `candidates`, nearest first: those within a third of the name's length in edits (letters added,
    /// dropped or changed; capitals, `_` and `-` count as equal), and those that contain the name or are contained in it.
    package static func of(_ name: String, among candidates: [String]) -> [String] {
        let wanted = folded(name)
        let ranked = candidates.compactMap { candidate -> (name: String, distance: Int)? in
            let other = folded(candidate)
            let distance = editDistance(wanted, other)
            let isPart = min(wanted.count, other.count) >= 4 && (other.contains(wanted) || wanted.contains(other))
            guard distance <= max(1, wanted.count / 3) || isPart else { return nil }
            return (candidate, distance)
        }
        return ranked.sorted { ($0.distance, $0.name) < ($1.distance, $1.name) }.prefix(3).map(\.name)
    }

    /// `; did you mean 'a' or 'b'?`, or nothing.
    package static func hint(_ names: [String]) -> String {
        names.isEmpty ? "" : "; did you mean \(names.quotedList(joining: "or"))?"
    }

    /// Levenshtein's distance, row by row.
    static func editDistance(_ left: [Character], _ right: [Character]) -> Int {
        var previous = Array(0...right.count)
        for (row, character) in left.enumerated() {
            var current = [row + 1]
            for (column, other) in right.enumerated() {
                let change = previous[column] + (character == other ? 0 : 1)
                current.append(min(change, previous[column + 1] + 1, current[column] + 1))
            }
            previous = current
        }
        return previous[right.count]
    }

    private static func folded(_ name: String) -> [Character] { name.lowercased().map { $0 == "-" ? "_" : $0 } }
}
