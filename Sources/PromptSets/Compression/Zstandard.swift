#if canImport(Glibc)
import Glibc
#elseif canImport(Darwin)
import Darwin
#endif

/// Unpacking of Zstandard data by the system's libzstd, looked for when the first such data is met.
///
/// Its entropy stages are several times the size of our other decoders; the library is on nearly every machine, its header is not.
enum Zstandard {
    private typealias Decompress = @convention(c) (UnsafeMutableRawPointer?, Int, UnsafeRawPointer?, Int) -> Int
    private typealias IsError = @convention(c) (Int) -> UInt32

    private struct Library: Sendable {
        let decompress: Decompress
        let isError: IsError
    }

    private static let names = ["libzstd.so.1", "libzstd.so", "libzstd.1.dylib", "/opt/homebrew/lib/libzstd.1.dylib"]

    private static let library: Library? = {
        for name in names {
            guard let handle = dlopen(name, RTLD_NOW | RTLD_LOCAL) else { continue }
            guard let decompress = dlsym(handle, "ZSTD_decompress"), let isError = dlsym(handle, "ZSTD_isError") else {
                continue
            }
            return Library(
                decompress: unsafeBitCast(decompress, to: Decompress.self),
                isError: unsafeBitCast(isError, to: IsError.self))
        }
        return nil
    }()

    /// - Parameter byteCount: How many bytes must come out.
    /// - Throws: ``FormatFault`` for damaged data, and where there is no libzstd, saying what to do.
    static func unpacked(_ bytes: [UInt8], byteCount: Int) throws -> [UInt8] {
        guard let library else {
            throw FormatFault(
                "it is compressed with zstd and this machine has no libzstd.so.1; install it (Debian: libzstd1), or write the "
                    + "file with compression=\"snappy\"")
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
