package import Foundation

extension URL {
    /// Where the path leads, from the root and behind all links: equal for two paths to one file or folder.
    package var resolvedPath: String { absoluteURL.standardizedFileURL.resolvingSymlinksInPath().path }
}
