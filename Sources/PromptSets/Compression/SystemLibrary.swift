#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// A shared library of the system, looked for when it is first needed: the libraries are on nearly every machine, their
/// headers are not.
///
/// Unchecked: the handle is opened once, never closed and never written to.
struct SystemLibrary: @unchecked Sendable {
    private let handle: UnsafeMutableRawPointer

    /// - Parameter names: What it is called on the systems we run on; the first that opens is taken, `nil` when none
    ///   does.
    init?(_ names: String...) {
        guard let handle = names.lazy.compactMap({ dlopen($0, RTLD_NOW | RTLD_LOCAL) }).first else { return nil }
        self.handle = handle
    }

    /// A function of the library, `nil` when it has none of this name.
    ///
    /// - Parameter type: Its `@convention(c)` type, as the library's header has it.
    func function<Function>(_ name: String, _ type: Function.Type) -> Function? {
        dlsym(handle, name).map { unsafeBitCast($0, to: type) }
    }
}
