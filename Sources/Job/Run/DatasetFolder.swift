package import Foundation
internal import Models

/// Where the prompt set lies that a job or a command names.
package enum DatasetFolder {
    /// A file or folder wins. Otherwise `org/name`, or a folder in it such as `openai/gsm8k/main`, is looked for in the
    /// Hugging Face cache.
    ///
    /// - Parameter base: Where relative paths start; by default the working folder.
    /// - Throws: ``JobError`` for a name of the Hub's that was not downloaded, with the command that does it.
    package static func url(
        _ name: String, _ base: URL? = nil, environment: [String: String] = ProcessInfo.processInfo.environment
    ) throws(JobError) -> URL {
        let url =
            base.map { URL(filePath: name, relativeTo: $0.hasDirectoryPath ? $0 : $0.appending(path: "")) }
            ?? URL(filePath: name)
        guard !FileManager.default.fileExists(atPath: url.path) else { return url }
        let parts = name.split(separator: "/", maxSplits: 2, omittingEmptySubsequences: false).map(String.init)
        let hubName = parts.prefix(2).joined(separator: "/")
        let isFileName = parts.count == 2 && !URL(filePath: parts[1]).pathExtension.isEmpty
        let parent = parts.count > 1 ? url.deletingLastPathComponent().path : ""
        guard parts.count > 1, HuggingFaceCache.isName(hubName) else { return url }
        if let snapshot = HuggingFaceCache.dataset(hubName, environment: environment) {
            return parts.count > 2 ? snapshot.appending(path: parts[2]) : snapshot
        }
        // A path into a folder that is there is a path with a slip in it, and what reads it names the nearest file.
        guard !isFileName, !FileManager.default.fileExists(atPath: parent) else { return url }
        throw JobError(
            place: name,
            message:
                "no such prompt file or folder (looked at \(url.path) and in the Hugging Face cache). Give one, or "
                + "download the data set first: hf download \(hubName) --repo-type dataset")
    }
}
