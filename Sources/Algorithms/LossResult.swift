package import Records
package import Tensors

/// One micro-batch's share of an optimizer step's loss, with its numbers.
package struct LossResult {
    /// A scalar that carries the gradient. The shares of all micro-batches add up to the step's loss.
    package let loss: Tensor
    package var report: LossReport
    /// The same share of each of ``Objective/terms``, in their order, worked out when it is asked for; they add up to
    /// the loss.
    package let terms: [() throws -> Tensor]

    package init(loss: Tensor, report: LossReport, terms: [() throws -> Tensor] = []) {
        self.loss = loss
        self.report = report
        self.terms = terms
    }

    /// This loss and another one, whose numbers have other names. The sum has this one's element type.
    package func adding(_ other: LossResult) throws -> LossResult {
        var report = report
        report.append(other.report)
        return LossResult(loss: try loss + other.loss.to(loss.elementType), report: report)
    }

    /// The same, for a loss that has the same numbers: what was noted by one name is combined.
    package func combined(with other: LossResult) throws -> LossResult {
        var report = report
        report.combine(other.report)
        return LossResult(loss: try loss + other.loss, report: report)
    }

    /// The loss and its numbers on the host, by one copy.
    package func read() throws -> (loss: Double, metrics: LossMetrics) {
        let copied = try report.copied(with: loss)
        return (copied.scalar, copied.metrics)
    }
}

/// Numbers about a loss, in a form that combines exactly over micro-batches and ranks.
package struct LossMetrics: Sendable, Equatable, Codable {
    /// What one micro-batch knows of a number.
    package enum Share: Sendable, Equatable, Codable {
        /// A mean over tokens or completions, as its sum and how many there were.
        case mean(sum: Double, count: Double)
        /// A part of a sum.
        case total(Double)
        case minimum(Double)
        case maximum(Double)
    }

    /// In the order in which they were first set.
    package private(set) var names: [String] = []
    private var shares: [String: Share] = [:]

    package init() {}

    package subscript(name: String) -> Share? {
        get { shares[name] }
        set {
            if shares[name] == nil, newValue != nil { names.append(name) }
            if newValue == nil { names.removeAll { $0 == name } }
            shares[name] = newValue
        }
    }

    /// Adds another micro-batch's share. Both must mean the same by a name.
    package mutating func combine(_ other: LossMetrics) {
        for name in other.names {
            guard let mine = self[name], let theirs = other[name] else {
                self[name] = other[name]
                continue
            }
            self[name] = mine.combined(theirs)
        }
    }

    /// The numbers of what was combined. A mean over nothing is absent.
    package var metrics: Metrics {
        var metrics = Metrics()
        for name in names { metrics[name, shares[name]?.reduction ?? .mean] = shares[name]?.value }
        return metrics
    }

    /// Notes what a list comes to; nothing for the extreme of an empty one.
    package mutating func set(_ name: String, _ values: [Double], _ reduction: LossReport.Reduction) {
        switch reduction {
        case .mean: self[name] = .mean(sum: values.reduce(0, +), count: Double(values.count))
        case .total: self[name] = .total(values.dropFirst().reduce(values.first ?? 0, +))
        case .minimum: self[name] = values.min().map { .minimum($0) }
        case .maximum: self[name] = values.max().map { .maximum($0) }
        }
    }
}

extension LossMetrics.Share {
    func combined(_ other: Self) -> Self {
        switch (self, other) {
        case (.mean(let sum, let count), .mean(let otherSum, let otherCount)):
            .mean(sum: sum + otherSum, count: count + otherCount)
        case (.total(let mine), .total(let theirs)): .total(mine + theirs)
        case (.minimum(let mine), .minimum(let theirs)): .minimum(min(mine, theirs))
        case (.maximum(let mine), .maximum(let theirs)): .maximum(max(mine, theirs))
        default: preconditionFailure("one name holds two kinds of number: \(self) and \(other)")
        }
    }

    /// Over several optimizer steps; a total is one step's, so that it too is averaged.
    var reduction: Metrics.Reduction {
        switch self {
        case .mean, .total: .mean
        case .minimum: .min
        case .maximum: .max
        }
    }

    var value: Double? {
        switch self {
        case .mean(let sum, let count): count > 0 ? sum / count : nil
        case .total(let value), .minimum(let value), .maximum(let value): value
        }
    }
}
