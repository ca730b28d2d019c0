package import Records
package import Tensors

/// One micro-batch's share of an optimizer step's loss, with its numbers.
package struct LossResult {
    /// A scalar that carries the gradient. The shares of all micro-batches add up to the step's loss.
    package let loss: Tensor
    package let metrics: LossMetrics

    package init(loss: Tensor, metrics: LossMetrics) {
        self.loss = loss
        self.metrics = metrics
    }
}

/// Numbers about a loss, in a form that combines exactly over micro-batches and ranks.
package struct LossMetrics: Sendable, Equatable {
    /// What one micro-batch knows of a number.
    package enum Share: Sendable, Equatable {
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

    /// Notes a mean over the elements of a list.
    mutating func setMean(_ name: String, _ values: [Double]) {
        self[name] = .mean(sum: values.reduce(0, +), count: Double(values.count))
    }

    /// Notes the smallest of a list; nothing when it is empty.
    mutating func setMinimum(_ name: String, _ values: [Double]) {
        if let smallest = values.min() { self[name] = .minimum(smallest) }
    }

    /// Notes the largest of a list; nothing when it is empty.
    mutating func setMaximum(_ name: String, _ values: [Double]) {
        if let largest = values.max() { self[name] = .maximum(largest) }
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
