import Foundation
import Testing

extension Workplace {
    /// Every metric that one process has written in `alone` is that of several in another run, to rounding.
    ///
    /// - Parameter others: Those that are of the processes: what moves between them does not move within one.
    func expectTheSame(_ run: String = "two", but others: Set<String> = []) throws {
        let (own, shared) = (try metrics("alone"), try metrics(run))
        try #require(own.count == shared.count)
        for (row, other) in zip(own, shared) {
            #expect(row.keys.sorted() == other.keys.sorted())
            for (name, value) in row where !others.contains(name) {
                let found = try #require(other[name])
                #expect(abs(found - value) <= 1e-5 * max(1, abs(value)), "\(run) \(name): \(found), not \(value)")
            }
        }
    }

    /// What both have sampled are the same texts.
    func expectTheSameTexts(_ run: String = "two") throws {
        let files = try FileManager.default.contentsOfDirectory(
            atPath: folder.appending(path: "alone/completions").path)
        #expect(!files.isEmpty)
        for file in files {
            #expect(try texts("alone/completions/\(file)") == texts("\(run)/completions/\(file)"), "\(run) \(file)")
        }
    }

    private func texts(_ path: String) throws -> [String] {
        try String(decoding: bytes(path), as: UTF8.self).split(separator: "\n").map {
            let row = try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any]
            return "\(row?["prompt"] ?? "") \(row?["completion"] ?? "")"
        }
    }
}
