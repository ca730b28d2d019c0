package import Records

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

/// How the weights lie while they are generated with, compared with how they are trained.
package enum ParameterLayout: String, Sendable, Equatable {
    /// Generation and training read the same tensors: a switch moves nothing.
    case shared

    /// What one switch between training and generation moves.
    package var reallocation: ReallocationReport {
        switch self {
        case .shared: ReallocationReport(milliseconds: 0, bytes: 0)
        }
    }
}

/// The time and the bytes of one switch of layout.
package struct ReallocationReport: Sendable, Equatable {
    package let milliseconds: Double
    package let bytes: Int

    package init(milliseconds: Double, bytes: Int) {
        self.milliseconds = milliseconds
        self.bytes = bytes
    }

    /// `realloc/ms` and `realloc/bytes`.
    package var metrics: Metrics {
        var metrics = Metrics()
        metrics["realloc/ms"] = milliseconds
        metrics["realloc/bytes"] = Double(bytes)
        return metrics
    }
}
