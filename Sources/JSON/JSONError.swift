/// Where and why a text is no JSON.
public struct JSONError: Error, Equatable, CustomStringConvertible {
    /// From 1.
    public let line: Int
    /// In characters (Unicode scalars) of the line, from 1.
    public let column: Int
    public let message: String

    public init(line: Int, column: Int, message: String) {
        self.line = line
        self.column = column
        self.message = message
    }

    public var description: String { "\(position): \(message)" }

    /// `line 3, column 9`.
    public var position: String { "line \(line), column \(column)" }
}

/// What a text may cost whoever reads it.
public struct JSONLimits: Sendable {
    /// Arrays and objects inside each other: each level takes a piece of the stack.
    public var depth: Int
    /// Values in all: `[[],[],…` takes ten times as much memory as text.
    public var values: Int

    public init(depth: Int = 256, values: Int = 1 << 24) {
        self.depth = depth
        self.values = values
    }
}
