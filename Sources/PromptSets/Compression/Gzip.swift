/// Unpacking of gzip data (RFC 1952) by the system's libz, which checks it against the length and checksum it carries.
enum Gzip {
    /// Whether a file begins as gzip files do.
    static func isGzip(_ head: [UInt8]) -> Bool { head.starts(with: [0x1f, 0x8b]) }

    /// Unpacks every member of a stream; zeros behind the last one are padding.
    ///
    /// - Parameters:
    ///   - nextPiece: Gives the next bytes of the stream, none at its end.
    ///   - limit: The most bytes that may come out.
    ///   - write: Takes what is unpacked, in order, before its checksum is known.
    /// - Throws: ``FormatFault``, also where there is no libz, saying what to do; and what the two closures throw.
    static func unpack(
        _ nextPiece: () throws -> [UInt8], limit: Int = .max, write: (ArraySlice<UInt8>) throws -> Void
    ) throws {
        let inflater = try Inflater()
        var output = [UInt8](repeating: 0, count: 1 << 18)
        var (input, position, made) = ([UInt8](), 0, 0)
        var room = limit
        var isInMember = true
        while true {
            // A full buffer may have left something behind in libz.
            if position == input.count, made < output.count {
                (input, position) = (try nextPiece(), 0)
                if input.isEmpty {
                    guard !isInMember else { throw FormatFault("the compressed data is cut off") }
                    return
                }
            }
            if !isInMember {
                if input[position] == 0 {
                    position += 1
                    continue
                }
                inflater.reset()
                isInMember = true
            }
            let step = try inflater.inflate(input[position...], into: &output)
            position += step.taken
            made = step.made
            guard made <= room else { throw FormatFault("it unpacks to more than the \(limit) bytes expected") }
            room -= made
            if made > 0 { try write(output[..<made]) }
            if step.isAtEnd { (isInMember, made) = (false, 0) }
        }
    }

    /// Unpacks bytes in memory.
    ///
    /// - Parameter limit: The most bytes that may come out.
    static func unpacked(_ bytes: [UInt8], limit: Int) throws -> [UInt8] {
        var rest = bytes
        var result: [UInt8] = []
        try unpack(
            {
                defer { rest = [] }
                return rest
            }, limit: limit
        ) { result += $0 }
        return result
    }
}

/// libz's `inflate` for one stream.
private final class Inflater {
    /// zlib.h's `z_stream`.
    private struct Stream {
        var nextInput: UnsafePointer<UInt8>?
        var inputCount: UInt32 = 0
        var inputTotal: UInt = 0
        var nextOutput: UnsafeMutablePointer<UInt8>?
        var outputRoom: UInt32 = 0
        var outputTotal: UInt = 0
        var message: UnsafePointer<CChar>?
        var state: OpaquePointer?
        var allocate: OpaquePointer?
        var free: OpaquePointer?
        var opaque: OpaquePointer?
        var dataType: Int32 = 0
        var checksum: UInt = 0
        var reserved: UInt = 0
    }

    private struct Library: Sendable {
        typealias Begin = @convention(c) (UnsafeMutableRawPointer, Int32, UnsafePointer<CChar>, Int32) -> Int32
        typealias Inflate = @convention(c) (UnsafeMutableRawPointer, Int32) -> Int32
        typealias Call = @convention(c) (UnsafeMutableRawPointer) -> Int32

        let begin: Begin
        let inflate: Inflate
        let reset: Call
        let end: Call

        static let shared: Library? = {
            guard let library = SystemLibrary("libz.so.1", "libz.so", "libz.1.dylib"),
                let begin = library.function("inflateInit2_", Begin.self),
                let inflate = library.function("inflate", Inflate.self),
                let reset = library.function("inflateReset", Call.self),
                let end = library.function("inflateEnd", Call.self)
            else { return nil }
            return Library(begin: begin, inflate: inflate, reset: reset, end: end)
        }()
    }

    private let library: Library
    private let stream = UnsafeMutablePointer<Stream>.allocate(capacity: 1)

    init() throws {
        guard let library = Library.shared else {
            throw FormatFault(
                "it is compressed with gzip and this machine has no libz.so.1; install it (Debian: zlib1g), or unpack "
                    + "the file with gunzip elsewhere")
        }
        self.library = library
        stream.initialize(to: Stream())
        // 15 is the largest window; 16 more asks for gzip's header, length and checksum.
        guard library.begin(stream, 15 + 16, "1", Int32(MemoryLayout<Stream>.size)) == 0 else {
            throw FormatFault("libz does not begin: it is of another version, or the memory is full")
        }
    }

    deinit {
        if stream.pointee.state != nil { _ = library.end(stream) }
        stream.deallocate()
    }

    /// Begins a new member.
    func reset() { _ = library.reset(stream) }

    /// Fills as much of `output` as `input` gives.
    ///
    /// - Returns: The bytes taken from `input` and made in `output`, and whether a member ended behind them.
    func inflate(
        _ input: ArraySlice<UInt8>, into output: inout [UInt8]
    ) throws -> (taken: Int, made: Int, isAtEnd: Bool) {
        let status = input.withUnsafeBufferPointer { input in
            output.withUnsafeMutableBufferPointer { output in
                stream.pointee.nextInput = input.baseAddress
                stream.pointee.inputCount = UInt32(input.count)
                stream.pointee.nextOutput = output.baseAddress
                stream.pointee.outputRoom = UInt32(output.count)
                return library.inflate(stream, 0)
            }
        }
        // Z_OK, Z_STREAM_END, and Z_BUF_ERROR, which says that there was nothing to do.
        guard [0, 1, -5].contains(status) else {
            let words = stream.pointee.message.map { String(cString: $0) } ?? "status \(status)"
            throw FormatFault("the compressed data is damaged: \(words)")
        }
        return (
            input.count - Int(stream.pointee.inputCount), output.count - Int(stream.pointee.outputRoom), status == 1
        )
    }
}
