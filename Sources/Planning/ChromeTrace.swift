package import JSON

/// A timeline as Chrome's tracing and Perfetto read it: an object with `traceEvents`, times in microseconds.
package struct ChromeTrace: Sendable {
    package private(set) var events: [JSONValue] = []

    package init() {}

    /// Names a row of the picture.
    package mutating func name(_ name: String, process: Int, thread: Int) {
        events.append(
            .object([
                "name": "thread_name", "ph": "M", "pid": .number(process), "tid": .number(thread),
                "args": .object(["name": .string(name)]),
            ]))
    }

    /// Names a process, whose rows stand together.
    package mutating func name(_ name: String, process: Int) {
        events.append(
            .object([
                "name": "process_name", "ph": "M", "pid": .number(process), "args": .object(["name": .string(name)]),
            ]))
    }

    /// Something that takes a while, in nanoseconds.
    package mutating func span(
        _ name: String, category: String, start: Int, end: Int, process: Int, thread: Int, args: JSONValue
    ) {
        events.append(
            .object([
                "name": .string(name), "cat": .string(category), "ph": "X", "ts": .number(Double(start) / 1000),
                "dur": .number(Double(end - start) / 1000), "pid": .number(process), "tid": .number(thread),
                "args": args,
            ]))
    }

    /// Numbers at a moment, in nanoseconds: drawn above one another.
    package mutating func counter(_ name: String, time: Int, process: Int, values: JSONValue) {
        events.append(
            .object([
                "name": .string(name), "ph": "C", "ts": .number(Double(time) / 1000), "pid": .number(process),
                "args": values,
            ]))
    }

    package var json: JSONValue { .object(["traceEvents": .array(events), "displayTimeUnit": "ms"]) }
}
