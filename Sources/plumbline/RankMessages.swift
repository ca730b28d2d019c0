import Foundation
import Tensors

/// What the processes of one `launch` end with. The first says it itself; the others leave it in a folder, and `launch`
/// says what of it is new: a refusal of the job is every rank's, and is read once.
struct RankMessages {
    private static let variable = "PLUMBLINE_RANK_MESSAGES"
    /// Behind the name of a message that only says that another rank is gone.
    private static let lost = ".lost"

    private let folder = FileManager.default.temporaryDirectory.appending(path: "plumbline-launch-\(UUID().uuidString)")

    // MARK: In launch

    init() throws { try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true) }

    func remove() { try? FileManager.default.removeItem(at: folder) }  // a leftover in /tmp harms nobody

    /// For the processes.
    var environment: [String: String] { [Self.variable: folder.path] }

    /// What the ranks behind the first have left and no other has said, in their order.
    ///
    /// - Parameter isExplained: Whether it is known why ranks are gone.
    func news(ofRanks count: Int, isExplained: Bool) -> [String] {
        func text(_ name: String) -> String? {
            FileManager.default.contents(atPath: folder.appending(path: name).path).map {
                String(decoding: $0, as: UTF8.self)
            }
        }
        let reasons = (0..<count).map { text("\($0)") }
        var said = [reasons[0], text("0" + Self.lost)].compactMap(\.self)
        let isExplained = isExplained || reasons.contains { $0 != nil }
        return (1..<max(1, count)).compactMap { rank in
            guard let text = reasons[rank] ?? (isExplained ? nil : text("\(rank)" + Self.lost)),
                // Also where it only hands on what another rank has said of itself.
                !said.contains(where: { $0.contains(text.trimmingPrefix(#/rank \d+: /#)) })
            else { return nil }
            said.append(text)
            return text.contains("rank \(rank) ") ? text : "rank \(rank): \(text)"
        }
    }

    // MARK: In a process

    /// Whether somebody else speaks for this process: `launch`, for all ranks but the first.
    static var areRead: Bool {
        let environment = ProcessInfo.processInfo.environment
        return environment[variable] != nil && environment["RANK"].flatMap(Int.init).map { $0 > 0 } ?? false
    }

    /// Leaves what this process ends with, where `launch` has started it.
    ///
    /// - Returns: Whether `launch` says it.
    static func leave(_ text: String, of error: any Error) -> Bool {
        let environment = ProcessInfo.processInfo.environment
        guard let folder = environment[variable], let rank = environment["RANK"].flatMap(Int.init) else { return false }
        let file = URL(filePath: folder).appending(path: "\(rank)" + (error is RanksLost ? lost : ""))
        return FileManager.default.createFile(atPath: file.path, contents: Data(text.utf8)) && rank > 0
    }
}
