internal import Evaluation

/// How long prompts are: percentiles, and a picture for a terminal.
package struct LengthDistribution: Sendable {
    private let sorted: [Int]

    /// - Parameter lengths: At least one.
    package init(_ lengths: [Int]) {
        precondition(!lengths.isEmpty, "lengths of no prompts")
        sorted = lengths.sorted()
    }

    package var least: Int { sorted[0] }
    var greatest: Int { sorted[sorted.count - 1] }

    /// The smallest length that `percent` of a hundred do not exceed (nearest rank).
    package func percentile(_ percent: Int) -> Int { sorted[max(0, (sorted.count * percent + 99) / 100 - 1)] }

    /// How many are longer.
    package func count(over limit: Int) -> Int { sorted.count - index(behind: limit) }

    /// How many lengths are at most `length`.
    private func index(behind length: Int) -> Int {
        var (low, high) = (0, sorted.count)
        while low < high {
            let middle = (low + high) / 2
            if sorted[middle] <= length { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// `min 5, median 7, p90 7, p99 9, max 12`
    package var summary: String {
        "min \(least), median \(percentile(50)), p90 \(percentile(90)), p99 \(percentile(99)), max \(greatest)"
    }

    /// One line for each range of lengths, with a bar and a count; the ranges over the limit say so.
    ///
    /// All ranges are equally wide; the last one takes what is far longer than the rest. The limit is where a range
    /// ends.
    package func histogram(limit: Int? = nil) -> [String] {
        let bins = bins(limit)
        return TextBars.lines(
            bins.map { bin in
                let range = bin.first == bin.last ? "\(bin.first)" : "\(bin.first)–\(bin.last)"
                return (range, bin.count, limit.map { bin.first > $0 ? "  over the limit" : "" } ?? "")
            })
    }

    private struct Bin {
        var first: Int
        var last: Int
        var count: Int
    }

    private func bins(_ limit: Int?) -> [Bin] {
        // Few prompts that are far longer must not press all others into one line.
        let shown = min(greatest, max(percentile(99), limit.map { $0 + 1 } ?? 0))
        let width = Self.width(of: max(1, shown - least + 1), inAtMost: 10)
        let origin = limit ?? 0
        var last = origin + Self.ceilingDivision(least - origin, by: width) * width
        var bins: [Bin] = []
        var counted = 0
        while counted < sorted.count {
            let isEnd = last >= shown
            let upTo = isEnd ? sorted.count : index(behind: last)
            bins.append(
                Bin(
                    first: max(0, last - width + 1), last: isEnd ? max(last, greatest) : last, count: upTo - counted))
            counted = upTo
            last += width
        }
        return bins
    }

    /// 1, 2 or 5 times a power of ten.
    private static func width(of range: Int, inAtMost count: Int) -> Int {
        var power = 1
        while true {
            for factor in [1, 2, 5] where factor * power * count >= range { return factor * power }
            power *= 10
        }
    }

    private static func ceilingDivision(_ number: Int, by divisor: Int) -> Int {
        number > 0 ? (number + divisor - 1) / divisor : number / divisor
    }
}
