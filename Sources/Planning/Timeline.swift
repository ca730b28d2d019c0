internal import Foundation
package import JSON

/// One thing that runs on some devices.
package struct TimelineTask: Sendable, Hashable {
    package var name: String
    package var kind: Kind
    /// From 1.
    package var iteration: Int
    /// Nanoseconds.
    package var start: Int
    package var end: Int
    /// Devices by their numbers; for copy engines the number of devices more.
    package var resources: [Int]
    /// Tasks it waited for, by their indices in the timeline's list.
    package var waitedFor: [Int]

    package enum Kind: String, Sendable, Hashable {
        case generate, infer, train, host, reallocate, transfer, reload, offload

        init(_ kind: CallSpec.Kind) {
            self =
                switch kind {
                case .generate: .generate
                case .infer: .infer
                case .train: .train
                case .host: .host
                }
        }
    }
}

/// What a simulated run looks like.
package struct Timeline: Sendable {
    package let devices: Int
    /// By iteration, within one in an order in which none stands before what it waited for.
    package var tasks: [TimelineTask]
    /// The most bytes on each device at any time.
    package var peakBytes: [Int]
    /// What lies on each device all the time.
    package var residentBytes: [Int]
    package var iterations: Int
    /// Nanoseconds of an iteration: the mean of those after the second.
    package let iterationNanoseconds: Int

    /// Nanoseconds in which a device computes or reallocates; copy engines are apart.
    package func busyNanoseconds(ofDevice device: Int) -> Int {
        tasks.filter { $0.resources.contains(device) }.reduce(0) { $0 + $1.end - $1.start }
    }

    /// Nanoseconds of the tasks of a kind, in one iteration on average.
    package func nanoseconds(of kind: TimelineTask.Kind) -> Int {
        tasks.filter { $0.kind == kind }.reduce(0) { $0 + $1.end - $1.start } / max(1, iterations)
    }

    /// As a ``ChromeTrace``: a process for each node, a thread for each device and for its copy engine.
    package func chromeTrace(devicesPerNode: Int) -> JSONValue {
        var trace = ChromeTrace()
        for device in 0..<devices {
            for (thread, name) in [(2 * device, "device \(device)"), (2 * device + 1, "copy engine \(device)")] {
                trace.name(name, process: device / devicesPerNode, thread: thread)
            }
        }
        let host = (devices + devicesPerNode - 1) / devicesPerNode
        for task in tasks {
            let threads = task.resources.map { $0 < devices ? ($0, 2 * $0) : ($0 - devices, 2 * ($0 - devices) + 1) }
            let indices = threads.isEmpty ? [(host, 0)] : threads.map { ($0.0 / devicesPerNode, $0.1) }
            for (node, thread) in indices {
                trace.span(
                    task.name, category: task.kind.rawValue, start: task.start, end: task.end, process: node,
                    thread: thread, args: .object(["iteration": .number(task.iteration)]))
            }
        }
        return trace.json
    }
}
