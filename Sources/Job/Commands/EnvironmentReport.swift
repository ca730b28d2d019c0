internal import Foundation
internal import Tensors

/// What `plumbline env` prints: enough to repeat a run or to file a report.
package enum EnvironmentReport {
    /// Names and values, in order.
    package static func facts() async throws -> [(name: String, value: String)] {
        let threads = await threadCount()
        let gigabyte = 1e9
        return [
            ("plumbline", PlumblineVersion.text),
            ("libtorch", TensorEngine.version),
            ("cuda devices", "\(TensorEngine.cudaDeviceCount)"),
            ("threads", "\(threads)"),
            ("processor", processor),
            ("kernels", TensorEngine.instructions),
            ("cores", "\(ProcessInfo.processInfo.activeProcessorCount)"),
            ("memory", String(format: "%.1f GB", Double(ProcessInfo.processInfo.physicalMemory) / gigabyte)),
            ("system", system),
        ]
    }

    @TensorActor private static func threadCount() -> Int { TensorEngine.threadCount }

    private static var processor: String { line(of: "/proc/cpuinfo", after: "model name", separator: ":") ?? "unknown" }

    private static var system: String {
        let name = line(of: "/etc/os-release", after: "PRETTY_NAME", separator: "=")
        return name?.trimmingCharacters(in: CharacterSet(charactersIn: "\"")) ?? "unknown"
    }

    private static func line(of path: String, after key: String, separator: Character) -> String? {
        guard let data = FileManager.default.contents(atPath: path) else { return nil }
        let line = String(decoding: data, as: UTF8.self).split(separator: "\n").first { $0.hasPrefix(key) }
        return line?.split(separator: separator, maxSplits: 1).last.map { $0.trimmingCharacters(in: .whitespaces) }
    }
}
