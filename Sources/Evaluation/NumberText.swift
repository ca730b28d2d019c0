internal import Foundation

/// How numbers are written for people, in tables, plots and lines.
package enum NumberText {
    /// Three decimals.
    package static func short(_ value: Double) -> String { fixed(value, 3) }
    /// Three decimals, and the sign always.
    package static func signed(_ value: Double) -> String { String(format: "%+.3f", value) }
    package static func fixed(_ value: Double, _ decimals: Int) -> String { String(format: "%.\(decimals)f", value) }
    package static func percent(_ share: Double) -> String { fixed(share * 100, 1) + " %" }
    /// 1024³ bytes.
    package static func gibibytes(_ bytes: Double) -> String { compact(bytes / 1_073_741_824) + " GiB" }

    package static func bracketed(_ interval: Interval) -> String {
        "[\(short(interval.low)), \(short(interval.high))]"
    }

    /// About four figures, whatever the size of the value, without zeros at the end.
    package static func compact(_ value: Double) -> String {
        if value == 0 { return "0" }
        if abs(value) < 1e-3 { return String(format: "%.1e", value) }
        var text = fixed(value, abs(value) < 10 ? 3 : abs(value) < 1000 ? 1 : 0)
        guard text.contains(".") else { return text }
        while text.hasSuffix("0") { text.removeLast() }
        if text.hasSuffix(".") { text.removeLast() }
        return text
    }

    /// Up to three figures, for the ticks of an axis.
    package static func tick(_ value: Double) -> String {
        value == value.rounded() && abs(value) < 1e6 ? String(Int(value)) : String(format: "%.3g", value)
    }

    /// `12.3 s`, `4 min 5 s`, `1 h 2 min`.
    package static func duration(_ seconds: Double) -> String {
        let whole = Int(seconds.rounded())
        if whole < 60 { return seconds < 10 ? fixed(seconds, 1) + " s" : "\(whole) s" }
        return whole < 3600 ? "\(whole / 60) min \(whole % 60) s" : "\(whole / 3600) h \(whole % 3600 / 60) min"
    }
}

/// Durations beside one another, in a unit in which the longest has whole figures: seconds, ms or µs.
package struct DurationText: Sendable {
    package let unit: String
    private let nanoseconds: Double

    package init(longest: Int) {
        (unit, nanoseconds) = longest >= 1_000_000_000 ? ("s", 1e9) : longest >= 1_000_000 ? ("ms", 1e6) : ("µs", 1e3)
    }

    /// Two decimals, for a table whose heading has the unit.
    package func number(_ duration: Int) -> String { NumberText.fixed(Double(duration) / nanoseconds, 2) }

    package func text(_ duration: Int) -> String { "\(number(duration)) \(unit)" }
}
