/// Unpacking of Zstandard data by the system's libzstd.
enum Zstandard {
    private struct Library: Sendable {
        typealias Decompress = @convention(c) (UnsafeMutableRawPointer?, Int, UnsafeRawPointer?, Int) -> Int
        typealias IsError = @convention(c) (Int) -> UInt32

        let decompress: Decompress
        let isError: IsError

        static let shared: Library? = {
            guard
                let library = SystemLibrary(
                    "libzstd.so.1", "libzstd.so", "libzstd.1.dylib", "/opt/homebrew/lib/libzstd.1.dylib"),
                let decompress = library.function("ZSTD_decompress", Decompress.self),
                let isError = library.function("ZSTD_isError", IsError.self)
            else { return nil }
            return Library(decompress: decompress, isError: isError)
        }()
    }

    /// - Parameter byteCount: How many bytes must come out.
    /// - Throws: ``FormatFault`` for damaged data, and where there is no libzstd, saying what to do.
    static func unpacked(_ bytes: [UInt8], byteCount: Int) throws -> [UInt8] {
        guard let library = Library.shared else {
            throw FormatFault(
                "it is compressed with zstd and this machine has no libzstd.so.1; install it (Debian: libzstd1), or "
                    + "write the file with compression=\"snappy\"")
        }
        var written = 0
        // Memory that nothing is written to is never taken, whatever a damaged file claims.
        let output = [UInt8](unsafeUninitializedCapacity: byteCount) { buffer, filled in
            written = bytes.withUnsafeBytes {
                library.decompress(buffer.baseAddress, buffer.count, $0.baseAddress, $0.count)
            }
            filled = library.isError(written) == 0 ? min(written, byteCount) : 0
        }
        guard library.isError(written) == 0, written == byteCount else {
            throw FormatFault("the zstd data does not unpack to the \(byteCount) bytes expected")
        }
        return output
    }
}
