internal import Foundation

/// Memory of this process.
package enum ProcessMemory {
    /// Bytes resident now; `nil` where the system does not say.
    package static var residentBytes: Int? { status("VmRSS:") }
    /// The most bytes ever resident.
    package static var peakResidentBytes: Int? { status("VmHWM:") }

    /// A line of `/proc/self/status`, in kB there.
    private static func status(_ key: String) -> Int? {
        guard let data = FileManager.default.contents(atPath: "/proc/self/status") else { return nil }
        let line = String(decoding: data, as: UTF8.self).split(separator: "\n").first { $0.hasPrefix(key) }
        return line?.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap { Int($0) }.map { $0 * 1024 }
    }
}
