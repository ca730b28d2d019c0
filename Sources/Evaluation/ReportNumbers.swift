internal import Foundation

/// How every form of the report writes its numbers.
package enum ReportNumbers {
    package static func short(_ value: Double) -> String { String(format: "%.3f", value) }
    package static func signed(_ value: Double) -> String { String(format: "%+.3f", value) }
    package static func percent(_ share: Double) -> String { String(format: "%.1f %%", share * 100) }
    package static func bracketed(_ interval: Interval) -> String {
        "[\(short(interval.low)), \(short(interval.high))]"
    }
}
