/// What is wrong inside a compressed or binary file; the caller adds which file, and where in it.
struct FormatFault: Error, Equatable, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}
