import Evaluation
import Foundation
import JSON
import Testing

@Suite("A run's timeline as a picture")
struct TimelinePictureTests {
    /// Two phases of a second each, and three samples.
    static let trace = """
        {"traceEvents": [
        {"name": "thread_name", "ph": "M", "pid": 0, "tid": 0, "args": {"name": "sampling"}},
        {"name": "actor", "cat": "sampling", "ph": "X", "ts": 0, "dur": 1e6, "args": {"peak_bytes": 3e9}},
        {"name": "<actor>", "cat": "training", "ph": "X", "ts": 1e6, "dur": 1e6, "args": {"peak_bytes": 4e9}},
        {"name": "memory", "ph": "C", "ts": 0, "args": {"weights": 1e9, "packed": 5e8, "int8": 5e8}},
        {"name": "resident", "ph": "C", "ts": 0, "args": {"bytes": 2.5e9}},
        {"name": "memory", "ph": "C", "ts": 1e6, "args": {"weights": 1e9, "gradients": 1e9}},
        {"name": "resident", "ph": "C", "ts": 1e6, "args": {"bytes": 3e9}}
        ], "displayTimeUnit": "ms"}
        """

    @Test func lanesStackAndPeaksStandWhereTheirNumbersSay() throws {
        let svg = try #require(
            TimelinePicture("run<1>", trace: JSONValue(parsing: Array(Self.trace.utf8)))?.svg)
        for text in ["run&lt;1&gt;: phases and memory", ">sampling<", ">training<", "&lt;actor&gt;: 1.0 s, peak 4 GB"] {
            #expect(svg.contains(text), "\(text)")
        }
        #expect(!svg.contains("<actor>"))
        // The axis of time has 750 points for 2 s: the second phase begins half way, at 525, and is as long.
        #expect(svg.contains("<rect x=\"525.0\" y=\"80.0\" width=\"375.0\""))
        // weights, view, gradients and the rest; no layer for what is nowhere.
        #expect(svg.components(separatedBy: "<polygon").count - 1 == 4)
        #expect(svg.contains(">view<") && svg.contains(">gradients<") && !svg.contains(">optimizer<"))
        // GB from 0 to 4 · 1.05 over 274 points above 404: weights of 1 GB reach 404 − 274/4.2.
        #expect(svg.contains("150.0,338.8 525.0,338.8"))
    }

    @Test func whatIsNoRunsTimelineIsNoPicture() throws {
        for text in [
            "{}", "[]", "{\"traceEvents\": 3}", "{\"traceEvents\": [{\"ph\": \"X\", \"ts\": \"a\"}, 4, null]}",
            "{\"traceEvents\": [{\"ph\": \"C\", \"name\": \"memory\", \"ts\": 1, \"args\": {\"weights\": 1}}]}",
        ] {
            #expect(try TimelinePicture("run", trace: JSONValue(parsing: Array(text.utf8)))?.svg == nil, "\(text)")
        }
    }
}
