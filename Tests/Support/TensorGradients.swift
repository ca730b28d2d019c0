#if canImport(Tensors)
package import Tensors

/// How far backward's gradients are from central differences, over all inputs of `function`, in float64.
///
/// Each input is an array of values with its shape; `function` gets them as float64 leaves and returns a tensor of one
/// element, or any tensor, whose elements are then weighted by fixed odd numbers before they are added: an error in the
/// order of gradients cannot cancel.
///
/// - Returns: the largest relative error over the inputs; rounding leaves about 1e-8.
package func gradientError(
    at inputs: [(values: [Double], shape: [Int])], step: Double = 1e-6, of function: ([Tensor]) throws -> Tensor
) throws -> Double {
    func scalar(_ tensors: [Tensor]) throws -> Tensor {
        let result = try function(tensors).reshaped([-1])
        let weights = (0..<result.count).map { 1 + 0.37 * Double($0 % 7) }
        return try (result.to(.float64) * Tensor(weights)).sum()
    }
    let leaves = try inputs.map { try Tensor($0.values, shape: $0.shape).requiringGradient() }
    try scalar(leaves).backward()
    var worst = 0.0
    for (index, input) in inputs.enumerated() {
        guard let found = try leaves[index].gradient?.doubles() else { return .infinity }
        let expected = try centralDifferences(at: input.values, step: step) { point in
            try Tensor.withoutGradients {
                var moved = leaves
                moved[index] = try Tensor(point, shape: input.shape)
                return try scalar(moved).item()
            }
        }
        worst = max(worst, relativeError(found, expected, floor: 1))
    }
    return worst
}
#endif
