package import Foundation
import JSON

/// A run's numbers as TensorBoard reads them: `tensorboard/events.out.tfevents.…` in the run's folder.
///
/// A picture of `metrics.jsonl`: every number of every row is a scalar with the row's step and time, under the same
/// name. At each start the file is written anew from the rows that are there, so that a resumed run has no step twice,
/// and a run that has begun without the file has its whole past in it. Numbers become float32, TensorBoard's own type;
/// a null becomes NaN.
///
///     record   UInt64 length · masked CRC-32C of the length · event · masked CRC-32C of the event     (little-endian)
///     event    the protocol buffer `tensorflow.Event`, its fields written out below
package final class EventFile: Sendable {
    package let url: URL
    private let file: PosixFile

    /// Writes the rows of a run, and takes the place of the files that earlier starts have left in the folder.
    ///
    /// - Parameters:
    ///   - folder: Of event files alone; made when it is missing.
    ///   - rows: `metrics.jsonl`, not torn; it need not exist.
    ///   - start: Names the file. A later start has a later name, which TensorBoard goes on to while it runs.
    package init(
        in folder: URL, repeating rows: URL, start: Date = Date(), operations: FileOperations = .system
    ) throws(RunError) {
        try operations.createFolder(folder)
        let earlier = try FolderEntry.list(folder).map(\.url).filter { Self.second(of: $0) != nil }
        let second = max(Int(start.timeIntervalSince1970), 1 + (earlier.compactMap(Self.second).max() ?? 0))
        url = folder.appending(path: "\(Self.prefix)\(second).\(Self.host).\(getpid()).plumbline")
        var bytes = Self.opening(at: start.timeIntervalSince1970)
        if try FolderEntry(rows) != nil {
            let lines = try LineReader(rows)
            while let line = try lines.next() { bytes += Self.record(try Self.event(line, of: rows)) }
        }
        try operations.replaceFile(url, with: bytes)
        file = try PosixFile.appending(url)
        for old in earlier { try operations.remove(old) }
    }

    /// Adds the scalars of a row. They are in the file when this returns.
    package func append(step: Int, time: Date, _ values: [(name: String, value: Double)]) throws(RunError) {
        let scalars = values.map { Self.scalar($0.name, $0.value) }
        try file.write(Self.record(Self.event(time.timeIntervalSince1970, step: step, scalars)))
    }

    private static let prefix = "events.out.tfevents."

    private static var host: String {
        ProcessInfo.processInfo.hostName.filter { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "-") }
    }

    /// The second that a name carries; `nil` for another file.
    private static func second(of file: URL) -> Int? {
        let name = file.lastPathComponent
        guard name.hasPrefix(prefix) else { return nil }
        return Int(name.dropFirst(prefix.count).prefix { $0 != "." })
    }

    // MARK: Records

    private static func record(_ event: [UInt8]) -> [UInt8] {
        let length = littleEndian(UInt64(event.count))
        return length + littleEndian(CRC32C.masked(length)) + event + littleEndian(CRC32C.masked(event))
    }

    /// An event with one `Summary` of scalars.
    private static func event(_ time: Double, step: Int, _ scalars: [[UInt8]]) -> [UInt8] {
        wallTime(time) + varint(2, step) + bytes(5, scalars.flatMap { bytes(1, $0) })
    }

    /// A row of `metrics.jsonl` as an event.
    private static func event(_ line: LineReader.Line, of file: URL) throws(RunError) -> [UInt8] {
        let row: JSONValue
        do {
            row = try JSONValue(parsing: line.bytes)
        } catch {
            throw .line(path: file.path, line: line.number, message: error.description)
        }
        guard case .object(let members) = row else {
            throw .line(path: file.path, line: line.number, message: "expected an object")
        }
        let scalars = members.compactMap { member -> [UInt8]? in
            guard member.key != "step", member.key != "time" else { return nil }
            if member.value == .null { return scalar(member.key, .nan) }
            return member.value.double.map { scalar(member.key, $0) }
        }
        return event(row["time"]?.double ?? 0, step: row["step"]?.double.map { Int($0) } ?? 0, scalars)
    }

    /// `Summary.Value`: tag, simple_value.
    private static func scalar(_ tag: String, _ value: Double) -> [UInt8] {
        bytes(1, Array(tag.utf8)) + key(2, .fixed32) + littleEndian(Float(value).bitPattern)
    }

    /// The first event has the file_version. A session_log of status START makes a TensorBoard that runs forget what it
    /// had of the run.
    private static func opening(at time: Double) -> [UInt8] {
        record(wallTime(time) + bytes(3, Array("brain.Event:2".utf8)))
            + record(wallTime(time) + bytes(7, varint(1, 1)))
    }

    private static func wallTime(_ seconds: Double) -> [UInt8] {
        key(1, .fixed64) + littleEndian(seconds.bitPattern)
    }

    // MARK: Fields of protocol buffers

    private enum Form: UInt8 { case varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 }

    private static func key(_ field: UInt8, _ form: Form) -> [UInt8] { [field << 3 | form.rawValue] }

    private static func bytes(_ field: UInt8, _ content: [UInt8]) -> [UInt8] {
        key(field, .bytes) + varint(UInt64(content.count)) + content
    }

    private static func varint(_ field: UInt8, _ value: Int) -> [UInt8] {
        key(field, .varint) + varint(UInt64(bitPattern: Int64(value)))
    }

    private static func varint(_ value: UInt64) -> [UInt8] {
        var (rest, encoded) = (value, [UInt8]())
        while rest >= 0x80 {
            encoded.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        return encoded + [UInt8(rest)]
    }

    private static func littleEndian(_ value: some FixedWidthInteger) -> [UInt8] {
        withUnsafeBytes(of: value.littleEndian, Array.init)
    }
}
