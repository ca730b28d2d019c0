package import Records
package import Tensors

/// A result with the version of the weights that produced all of it.
package struct Stamped<Value: Sendable>: Sendable {
    package let value: Value
    package let version: PolicyVersion
    /// What bringing the weights into the phase's layout cost.
    package let reallocation: ReallocationReport

    package init(value: Value, version: PolicyVersion, reallocation: ReallocationReport) {
        self.value = value
        self.version = version
        self.reallocation = reallocation
    }
}

/// How the weights lie while they are read, for sampling and scoring, compared with how they are trained.
package enum ParameterLayout: Sendable, Equatable {
    /// Everyone reads the tensors that are trained: a switch moves nothing.
    case shared
    /// Sampling and scoring read copies of another element type, made from the trained weights (the masters) at the
    /// first hand-over after each step and gone while the next one is trained. A trainer's forward pass casts the
    /// masters to the same type, so that sampler and trainer round alike, and gradients add up in the masters' type.
    case copies(ElementType)
}

/// The time and the bytes of one switch of layout.
package struct ReallocationReport: Sendable, Equatable {
    package let milliseconds: Double
    package let bytes: Int

    /// Nothing had to be moved.
    package static let nothing = ReallocationReport(milliseconds: 0, bytes: 0)

    package init(milliseconds: Double, bytes: Int) {
        self.milliseconds = milliseconds
        self.bytes = bytes
    }

    static func + (one: ReallocationReport, other: ReallocationReport) -> ReallocationReport {
        ReallocationReport(milliseconds: one.milliseconds + other.milliseconds, bytes: one.bytes + other.bytes)
    }

    /// `realloc/ms` and `realloc/bytes`.
    package var metrics: Metrics {
        var metrics = Metrics()
        metrics["realloc/ms"] = milliseconds
        metrics["realloc/bytes"] = Double(bytes)
        return metrics
    }
}
