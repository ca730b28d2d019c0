package import Foundation

/// Bytes of mapped files that this process has in memory; 0 where it has mapped none.
///
/// - Parameter file: How their paths begin: the whole of one, or as much of it as is known.
/// - Throws: Where the system does not say (`/proc/self/smaps`).
package func residentBytes(ofMapping file: URL) throws -> Int {
    let path = file.resolvingSymlinksInPath().path
    // To its end: it has no size, and what reads a file by its size stops after a page.
    let maps = try FileHandle(forReadingFrom: URL(filePath: "/proc/self/smaps")).readToEnd() ?? Data()
    var (isOwn, bytes) = (false, 0)
    for line in String(decoding: maps, as: UTF8.self).split(separator: "\n") {
        let words = line.split(separator: " ", omittingEmptySubsequences: true)
        if words[0].contains("-") {
            isOwn = line.contains(path)
        } else if isOwn, words[0] == "Rss:" {
            bytes += (Int(words[1]) ?? 0) << 10
        }
    }
    return bytes
}
