internal import Foundation
internal import Tensors

/// One parameter's part of an optimizer step. It writes the tensors that it is given, and no others.
@TensorActor
struct ParameterStep {
    /// What steps this parameter.
    let rule: OptimizerRule
    let settings: OptimizerSettings
    /// η
    let learningRate: Double
    /// λ, zero where nothing decays.
    let weightDecay: Double
    /// Steps that the optimizer has taken before.
    let taken: Int
    /// t of the bias correction: steps since the moments were zeros, this one included.
    let number: Int
    let cosines: CosineTransform
    let parameter: Tensor
    /// Clipped.
    let gradient: Tensor
    let state: ParameterState

    func take() throws {
        var gradient = gradient
        if let spam = settings.stabilization {
            gradient = try spam.stabilized(
                gradient, state[.gradientMeans]!, step: taken + 1, epsilon: settings.epsilon)
            if spam.resets(at: taken + 1) { try forgetMoments() }
        }
        switch rule {
        case .adamW:
            try Tensor.adamWStep(
                parameters: [parameter], gradients: [gradient], firstMoments: [state[.firstMoment]!],
                secondMoments: [state[.secondMoment]!], step: number, learningRate: learningRate,
                beta1: settings.beta1, beta2: settings.beta2, epsilon: settings.epsilon, weightDecay: weightDecay)
        case .adamW8bit:
            let (first, second) = state.codedMoments
            try Tensor.adamW8bitStep(
                parameter: parameter, gradient: gradient, firstMoment: first, secondMoment: second, step: number,
                learningRate: learningRate, beta1: settings.beta1, beta2: settings.beta2, epsilon: settings.epsilon,
                weightDecay: weightDecay)
        case .lion:
            try Tensor.lionStep(
                parameter: parameter, gradient: gradient, momentum: state[.firstMoment]!, learningRate: learningRate,
                beta1: settings.beta1, beta2: settings.beta2, weightDecay: weightDecay)
        case .lowRank(let lowRank):
            try take(lowRank, gradient)
        }
    }

    func forgetMoments() throws {
        for (kind, tensor) in state where kind.isMoment { try tensor.fillInPlace(0) }
    }
}

extension ParameterState {
    /// Moments of a byte a number.
    var codedMoments: (first: CodedTensor, second: CodedTensor) {
        (
            CodedTensor(bytes: self[.firstMoment]!, scales: self[.firstMomentScales]!),
            CodedTensor(bytes: self[.secondMoment]!, scales: self[.secondMomentScales]!)
        )
    }

    /// AdamW's moments in the parameter's type, whatever they are kept as.
    func moments(_ type: ElementType) throws -> (first: Tensor, second: Tensor) {
        guard self[.firstMomentScales] != nil else { return (self[.firstMoment]!, self[.secondMoment]!) }
        return (
            try codedMoments.first.decoded(isSigned: true).to(type),
            try codedMoments.second.decoded(isSigned: false).to(type)
        )
    }
}
