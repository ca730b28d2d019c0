package import Tensors

/// The numbers that a loss has to tell about one micro-batch, on the device until all of them are known.
///
/// A copy to the host waits for the device to finish. So a loss only notes columns while it computes; when the backward
/// pass is done, all columns are joined, copied once and reduced on the host, in double and in order. A new metric is
/// one line with its reduction:
///
///     try report.note("kl", divergence, .mean)
///     // the largest of the completions' means
///     try report.note("sampling/importance_sampling_ratio/max", weights, .maximum, over: spans)
///
/// What is made of several columns takes them all: ``note(_:form:)``. Nothing noted carries a gradient. A name is noted
/// once.
package struct LossReport {
    /// How a column becomes a number, and how the numbers of micro-batches become one.
    package enum Reduction: Sendable {
        /// Over all elements of all micro-batches.
        case mean
        /// A sum, of elements and of micro-batches.
        case total
        /// The smallest; absent where there is no element.
        case minimum
        /// The largest; absent where there is no element.
        case maximum
    }

    /// Makes metrics of the copied columns.
    package typealias Form = (_ columns: [[Double]], _ metrics: inout LossMetrics) -> Void

    private var columns: [Tensor] = []
    private var entries: [(columns: Range<Int>, form: Form)] = []

    package init() {}

    /// Notes a number.
    ///
    /// - Parameters:
    ///   - column: `[actionTokens]` or a scalar; truth values count as 1 and 0.
    ///   - spans: Given these, the reduction runs over completions, each with the mean of its tokens; completions
    ///     without tokens are left out.
    package mutating func note(
        _ name: String, _ column: Tensor, _ reduction: Reduction, over spans: CompletionSpans? = nil
    ) throws {
        try note([column]) { columns, metrics in
            metrics.set(name, spans?.means(of: columns[0]) ?? columns[0], reduction)
        }
    }

    /// Notes numbers that are made of several columns.
    ///
    /// - Parameter form: Sees the columns in the given order, and the metrics noted before.
    package mutating func note(_ columns: [Tensor], form: @escaping Form) throws {
        let start = self.columns.count
        self.columns += try columns.map { try $0.detached() }
        entries.append((start..<self.columns.count, form))
    }

    /// Adds another report's numbers behind this one's.
    package mutating func append(_ other: LossReport) {
        let start = columns.count
        columns += other.columns
        entries += other.entries.map { ($0.columns.lowerBound + start..<$0.columns.upperBound + start, $0.form) }
    }

    /// Adds another report's numbers to those this one has noted by the same names, as those of another micro-batch
    /// would be.
    package mutating func combine(_ other: LossReport) {
        append(other)
        for index in entries.indices.suffix(other.entries.count) {
            let form = entries[index].form
            entries[index].form = { columns, metrics in
                var theirs = LossMetrics()
                form(columns, &theirs)
                metrics.combine(theirs)
            }
        }
    }

    /// Copies everything to the host, once.
    ///
    /// - Parameter scalar: Copied with the columns.
    /// - Returns: The scalar, and the metrics in the order in which they were noted.
    func copied(with scalar: Tensor) throws -> (scalar: Double, metrics: LossMetrics) {
        let all = try columns + [scalar.detached()]
        // Every other type fits into float32 without rounding.
        let type: ElementType = all.contains { $0.elementType == .float64 } ? .float64 : .float32
        let flat = try Tensor.concatenated(all.map { try $0.reshaped([-1]).to(type) }).doubles()
        var start = 0
        let copies = columns.map { column in
            defer { start += column.count }
            return Array(flat[start..<start + column.count])
        }
        var metrics = LossMetrics()
        for entry in entries { entry.form(Array(copies[entry.columns]), &metrics) }
        return (flat[flat.count - 1], metrics)
    }
}
