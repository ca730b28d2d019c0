package import Tensors

// A model whose layers several ranks compute together (Megatron's tensor parallelism, arXiv:1909.08053): heads and the
// inner width of the feed-forward part are divided, so are the words; norms and what is added after a sum are whole.
extension ModelConfiguration {
    /// Which parameters the ranks of a group have in parts, those of adapters among them.
    package func shards(over group: TensorParallelGroup) -> ParameterShards {
        let cuts = (parameterShapes + adapterShapes).compactMap { parameter in
            parameter.sharedAxis.map {
                (parameter.name, ParameterShards.Cut(axis: $0, count: parameter.shape[$0]))
            }
        }
        return ParameterShards(over: group, cuts: Dictionary(uniqueKeysWithValues: cuts))
    }

    /// Why so many ranks cannot share the layers, in words; `nil` where they can.
    package func problem(tensorParallel degree: Int) -> String? {
        let parts = [
            ("attention heads", heads), ("key and value heads", keyValueHeads),
            ("columns of the feed-forward part", intermediateSize),
        ]
        let undivided = parts.filter { $0.1 % degree != 0 }.map { "\($0.1) \($0.0)" }
        guard undivided.isEmpty, vocabularySize >= degree else {
            let words = undivided.isEmpty ? "\(vocabularySize) words" : undivided.joined(separator: " and ")
            return "the model has \(words), which cannot be divided by \(degree)"
        }
        return nil
    }
}

extension ParameterShape {
    /// The largest part that one of so many ranks has of it.
    package func largestPart(of degree: Int) -> ParameterShape {
        guard let axis = sharedAxis, degree > 1 else { return self }
        var part = shape
        part[axis] = (shape[axis] + degree - 1) / degree
        return ParameterShape(name: name, shape: part, role: role, sharedAxis: axis)
    }
}
